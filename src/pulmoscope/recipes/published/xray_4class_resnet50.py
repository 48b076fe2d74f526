"""System C (Sun): ResNet50 on four classes. The recipes that share its settings are derived from this one."""

from __future__ import annotations

from pulmoscope.preprocess.xray import XrayPreprocess
from pulmoscope.recipes.recipe import Recipe
from pulmoscope.recipes.specs import ModelSpec, Phase

RECIPE = Recipe(
    name="xray-4class-resnet50",
    title="Four classes: ResNet50",
    paper=(
        "Sun: Pretrained-ResNet-based COVID-19 CT image classification (its images are X-rays), sections 3 "
        "and 4"
    ),
    deviations=(
        "The paper resizes to 224 and then feeds 128: ours goes to 128 at once. It gives neither batch size (ours: 32) "
        "nor the patience of its early stopping (ours: 5, on validation loss). Its figure is of its validation "
        "split; ours is of a test split that training never saw."
    ),
    published={"accuracy": 0.8233},
    preprocess=XrayPreprocess(size=128, mean=0.0, std=1.0),
    model=ModelSpec(backbone="resnet50", hidden=1024, dropout=0.5),
    batch_size=32,
    phases=(Phase("train", epochs=100, learning_rate=1e-5, patience=5),),
    grid={"phases.train.learning_rate": (1e-5, 1e-4, 1e-3), "model.dropout": (0.3, 0.5)},
)
