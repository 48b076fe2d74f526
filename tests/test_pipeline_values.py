"""Values of the patient beside an image, from a command to ``diagnosis.json``, the page and the terminal."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from typer.testing import CliRunner, Result

import pulmoscope
from bundles import tiny_bundle
from ct_series import drawn_hu, write_series
from pulmoscope.apps.cli.main import app
from pulmoscope.core.errors import UnsuitableError
from pulmoscope.core.values import ClinicalValue, LinkedValues
from pulmoscope.io import entries, studies
from pulmoscope.io.studies import paths
from pulmoscope.pipeline.choice import Models
from pulmoscope.pipeline.clinical.values import Values, of_source
from pulmoscope.pipeline.diagnose import diagnose_many
from pulmoscope.pipeline.runs.run import Outcome, Run
from pulmoscope.report.diagnosis import to_json
from pulmoscope.report.page import summary
from pulmoscope.report.values import values_json, values_shown
from radiographs import chest, dicom_file, encoded
from refusals import refused
from values import bundle, observation, quantity, table

SCHEMA = json.loads(
    (Path(__file__).parents[1] / "docs/schemas/diagnosis.schema.json").read_text(encoding="utf-8")
)
INDEX_SCHEMA = json.loads(
    (Path(__file__).parents[1] / "docs/schemas/index.schema.json").read_text(encoding="utf-8")
)
TABLE = """
    patient,time,age_years,sex,crp_mg_l,haemoglobin_g_dl,ldh_u_l
    SECRET-ID,2020-03-14T09:00,93,f,43.1,13.1,5000000
    SECRET-ID,2020-03-01,93,f,5,13.0,300
