from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.nn import functional

import drawn
from pulmoscope.models.classifier import Classifier, build
from pulmoscope.recipes.published import find
from pulmoscope.recipes.recipe import Recipe
from pulmoscope.recipes.settings import apply
from pulmoscope.recipes.specs import ModelSpec, Phase
from pulmoscope.training.classification import Batch, correct, loss_of, mixing_fraction
from pulmoscope.training.frames import MAP_SIDE, Frames, Maps, load_frames
from pulmoscope.training.hardware import fabric_of
from pulmoscope.training.image_stage import image_stage
from pulmoscope.training.loop import Stage
from pulmoscope.training.opacities import location_loss, where_known
from pulmoscope.training.optimizers import average_of, learning_rate

CPU = fabric_of(torch.device("cpu"))
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
    assert mixing_fraction(0) == 1
    torch.manual_seed(3)
    shares = torch.tensor(
        [mixing_fraction(1.0) for _ in range(2000)]
    )  # Beta(1, 1) is uniform: 0.5 … 1, mean 0.75
    assert shares.min() >= 0.5
    assert shares.max() <= 1
    assert shares.mean() == pytest.approx(0.75, abs=0.01)
    assert min(mixing_fraction(100.0) for _ in range(50)) < 0.56


def test_images_and_labels_are_mixed_alike(tmp_path: Path) -> None:
    small = ["model.filters=2", "preprocess.size=32", "model.dropout=0", "mixup=0.7"]
    recipe = apply(find("xray-binary-cnn"), small)
    frames = load_frames(
        drawn.table(tmp_path, 4, classes=("COVID", "Normal")), recipe.preprocess, ("COVID", "Normal")
    )
    network = build(recipe.model, 1, recipe.preprocess.channels).eval()
    stage = image_stage(network, recipe, 0, 1, frames, CPU)
    batch = first(stage)
    images, labels = batch.inputs[0], batch.target.argmax(dim=1)
    torch.manual_seed(5)
    found = stage.step(network, batch, 0).loss
    torch.manual_seed(5)
    share = mixing_fraction(0.7)
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


NAN = float("nan")


def test_shares_of_classes_are_learnt_by_their_cross_entropy() -> None:
    logits, shares = torch.tensor([[2.0, 0.0, -1.0]]), torch.tensor([[0.5, 0.3, 0.2]])
    total = math.exp(2) + 1 + math.exp(-1)
    expected = -(
        0.5 * math.log(math.exp(2) / total) + 0.3 * math.log(1 / total) + 0.2 * math.log(math.exp(-1) / total)
    )
    assert float(loss_of(logits, shares)) == pytest.approx(expected, rel=1e-6)


def test_opacities_are_learnt_where_a_reader_has_marked_them() -> None:
    opacity = torch.tensor([[[0.0, 2.0]], [[5.0, 5.0]]])
    maps = torch.full((2, 4, 4), NAN)
    maps[0] = 0
    maps[0, :, 2:] = 0.5
    # Two fields of 4 x 2: nothing, and one half. The second image says nothing.
    expected = (math.log(2) + 0.5 * (math.log(1 + math.exp(-2)) + math.log(1 + math.exp(2)))) / 2
    assert float(location_loss(opacity, maps, 1.0)) == pytest.approx(expected, rel=1e-6)


def test_maps_are_mixed_as_images_are_and_known_where_both_are() -> None:
    opacity = torch.tensor([[[0.0]], [[1.0]], [[3.0]]])
    maps = torch.tensor([1.0, NAN, 0.0])[:, None, None].expand(3, 2, 2)
    # 0.75 of the first and 0.25 of the last, and the reverse; the middle one is mixed with itself.
    wanted = torch.tensor([0.75, 0.25])
    expected = functional.binary_cross_entropy_with_logits(torch.tensor([0.0, 3.0]), wanted)
    torch.testing.assert_close(location_loss(opacity, maps, 0.75), expected)
    one_known = torch.tensor([1.0, 0.5, NAN])[:, None, None].expand(3, 2, 2)
    alone = functional.binary_cross_entropy_with_logits(torch.tensor([1.0]), torch.tensor([0.5]))
    torch.testing.assert_close(location_loss(opacity, one_known, 0.75), alone)


