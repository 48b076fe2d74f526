"""A radiograph against an earlier one of the same patient; what scores them is replaced by what a test says."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import jsonschema
import numpy as np
import pytest

import pulmoscope
from bundles import tiny_bundle
from ct_series import drawn_hu, write_series
from films import film
from pulmoscope.core.change import ScoredXray, Verdict, XrayChange
from pulmoscope.core.errors import UnreadableError, UnsuitableError
from pulmoscope.core.facts import Facts
from pulmoscope.core.types import Modality, Quality, Scan, SourceFile
from pulmoscope.core.xray_severity import ZONES, Estimate, XraySeverity, Zone
from pulmoscope.inference.change.pair import Found, errs
from pulmoscope.inference.change.xray import SAME_PATIENT, change_of, difference, verdict_of
from pulmoscope.inference.image import SeenImage
from pulmoscope.inference.xray_severity import SeverityReader
from pulmoscope.io import entries, read_scan, studies
from pulmoscope.io.studies import paths
from pulmoscope.pipeline import diagnose_xray
from pulmoscope.pipeline.change.earlier import Earlier
from pulmoscope.pipeline.change.xray import xray_pair
from pulmoscope.pipeline.choice import Models
from pulmoscope.pipeline.diagnose import diagnose, diagnose_many
from pulmoscope.pipeline.runs.run import Outcome, Run
from pulmoscope.report.change.xray import DrawnXray
from pulmoscope.report.page import summary
from pulmoscope.runtime.model import Model, Outputs
from radiographs import dicom_file, encoded
from refusals import figures, refused

SCHEMAS = Path(__file__).resolve().parents[1] / "docs" / "schemas"
SIDE = 256
BOX = (40, 60, 150, 120)
"""The lungs: top, left, height, width."""


def scores(
    brixia: float, extent: float = 4.0, err: float = 2.0, box: tuple[int, int, int, int] = BOX
) -> XraySeverity:
    """Scores that may err by so much to either side; all of the Brixia score is in two zones, the bases."""
    top, left, height, width = box
    zones = {
        name: Zone(
            Estimate(own := brixia / 6 if name in "CF" else 0.0, max(0.0, own - 0.5), min(3.0, own + 0.5)),
            top + height // 3 * (number % 3),
            left + width // 2 * (number // 3),
            height // 3,
            width // 2,
        )
        for number, name in enumerate(ZONES)
    }
    return XraySeverity(
        Estimate(extent, extent - err / 2, extent + err / 2),
        Estimate(2.0, 1.0, 3.0),
        Estimate(brixia, brixia - err, brixia + err),
        zones,
        0.9,
        {"name": "drawn", "version": "0.1", "sha256": "ef" * 32},
        np.zeros((4, 4), dtype=np.float32),
        (0, 0, SIDE, SIDE),
    )


def scored(
    severity: XraySeverity,
    view: str | None = "PA",
    date: str = "2020-03-01",
    patient: str = "a",
    side: int = SIDE,
) -> ScoredXray:
    """A radiograph with these scores."""
    facts = Facts(study_date=date, patient=patient)
    pixels = np.full((1, side, side), 0.5, dtype=np.float32)
    scan = Scan("one", Modality.XRAY, pixels, (SourceFile("one", "ab" * 32),), view=view, facts=facts)
    return ScoredXray(scan, Quality(), severity)


def codes(change: XrayChange) -> list[str]:
    return [flag.code for flag in change.flags]


def test_errors_combine_in_quadrature_each_side_by_itself_less_what_they_share() -> None:
    now, earlier = Found(9, 6, 10), Found(4, 3, 8)
    assert errs(now, earlier, 0) == pytest.approx((5, np.sqrt(2)))  # 3 and 4 below, 1 and 1 above
    assert errs(now, earlier, 0.5) == pytest.approx((np.sqrt(25 - 12), 1))
    assert errs(now, Found(4, 3, 7), 1) == pytest.approx((0, 0))  # one error, made twice


def test_a_difference_is_now_less_then_and_exceeds_no_highest_score() -> None:
    now, earlier = Estimate(9, 6, 10), Estimate(4, 3, 8)
    found = difference(now, earlier, 18)
    below, above = errs(Found(9, 6, 10), Found(4, 3, 8), SAME_PATIENT)
    assert (found.value, found.low, found.high) == pytest.approx((5, 5 - below, 5 + above))
    turned = difference(earlier, now, 18)
    assert (turned.value, turned.low, turned.high) == pytest.approx((-5, -5 - above, -5 + below))
    wide = difference(Estimate(8, 0, 8), Estimate(0, 0, 8), 8)
    assert (wide.value, wide.high) == (8, 8)
    assert wide.low >= -8


@pytest.mark.parametrize(
    ("brixia", "extent", "verdict"),
    [
        ((5, 1, 9), (2, -1, 4), "more"),  # the extent need not tell it by itself
        ((5, -0.1, 9), (4, 2, 6), "no-clear-change"),  # nor can it alone
        ((-5, -9, -1), (-2, -4, 1), "less"),
        ((5, 1, 9), (-3, -5, -1), "no-clear-change"),  # they contradict each other
        ((-5, -9, -1), (3, 1, 5), "no-clear-change"),
        ((0, -4, 4), (0, -2, 2), "no-clear-change"),
    ],
)
def test_the_brixia_score_decides_and_the_extent_may_take_it_back(
    brixia: tuple[float, float, float], extent: tuple[float, float, float], verdict: str
) -> None:
    assert verdict_of(Estimate(*brixia), Estimate(*extent)) == verdict


def test_a_change_has_the_difference_of_every_score() -> None:
    earlier, now = scored(scores(3, extent=2)), scored(scores(15, extent=6), date="2020-03-14")
    change = change_of(now, earlier)
    assert (change.verdict, change.days, codes(change)) == (Verdict.MORE, 13, [])
    assert (change.brixia.value, change.extent.value, change.opacity.value) == (12, 4, 0)
    assert {name: one.value for name, one in change.zones.items()} == {
        "A": 0, "B": 0, "C": 2, "D": 0, "E": 0, "F": 2,
    }  # fmt: skip
    assert change_of(earlier, now).verdict is Verdict.LESS
    assert change_of(now, scored(scores(15, extent=6))).verdict is Verdict.UNCLEAR


@pytest.mark.parametrize(
    ("now", "expected"),
    [
        ({}, []),
        ({"patient": ""}, ["patient-unknown"]),
        ({"date": ""}, ["dates-unknown"]),
        ({"date": "1890-01-01"}, ["dates-unknown"]),  # a placeholder: nobody had seen a bone of his own
        ({"view": "AP"}, ["projection"]),
        ({"view": None}, ["projection-unknown"]),
        ({"severity": scores(9, box=(40, 60, 121, 120))}, []),  # 1.24 times as tall for the width
        ({"severity": scores(9, box=(40, 60, 117, 120))}, ["lung-shape"]),
        ({"side": 310}, []),  # 1.47 times as large an image around the same lungs
        ({"side": 320}, ["framing"]),
    ],
)
def test_what_speaks_against_comparing_two_radiographs_has_a_code(
    now: dict[str, Any], expected: list[str]
) -> None:
    one = scored(**{"severity": scores(9), "date": "2020-03-14", **now})
    assert codes(change_of(one, scored(scores(9)))) == expected


def test_both_are_drawn_at_one_scale_in_equal_frames() -> None:
    large = (80, 120, 300, 240)
    pair = xray_pair(
        change_of(scored(scores(15, box=large), side=2 * SIDE), scored(scores(3, box=(20, 60, 120, 120))))
    )
    assert (pair.earlier.width, pair.earlier.height) == (pair.now.width, pair.now.height)
    for drawn, tall in ((pair.earlier, 1.0), (pair.now, 1.25)):
        (left, top, right, bottom) = lungs(drawn)
        assert right - left == pytest.approx(lungs(pair.now)[2] - lungs(pair.now)[0], rel=0.01)
        assert (bottom - top) / (right - left) == pytest.approx(tall, rel=0.01)
        assert (left + right) / 2 == pytest.approx(drawn.width / 2, abs=2)
        assert (top + bottom) / 2 == pytest.approx(drawn.height / 2, abs=2)
        assert min(left, top, drawn.width - right, drawn.height - bottom) > 0
    labels = {zone.name: figures(zone.label.replace("−", "-")) for zone in pair.now.zones}
    assert labels["C"] == (2.5, 2.0)
    assert {zone.name: figures(zone.label) for zone in pair.earlier.zones}["C"] == (0.5,)


def lungs(drawn: DrawnXray) -> tuple[float, float, float, float]:
    """Left, top, right and bottom of the box around all zones, px."""
    return (
        min(zone.left for zone in drawn.zones),
        min(zone.top for zone in drawn.zones),
        max(zone.left + zone.width for zone in drawn.zones),
        max(zone.top + zone.height for zone in drawn.zones),
    )


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Model:
    return Model.load(tiny_bundle(tmp_path_factory.mktemp("bundle")).folder)


@pytest.fixture(autouse=True)
def scorer(monkeypatch: pytest.MonkeyPatch) -> None:
    """A radiograph's Brixia score is 20 times how bright its first pixel is; none where that is black."""

    def estimate(
        severity: SeverityReader | None, scan: Scan, model: Model, seen: SeenImage, outputs: Outputs
    ) -> XraySeverity | None:
        bright = float(scan.pixels[0, 0, 0])
        assert severity is not None
        found = scores(20 * bright, extent=8 * bright)
        return replace(found, model=severity.model.identity) if bright else None

    monkeypatch.setattr(diagnose_xray, "estimate", estimate)


