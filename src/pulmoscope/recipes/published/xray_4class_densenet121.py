"""System D (Michalska-Ciekańska and Boyko, on X-ray classification): DenseNet, here for four classes."""

from __future__ import annotations

import dataclasses

from pulmoscope.recipes.published import xray_4class_resnet50

RECIPE = dataclasses.replace(
    xray_4class_resnet50.RECIPE,
    name="xray-4class-densenet121",
    title="Four classes: DenseNet-121",
    paper="Michalska-Ciekańska, Boyko: overview of COVID-19 image diagnosis, on DenseNet (its [25])",
    deviations=(
        "The overview's DenseNet regresses severity and gives no settings: ours classifies, with all settings"
        " but the backbone those of xray-4class-resnet50."
    ),
    published={},
    model=dataclasses.replace(xray_4class_resnet50.RECIPE.model, backbone="densenet121"),
)
