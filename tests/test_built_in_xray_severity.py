"""The severity model that comes with the package, on real radiographs."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pytest

from pulmoscope.core.types import Diagnosis
from pulmoscope.pipeline.diagnose import diagnose
from pulmoscope.report.xray_severity import NotEstimated, xray_severity_json
from pulmoscope.runtime.model import Model
from pulmoscope.runtime.xray_severity import load

SCORED = ("cxr-004.jpg", "cxr-006.jpg", "cxr-025.jpg", "cxr-062.jpg")
"""Geographic extents of 6.7, 0, 3.7 and 2."""
NORMAL = ("Normal-0002.jpg", "Normal-0005.jpg", "Normal-0013.jpg", "Normal-0021.jpg")


@pytest.fixture(scope="module")
def model() -> Model:
    return Model.load("xray-covid")


def quick(path: Path, model: Model) -> Diagnosis:
    return diagnose(path, model, explain=False)


def test_four_radiographs_score_as_readers_scored_them(shared: Path, model: Model) -> None:
    """On average they are no farther off than patients are whom the model has not seen, at most."""
    folder = shared / "data" / "cxr_severity"
    with (folder / "scores.csv").open(encoding="utf-8", newline="") as stream:
        read = {Path(row["file"]).name: row for row in csv.DictReader(stream)}
    figures = load("xray-severity").facts["figures"]["cross_validated"]
    severities = [quick(folder / "images" / name, model).xray_severity for name in SCORED]
    for score, column in (("extent", "geographic_extent_0_8"), ("opacity", "opacity_0_6")):
        found = [getattr(severity, score) for severity in severities]
        true = np.array([float(read[name][column]) for name in SCORED])
        errors = np.abs(np.array([one.value for one in found]) - true)
        assert errors.mean() <= figures[score]["mae"]["high"]
        assert all(one.low <= stated <= one.high for one, stated in zip(found, true, strict=True))


def test_radiographs_without_pneumonia_score_about_nothing(shared: Path, model: Model) -> None:
    folder = shared / "data" / "xray4" / "Normal" / "images"
    severities = [quick(folder / name, model).xray_severity for name in NORMAL]
    extents = [severity.extent.value for severity in severities if severity is not None]
    assert len(extents) == len(NORMAL)
    assert np.mean(extents) <= 0.5


def test_what_is_no_frontal_chest_has_no_severity_and_a_reason(shared: Path, model: Model) -> None:
    folder = shared / "data" / "not_frontal"
    with (folder / "manifest.csv").open(encoding="utf-8", newline="") as stream:
        first = {row["label"]: row["file"] for row in reversed(list(csv.DictReader(stream)))}
    reasons = []
    for file in first.values():
        found = quick(folder / file, model)
        if found.quality.verdict == "refuse":
            assert found.xray_severity is None
            reasons.append(xray_severity_json(found)["reason"])
    assert len(reasons) > len(first) / 2
    assert set(reasons) == {NotEstimated.IMAGE.value}
