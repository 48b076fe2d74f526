from __future__ import annotations

from dataclasses import replace

import pytest

from pulmoscope.datasets.check.confounding import Probe
from pulmoscope.datasets.check.findings import CheckReport, Count, Pair
from pulmoscope.datasets.check.verdicts import verdicts_of

SOUND = CheckReport(
    data="data",
    layout="manifest",
    images=1000,
    readable=1000,
    unknown_patients=0,
    counts=tuple(
        Count(label, split, "s", 250) for label in ("COVID", "Normal") for split in ("train", "test")
    ),
    files=(),
    pixels=(),
    histograms=(),
    problems=(),
    pairs=(),
    patient_leaks=(),
    source_v=0.1,
    sources=(),
    probe=Probe(0.55, 0.5, (("width", 0.5),), 1000, 5),
    warnings=(),
)


def verdict(report: CheckReport, rule: str) -> str:
    return next(one.verdict for one in verdicts_of(report) if one.rule == rule)


def test_a_sound_set_passes_every_rule() -> None:
    assert {one.verdict for one in verdicts_of(SOUND)} == {"ok"}
    assert all(one.sentence.endswith(".") for one in verdicts_of(SOUND))


@pytest.mark.parametrize(("count", "expected"), [(0, "ok"), (10, "warn"), (11, "fail")])
def test_up_to_one_per_cent_of_bad_files_is_a_warning(count: int, expected: str) -> None:
    assert verdict(replace(SOUND, problems=("x",) * count), "files") == expected


@pytest.mark.parametrize(("pairs", "expected"), [(0, "ok"), (5, "warn"), (6, "fail")])
def test_near_duplicates_in_two_splits_by_the_images_they_touch(pairs: int, expected: str) -> None:
    leaking = tuple(
        Pair(f"a{n}", f"b{n}", 3, False, ("train", "test"), ("COVID", "COVID")) for n in range(pairs)
    )
    assert verdict(replace(SOUND, pairs=leaking), "near-duplicates") == expected


@pytest.mark.parametrize(
    ("strength", "expected"), [(None, "warn"), (0.3, "ok"), (0.31, "warn"), (0.61, "fail")]
)
def test_sources(strength: float | None, expected: str) -> None:
    assert verdict(replace(SOUND, source_v=strength), "sources") == expected


@pytest.mark.parametrize(
    ("together", "alone", "expected"),
    [(0.62, 0.6, "ok"), (0.64, 0.6, "warn"), (0.6, 0.64, "warn"), (0.76, 0.6, "fail")],
)
def test_the_best_tree_decides_on_shortcuts(together: float, alone: float, expected: str) -> None:
    probe = Probe(together, 0.5, (("width", alone),), 1000, 5)
    assert verdict(replace(SOUND, probe=probe), "shortcuts") == expected


def test_splits() -> None:
    only_test = replace(SOUND, counts=(Count("COVID", "test", "s", 5), Count("Normal", "test", "s", 5)))
    assert verdict(only_test, "splits") == "warn"
    lacking = replace(SOUND, counts=SOUND.counts[:-1])
    assert verdict(lacking, "splits") == "fail"
    assert "Normal in test" in next(one.sentence for one in verdicts_of(lacking) if one.rule == "splits")
    loose = replace(SOUND, counts=(*SOUND.counts, Count("COVID", "", "s", 1)))
    assert verdict(loose, "splits") == "warn"


def test_classes() -> None:
    uneven = replace(SOUND, counts=(Count("COVID", "train", "s", 10), Count("Normal", "train", "s", 101)))
    assert verdict(uneven, "classes") == "warn"
    assert verdict(replace(SOUND, counts=(Count("COVID", "train", "s", 10),)), "classes") == "warn"
    assert verdict(replace(SOUND, counts=(*SOUND.counts, Count("", "train", "s", 1))), "classes") == "warn"


def test_unknown_patients_are_a_warning() -> None:
    assert verdict(replace(SOUND, unknown_patients=1), "patients") == "warn"
