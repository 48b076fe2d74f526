"""The light model that system C (Sun, section 6) names as its next step: MobileNetV2, plainly fine-tuned."""

from __future__ import annotations

from pulmoscope.preprocess.augment import Augmentation
from pulmoscope.preprocess.xray import XrayPreprocess
from pulmoscope.recipes.recipe import Recipe
from pulmoscope.recipes.specs import ModelSpec, Phase

RECIPE = Recipe(
    name="xray-4class-mobilenetv2",
    title="Four classes: MobileNetV2, light, plainly fine-tuned",
    paper=(
        "Sun: Pretrained-ResNet-based COVID-19 CT image classification, section 6 (named there, not measured)"
    ),
    deviations=(
        "The paper only names MobileNet. The settings are ours, the plain ones of fine-tuning: the whole film at "
        "224 x 224, slight geometric augmentation, AdamW 5e-4 with warm-up and cosine, no hidden layer. It shows what "
        "such a model is worth elsewhere, beside xray-covid."
    ),
    preprocess=XrayPreprocess(size=224),
    augment=Augmentation(shift=0.04, rotate_deg=7.0, zoom=0.08),
    # Padding, mean and s.d. of the ImageNet weights ported from TensorFlow, which a file gives (model.weights=PATH);
    # with the hub's own, trained otherwise, `as_run` says so.
    model=ModelSpec(backbone="mobilenetv2_100", backbone_options={"pad_type": "same"}, dropout=0.2),
    batch_size=32,
    phases=(
        Phase("train", epochs=8, learning_rate=5e-4, optimizer="adamw", weight_decay=0.01, schedule="cosine"),
    ),
    grid={"phases.train.learning_rate": (2e-4, 5e-4, 1e-3), "model.dropout": (0.0, 0.2)},
)
