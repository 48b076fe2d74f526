"""Our own: chosen by what it is worth at a hospital left out of training, not in its own collections."""

from __future__ import annotations

from pulmoscope.preprocess.augment import Augmentation
from pulmoscope.preprocess.xray import XrayPreprocess
from pulmoscope.recipes.recipe import Recipe
from pulmoscope.recipes.specs import ModelSpec, Phase

LABELS = {
    "Typical": "COVID",
    "Negative": "Normal",
    "Atypical": "Other pneumonia",
    "Pneumonia": "Other pneumonia",
    "Viral Pneumonia": "Other pneumonia",
    "other pneumonia": "Other pneumonia",
    "Indeterminate": "COVID 0.4, Normal 0.35, Other pneumonia 0.25",
}
"""What the labels of public collections are to this model: an appearance, as RSNA's consensus names it."""

WORDING = {
    "COVID": "pneumonia, of an appearance typical of COVID-19 (RSNA: typical)",
    "Normal": "no pneumonia seen (RSNA: negative)",
    "Other pneumonia": "pneumonia, of another appearance (RSNA: atypical)",
    "Tuberculosis": "an appearance of tuberculosis (RSNA: atypical)",
}

RECIPE = Recipe(
    name="xray-covid",
    title="Our own: MobileNetV2 on the lungs' box, taught by many hospitals at once",
    paper="none: docs/results.md says what was tried and what helped",
    labels=LABELS,
    wording=WORDING,
    # Of 255 radiographs of one collection that are COVID by a test and were read later, 21 % show no pneumonia.
    unread={"Normal": 0.2, "Other pneumonia": 0.1},
    preprocess=XrayPreprocess(size=160, region="lungs", margin=0.12, edge=0.12),
    augment=Augmentation(
        shift=0.06, rotate_deg=12, zoom=0.15, squeeze=0.1, flip=0.5, film=0.7, mixing=0.35, clutter=0.4
    ),
    # Mean and s.d. of the ImageNet weights ported from TensorFlow, which a file gives (model.weights=PATH). Their
    # padding is not taken over: it costs a quarter of the time, and the layers soon learn without.
    model=ModelSpec(backbone="mobilenetv2_100", dropout=0.2),
    mixup=0.2,
    locate=0.3,
    average=0.998,
    batch_size=32,
    phases=(
        Phase(
            "train",
            epochs=12,
            learning_rate=1e-3,
            optimizer="adamw",
            weight_decay=0.02,
            schedule="cosine",
            frozen="early",
        ),
    ),
    grid={"augment.mixing": (0.0, 0.35), "locate": (0.0, 0.3)},
)
