from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path

import jsonschema
import pytest

from diagnoses import UNDEREXPOSED, a_diagnosis, an_xray_severity
from pulmoscope.core.types import Diagnosis, Flag, FlagLevel
from pulmoscope.core.xray_severity import ZONES, Estimate
from pulmoscope.pipeline.outputs import pictures
from pulmoscope.report.archive import read_diagnosis
from pulmoscope.report.diagnosis import diagnosed_entry, to_index, to_json
from pulmoscope.report.page import brief, summary, to_html
from pulmoscope.report.xray_severity import (
    KEYS,
    extent_words,
    opacity_words,
    scores_of,
    why_not,
    worst_zone,
)

SCHEMA = Path(__file__).resolve().parents[1] / "docs" / "schemas" / "diagnosis.schema.json"
LIMIT = "Few radiographs like this one were scored."
REFUSED = replace(UNDEREXPOSED, level=FlagLevel.REFUSE)


def scored(limits: tuple[str, ...] = ()) -> Diagnosis:
    return replace(a_diagnosis(), xray_severity=an_xray_severity(limits))


def page_of(found: Diagnosis) -> str:
    return to_html(found, pictures(found))


@pytest.mark.parametrize("found", [scored((LIMIT,)), a_diagnosis(), a_diagnosis(flags=(REFUSED,))])
def test_the_json_keeps_to_its_schema(found: Diagnosis) -> None:
    plain = to_json(found)
    jsonschema.validate(plain, json.loads(SCHEMA.read_text(encoding="utf-8")))
    assert set(plain["severity"]) == set(KEYS)


def test_the_json_has_scores_intervals_and_zones() -> None:
    plain = to_json(scored((LIMIT,)))["severity"]
    assert (plain["geographic_extent"], plain["opacity"], plain["brixia"]) == (3.1, 2.2, 5.5)
    assert plain["intervals"] == {
        "geographic_extent": [1.9, 4.3],
        "opacity": [1.25, 3.1],
        "brixia": [2.0, 10.88],
    }
    assert (plain["coverage"], plain["limits"], plain["reason"]) == (0.9, [LIMIT], None)
    assert plain["model"] == {"name": "tiny-severity", "version": "0.1", "sha256": "ef" * 32}
    assert list(plain["zones"]) == list(ZONES)
    assert plain["zones"]["C"] == {
        "score": 2.5,
        "interval": [2.0, 3.0],
        "box": {"top": 30, "left": 16, "height": 12, "width": 16},
    }
    assert plain["map"] == {"picture": "opacity.png", "array": "opacity.npz"}


def test_a_map_is_named_only_where_the_diagnosis_is_explained() -> None:
    assert to_json(replace(scored(), explanations=()))["severity"]["map"] is None


def test_what_was_not_estimated_has_a_reason_and_nothing_else() -> None:
    for found, reason in (
        (a_diagnosis(), "no-severity-model"),
        (a_diagnosis(flags=(UNDEREXPOSED,)), "no-severity-model"),
        (replace(a_diagnosis(), card={"severity": True}), "no-lungs"),
        (a_diagnosis(flags=(REFUSED,)), "image-refused"),
    ):
        assert why_not(found) == reason
        assert to_json(found)["severity"] == {**dict.fromkeys(KEYS), "reason": reason}


def test_a_file_of_3_0_had_no_severity_of_a_radiograph(tmp_path: Path) -> None:
    plain = to_json(a_diagnosis()) | {"schema_version": "3.0"}
    plain["severity"] = {"geographic_extent": None, "opacity": None}
    path = tmp_path / "diagnosis.json"
    path.write_text(json.dumps(plain), encoding="utf-8")
    found = read_diagnosis(path)
    jsonschema.validate(found, json.loads(SCHEMA.read_text(encoding="utf-8")))
    assert found["severity"] == dict.fromkeys(KEYS)
    assert len(summary(found)) == len(summary(to_json(a_diagnosis())))


def test_the_terminal_tells_scores_intervals_and_limits() -> None:
    without, lines = summary(to_json(a_diagnosis())), summary(to_json(scored((LIMIT,))))
    line, limited = (line for line in lines if line not in without)
    assert re.findall(r"\d+\.\d of \d+ \(\d+\.\d to \d+\.\d\)", line) == [
        "3.1 of 8 (1.9 to 4.3)",
        "2.2 of 6 (1.2 to 3.1)",
        "5.5 of 18 (2.0 to 10.9)",
    ]
    assert limited.endswith(LIMIT)
    assert "3.1 of 8" in brief(to_json(scored()))
    assert "of 8" not in brief(to_json(a_diagnosis()))


