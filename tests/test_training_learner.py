from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.nn import functional

import drawn
from pulmoscope.models.classifier import build
from pulmoscope.models.spec import ModelSpec
from pulmoscope.training.frames import Maps, load_frames
from pulmoscope.training.learner import (
    Job,
    Learner,
    average_of,
    correct,
    learning_rate,
    loss_of,
    mixing_share,
)
from pulmoscope.training.opacities import where_known
from pulmoscope.training.recipe import Phase, Recipe
from pulmoscope.training.recipes import find
from pulmoscope.training.settings import apply
from pulmoscope.training.state import PhaseState

LOGITS = torch.tensor([[2.0], [-1.0], [0.5]])
LABELS = torch.tensor([1, 0, 0])


def test_a_single_logit_is_judged_as_binary_cross_entropy() -> None:
    expected = functional.binary_cross_entropy_with_logits(LOGITS[:, 0], LABELS.float())
    torch.testing.assert_close(loss_of(LOGITS, LABELS), expected)
    smooth = functional.binary_cross_entropy_with_logits(LOGITS[:, 0], LABELS.float() * 0.8 + 0.1)
    torch.testing.assert_close(loss_of(LOGITS, LABELS, smoothing=0.2), smooth)


def test_class_weights_weigh_the_mean() -> None:
    single = functional.binary_cross_entropy_with_logits(LOGITS[:, 0], LABELS.float(), reduction="none")
    expected = (3 * single[0] + single[1] + single[2]) / 5
    torch.testing.assert_close(loss_of(LOGITS, LABELS, torch.tensor([1.0, 3.0])), expected)


def test_correct_counts_the_right_answers() -> None:
    assert correct(LOGITS, LABELS) == 2
    assert correct(torch.tensor([[0.1, 0.9, 0.0], [0.8, 0.1, 0.1]]), torch.tensor([1, 2])) == 1


def test_the_learning_rate_warms_up_and_falls() -> None:
    cosine = Phase("x", epochs=10, learning_rate=0.2, schedule="cosine")
    assert learning_rate(cosine, 0.05) == pytest.approx(0.1)
    assert learning_rate(cosine, 0.1) == pytest.approx(0.2)
    assert learning_rate(cosine, 0.55) == pytest.approx(0.1)  # half of the way down
    assert learning_rate(cosine, 1.0) == pytest.approx(0.0)
    assert 0 < learning_rate(cosine, 0.0) < 0.01
    assert learning_rate(Phase("x", epochs=10, learning_rate=0.2), 0.9) == 0.2


def test_the_average_follows_weights_and_statistics() -> None:
    network = build(ModelSpec(backbone="cnn", filters=2), 1, 1)
    average = average_of(network, decay=0.5)
    kept = average.module

    def set_all(value: float) -> None:
        with torch.no_grad():
            network.head.output.bias.fill_(value)
            network.backbone.layers[0][1].running_mean.fill_(value)

    for value in (0.0, 1.0, 1.0):
        set_all(value)
        average.update_parameters(network)

    # The first update copies; then the decay is min(0.5, 2/11) and min(0.5, 3/12): 1 - 2/11 · 3/12 = 21/22.
    torch.testing.assert_close(kept.head.output.bias, torch.full((1,), 21 / 22))
    torch.testing.assert_close(kept.backbone.layers[0][1].running_mean, torch.full((2,), 21 / 22))


def test_mixing_shares_are_drawn_from_beta_and_turned_over() -> None:
    assert mixing_share(0) == 1
    torch.manual_seed(3)
    shares = torch.tensor(
        [mixing_share(1.0) for _ in range(2000)]
    )  # Beta(1, 1) is uniform: 0.5 … 1, mean 0.75
    assert shares.min() >= 0.5
    assert shares.max() <= 1
    assert shares.mean() == pytest.approx(0.75, abs=0.01)
    assert min(mixing_share(100.0) for _ in range(50)) < 0.56


def test_images_and_labels_are_mixed_alike(tmp_path: Path) -> None:
    small = ["model.filters=2", "preprocess.size=32", "model.dropout=0", "mixup=0.7"]
    recipe = apply(find("xray-binary-cnn"), small)
    frames = load_frames(
        drawn.table(tmp_path, 4, classes=("COVID", "Normal")), recipe.preprocess, ("COVID", "Normal")
    )
    network = build(recipe.model, 1, recipe.preprocess.channels).eval()
    learner = Learner(network, Job(recipe, 0, 1, frames, tmp_path), PhaseState())
    network.eval()
    batch = next(iter(learner.train_dataloader()))
    images, labels = batch.image, batch.target.argmax(dim=1)
    torch.manual_seed(5)
    found = learner.training_step(batch, 0)
    torch.manual_seed(5)
    share = mixing_share(0.7)
    assert 0.5 < share < 0.99
    logits = network(share * images + (1 - share) * images.flip(0))
    expected = share * loss_of(logits, labels) + (1 - share) * loss_of(logits, labels.flip(0))
    torch.testing.assert_close(found, expected)


def test_without_a_single_opacity_nobody_knows_where_they_are(tmp_path: Path) -> None:
    recipe = apply(find("xray-binary-cnn"), ["preprocess.size=32", "locate=0.5"])
    plain = load_frames(
        drawn.table(tmp_path, 2, classes=("COVID", "Normal")), recipe.preprocess, ("COVID", "Normal")
    )
    blank = np.zeros((len(plain.labels), 2, 2), np.uint8)
    frames = replace(plain, maps=Maps(blank, blank.copy(), np.array(plain.labels == 1)))
    places = frames.places("train")

    def known(recipe: Recipe) -> bool:
        maps = where_known(frames, recipe, places).maps
        assert maps is not None
        return bool(maps.known.any())

    assert not known(recipe)
    assert known(apply(recipe, ["augment.opacities=0.5"]))  # simulated ones are known
    assert frames.maps is not None
    frames.maps.opacities[places[0]] = 255
    assert known(recipe)
    assert where_known(plain, recipe, places) is plain