def radiograph(path: Path, brixia: float, **elements: Any) -> Path:
    """A picture, or with elements a DICOM file, that is scored so."""
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.rint(255 * film(1, SIDE)).astype(np.uint8)
    pixels[0, 0] = round(255 * brixia / 20)
    if elements:
        return dicom_file(path.with_suffix(".dcm"), pixels, **elements)
    path.write_bytes(encoded(pixels, "PNG"))
    return path


def test_two_pictures_are_compared_and_the_user_vouches(tmp_path: Path, model: Model) -> None:
    earlier, now = radiograph(tmp_path / "a.png", 4), radiograph(tmp_path / "b.png", 14)
    found = pulmoscope.diagnose(now, model, earlier=earlier, explain=False)
    change = found.change
    assert isinstance(change, XrayChange)
    assert (change.verdict, change.days) == (Verdict.MORE, None)
    assert change.brixia.value == pytest.approx(10, abs=0.1)
    assert codes(change) == ["patient-unknown", "dates-unknown", "projection-unknown"]
    assert change.now.severity is found.xray_severity
    assert "compare" in found.timings_s
    again = diagnose(read_scan(earlier), model, earlier=read_scan(now), explain=False).change
    assert isinstance(again, XrayChange)
    assert again.verdict is Verdict.LESS


