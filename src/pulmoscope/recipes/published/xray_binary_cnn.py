"""System E's baseline (Van Bauwel et al., sections II and III): a small network from scratch, COVID or Normal."""

from __future__ import annotations

from pulmoscope.preprocess.augment import Augmentation
from pulmoscope.preprocess.xray import XrayPreprocess
from pulmoscope.recipes.recipe import Recipe
from pulmoscope.recipes.specs import ModelSpec, Phase

RECIPE = Recipe(
    name="xray-binary-cnn",
    title="COVID or Normal: a small convolutional network from scratch",
    paper="Van Bauwel, Van de Vreken, Jedrych, Li: Project COVID-19 Assisted Diagnosis, sections II and III, table I",
    deviations=(
        "The paper gives no layers, batch size, number of epochs, best grid point or size of the shift: ours are "
        "those of models/cnn.py, 64, at most 60 with early stopping (patience 10), "
        "64 filters / dropout 0.3 / 1e-3 / Adam, and a tenth of the width. One channel instead of three equal ones."
    ),
    published={"accuracy": 0.79},
    classes=("Normal", "COVID"),
    preprocess=XrayPreprocess(size=128, channels=1),
    augment=Augmentation(shift=0.1, shift_rows=False, rotate_deg=15.0, zoom=0.2),
    normalise="data",
    model=ModelSpec(backbone="cnn", pretrained=False, filters=64, dropout=0.3, output="sigmoid"),
    batch_size=64,
    phases=(Phase("train", epochs=60, learning_rate=1e-3, patience=10),),
    grid={
        "model.filters": (8, 32, 64),
        "model.dropout": (0.4, 0.3, 0.2),
        "phases.train.learning_rate": (1e-3, 1e-4, 1e-5),
        "phases.train.optimizer": ("adam", "sgd"),
    },
)
