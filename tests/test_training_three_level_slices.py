from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

import volumes
from pulmoscope.core.errors import DatasetError
from pulmoscope.datasets.table import Sample
from pulmoscope.preprocess.ct import CtPreprocess
from pulmoscope.preprocess.ct_augment import SYSTEM_B
from pulmoscope.training.progress import Reporter
from pulmoscope.training.three_level.slice_data import (
    SliceBatches,
    check_classes,
    drawn,
    labelled,
    slice_set,
)
from pulmoscope.training.three_level.slice_level import SliceTraining, fit_slices
from pulmoscope.training.three_level.studies import Cache, PreparedStudy, finer, prepare

NORMAL = 2


def stack(slices: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (slices, 32, 32), dtype=np.uint8)


def study(label: int, infected: list[bool] | None, slices: int = 5) -> PreparedStudy:
    sample = Sample("p.nii.gz", volumes.CLASSES[label])
    known = None if infected is None else np.array(infected)
    return PreparedStudy(sample, label, stack(slices, label), known, f"key{label}")


def test_studies_are_prepared_once(tmp_path: Path) -> None:
    table = volumes.table(tmp_path / "studies", train=2, val=0, unknown=1)
    cache = Cache(tmp_path / "cache")
    preprocess = CtPreprocess(size=32)

    found = prepare(table, preprocess, volumes.CLASSES, "Normal", cache, Reporter())

    files = {path.name: path.stat().st_mtime_ns for path in cache.folder.iterdir()}
    assert len(files) == 6
    again = prepare(table, preprocess, volumes.CLASSES, "Normal", cache, Reporter())
    assert {path.name: path.stat().st_mtime_ns for path in cache.folder.iterdir()} == files
    for one, other in zip(found, again, strict=True):
        assert np.array_equal(one.slices, other.slices)
        assert one.slices.dtype == np.uint8
        assert one.slices.shape[1:] == (32, 32)
    assert [own.infected is None for own in found] == [True, True, False, False, False, False]
    assert found[2].infected is not None
    assert not found[2].infected.any()
    prepare(table, CtPreprocess(size=64), volumes.CLASSES, "Normal", cache, Reporter())
    assert len(list(cache.folder.iterdir())) == 12


def test_slices_of_infected_patients_without_infection_are_left_out(tmp_path: Path) -> None:
    studies = [
        study(0, [False, True, True, False, False]),
        study(1, None),
        study(NORMAL, [False] * 5),
    ]
    found = labelled(studies, NORMAL, 1, Cache(tmp_path))
    assert found.labels.tolist() == [0, 0, 2, 2, 2, 2, 2]
    assert found.places[:2].tolist() == [[0, 1], [0, 2]]
    assert np.array_equal(found.image(1), studies[0].slices[2])
    with pytest.raises(DatasetError, match="none of: COVID"):
        check_classes(found, volumes.CLASSES, "train")


def test_slices_are_added_between_neighbours_of_one_kind_only(tmp_path: Path) -> None:
    own = study(0, [False, True, True, True, False])
    slices, infected = finer(own, 2, Cache(tmp_path))
    # One gap of infected slices on either side of slice 2; none between slices 0 and 1, 3 and 4.
    assert infected.tolist() == [False, True, True, True, True, True, False]
    assert np.array_equal(slices[[0, 1, 3, 5, 6]], own.slices)
    assert len(labelled([own], NORMAL, 2, Cache(tmp_path))) == 5


def test_an_epoch_of_so_many_slices_is_balanced() -> None:
    labels = np.array([0] * 50 + [1] * 4 + [2] * 200)
    order = drawn(labels, 30, 3, np.random.default_rng(1))
    assert Counter(labels[order].tolist()) == {0: 10, 1: 10, 2: 10}
    few = Counter(order[labels[order] == 1].tolist())
    assert set(few) == {50, 51, 52, 53}
    assert max(few.values()) == 3  # none a third time before all were drawn twice
    assert max(Counter(order[labels[order] != 1].tolist()).values()) == 1
    assert sorted(drawn(labels, 0, 3, np.random.default_rng(1)).tolist()) == list(range(254))