def test_files_that_say_so_are_of_one_patient_and_some_days_apart(tmp_path: Path, model: Model) -> None:
    earlier = radiograph(tmp_path / "a", 4, StudyDate="20200301")
    now = radiograph(tmp_path / "b", 14, StudyDate="20200314", ViewPosition="AP")
    change = diagnose(now, model, earlier=earlier, explain=False).change
    assert isinstance(change, XrayChange)
    assert (change.days, codes(change)) == (13, ["projection"])


def test_another_patient_and_a_later_one_are_refused_and_not_named(tmp_path: Path, model: Model) -> None:
    earlier = radiograph(tmp_path / "a", 4, StudyDate="20200301")
    other = radiograph(tmp_path / "c", 14, StudyDate="20200314", PatientID="OTHER-ID")
    now = radiograph(tmp_path / "b", 14, StudyDate="20200314")
    with refused(UnsuitableError, "other-patient") as caught:
        diagnose(other, model, earlier=earlier)
    assert not re.search("OTHER-ID|SECRET|2020", f"{caught.value} {caught.value!r}")
    with refused(UnsuitableError, "not-earlier") as caught:
        diagnose(earlier, model, earlier=now)
    assert figures(caught.value.finding) == (13,)


def test_what_is_no_pair_is_refused(tmp_path: Path, model: Model) -> None:
    now = radiograph(tmp_path / "b.png", 14)
    with refused(UnsuitableError, "same-scan"):
        diagnose(now, model, earlier=now)
    (tmp_path / "b.tif").write_bytes(
        encoded(np.rint(255 * read_scan(now).pixels[0]).astype(np.uint8), "TIFF")
    )
    with refused(UnsuitableError, "same-scan"):
        diagnose(now, model, earlier=tmp_path / "b.tif")
    write_series(tmp_path / "ct", drawn_hu())
    with refused(UnsuitableError, "other-modality"):
        diagnose(now, model, earlier=tmp_path / "ct")
    with refused(UnreadableError, "not-found"):
        diagnose(now, model, earlier=tmp_path / "nowhere.png")
    radiograph(tmp_path / "two" / "a.png", 4)
    radiograph(tmp_path / "two" / "b.png", 5)
    with refused(UnsuitableError, "several-scans"):
        diagnose(now, model, earlier=tmp_path / "two")


def test_what_has_no_scores_or_no_quality_is_not_compared(tmp_path: Path, model: Model) -> None:
    now, blank = radiograph(tmp_path / "b.png", 14), radiograph(tmp_path / "a.png", 0)
    lateral = radiograph(tmp_path / "c", 8, ViewPosition="LL")
    child = radiograph(tmp_path / "d", 8, PatientAge="009Y")  # the network was not checked on children
    for one, other in ((now, blank), (blank, now), (now, lateral), (lateral, now), (now, child)):
        with refused(UnsuitableError, "not-comparable"):
            diagnose(one, model, earlier=other)
    assert diagnose(blank, model, explain=False).change is None


