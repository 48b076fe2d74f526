"""The light model that system C (Sun, section 6) names as its next step: MobileNetV2."""

from __future__ import annotations

import dataclasses

from pulmoscope.training.recipes import xray_4class_resnet50

RECIPE = dataclasses.replace(
    xray_4class_resnet50.RECIPE,
    name="xray-4class-mobilenetv2",
    title="Four classes: MobileNetV2, light",
    paper=(
        "Sun: Pretrained-ResNet-based COVID-19 CT image classification, section 6 (named there, not measured)"
    ),
    deviations=(
        "The paper only names MobileNet: all settings but the backbone are those of xray-4class-resnet50."
    ),
    published={},
    model=dataclasses.replace(xray_4class_resnet50.RECIPE.model, backbone="mobilenetv2_100"),
)
