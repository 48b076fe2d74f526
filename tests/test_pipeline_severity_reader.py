from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from chests import SPACING_MM, chest
from pulmoscope.core.errors import UnsuitableError
from pulmoscope.core.types import Modality, Scan, SourceFile, Units
from pulmoscope.datasets.ct_studies import lungs_of
from pulmoscope.datasets.table import Sample, SampleTable
from pulmoscope.pipeline.diagnose_ct import diagnose_ct
from pulmoscope.pipeline.evaluate_studies import evaluate_studies
from pulmoscope.pipeline.severity_judge import SeverityJudge
from pulmoscope.pipeline.severity_reader import SeverityReader
from pulmoscope.runtime.severity import SeverityModel
from severity_bundles import CLASSES, tiny_severity_bundle
from volumes import write


def scan_of(hu: np.ndarray, units: Units = Units.HU) -> Scan:
    files = (SourceFile("chest.nii", "0" * 64),)
    return Scan("chest", Modality.CT, hu.astype(np.float32), files, spacing_mm=SPACING_MM, units=units)


@pytest.fixture(scope="module")
def scan() -> Scan:
    return scan_of(chest().hu)


def model(folder: Path, **options: object) -> SeverityModel:
    return SeverityModel(tiny_severity_bundle(folder, **options))  # type: ignore[arg-type]


def test_every_slice_of_the_scan_gets_its_standardised_slices_answer(tmp_path: Path, scan: Scan) -> None:
    own = model(tmp_path, slice_mm=10.0)  # two of 5 mm become one
    answer = SeverityReader(own).answer(scan, lungs_of(scan), None, None)
    judged = ~np.isnan(answer.slices[:, 0])
    assert judged.any()
    assert not judged.all()
    assert np.array_equal(judged[::2], judged[1::2])
    assert np.array_equal(answer.slices[judged][::2], answer.slices[judged][1::2])
    votes = Counter(CLASSES[int(row.argmax())] for row in answer.slices[judged])
    assert max(answer.patient, key=lambda name: answer.patient[name]) == votes.most_common(1)[0][0]
    assert set(answer.levels) == {"majority", "mean", "attention", "regression"}
    assert answer.patient == answer.levels["majority"]


@pytest.mark.parametrize(("vote", "grade"), [("attention", "CT-0"), ("regression", "CT-3")])
def test_the_bundles_vote_decides(tmp_path: Path, scan: Scan, vote: str, grade: str) -> None:
    answer = SeverityReader(model(tmp_path, vote=vote)).answer(scan, lungs_of(scan), None, None)
    assert answer.patient == answer.levels[vote]
    assert max(answer.patient, key=lambda name: answer.patient[name]) == grade


def test_missing_voxels_do_not_matter_to_a_model_that_repairs(tmp_path: Path, scan: Scan) -> None:
    lungs = lungs_of(scan)
    missing = np.zeros(scan.pixels.shape, bool)
    missing[20:22, 30:90, 30:90] = True
    spoilt = scan_of(np.where(missing, 3071, scan.pixels))
    repairing, leaving = model(tmp_path / "linear"), model(tmp_path / "none", imputer="none")
    clean = SeverityReader(repairing).answer(scan, lungs, None, missing).slices
    assert np.array_equal(
        SeverityReader(repairing).answer(spoilt, lungs, None, missing).slices, clean, equal_nan=True
    )
    assert not np.array_equal(
        SeverityReader(leaving).answer(spoilt, lungs, None, missing).slices, clean, equal_nan=True
    )


def test_unusual_studies_are_flagged_and_usual_ones_not(tmp_path: Path, scan: Scan) -> None:
    lungs = lungs_of(scan)
    unusual = SeverityReader(model(tmp_path / "low", anomalous_from=0.01)).answer(scan, lungs, None, None)
    assert [flag.code for flag in unusual.flags] == ["unlike-normal"]
    assert "no diagnosis" in unusual.flags[0].detail
    usual = SeverityReader(model(tmp_path / "high", anomalous_from=0.99)).answer(scan, lungs, None, None)
    assert not usual.flags


def test_pictures_are_refused_in_one_line(tmp_path: Path, scan: Scan) -> None:
    with pytest.raises(UnsuitableError, match="tiny-severity reads CT in HU"):
        SeverityReader(model(tmp_path)).answer(scan_of(scan.pixels, Units.GREY), None, None, None)


def test_a_diagnosis_has_the_networks_grade_beside_the_measured_one(tmp_path: Path, scan: Scan) -> None:
    diagnosis = diagnose_ct(scan, model(tmp_path, sources=("hospital",)))
    assert set(diagnosis.prediction.probabilities) == set(CLASSES)
    assert diagnosis.severity is not None
    assert {own.index for own in diagnosis.explanations} <= set(range(len(scan.pixels)))
    assert all(own.heat.shape == scan.pixels.shape[1:] for own in diagnosis.explanations)


def test_a_table_of_studies_is_evaluated_at_both_levels(tmp_path: Path) -> None:
    samples = []
    for number, label in enumerate(("CT-0", "CT-3")):
        hu = chest(noise=10.0 + number).hu
        write(tmp_path / f"{label}.nii.gz", hu, pixel_mm=2.5)
        samples.append(Sample(f"{label}.nii.gz", label, "test", label, "phantom"))
    table = SampleTable(tmp_path, "manifest", tuple(samples))
    judge = SeverityJudge(model(tmp_path / "bundle"))
    evaluate_studies(judge, table, tmp_path / "out", split="test", bootstrap=0)
    found = json.loads((tmp_path / "out" / "metrics.json").read_text(encoding="utf-8"))
    assert set(found["levels"]) == {"slice", "majority", "mean", "attention", "regression", "ensemble"}
    assert found["levels"]["majority"] == found["levels"]["ensemble"]
    assert found["levels"]["slice"]["images"] > 2