def test_batches_are_the_same_for_the_same_epoch_and_others_for_the_next() -> None:
    slices = slice_set([(stack(9), list(range(9)), 0), (stack(4, 1), [0, 3], 1)])
    made = SliceBatches(slices, CtPreprocess(size=32), SYSTEM_B, 4, 0, 2, (3, 1))
    one, same, other = (
        [(images.clone(), labels) for (images,), labels, *_ in made.learn(epoch)] for epoch in (0, 0, 1)
    )
    assert [len(labels) for _, labels in one] == [4, 4, 3]
    assert all(torch.equal(a[0], b[0]) for a, b in zip(one, same, strict=True))
    assert not torch.equal(one[0][0], other[0][0])
    plain = SliceBatches(slices, CtPreprocess(size=32), None, 64, 0, 2, (3, 1))
    (images,), labels, *_ = next(iter(plain.validation()))
    np.testing.assert_array_equal(
        images.numpy(), CtPreprocess(size=32).tensor(np.concatenate([stack(9), stack(4, 1)[[0, 3]]]))
    )
    assert labels.tolist() == [0] * 9 + [1] * 2


def weights_of(network: nn.Module) -> dict[str, torch.Tensor]:
    return {name: value.clone() for name, value in network.state_dict().items()}


def test_phases_learn_what_they_do_not_freeze(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from pulmoscope.training.three_level import slice_level

    table = volumes.table(tmp_path / "studies", train=2, unknown=1)
    recipe = volumes.recipe("classes=CAP,COVID,Normal", "slices.sure=0.0")
    cache = Cache(tmp_path / "cache")
    parts = [
        prepare(table.split(own), recipe.preprocess, recipe.classes, "Normal", cache, Reporter())
        for own in ("train", "val")
    ]
    kept: list[dict[str, torch.Tensor]] = []
    learnt: list[int] = []
    run = slice_level._run

    def watched(training, phase, place, train, val, network):  # type: ignore[no-untyped-def]
        kept.append(weights_of(network))
        learnt.append(len(train))
        state = run(training, phase, place, train, val, network)
        kept.append(weights_of(network))
        return state

    monkeypatch.setattr(slice_level, "_run", watched)
    training = SliceTraining(recipe, *parts, tmp_path / "run", cache, torch.device("cpu"), Reporter())
    network, states = fit_slices(training)

    assert list(states) == ["head", "tune", "picked"]  # pretraining has no data set
    norms = {
        f"{name}.{own}"
        for name, module in network.named_modules()
        if isinstance(module, nn.BatchNorm2d)
        for own in module.state_dict()
    }
    for place, frozen in (
        (0, {name for name in kept[0] if name.startswith("backbone.")}),
        (2, norms),
        (4, norms),
    ):
        before, after = kept[place], kept[place + 1]
        assert all(torch.equal(before[name], after[name]) for name in frozen)
        assert not torch.equal(before["head.output.weight"], after["head.output.weight"])
    assert not torch.equal(kept[2]["backbone.conv_stem.weight"], kept[3]["backbone.conv_stem.weight"])
    # With sure=0 every slice of the two patients without slice labels is picked.
    unknown = sum(len(own.slices) for own in parts[0] if own.infected is None)
    assert learnt == [learnt[0], learnt[0], learnt[0] + unknown]


def test_all_slices_labelled_nothing_is_picked(tmp_path: Path) -> None:
    table = volumes.table(tmp_path / "studies", train=1)
    recipe = volumes.recipe("classes=CAP,COVID,Normal", "slices.per_epoch=6", "phases.tune.epochs=1")
    cache = Cache(tmp_path / "cache")
    parts = [
        prepare(table.split(own), recipe.preprocess, recipe.classes, "Normal", cache, Reporter())
        for own in ("train", "val")
    ]
    training = SliceTraining(recipe, *parts, tmp_path / "run", cache, torch.device("cpu"), Reporter())
    assert list(fit_slices(training)[1]) == ["head", "tune"]
