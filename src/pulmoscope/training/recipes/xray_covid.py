"""Our own: what works best on the data at hand, with the shortcuts taken away."""

from __future__ import annotations

from pulmoscope.models.spec import ModelSpec
from pulmoscope.preprocess.augment import Augmentation
from pulmoscope.preprocess.xray import XrayPreprocess
from pulmoscope.training.recipe import Phase, Recipe

RECIPE = Recipe(
    name="xray-covid",
    title="Our own: MobileNetV2 on the lung box, with augmentation that hides shortcuts",
    paper="none: docs/results.md says what was tried and what helped",
    preprocess=XrayPreprocess(size=224, region="lungs", contrast="clahe"),
    augment=Augmentation(shift=0.08, rotate_deg=15, zoom=0.15, flip=0.5),
    model=ModelSpec(backbone="mobilenetv2_100", backbone_options={"pad_type": "same"}, dropout=0.2),
    label_smoothing=0.05,
    average=0.995,
    batch_size=32,
    phases=(
        Phase(
            "train", epochs=15, learning_rate=5e-4, optimizer="adamw", weight_decay=0.01, schedule="cosine"
        ),
    ),
    grid={"phases.train.learning_rate": (3e-4, 5e-4, 1e-3), "model.dropout": (0.0, 0.2)},
)
