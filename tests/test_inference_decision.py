from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from bundles import quadrants, tiny_bundle
from pulmoscope.core.types import Decision, Quality
from pulmoscope.inference.decision import decide, decide_images
from pulmoscope.quality.distribution import Reference
from pulmoscope.quality.unproven import UNPROVEN
from pulmoscope.runtime.bundle import Bundle, Conformal, Thresholds, load
from pulmoscope.runtime.model import Model, Outputs

ORDINARY = Thresholds(0.5, by_class={"COVID": 0.8})


@pytest.mark.parametrize(
    ("covid", "decision", "least"),
    [
        (0.85, Decision.REPORT, "80 %"),
        (0.8, Decision.REPORT, "80 %"),
        (0.75, Decision.REFER, "80 %"),
        (0.4, Decision.REPORT, "50 %"),  # Normal has no threshold of its own
    ],
)
def test_the_most_probable_class_is_held_against_its_own_threshold(
    covid: float, decision: Decision, least: str
) -> None:
    found = decide({"COVID": covid, "Normal": 1 - covid}, Quality(), ORDINARY)
    assert found.decision is decision
    assert least in found.reason


def test_a_class_without_a_threshold_of_its_own_has_the_common_one() -> None:
    assert (ORDINARY.of("COVID"), ORDINARY.of("Normal"), Thresholds(0.7).of("COVID")) == (0.8, 0.5, 0.7)


SETS = Conformal(0.9, {"COVID": 0.3, "Normal": 0.85})


@pytest.mark.parametrize(
    ("covid", "classes", "decision"),
    [
        (0.9, ("COVID",), Decision.REPORT),
        (0.1, ("Normal",), Decision.REPORT),
        (0.25, (), Decision.REFER),  # 0.75 is enough to report Normal, and too little to be like Normal
        (0.6, ("COVID",), Decision.REFER),  # below the threshold of referral
    ],
)
def test_an_answer_that_is_not_in_its_set_is_referred(
    covid: float, classes: tuple[str, ...], decision: Decision
) -> None:
    probabilities = {"COVID": covid, "Normal": 1 - covid}
    found = decide(probabilities, Quality(), ORDINARY, SETS)
    assert found.set is not None
    assert (found.set.coverage, found.set.classes, found.decision) == (0.9, classes, decision)
    without = decide(probabilities, Quality(), ORDINARY)
    assert without.set is None
    assert (without.decision is found.decision) == (covid != 0.25)


def test_the_bundle_s_sets_go_with_every_image(tmp_path: Path) -> None:
    bundle = replace(tiny_bundle(tmp_path), conformal=SETS).save()
    assert load(tmp_path) == bundle
    outputs = answers(bundle, quadrants((0.9, 0.1)), quadrants((0.1, 0.9)))
    found = [prediction.set for _, prediction in decide_images(bundle, [(), ()], outputs)]
    assert [None if one is None else one.classes for one in found] == [("COVID",), ("Normal",)]


def test_an_unproven_model_refers_whatever_it_says_and_a_proven_one_reports(tmp_path: Path) -> None:
    image = quadrants((0.9, 0.1))
    for proven, decision, codes in ((True, Decision.REPORT, []), (False, Decision.REFER, [UNPROVEN])):
        bundle = tiny_bundle(tmp_path / str(proven), proven=proven)
        ((quality, prediction),) = decide_images(bundle, [()], answers(bundle, image))
        assert prediction.label == "COVID"
        assert prediction.decision is decision
        assert [flag.code for flag in quality.limits] == codes
        assert quality.verdict == "pass"  # that is of the image alone


def with_normals(folder: Path, limit: float | None) -> Bundle:
    """A bundle whose normal images had pooled features about 0.01; 0 < the distance of any other."""
    bare = tiny_bundle(folder)
    pooled = np.random.default_rng(1).normal(0.01, 0.001, (60, 2)).astype(np.float32)
    (folder / "normal.npz").write_bytes(Reference.fit(pooled, np.arange(60) % 2).to_bytes())
    return replace(bare, thresholds=replace(bare.thresholds, normal_distance=limit)).save()


def answers(bundle: Bundle, *images: np.ndarray) -> Outputs:
    model = Model(bundle)
    return model.predict(np.stack([model.prepare(image).tensor for image in images]))


def test_only_a_negative_answer_must_be_like_normal_lungs(tmp_path: Path) -> None:
    bundle = with_normals(tmp_path, limit=3.0)
    # COVID is as likely as the upper left quadrant is bright, Normal as the upper right: both far from 0.01.
    images = (quadrants((0.9, 0.1)), quadrants((0.1, 0.9)))
    (covid, reported), (normal, referred) = decide_images(bundle, [(), ()], answers(bundle, *images))
    assert covid.all_flags == ()
    assert (reported.label, reported.decision) == ("COVID", Decision.REPORT)
    assert [flag.code for flag in normal.limits] == ["unlike-normal"]
    assert (normal.flags, normal.verdict) == ((), "pass")
    assert (referred.label, referred.decision) == ("Normal", Decision.REFER)
    assert normal.limits[0].message in referred.reason


@pytest.mark.parametrize("limit", [None, 1e6])
def test_within_the_limit_or_without_one_a_negative_answer_is_reported(
    tmp_path: Path, limit: float | None
) -> None:
    bundle = with_normals(tmp_path, limit)
    [(quality, prediction)] = decide_images(bundle, [()], answers(bundle, quadrants((0.1, 0.9))))
    assert quality.all_flags == ()
    assert prediction.decision is Decision.REPORT


def test_thresholds_by_class_and_distance_from_normal_are_saved_and_needed(tmp_path: Path) -> None:
    made = with_normals(tmp_path, limit=3.0)
    made = replace(made, thresholds=replace(made.thresholds, by_class={"COVID": 0.8})).save()
    assert load(tmp_path) == made
    assert "normal.npz" in made.files