def run(now: Path, earlier: Path | None, model: Model, out: Path) -> Outcome:
    listed = list(entries([now]))
    job = Run(Models.only(model), out, earlier=None if earlier is None else Earlier(earlier))
    (outcome,) = diagnose_many(studies(listed), job, paths(listed))
    return outcome


def test_json_and_page_tell_the_change_and_nothing_identifying(tmp_path: Path, model: Model) -> None:
    earlier = radiograph(tmp_path / "a", 4, StudyDate="20200301")
    now = radiograph(tmp_path / "b", 14, StudyDate="20200314", ViewPosition="AP")
    outcome = run(now, earlier, model, tmp_path / "out")
    folder = tmp_path / "out" / outcome.name
    plain = json.loads((folder / "diagnosis.json").read_text())
    jsonschema.validate(plain, json.loads((SCHEMAS / "diagnosis.schema.json").read_text()))
    change = plain["change"]
    assert (change["verdict"], change["days"]) == ("more", 13)
    assert [flag["code"] for flag in change["flags"]] == ["projection"]
    assert change["difference"] == pytest.approx(10, abs=0.1)
    assert change["differences"]["brixia"] == {key: change[key] for key in ("difference", "interval")}
    assert change["differences"]["geographic_extent"]["difference"] == pytest.approx(4, abs=0.1)
    assert change["differences"]["zones"]["F"]["difference"] == pytest.approx(10 / 6, abs=0.1)
    assert change["interval"][0] < change["difference"] < change["interval"][1]
    assert (change["earlier"]["view"], change["now"]["view"]) == ("PA", "AP")
    assert change["now"]["brixia"] - change["earlier"]["brixia"] == pytest.approx(10, abs=0.1)
    assert len(change["earlier"]["files"]) == 1
    assert change["earlier"]["sha256"] != plain["input"]["sha256"]
    assert any({4.0, 14.0} <= set(figures(line)) for line in summary(plain))
    page = (folder / "report.html").read_text()
    section = page.partition('aria-labelledby="change"')[2].partition("</section>")[0]
    assert section.count("<image ") == 2
    assert section.count("<rect ") == 2 * len(ZONES)
    assert section.count('<th scope="row"') == 3 + len(ZONES)
    assert "90 %" in section.partition("<caption>")[2].partition("</caption>")[0]
    assert "+10.0" in section
    assert "13 days" in section
    for path in (tmp_path / "out").rglob("*"):
        if path.is_file() and path.name != "local-names.csv":
            for word in (b"SECRET", b"Secret", b"20200314", b"2020-03-14", b"20200301", b"2020-03-01"):
                assert word not in path.read_bytes()
    assert str(earlier) not in page


def test_without_an_earlier_radiograph_there_is_no_change(tmp_path: Path, model: Model) -> None:
    outcome = run(radiograph(tmp_path / "b.png", 14), None, model, tmp_path / "out")
    assert outcome.plain is not None
    assert outcome.plain["change"] is None
    assert 'id="change"' not in (tmp_path / "out" / outcome.name / "report.html").read_text()


def test_a_killed_run_keeps_a_result_only_for_the_same_earlier_radiograph(
    tmp_path: Path, model: Model
) -> None:
    now, out = radiograph(tmp_path / "b.png", 14), tmp_path / "out"
    one, other = radiograph(tmp_path / "a.png", 4), radiograph(tmp_path / "c.png", 5)

    def again(earlier: Path | None) -> bool:
        (out / "index.json").unlink(missing_ok=True)  # as a kill leaves it
        return run(now, earlier, model, out).kept

    assert [again(one), again(one)] == [False, True]
    assert [again(other), again(other)] == [False, True]
    assert [again(None), again(None), again(one)] == [False, True, False]


def test_a_refused_pair_is_told_and_written_like_any_refusal(tmp_path: Path, model: Model) -> None:
    earlier = radiograph(tmp_path / "a", 4, StudyDate="20200301")
    now = radiograph(tmp_path / "b", 14, StudyDate="20200314")
    command = [sys.executable, "-c", "from pulmoscope.apps.cli.main import main; main()", "diagnose"]
    arguments = [earlier, "--earlier", now, "--model", model.bundle.folder, "-o", tmp_path / "out"]
    done = subprocess.run([*command, *map(str, arguments)], capture_output=True, text=True, timeout=120)
    told = [line for line in done.stderr.splitlines() if line.startswith("pulmoscope:")]
    assert (done.returncode, len(told)) == (4, 1)
    (entry,) = json.loads((tmp_path / "out/index.json").read_text())["inputs"]
    assert (entry["outcome"], entry["code"]) == ("refused", "not-earlier")
