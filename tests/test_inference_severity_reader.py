from __future__ import annotations

import csv
import json
from collections import Counter
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from jsonschema import Draft202012Validator

from chests import SPACING_MM, chest
from pulmoscope.core.errors import UnsuitableError
from pulmoscope.core.types import BoolArray, Modality, Scan, SourceFile, Subject, Units
from pulmoscope.datasets.table import Sample, SampleTable
from pulmoscope.inference.look import SeenCt
from pulmoscope.inference.reading import Reading
from pulmoscope.pipeline.diagnose_ct import diagnose_ct
from pulmoscope.pipeline.evaluate_studies import evaluate_studies
from pulmoscope.pipeline.outputs import save
from pulmoscope.pipeline.pictures.ct import ct_pictures
from pulmoscope.quality.filled import FilledScan
from pulmoscope.quality.missing import Missing
from pulmoscope.quality.repair import repaired
from pulmoscope.report.ct_page import to_html
from pulmoscope.runtime.model import Model
from pulmoscope.segment.ct_lungs import LungMask
from pulmoscope.segment.lungs import lungs_of
from refusals import refused
from severity_bundles import CLASSES, tiny_severity_bundle
from volumes import write

SCHEMAS = Path(__file__).parents[1] / "docs" / "schemas"


def scan_of(hu: np.ndarray, units: Units = Units.HU) -> Scan:
    files = (SourceFile("chest.nii", "0" * 64),)
    return Scan("chest", Modality.CT, hu.astype(np.float32), files, spacing_mm=SPACING_MM, units=units)


@pytest.fixture(scope="module")
def scan() -> Scan:
    return scan_of(chest().hu)


def seen(scan: Scan, lungs: LungMask | None, missing: BoolArray | None = None) -> SeenCt:
    """A scan of which this is missing, left as it is, so that what fills it is seen."""
    if missing is None:
        return SeenCt(scan, FilledScan(scan, None, searched=True), lungs)
    kinds = tuple(("saturated block",) if own.any() else () for own in missing)
    nothing = np.zeros(len(missing), np.int64)
    return SeenCt(scan, FilledScan(scan, Missing(missing, kinds, nothing, nothing), searched=True), lungs)


def model(folder: Path, **options: object) -> Model:
    return Model(tiny_severity_bundle(folder, **options))  # type: ignore[arg-type]


def test_every_slice_of_the_scan_gets_its_standardised_slices_answer(tmp_path: Path, scan: Scan) -> None:
    own = model(tmp_path, slice_mm=10.0)  # two of 5 mm become one
    answer = Reading.of(seen(scan, lungs_of(scan)), own).answer()
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
    answer = Reading.of(seen(scan, lungs_of(scan)), model(tmp_path, vote=vote)).answer()
    assert answer.patient == answer.levels[vote]
    assert max(answer.patient, key=lambda name: answer.patient[name]) == grade


def test_missing_voxels_do_not_matter_to_a_model_that_repairs(tmp_path: Path, scan: Scan) -> None:
    lungs = lungs_of(scan)
    missing = np.zeros(scan.pixels.shape, bool)
    missing[20:22, 30:90, 30:90] = True
    spoilt = scan_of(np.where(missing, 3071, scan.pixels))
    repairing, leaving = model(tmp_path / "linear"), model(tmp_path / "none", imputer="none")
    clean = Reading.of(seen(scan, lungs, missing), repairing).answer().slices
    assert np.array_equal(
        Reading.of(seen(spoilt, lungs, missing), repairing).answer().slices, clean, equal_nan=True
    )
    assert not np.array_equal(
        Reading.of(seen(spoilt, lungs, missing), leaving).answer().slices, clean, equal_nan=True
    )


def test_a_model_that_leaves_damage_says_so(tmp_path: Path, scan: Scan) -> None:
    spoilt = scan.pixels.copy()
    spoilt[20:22, 30:90, 30:90] = 3071
    told = {}
    for imputer in ("linear", "none"):
        found = diagnose_ct(scan_of(spoilt), model(tmp_path / imputer, imputer=imputer))
        page = to_html(found, ct_pictures(found))
        assert found.imputed is not None
        assert found.imputed.imputer == imputer
        flag = next(own.message for own in found.quality.flags if own.code == "missing-data")
        told[imputer] = [text for text in (flag, page) if "network was shown the damage as it is" in text]
    assert told["linear"] == []
    assert len(told["none"]) == 2


def test_every_judged_slice_has_its_anomaly_score_and_an_unusual_one_its_map(
    tmp_path: Path, scan: Scan
) -> None:
    own, lungs = model(tmp_path, anomalous_from=0.05), lungs_of(scan)
    assert lungs is not None
    study = own.bundle.preprocess.apply(scan.pixels, SPACING_MM, lungs, None)
    grey = repaired(study, own).mean(axis=(1, 2)) / 0.05  # what the tiny bundle's network gives, by its limit
    found = diagnose_ct(scan, own)
    for place, (first, end) in enumerate(pairwise(study.first)):
        for result in found.slices[first:end]:
            expected = pytest.approx(grey[place], abs=1e-5) if study.enough_lung[place] else None
            assert result.anomaly_score == expected
    maps = [shown for shown in found.explanations if shown.kind == "anomaly"]
    explained = {shown.index for shown in found.explanations}
    assert {shown.index for shown in maps} == {
        index for index in explained if (found.slices[index].anomaly_score or 0) > 1
    }
    assert len(maps) > 0
    assert all(shown.heat.shape == scan.pixels.shape[1:] for shown in maps)
    assert all(0 <= shown.heat.min() < shown.heat.max() <= 1 for shown in maps)
    plain = save(found, tmp_path / "out")
    schema = json.loads((SCHEMAS / "diagnosis.schema.json").read_text(encoding="utf-8"))
    Draft202012Validator(schema).validate(plain)
    written = [one["file"] for one in plain["explanations"] if one["kind"] == "anomaly"]
    assert written == [f"heat-{shown.index:03d}-unlike-CT-0-stage0.png" for shown in maps]
    assert all((tmp_path / "out" / name).is_file() for name in written)
    page = (tmp_path / "out" / "report.html").read_text(encoding="utf-8")
    assert page.count("What is unlike CT-0") == len(maps)
    assert "times the limit" in page
    usual = diagnose_ct(scan, model(tmp_path / "high", anomalous_from=0.99))
    assert {shown.kind for shown in usual.explanations} == {"grad-cam"}


