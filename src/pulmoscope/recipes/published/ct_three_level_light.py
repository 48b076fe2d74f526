"""System B on a small backbone, small slices and short phases: what a CPU trains in an hour or two."""

from __future__ import annotations

import dataclasses

from pulmoscope.preprocess.ct import CtPreprocess
from pulmoscope.recipes.published import ct_three_level
from pulmoscope.recipes.specs import ModelSpec, Phase, SliceSpec, VoteSpec

RECIPE = dataclasses.replace(
    ct_three_level.RECIPE,
    name="ct-three-level-light",
    title="The same on MobileNetV2, slices of 96 px around the lungs, short phases: for a CPU",
    published={},
    deviations=(
        ct_three_level.RECIPE.deviations
        + " Light: MobileNetV2 instead of ResNet50; 96 px of the square around the "
        "lungs instead of 224 px of the whole body; larger learning rates over fewer slices an epoch, as many of each "
        "class; LSTMs of 128 units."
    ),
    # Padding, mean and s.d. of the ImageNet weights ported from TensorFlow, which a file gives:
    # model.weights=PATH.
    preprocess=CtPreprocess(size=96, region="lungs", mean=(0.5, 0.5, 0.5), std=(0.5, 0.5, 0.5)),
    model=ModelSpec(
        backbone="mobilenetv2_100", backbone_options={"pad_type": "same"}, stages=3, hidden=1024, dropout=0.2
    ),
    batch_size=32,
    slices=SliceSpec(per_epoch=2000),
    phases=(
        Phase("pretrain", learn="pretrain", epochs=2, learning_rate=1e-3, monitor="accuracy"),
        Phase("head", epochs=1, learning_rate=1e-3, frozen="backbone", monitor="accuracy"),
        Phase("tune", epochs=4, learning_rate=3e-4, frozen="norm", monitor="accuracy"),
        Phase("picked", learn="picked", epochs=3, learning_rate=1e-4, frozen="norm", monitor="accuracy"),
    ),
    patient=VoteSpec(lstm_units=128),
    grid={"phases.tune.learning_rate": (1e-4, 3e-4), "patient.learning_rate": (3e-4, 1e-3)},
)