"""


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_bundle(tmp_path_factory.mktemp("bundle")).folder


@pytest.fixture
def radiograph(tmp_path: Path) -> Path:
    (tmp_path / "in").mkdir()
    return dicom_file(
        tmp_path / "in" / "a.dcm",
        chest(),
        StudyDate="20200314",
        StudyTime="120000",
        PatientSex="F",
        PatientAge="093Y",
    )


def run(*arguments: object) -> Result:
    return CliRunner().invoke(app, ["diagnose", *map(str, arguments)])


def plain_of(out: Path) -> dict[str, Any]:
    (path,) = out.glob("*/diagnosis.json")
    plain: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    jsonschema.validate(plain, SCHEMA, jsonschema.Draft202012Validator)
    return plain


def test_values_stand_in_the_result_on_the_page_and_on_the_terminal(
    tmp_path: Path, model: Path, radiograph: Path
) -> None:
    done = run(radiograph, "--model", model, "-o", tmp_path / "out", "--values", table(tmp_path, TABLE))
    assert done.exit_code == 0, done.output
    values = plain_of(tmp_path / "out")["values"]
    assert (values["link"], [flag["code"] for flag in values["flags"]]) == (
        "patient",
        ["impossible-value", "too-far"],
    )
    assert [(value["name"], value["value"], value["given"], value["hours"]) for value in values["used"]] == [
        ("age", 90, "90 a or more", None),
        ("sex", 0, "female", None),
        ("crp", 43.1, "43.1 mg/L", -3),
        ("haemoglobin", 131, "13.1 g/dL", -3),
    ]
    (page,) = (tmp_path / "out").glob("*/report.html")
    html = page.read_text(encoding="utf-8")
    assert 'id="values"' in html
    for text in ("131 g/L", "13.1 g/dL", "3 h before"):
        assert text in html
    assert "Values          4 used: age, sex, crp, haemoglobin" in done.stdout
    written = html + json.dumps(values) + done.output
    for secret in ("SECRET", "2020-03-14", "93 a", "93 y"):
        assert secret not in written


def test_without_values_nothing_changes(tmp_path: Path, model: Path, radiograph: Path) -> None:
    def result(name: str, *options: object) -> tuple[dict[str, Any], str]:
        assert run(radiograph, "--model", model, "-o", tmp_path / name, *options).exit_code == 0
        plain = plain_of(tmp_path / name)
        (page,) = (tmp_path / name).glob("*/report.html")
        html = re.sub(r"<dt[^>]*>Time taken</dt>\s*<dd[^>]*>.*?</dd>", "", page.read_text(encoding="utf-8"))
        return {**plain, "timings_s": None}, html

    plain, html = result("without")
    assert "values" not in plain
    assert 'id="values"' not in html
    beside, page = result("with", "--values", table(tmp_path, TABLE))
    del beside["values"]
    assert json.dumps(beside) == json.dumps(plain)
    shown = re.sub(r'<section class="card" aria-labelledby="values">.*?</section>\n', "", page, flags=re.S)
    assert shown == html


def test_a_bundle_from_python(tmp_path: Path, model: Path, radiograph: Path) -> None:
    values = bundle(
        tmp_path,
        observation("1988-5", quantity(43.1, "mg/L"), effectiveDateTime="2020-03-14"),
        observation("718-7", quantity(11, "g/dL"), referenceRange=[{"low": quantity(12, "g/dL")}]),
    )
    diagnosis = pulmoscope.diagnose(radiograph, model, values=values)
    assert diagnosis.values is not None
    assert diagnosis.values.numbers == {"age": 68, "sex": 0, "crp": 43.1, "haemoglobin": 110}
    assert [flag.code for flag in diagnosis.values.flags] == ["differs-from-header"]
    scan = pulmoscope.read_scan(radiograph)
    again = pulmoscope.diagnose(scan, model, values=values, explain=False).values
    assert again is not None
    assert again.values == diagnosis.values.values
    assert pulmoscope.diagnose(scan, model, explain=False).values is None
    shown = values_shown(diagnosis.values)
    assert shown is not None
    marks = {row.title: (row.mark, row.range) for row in shown["rows"]}
    assert marks["Haemoglobin"] == ("low", "from 120 g/L")
    assert marks["C-reactive protein"] == ("", "")


def test_a_file_that_is_refused_ends_the_run(tmp_path: Path, model: Path, radiograph: Path) -> None:
    done = run(radiograph, "--model", model, "-o", tmp_path / "out", "--values", table(tmp_path, "crp\n5"))
    assert done.exit_code != 0
    assert getattr(done.exception, "code", "") == "values-unit"
    alone = run(radiograph, "--model", model, "-o", tmp_path / "out", "--header-age-sex")
    assert alone.exit_code != 0


def test_another_patients_values_refuse_the_image_and_only_it(
    tmp_path: Path, model: Path, radiograph: Path
) -> None:
    (tmp_path / "in" / "b.png").write_bytes(encoded(chest(seed=3), "PNG"))
    text = "file,patient,crp_mg_l\na.dcm,OTHER-ID,5\nb.png,OTHER-ID,6"
    done = run(tmp_path / "in", "--model", model, "-o", tmp_path / "out", "--values", table(tmp_path, text))
    assert done.exit_code == 3
    index = json.loads((tmp_path / "out/index.json").read_text(encoding="utf-8"))
    assert [entry.get("code") for entry in index["inputs"]] == ["values-patient", None]
    assert [value["name"] for value in plain_of(tmp_path / "out")["values"]["used"]] == ["crp"]
    assert "OTHER" not in done.output + json.dumps(index)
    with refused(UnsuitableError, "values-patient"):
        pulmoscope.diagnose(radiograph, model, values=table(tmp_path, "patient,crp_mg_l\nOTHER-ID,5"))


def test_one_of_several_images_without_values_is_said_to_have_none(
    tmp_path: Path, model: Path, radiograph: Path
) -> None:
    (tmp_path / "in" / "b.png").write_bytes(encoded(chest(seed=3), "PNG"))
    done = run(
        tmp_path / "in",
        *("--model", model, "-o", tmp_path / "out"),
        *("--values", table(tmp_path, TABLE), "--header-age-sex"),
    )
    assert done.exit_code == 0, done.output
    found = [
        json.loads(path.read_text(encoding="utf-8"))["values"]
        for path in (tmp_path / "out").glob("*/diagnosis.json")
    ]
    assert sorted((one["link"], len(one["used"])) for one in found) == [("none", 0), ("patient", 4)]
    (none,) = (one for one in found if one["link"] == "none")
    assert [flag["code"] for flag in none["flags"]] == ["no-values"]
    index = json.loads((tmp_path / "out/index.json").read_text(encoding="utf-8"))
    jsonschema.validate(index, INDEX_SCHEMA)
    assert sorted(entry["values"] for entry in index["inputs"]) == [0, 4]
    assert re.search(r"\b1 of them without", done.output)


def test_a_ct_by_the_header_of_its_slices(tmp_path: Path) -> None:
    write_series(tmp_path / "ct", drawn_hu(12), PatientID="SECRET-ID", StudyDate="20200314", StudyTime="1200")
    text = "patient,time,crp_mg_l\nSECRET-ID,2020-03-14T09:00,5\nOTHER,2020-03-14T09:00,6"
    scan = pulmoscope.read_scan(tmp_path / "ct")
    for source in (scan, tmp_path / "ct"):
        found = of_source(source, scan, table(tmp_path, text))
        assert found is not None
        assert (found.link, found.numbers, found.values[0].hours) == ("patient", {"crp": 5}, -3)
    by_name = of_source(scan, scan, table(tmp_path, "file,crp_mg_l\nct,5\nother/ct,6"))
    assert by_name is not None
    assert (by_name.link, by_name.numbers) == ("file", {"crp": 5})


def outcomes(source: Path, out: Path, model: Path, values: Values | None) -> list[Outcome]:
    listed = list(entries([source]))
    run = Run(Models(str(model)), out, "all", values=values)
    return list(diagnose_many(studies(listed), run, paths(listed)))


def test_a_killed_run_keeps_what_has_the_same_values(tmp_path: Path, model: Path, radiograph: Path) -> None:
    values = Values.of(table(tmp_path, TABLE))
    other = Values.of(table(tmp_path, TABLE.replace("43.1", "43.2"), "other.csv"))
    later = replace(values, window=replace(values.window, after=1.0))
    before: Values | None = None
    out = tmp_path / "out"
    outcomes(radiograph, out, model, before)
    for after in (None, values, values, later, other, replace(other, header=True), None):
        (out / "index.json").unlink()
        (outcome,) = outcomes(radiograph, out, model, after)
        assert outcome.kept == (after == before)
        assert outcome.plain is not None
        assert ("values" in outcome.plain) == (after is not None)
        before = after


@pytest.mark.parametrize(
    ("text", "before", "after", "refused_now"),
    [
        ("file,crp_mg_l\na.dcm,5", {"only": False}, {"only": False, "shared": frozenset({"a.dcm"})}, True),
        ("patient,crp_mg_l\nOTHER-ID,5", {"only": False}, {"only": True}, True),
        ("file,crp_mg_l\na.dcm,5", {"only": False}, {"only": True}, False),
    ],
)
def test_a_result_is_kept_only_where_other_images_link_it_as_before(
    tmp_path: Path,
    model: Path,
    radiograph: Path,
    text: str,
    before: dict[str, Any],
    after: dict[str, Any],
    refused_now: bool,
) -> None:
    values, out = Values.of(table(tmp_path, text)), tmp_path / "out"
    (first,) = outcomes(radiograph, out, model, replace(values, **before))
    assert first.error is None
    (out / "index.json").unlink()
    (again,) = outcomes(radiograph, out, model, replace(values, **after))
    assert again.kept is not refused_now
    assert (again.error is not None) is refused_now


def test_the_page_and_the_terminal_say_bounds_and_ranges() -> None:
    linked = LinkedValues(
        (
            ClinicalValue("age", 89.0, "89 a"),
            ClinicalValue("crp", 0.5, "<0.5 mg/L", 0.2, "<", None, 5.0),
            ClinicalValue("ferritin", 2000.0, ">2000 ng/mL", -30.0, ">", 30.0, 400.0),
            ClinicalValue("leukocytes", 3.0, "3000 /uL", None, "", 4.0, 10.0),
        ),
        (),
        "file",
        {"sha256": "ab" * 32, "hours_before": 48.0, "hours_after": 24.0, "age_and_sex_from_header": False},
    )
    shown = values_shown(linked)
    assert shown is not None
    assert [(row.text, row.range, row.mark, row.when) for row in shown["rows"]] == [
        ("89 years", "", "", ""),
        ("< 0.5 mg/L", "up to 5 mg/L", "", "at the image"),
        ("> 2,000 µg/L", "30 to 400 µg/L", "high", "30 h before"),
        ("3 10⁹/L", "4 to 10 10⁹/L", "low", "not known"),
    ]
    used = values_json(linked)["used"]
    assert [(one["bound"], one["reference"]) for one in used] == [
        (None, None),
        ("<", [None, 5.0]),
        (">", [30.0, 400.0]),
        (None, [4.0, 10.0]),
    ]


def test_a_diagnosis_tells_its_values_in_its_summary(tmp_path: Path, model: Path, radiograph: Path) -> None:
    plain = to_json(pulmoscope.diagnose(radiograph, model, values=table(tmp_path, TABLE), explain=False))
    lines = [line for line in summary(plain) if line.startswith("Values")]
    assert lines == ["Values          4 used: age, sex, crp, haemoglobin"]
