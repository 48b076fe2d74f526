"""A CT against an earlier one of the same patient, from drawn chests whose lesions are known."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import jsonschema
import numpy as np
import pytest
import SimpleITK as sitk  # noqa: N813
from pydicom import dcmread

import pulmoscope
from bundles import slice_model, tiny_bundle
from chests import chest
from ct_series import write_series
from pulmoscope.core.change import CtChange, Verdict
from pulmoscope.core.errors import UnreadableError, UnsuitableError
from pulmoscope.core.severity import SeverityMeasure
from pulmoscope.core.types import Diagnosis, Quality
from pulmoscope.inference.change.ct import (
    SAME_PATIENT,
    change_of,
    difference_interval,
    measured_alone,
    verdict_of,
)
from pulmoscope.io import entries, read_scan, studies
from pulmoscope.io.studies import paths
from pulmoscope.pipeline.change.ct_pictures import corresponding, slice_pairs
from pulmoscope.pipeline.change.earlier import Earlier
from pulmoscope.pipeline.choice import Models
from pulmoscope.pipeline.diagnose import diagnose, diagnose_many
from pulmoscope.pipeline.runs.run import Outcome, Run
from pulmoscope.report.page import summary
from pulmoscope.runtime.model import Model
from radiographs import encoded
from refusals import figures, refused

SCHEMAS = Path(__file__).resolve().parents[1] / "docs" / "schemas"
STEP_MM, PIXEL_MM = 4.0, 2.5
VOXEL_ML = STEP_MM * PIXEL_MM**2 / 1000
SMALL, LARGE = 20.0, -99.0
"""From how many mm behind the body's middle the right lung's base is ill: 5 % of the lungs, and 16 %."""


@cache
def drawn(behind_mm: float | None, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """A chest in HU, and its ground glass: in ten slices of the right lung; None: it is well."""
    body = chest(noise=0)
    hu = np.where(body.consolidation, np.float32(-850), body.hu)
    hu = np.where(body.stomach_gas, np.float32(40), hu)
    ill = np.zeros(hu.shape, dtype=bool)
    if behind_mm is not None:
        row_mm = (np.arange(hu.shape[1]) - 64) * PIXEL_MM
        ill[20:30] = body.right[20:30] & (row_mm[:, None] > behind_mm)
    hu = np.where(ill, np.float32(-500), hu) + np.random.default_rng(seed).normal(0, 15, hu.shape)
    return hu.clip(-1024).astype(np.int16), ill


def ct(
    folder: Path, behind_mm: float | None, date: str | None = None, seed: int = 0, **elements: Any
) -> Path:
    """Such a chest as a DICOM series; its folder."""
    uids = {"StudyInstanceUID": f"1.2.3.{seed}", "SeriesInstanceUID": f"1.2.4.{seed}"}
    tags = {"PixelSpacing": [PIXEL_MM, PIXEL_MM], "StudyDate": date, **uids, **elements}
    write_series(folder, drawn(behind_mm, seed)[0], **tags)
    return folder


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Model:
    return slice_model(tmp_path_factory.mktemp("bundle"))


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return ct(tmp_path_factory.mktemp("cts") / "one", SMALL, "20200301")


@pytest.fixture(scope="module")
def large(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return ct(tmp_path_factory.mktemp("cts") / "two", LARGE, "20200314", seed=1)


@pytest.fixture(scope="module")
def worse(model: Model, small: Path, large: Path) -> Diagnosis:
    return diagnose(large, model, earlier=small, explain=False)


def changed(now: Path, earlier: Path) -> CtChange:
    """The change by the measures alone."""
    return change_of(*(measured_alone(read_scan(folder)) for folder in (now, earlier)))


def codes(change: CtChange) -> list[str]:
    return [flag.code for flag in change.flags]


def of(
    percent: float, low: float, high: float, grade: str = "CT-1", volume_ml: float = 4000
) -> SeverityMeasure:
    """A measure with its interval."""
    return SeverityMeasure(percent, (low, high), percent, percent, grade, 3, {}, {"both": volume_ml}, {}, ())


def test_more_is_called_and_measured_as_it_was_drawn(worse: Diagnosis) -> None:
    change = worse.change
    assert change is not None
    assert change.verdict is Verdict.MORE
    assert (change.days, codes(change)) == (13, [])
    body, then, now = chest(noise=0), drawn(SMALL)[1], drawn(LARGE)[1]
    expected = 100 * (now.sum() - then.sum()) / body.lungs.sum()
    assert expected == pytest.approx(10.8, abs=0.1)
    assert change.difference == pytest.approx(expected, abs=0.5)
    assert change.interval[0] < expected < change.interval[1]
    for ill, one in ((then, change.earlier), (now, change.now)):
        assert one.lesion_ml["total"] == pytest.approx(ill.sum() * VOXEL_ML, rel=0.05)
        assert one.lesion_ml["ground_glass"] == one.lesion_ml["total"]
        assert one.lesion_ml["consolidation"] == 0
        assert one.severity.volumes_ml["both"] == pytest.approx(body.lungs.sum() * VOXEL_ML, rel=0.03)
    assert worse.severity is change.now.severity
    regions = {
        name: (region.affected or 0) - (change.earlier.severity.regions[name].affected or 0)
        for name, region in change.now.severity.regions.items()
    }
    assert max(regions, key=lambda name: regions[name]) == "right-lower"
    assert regions["left-upper"] == regions["left-lower"] == regions["right-upper"] == 0


def test_no_difference_exceeds_100_points() -> None:
    now, earlier = of(80, 78, 84, volume_ml=1000), of(60, 58, 64, volume_ml=4000)
    assert difference_interval(now, earlier)[0] == -100  # 2.5 * 3/4 * 80 = 150 points by breathing alone
    assert difference_interval(earlier, now)[1] == 100


def test_less_is_called_the_other_way_round(tmp_path: Path, large: Path) -> None:
    change = changed(ct(tmp_path / "later", SMALL, "20200401"), large)
    assert (change.verdict, change.days) == (Verdict.LESS, 18)
    assert change.difference < -10


def test_nothing_is_called_where_only_the_noise_differs(tmp_path: Path, small: Path) -> None:
    change = changed(ct(tmp_path / "later", SMALL, "20200402", seed=5), small)
    assert change.verdict is Verdict.UNCLEAR
    assert change.difference == pytest.approx(0, abs=0.3)
    assert change.interval[0] < 0 < change.interval[1]


def test_errors_of_both_measures_are_combined_each_side_by_itself() -> None:
    now, earlier = of(10, 8, 13), of(4, 3, 8)
    low, high = difference_interval(now, earlier)
    assert low == pytest.approx(6 - np.sqrt(2**2 + 4**2 - 2 * SAME_PATIENT * 2 * 4))
    assert high == pytest.approx(6 + np.sqrt(3**2 + 1**2 - 2 * SAME_PATIENT * 3 * 1))
    assert 6 - np.hypot(2, 4) < low  # some of the errors is common to both


def test_what_breathing_out_may_add_is_not_taken_for_disease() -> None:
    now, earlier = of(10, 8, 13), of(4, 3, 8)
    low, high = difference_interval(now, earlier)
    out_low, out_high = difference_interval(replace(now, volumes_ml={"both": 3200}), earlier)
    assert out_high == high
    assert 6 - out_low == pytest.approx(
        np.hypot(6 - low, 2.5 * 0.2 * 10)
    )  # a fifth less, which measures 10 %
    in_low, in_high = difference_interval(replace(now, volumes_ml={"both": 5000}), earlier)
    assert in_low == low
    assert in_high - 6 == pytest.approx(np.hypot(high - 6, 2.5 * 0.2 * 4))
    assert verdict_of(now, earlier) is Verdict.MORE
    assert verdict_of(replace(now, volumes_ml={"both": 3000}), earlier) is Verdict.UNCLEAR
    assert difference_interval(earlier, now) == pytest.approx((-high, -low))


@pytest.mark.parametrize(
    ("now", "earlier", "verdict"),
    [
        (of(10, 8, 13), of(4, 3, 8), "more"),
        (of(5, 1, 9), of(4, 1, 8), "no-clear-change"),
        (of(10, 2, 13), of(4, 3, 12), "more"),  # errors of equal size are common for the most part
        (of(4, 3, 8), of(10, 8, 13), "less"),
        (of(1.6, 1.5, 1.7, "CT-0"), of(0.1, 0, 0.2, "CT-0"), "no-clear-change"),  # both measures are none
        (of(1.9, 1.8, 2.0), of(0.1, 0, 0.2, "CT-0"), "more"),
    ],
)
def test_a_change_is_called_where_it_exceeds_what_both_measures_err(
    now: SeverityMeasure, earlier: SeverityMeasure, verdict: str
) -> None:
    assert verdict_of(now, earlier) == verdict


@pytest.mark.parametrize(
    ("elements", "expected"),
    [
        ({}, []),
        ({"PatientID": None}, ["patient-unknown"]),
        ({"StudyDate": None}, ["dates-unknown"]),
        ({"StudyDate": "19000101"}, ["dates-unknown"]),  # a placeholder: there were no CTs
        ({"ConvolutionKernel": "LUNG"}, ["kernel"]),
        ({"ConvolutionKernel": "SOFT"}, []),
        ({"ConvolutionKernel": None}, []),
        ({"SliceThickness": 5.0}, []),
        ({"SliceThickness": 1.0}, ["slice-thickness"]),
        ({"ContrastBolusAgent": "agent"}, ["contrast"]),
    ],
)
def test_what_speaks_against_comparing_two_cts_has_a_code(
    tmp_path: Path, worse: Diagnosis, elements: dict[str, Any], expected: list[str]
) -> None:
    assert worse.change is not None
    tags = {"ConvolutionKernel": "STANDARD", "StudyDate": "20200314", **elements}
    scans = [
        read_scan(ct(tmp_path / "earlier", SMALL, ConvolutionKernel="STANDARD", StudyDate="20200301")),
        read_scan(ct(tmp_path / "now", LARGE, seed=1, **tags)),
    ]
    earlier, now = (
        replace(one, scan=scan, quality=Quality(scan.remarks))
        for one, scan in zip((worse.change.earlier, worse.change.now), scans, strict=True)
    )
    assert codes(change_of(now, earlier)) == expected


@pytest.mark.parametrize(("fraction", "expected"), [(0.81, []), (0.79, ["lung-volume"])])
def test_lungs_of_other_volumes_are_told_of(worse: Diagnosis, fraction: float, expected: list[str]) -> None:
    assert worse.change is not None
    now, earlier = worse.change.now, worse.change.earlier
    volume_ml = earlier.severity.volumes_ml["both"] * fraction
    deeper = replace(now, severity=replace(now.severity, volumes_ml={"both": volume_ml}))
    assert codes(change_of(deeper, earlier)) == codes(change_of(earlier, deeper)) == expected


def test_lungs_that_a_scan_cuts_are_told_of(tmp_path: Path, small: Path) -> None:
    for file in (cut := ct(tmp_path / "cut", SMALL, "20200314", seed=1)).iterdir():
        if dcmread(file).ImagePositionPatient[2] < -300 + 20 * STEP_MM:
            file.unlink()
    assert slice_pairs(changed(cut, small)) == ()
    assert [code for code in codes(changed(cut, small)) if code.startswith("incomplete")] == [
        "incomplete-now"
    ]


def test_a_volume_without_tags_is_compared_and_told_of(tmp_path: Path, small: Path) -> None:
    image = sitk.GetImageFromArray(drawn(LARGE, 1)[0])
    image.SetSpacing((PIXEL_MM, PIXEL_MM, STEP_MM))
    sitk.WriteImage(image, str(tmp_path / "now.mha"))
    change = changed(tmp_path / "now.mha", small)
    assert (change.verdict, change.days) == (Verdict.MORE, None)
    assert codes(change) == ["patient-unknown", "dates-unknown"]


def test_another_patient_is_refused_and_not_named(tmp_path: Path, model: Model, small: Path) -> None:
    other = ct(tmp_path / "other", LARGE, "20200314", PatientID="OTHER-ID")
    with refused(UnsuitableError, "other-patient") as caught:
        diagnose(other, model, earlier=small)
    assert not re.search("OTHER-ID|SECRET", f"{caught.value} {caught.value!r}")


def test_the_later_one_is_no_earlier_one(model: Model, small: Path, large: Path) -> None:
    with refused(UnsuitableError, "not-earlier") as caught:
        diagnose(small, model, earlier=large)
    assert figures(caught.value.finding) == (13,)


def test_what_is_no_pair_is_refused(tmp_path: Path, model: Model, small: Path, large: Path) -> None:
    picture = (np.linspace(0, 255, 256 * 256).reshape(256, 256)).astype(np.uint8)
    (tmp_path / "film.png").write_bytes(encoded(picture, "PNG"))
    with refused(UnsuitableError, "same-scan"):
        diagnose(small, model, earlier=small)
    with refused(UnsuitableError, "other-modality"):
        diagnose(large, model, earlier=tmp_path / "film.png")
    with refused(UnsuitableError, "other-modality"):
        diagnose(tmp_path / "film.png", tiny_bundle(tmp_path / "xray").folder, earlier=small)
    with refused(UnreadableError, "not-found"):
        diagnose(large, model, earlier=tmp_path / "nowhere")
    with refused(UnsuitableError, "several-scans") as caught:
        ct(tmp_path / "both/a", SMALL, StudyInstanceUID="1.2.3")
        ct(tmp_path / "both/b", LARGE, StudyInstanceUID="1.2.4")
        diagnose(large, model, earlier=tmp_path / "both")
    assert figures(caught.value.finding) == (2,)


def test_what_can_not_be_measured_is_not_compared(tmp_path: Path, model: Model, small: Path) -> None:
    now = ct(tmp_path / "now", LARGE, "20200314")
    gaps = ct(tmp_path / "gaps", SMALL, "20200301", seed=2)
    for file in gaps.iterdir():
        if 25 <= round((dcmread(file).ImagePositionPatient[2] + 300) / STEP_MM) < 32:
            file.unlink()
    with refused(UnsuitableError, "not-comparable"):
        diagnose(now, model, earlier=gaps)
    (tmp_path / "pictures").mkdir()
    for index, plane in enumerate(drawn(SMALL)[0]):
        grey = np.clip((plane + 1350.0) / 1500 * 255, 0, 255).astype(np.uint8)
        (tmp_path / "pictures" / f"{index:03}.png").write_bytes(encoded(grey, "PNG"))
    with refused(UnsuitableError, "without-hu"):
        diagnose(now, model, earlier=tmp_path / "pictures", modality="ct")


def test_a_child_is_referred_and_compared_all_the_same(tmp_path: Path, model: Model, small: Path) -> None:
    child = ct(tmp_path / "child", LARGE, "20200314", PatientAge="009Y")
    found = diagnose(child, model, earlier=small, explain=False)
    assert found.change is not None
    assert found.change.verdict is Verdict.MORE
    assert "child" in [flag.code for flag in found.quality.refusals]


def test_a_scan_that_was_read_is_taken_too(model: Model, small: Path, large: Path) -> None:
    change = pulmoscope.diagnose(read_scan(large), model, earlier=read_scan(small), explain=False).change
    assert change is not None
    assert change.verdict is Verdict.MORE


def test_slices_side_by_side_lie_at_the_same_height(tmp_path: Path, worse: Diagnosis, small: Path) -> None:
    half = tmp_path / "half"
    half.mkdir()
    for index, file in enumerate(sorted(small.iterdir(), key=height)):
        if index % 2:
            (half / file.name).write_bytes(file.read_bytes())
    assert worse.change is not None
    change = replace(worse.change, earlier=measured_alone(read_scan(half)))
    pairs = corresponding(change)
    assert [at for *_, at in pairs] == sorted(at for *_, at in pairs)
    for earlier, now, at in pairs:
        assert 2 * earlier + 1 == pytest.approx(now, abs=2)  # every second slice is there
        assert 0 <= at <= 1
    assert {now for _, now, _ in pairs} & set(range(20, 30))  # where it is ill


def height(file: Path) -> float:
    return float(dcmread(file).ImagePositionPatient[2])


def test_pictures_side_by_side_have_one_scale(tmp_path: Path, worse: Diagnosis) -> None:
    coarse = drawn(SMALL)[0][:, ::2, ::2]
    write_series(tmp_path / "coarse", coarse, PixelSpacing=[2 * PIXEL_MM, 2 * PIXEL_MM])
    assert worse.change is not None
    change = replace(worse.change, earlier=measured_alone(read_scan(tmp_path / "coarse")))
    pair = slice_pairs(change)[4]  # above what is ill
    lungs = [width_of_lungs(picture) for picture in (pair.earlier_picture, pair.now_picture)]
    assert lungs[0] == pytest.approx(lungs[1], rel=0.05)
    assert lungs[1] > 200


def width_of_lungs(address: str) -> int:
    """Columns between the outermost dark pixels of a picture's middle row."""
    import base64

    import cv2

    data = np.frombuffer(base64.b64decode(address.partition(",")[2]), np.uint8)
    picture = cv2.imdecode(data, cv2.IMREAD_GRAYSCALE)
    middle = picture[picture.shape[0] // 2]
    inside = np.flatnonzero((middle > 60) & (middle < 120))  # lung in the lung window; air is darker
    return int(inside[-1] - inside[0])


def run(now: Path, earlier: Path | None, model: Model, out: Path) -> Outcome:
    listed = list(entries([now]))
    compared = None if earlier is None else Earlier(earlier)
    job = Run(Models.only(model), out, earlier=compared)
    (outcome,) = diagnose_many(studies(listed), job, paths(listed))
    return outcome


def test_json_and_page_tell_the_change_and_nothing_identifying(
    tmp_path: Path, model: Model, small: Path, large: Path
) -> None:
    outcome = run(large, small, model, tmp_path / "out")
    folder = tmp_path / "out" / outcome.name
    plain = json.loads((folder / "diagnosis.json").read_text())
    jsonschema.validate(plain, json.loads((SCHEMAS / "diagnosis.schema.json").read_text()))
    change = plain["change"]
    assert (change["verdict"], change["days"], change["flags"]) == ("more", 13, [])
    assert set(change["now"]["regions"]) == {
        "right-upper", "right-middle", "right-lower", "left-upper", "left-lower",
    }  # fmt: skip
    assert change["now"]["percent_affected"] == plain["severity"]["percent_affected"]
    assert change["now"]["interval"] == plain["severity"]["interval"]
    assert len(change["earlier"]["files"]) == 60
    now, before = (change[when]["percent_affected"] for when in ("now", "earlier"))
    assert change["earlier"]["sha256"] != plain["input"]["sha256"]
    assert any("5.4 %" in line and f"{now:.1f} %" in line for line in summary(plain))
    page = (folder / "report.html").read_text()
    section = page.partition('aria-labelledby="change"')[2].partition("</section>")[0]
    assert section.count("<img") == 2 * 6
    assert f"{now - before:+.1f}" in section
    assert "13 days" in section
    shown = re.findall(r"slice (\d+) \(instance (\d+)\)", section.partition("<figcaption>")[2])
    assert {int(slice_) + int(instance) for slice_, instance in shown} == {60}  # scanned from head to feet
    index = json.loads((tmp_path / "out/index.json").read_text())
    assert [entry["outcome"] for entry in index["inputs"]] == ["diagnosed"]
    for path in (tmp_path / "out").rglob("*"):
        if path.is_file() and path.name != "local-names.csv":
            for word in (b"SECRET", b"Secret", b"20200314", b"2020-03-14", b"20200301", b"2020-03-01"):
                assert word not in path.read_bytes()
    assert str(small) not in page


def test_without_an_earlier_ct_there_is_no_change(tmp_path: Path, model: Model, large: Path) -> None:
    outcome = run(large, None, model, tmp_path / "out")
    plain = json.loads((tmp_path / "out" / outcome.name / "diagnosis.json").read_text())
    assert plain["change"] is None
    assert 'id="change"' not in (tmp_path / "out" / outcome.name / "report.html").read_text()


def test_a_killed_run_keeps_a_result_only_for_the_same_earlier_ct(
    tmp_path: Path, model: Model, small: Path, large: Path
) -> None:
    other = ct(tmp_path / "other", None, "20200201", seed=3)
    out = tmp_path / "out"

    def again(earlier: Path | None) -> bool:
        (out / "index.json").unlink(missing_ok=True)  # as a kill leaves it
        return run(large, earlier, model, out).kept

    assert [again(small), again(small)] == [False, True]
    assert [again(other), again(other)] == [False, True]
    assert [again(None), again(None), again(small)] == [False, True, False]


COMMAND = [sys.executable, "-c", "from pulmoscope.apps.cli.main import main; main()", "diagnose"]


def command(*arguments: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run([*COMMAND, *map(str, arguments)], capture_output=True, text=True, timeout=120)


def lines(text: str) -> Sequence[str]:
    return [line for line in text.splitlines() if line.startswith("pulmoscope:")]


def test_one_ct_is_compared_at_a_time(tmp_path: Path, model: Model, small: Path, large: Path) -> None:
    bundle = model.bundle.folder
    done = command(large, small, "--earlier", small, "--model", bundle, "-o", tmp_path / "out")
    assert (done.returncode, done.stdout, len(done.stderr.splitlines())) == (2, "", 1)
    assert not (tmp_path / "out").exists()


def test_a_refused_pair_is_told_and_written_like_any_refusal(
    tmp_path: Path, model: Model, small: Path, large: Path
) -> None:
    bundle = model.bundle.folder
    done = command(small, "--earlier", large, "--model", bundle, "-o", tmp_path / "out")
    assert (done.returncode, len(lines(done.stderr))) == (4, 1)
    (entry,) = json.loads((tmp_path / "out/index.json").read_text())["inputs"]
    assert (entry["outcome"], entry["code"]) == ("refused", "not-earlier")
    done = command(large, "--earlier", small, "--model", bundle, "-o", tmp_path / "out")
    assert (done.returncode, done.stderr) == (0, "")
    assert any("5.4 %" in line and "16.1 %" in line for line in done.stdout.splitlines())
    assert command(large, "--earlier", small, "--model", bundle, "-o", tmp_path / "out").returncode == 2
    assert (
        command(large, "--earlier", small, "--model", bundle, "-o", tmp_path / "out", "--force").returncode
        == 0
    )
