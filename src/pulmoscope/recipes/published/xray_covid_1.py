"""The recipe of the built-in model up to 1.2, kept to compare with: one collection, and its class is its source."""

from __future__ import annotations

from pulmoscope.preprocess.augment import Augmentation
from pulmoscope.preprocess.xray import XrayPreprocess
from pulmoscope.recipes.recipe import Recipe
from pulmoscope.recipes.specs import ModelSpec, Phase

RECIPE = Recipe(
    name="xray-covid-1",
    title="Our own up to 1.2: MobileNetV2 on the lungs' box, with augmentation that hides shortcuts",
    paper="none: docs/results.md says what was tried and what helped",
    preprocess=XrayPreprocess(size=160, region="lungs", margin=0.12, edge=0.12),
    augment=Augmentation(shift=0.06, rotate_deg=12, zoom=0.15, squeeze=0.1, flip=0.5, film=0.3, clutter=0.4),
    # Padding, mean and s.d. of the ImageNet weights ported from TensorFlow, which a file gives (model.weights=PATH);
    # with the hub's own, trained otherwise, `as_run` says so.
    model=ModelSpec(backbone="mobilenetv2_100", backbone_options={"pad_type": "same"}, dropout=0.2),
    mixup=0.2,
    average=0.998,
    batch_size=32,
    phases=(
        Phase(
            "train", epochs=24, learning_rate=1e-3, optimizer="adamw", weight_decay=0.02, schedule="cosine"
        ),
    ),
    grid={"phases.train.learning_rate": (3e-4, 1e-3), "model.dropout": (0.0, 0.2)},
)