def test_what_was_filled_in_is_not_shown_as_evidence(tmp_path: Path, scan: Scan) -> None:
    own = model(tmp_path)
    first = diagnose_ct(scan, own).explanations[0].index
    spoilt = scan.pixels.copy()
    spoilt[first] = -1024
    found = diagnose_ct(scan_of(spoilt), own)
    assert found.slices[first].missing_fraction == 1
    assert found.slices[first].probabilities is not None
    shown = {one.index for one in found.explanations}
    assert len(shown) > 1
    assert first not in shown


def test_of_equally_suspicious_slices_those_with_more_lesion_are_shown(tmp_path: Path) -> None:
    hu = chest(noise=10.0).hu
    lower = hu[34:37, 60:]
    lower[lower < -600] = -500
    found = diagnose_ct(scan_of(hu), model(tmp_path, hu_low=-1000, hu_high=-990))  # all of the lung is white
    healthy = [1 if own.probabilities is None else own.probabilities["CT-0"] for own in found.slices]
    areas = [(own.lesion_fraction or 0) * (own.lung_fraction or 0) for own in found.slices]
    most = areas.index(max(areas))
    assert min(healthy) < healthy[most] < min(healthy) + 0.005
    assert found.explanations[0].index == most


def test_unusual_studies_are_flagged_and_usual_ones_not(tmp_path: Path, scan: Scan) -> None:
    lungs = lungs_of(scan)
    unusual = Reading.of(seen(scan, lungs), model(tmp_path / "low", anomalous_from=0.01)).answer()
    assert [(flag.code, flag.subject) for flag in unusual.flags] == [("unlike-normal", Subject.MODEL)]
    usual = Reading.of(seen(scan, lungs), model(tmp_path / "high", anomalous_from=0.99)).answer()
    assert not usual.flags


def test_pictures_are_refused_in_one_line(tmp_path: Path, scan: Scan) -> None:
    with refused(UnsuitableError, "without-hu"):
        Reading.of(seen(scan_of(scan.pixels, Units.GREY), None), model(tmp_path)).answer()


def test_a_diagnosis_has_the_networks_grade_beside_the_measured_one(tmp_path: Path, scan: Scan) -> None:
    diagnosis = diagnose_ct(scan, model(tmp_path, sources=("hospital",)))
    assert set(diagnosis.prediction.probabilities) == set(CLASSES)
    assert diagnosis.severity is not None
    assert {own.index for own in diagnosis.explanations} <= set(range(len(scan.pixels)))
    assert all(own.heat.shape == scan.pixels.shape[1:] for own in diagnosis.explanations)


def healthy_table(tmp_path: Path) -> SampleTable:
    samples = []
    for number, label in enumerate(("CT-0", "CT-3")):
        hu = chest(noise=10.0 + number).hu
        write(tmp_path / f"{label}.nii.gz", hu, pixel_mm=2.5)
        samples.append(Sample(f"{label}.nii.gz", label, "test", label, "phantom"))
    return SampleTable(tmp_path, "manifest", tuple(samples))


@pytest.mark.parametrize(("vote", "decision"), [("attention", "report"), ("regression", "refer")])
def test_an_evaluation_refers_grades_far_from_the_measured_one(
    tmp_path: Path, vote: str, decision: str
) -> None:
    # Both lungs are healthy; by regression the tiny bundle says CT-3, by attention CT-0.
    own = model(tmp_path / "bundle", vote=vote, sources=("hospital",))
    evaluate_studies(own, healthy_table(tmp_path), tmp_path / "out", bootstrap=0)
    with (tmp_path / "out" / "predictions.csv").open(encoding="utf-8") as stream:
        assert [row["decision"] for row in csv.DictReader(stream)] == [decision] * 2


def test_a_table_of_studies_is_evaluated_at_both_levels(tmp_path: Path) -> None:
    table = healthy_table(tmp_path)
    own = model(tmp_path / "bundle")
    evaluate_studies(own, table, tmp_path / "out", split="test", bootstrap=0)
    found = json.loads((tmp_path / "out" / "metrics.json").read_text(encoding="utf-8"))
    assert set(found["levels"]) == {"slice", "majority", "mean", "attention", "regression", "ensemble"}
    assert found["levels"]["majority"] == found["levels"]["ensemble"]
    assert found["levels"]["slice"]["images"] > 2
    page = (tmp_path / "out" / "report.html").read_text(encoding="utf-8")
    assert "ensemble is the one that this model goes by (majority)" in page
    assert '<th scope="col" class="number">MCC</th>' in page
    assert "Level 1" not in page
