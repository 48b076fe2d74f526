"""System D: Inception blocks on regions of a CT slice."""

from __future__ import annotations

from pulmoscope.preprocess.augment import Augmentation
from pulmoscope.preprocess.ct_slice import SlicePreprocess
from pulmoscope.recipes.recipe import Recipe
from pulmoscope.recipes.specs import ModelSpec, Phase

RECIPE = Recipe(
    name="ct-slice-inception",
    title="Inception blocks on the lung region of a CT slice",
    paper="Michalska-Ciekańska & Boyko, overview of COVID-19 diagnosis systems: the CT system of Inception blocks",
    deviations="The overview names the blocks and the figures alone. Network (Inception v3), region (the lungs), "
    "input, augmentation, optimiser and length are ours.",
    published={"accuracy": 0.89, "specificity": 0.88, "sensitivity": 0.87},
    modality="CT",
    preprocess=SlicePreprocess(size=224),
    augment=Augmentation(shift=0.05, rotate_deg=15, zoom=0.2, flip=0.5),
    model=ModelSpec(backbone="inception_v3", dropout=0.4),
    batch_size=32,
    phases=(Phase("train", epochs=30, learning_rate=1e-4, patience=8),),
    grid={"phases.train.learning_rate": (3e-5, 1e-4, 3e-4), "model.dropout": (0.2, 0.4)},
)