def test_the_terminal_tells_of_an_image_that_could_not_be_scored() -> None:
    def told(found: Diagnosis) -> int:
        return sum(line.startswith("Severity") for line in summary(to_json(found)))

    assert told(a_diagnosis(flags=(REFUSED,))) == 1
    assert told(replace(a_diagnosis(), card={"severity": True})) == 1
    assert told(a_diagnosis()) == 0


def test_the_page_draws_the_zones_with_their_scores() -> None:
    page = page_of(scored((LIMIT,)))
    assert 'viewBox="0 0 64 48"' in page  # of the radiograph's own size
    drawn = re.findall(r'<rect x="(\d+)" y="(\d+)" width="(\d+)" height="(\d+)"/>', page)
    zones = an_xray_severity().zones
    assert [tuple(map(int, corner)) for corner in drawn] == [
        (zones[name].left, zones[name].top, zones[name].width, zones[name].height) for name in ZONES
    ]
    said = re.findall(r"<text [^>]*>([^<]+)</text>", page)
    assert said == ["A 0.2", "B 1.0", "C 2.5", "D 0.0", "E 0.5", "F 1.2"]
    assert LIMIT in page
    assert pictures(scored()).opacity in page


def test_right_stands_left_of_left_in_the_table_as_in_the_image() -> None:
    page = page_of(scored())
    table = page[page.index("<tbody>", page.index('id="how-ill"')) :].partition("</tbody>")[0]
    rows = [re.findall(r"<strong>([A-F])</strong> (\d\.\d)", row) for row in table.split("</tr>")[:3]]
    assert rows == [
        [("A", "0.2"), ("D", "0.0")],
        [("B", "1.0"), ("E", "0.5")],
        [("C", "2.5"), ("F", "1.2")],
    ]


@pytest.mark.parametrize("flags", [(), (REFUSED,)])
def test_the_page_says_that_nothing_was_scored(flags: tuple[Flag, ...]) -> None:
    page = page_of(a_diagnosis(flags=flags))
    assert 'id="how-ill"' in page
    assert "<rect" not in page
    assert "of 8" not in page


@pytest.mark.parametrize(
    ("value", "percents"),
    [
        # Each lung has reached at most its points in quarters, and at least one quarter less.
        (0.0, []),
        (0.49, []),
        (0.5, ["5"]),
        (1.0, ["15"]),  # 12.5
        (2.0, ["25"]),
        (3.1, ["15", "40"]),
        (4.0, ["25", "50"]),
        (8.0, ["75", "100"]),
        (8.4, ["80", "100"]),
    ],
)
def test_an_extent_is_told_as_percent_of_both_lungs(value: float, percents: list[str]) -> None:
    assert re.findall(r"\d+", extent_words(value)) == percents


def test_an_opacity_is_told_as_that_of_a_lung() -> None:
    told = [opacity_words(value) for value in (0.0, 1.0, 2.0, 3.0, 4.0, 5.0, 6.0)]
    assert len(set(told)) == len(told)
    # Half a point of both lungs together is a quarter of one: still the nearest whole one.
    assert opacity_words(2.5) == opacity_words(1.5) == told[2]
    assert opacity_words(2.6) == told[3]
    assert opacity_words(7.0) == told[6]


def test_the_worst_zone_is_named_where_one_has_more_than_a_trace() -> None:
    zones = an_xray_severity().zones
    assert "zone C" in worst_zone(zones)
    faint = {name: replace(zone, score=Estimate(0.4, 0.0, 1.0)) for name, zone in zones.items()}
    assert not re.search("zone [A-F]", worst_zone(faint))


def test_scores_lie_on_their_scales() -> None:
    extent, opacity, brixia = scores_of(an_xray_severity())
    assert (extent.most, opacity.most, brixia.most) == (8, 6, 18)
    assert [score.percent(score.most) for score in (extent, opacity, brixia)] == [100, 100, 100]
    assert opacity.percent(opacity.estimate.high) == pytest.approx(100 * 3.1 / 6)


def test_the_index_lists_the_scores() -> None:
    entry = diagnosed_entry("chest", "chest", to_json(scored()), None)
    assert entry["severity"] == {"geographic_extent": 3.1, "opacity": 2.2, "brixia": 5.5}
    index = to_index([{**a_diagnosis().model, "modality": "XRAY"}], [entry], "0.1.0")
    jsonschema.validate(index, json.loads((SCHEMA.parent / "index.schema.json").read_text(encoding="utf-8")))
    assert diagnosed_entry("chest", "chest", to_json(a_diagnosis()), None)["severity"] is None
