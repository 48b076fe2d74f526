"""System E's transfer model (Van Bauwel et al., section IV), in its three phases."""

from __future__ import annotations

from pulmoscope.preprocess.augment import Augmentation
from pulmoscope.preprocess.xray import XrayPreprocess
from pulmoscope.recipes.recipe import Recipe
from pulmoscope.recipes.specs import ModelSpec, Phase

RECIPE = Recipe(
    name="xray-binary-resnet50v2",
    title="COVID or Normal: ResNet50V2, frozen, then on all data, then fine-tuned",
    paper="Van Bauwel, Van de Vreken, Jedrych, Li: Project COVID-19 Assisted Diagnosis, sections II and IV, table I",
    deviations=(
        "The paper gives neither the size of the shift (ours: a tenth of the width) nor the most epochs before early "
        "stopping (ours: 60). The second and third phase take as many epochs as the first needed to its best, where "
        "the paper's took 29. timm's ResNet50V2 and weights instead of Keras's."
    ),
    published={"accuracy": 0.76, "validation_accuracy_frozen": 0.81},
    classes=("Normal", "COVID"),
    preprocess=XrayPreprocess(size=128),
    augment=Augmentation(shift=0.1, shift_rows=False, rotate_deg=15.0, zoom=0.2),
    normalise="data",
    model=ModelSpec(backbone="resnetv2_50", hidden=128, dropout=0.3, output="sigmoid"),
    batch_size=64,
    phases=(
        Phase("frozen", epochs=60, learning_rate=1e-3, frozen="backbone", patience=5),
        Phase(
            "all-data",
            epochs_of="frozen",
            learning_rate=1e-3,
            frozen="backbone",
            train_on=("train", "val"),
            restart=True,
        ),
        Phase("fine-tune", epochs_of="frozen", learning_rate=1e-3, train_on=("train", "val")),
    ),
    grid={
        "model.dropout": (0.3, 0.4, 0.5),
        "phases.frozen.learning_rate": (1e-2, 1e-3, 1e-4),
        "batch_size": (32, 64, 128),
    },
)
