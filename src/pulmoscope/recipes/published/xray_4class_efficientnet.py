"""The light model that system C (Sun, section 6) names as its next step: EfficientNet."""

from __future__ import annotations

import dataclasses

from pulmoscope.recipes.published import xray_4class_resnet50

RECIPE = dataclasses.replace(
    xray_4class_resnet50.RECIPE,
    name="xray-4class-efficientnet",
    title="Four classes: EfficientNet-B0, light",
    paper=(
        "Sun: Pretrained-ResNet-based COVID-19 CT image classification, section 6 (named there, not measured)"
    ),
    deviations=(
        "The paper only names EfficientNet: B0 is our choice; all settings but the backbone are those of "
        "xray-4class-resnet50."
    ),
    published={},
    model=dataclasses.replace(xray_4class_resnet50.RECIPE.model, backbone="efficientnet_b0"),
)
