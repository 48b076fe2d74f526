"""Our own, for CT slices that came as pictures: the lungs alone, in one window."""

from __future__ import annotations

from pulmoscope.preprocess.augment import Augmentation
from pulmoscope.preprocess.ct_slice import SlicePreprocess
from pulmoscope.recipes.recipe import Recipe
from pulmoscope.recipes.specs import ModelSpec, Phase

RECIPE = Recipe(
    name="ct-slice-covid",
    title="Our own: MobileNetV2 on the lungs of a CT slice, the rest hidden and the window harmonised",
    paper="none: docs/ct-slices.md says what was tried and what helped",
    modality="CT",
    preprocess=SlicePreprocess(size=192),
    augment=Augmentation(shift=0.08, rotate_deg=15, zoom=0.2, squeeze=0.2, flip=0.5, film=0.7, clutter=0.4),
    # As in xray-covid: padding, mean and s.d. of the ImageNet weights ported from TensorFlow (model.weights=PATH).
    model=ModelSpec(backbone="mobilenetv2_100", backbone_options={"pad_type": "same"}, stages=3, dropout=0.2),
    mixup=0.2,
    average=0.995,
    batch_size=32,
    phases=(
        Phase(
            "train",
            epochs=24,
            learning_rate=1e-3,
            optimizer="adamw",
            weight_decay=0.02,
            schedule="cosine",
            frozen="early",
            patience=8,  # the best epoch was the eighth: few patients are soon learnt by heart
        ),
    ),
    grid={"phases.train.learning_rate": (3e-4, 1e-3), "mixup": (0.0, 0.2)},
)