def test_without_any_mark_nothing_is_learnt_of_places() -> None:
    opacity = torch.ones((2, 3, 3), requires_grad=True)
    loss = location_loss(opacity, torch.full((2, 4, 4), NAN), 1.0)
    loss.backward()
    assert opacity.grad is not None
    assert float(loss.detach()) == float(opacity.grad.abs().max()) == 0


def first(stage: Stage) -> Batch:
    batch = next(iter(stage.batches(0)))
    assert isinstance(batch, Batch)
    return batch


def stage_of(
    tmp_path: Path, *changes: str, shares: bool = False, maps: bool = False
) -> tuple[Stage, Classifier, Frames]:
    """A stage on eight drawn films of two hospitals, without dropout and in eval mode."""
    small = [
        "model.filters=2",
        "preprocess.size=32",
        "model.dropout=0",
        "model.output=softmax",
        "model.hidden=0",
    ]
    recipe = apply(find("xray-binary-cnn"), [*small, "classes=COVID,Normal", *changes])
    found = load_frames(
        drawn.table(tmp_path, 4, classes=recipe.classes), recipe.preprocess, recipe.classes, progress=False
    )
    count = len(found.labels)
    hospitals = tuple("north" if place % 3 else "south" for place in range(count))
    found = replace(found, hospitals=hospitals)
    if shares:
        targets = np.random.default_rng(0).dirichlet((1, 1), count).astype(np.float32)
        found = replace(found, targets=targets, labels=targets.argmax(axis=1).astype(np.int64))
    if maps:
        lungs, opacities = np.random.default_rng(1).integers(0, 256, (2, count, MAP_SIDE, MAP_SIDE), np.uint8)
        found = replace(found, maps=Maps(lungs, opacities, np.arange(count) % 2 == 0))
    network = build(recipe.model, 2, recipe.preprocess.channels, locate=bool(recipe.locate))
    return image_stage(network.eval(), recipe, 0, 1, found, CPU), network, found


def test_what_is_learnt_of_shares_is_their_cross_entropy(tmp_path: Path) -> None:
    stage, network, _ = stage_of(tmp_path, shares=True)
    batch = first(stage)
    expected = functional.cross_entropy(network(*batch.inputs), batch.target)
    torch.testing.assert_close(stage.step(network, batch, 0).loss, expected)


def test_places_are_a_second_task_of_their_own_weight(tmp_path: Path) -> None:
    stage, network, _ = stage_of(tmp_path, "locate=0.3", maps=True)
    batch = first(stage)
    assert batch.opacities is not None
    assert bool(batch.opacities.isnan().any())
    assert not bool(batch.opacities.isnan().all())
    logits, opacity = network.located(*batch.inputs)
    expected = functional.cross_entropy(logits, batch.target.argmax(dim=1))
    expected = expected + 0.3 * location_loss(opacity, batch.opacities, 1.0)
    torch.testing.assert_close(stage.step(network, batch, 0).loss, expected)


@pytest.mark.parametrize("shares", [False, True])
def test_groups_are_weighed_by_how_badly_they_are_learnt(tmp_path: Path, shares: bool) -> None:
    stage, network, frames = stage_of(tmp_path, "robust=0.4", "mixup=0.7", shares=shares)
    batch = first(stage)
    (images,) = batch.inputs
    assert batch.sample is not None
    targets = batch.target if shares else batch.target.argmax(dim=1)
    torch.manual_seed(5)
    found = stage.step(network, batch, 0).loss
    torch.manual_seed(5)
    share = mixing_fraction(0.7)
    logits = network(share * images + (1 - share) * images.flip(0))
    each = share * functional.cross_entropy(logits, targets, reduction="none")
    each = each + (1 - share) * functional.cross_entropy(logits, targets.flip(0), reduction="none")
    names = sorted(set(frames.groups))
    own = [frames.groups[place] for place in batch.sample.tolist()]
    means = {
        name: torch.stack([loss for loss, at in zip(each, own, strict=True) if at == name]).mean()
        for name in own
    }
    raw = {name: math.exp(0.4 * float(means[name].detach())) if name in means else 1.0 for name in names}
    total = sum(raw[name] for name in means)
    expected = torch.stack([raw[name] / total * mean for name, mean in means.items()]).sum()
    torch.testing.assert_close(found, expected)
