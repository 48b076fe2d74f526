"""System D (Michalska-Ciekańska and Boyko, on X-ray classification): VGG-16, four classes."""

from __future__ import annotations

import dataclasses

from pulmoscope.recipes.published import xray_4class_resnet50

RECIPE = dataclasses.replace(
    xray_4class_resnet50.RECIPE,
    name="xray-4class-vgg16",
    title="Four classes: VGG-16",
    paper=(
        "Michalska-Ciekańska, Boyko: overview of COVID-19 image diagnosis, on VGG-16 and VGG against ResNet "
        "(its [27], [28])"
    ),
    deviations=(
        "The overview gives no settings: all but the backbone are those of xray-4class-resnet50. VGG's own "
        "two fully connected layers give way to the same head."
    ),
    published={},
    model=dataclasses.replace(xray_4class_resnet50.RECIPE.model, backbone="vgg16"),
)
