"""``results.csv``: read back by Python's own reader, beside the index that it is derived from."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import pytest

from bundles import tiny_bundle
from diagnoses import UNDEREXPOSED, a_ct_diagnosis, a_diagnosis
from films import film, save
from pulmoscope.core.errors import OutputExistsError, ResourceError, UnreadableError
from pulmoscope.io import entries, studies
from pulmoscope.io.studies import paths
from pulmoscope.pipeline.choice import Models
from pulmoscope.pipeline.diagnose import Run, diagnose_many
from pulmoscope.report.diagnosis import diagnosed_entry, refused_entry, to_json
from pulmoscope.report.results_table import COLUMNS, line, table
from pulmoscope.runtime.model import Model

DOCUMENT = Path(__file__).resolve().parents[1] / "docs/results-table.md"


def read(path: Path) -> list[dict[str, str]]:
    with path.open(newline="", encoding="utf-8") as stream:
        return list(csv.DictReader(stream, strict=True))


def cells(text: str) -> dict[str, str]:
    (row,) = csv.reader([text], strict=True)
    return dict(zip(COLUMNS, row, strict=True))


def test_a_diagnosis_is_a_line() -> None:
    plain = to_json(a_diagnosis(flags=(UNDEREXPOSED,)))
    found = cells(line(diagnosed_entry("chest", "chest", plain, "chest/report.html"), plain))
    assert {name: cell for name, cell in found.items() if cell} == {
        "input": "chest",
        "outcome": "diagnosed",
        "modality": "XRAY",
        "label": "COVID",
        "probability": "0.912",
        "decision": "report",
        "reason": "The most probable class has 0.912.",
        "quality": "warn",
        "flags": "underexposed",
        "model": "tiny",
        "model_version": "0.1",
        "report": "chest/report.html",
    }


def test_a_measured_ct_tells_percent_and_grade() -> None:
    plain = to_json(a_ct_diagnosis())
    plain["severity"] |= {"percent_affected": 12.5, "interval": [10.25, 15.0], "grade": "CT-1"}
    found = cells(line(diagnosed_entry("study", "study", plain, None), plain))
    measured = ("percent_affected", "percent_low", "percent_high", "grade", "brixia")
    assert [found[name] for name in measured] == ["12.5", "10.25", "15.0", "CT-1", ""]


def test_what_a_spreadsheet_would_compute_is_text_and_numbers_stay() -> None:
    error = UnreadableError("x", "damaged", '=HYPERLINK("http://x","a, b")', "@rule")
    found = cells(line(refused_entry("-1+cmd|' /C calc'!A0", error, error.finding), None))
    assert found["input"] == "'-1+cmd|' /C calc'!A0"
    assert found["finding"] == '\'=HYPERLINK("http://x","a, b")'
    assert found["rule"] == "'@rule"
    assert cells(line({"input": "-12.5", "outcome": "+3"}, None))["input"] == "-12.5"
    assert cells(line({"input": "-12.5", "outcome": "+3"}, None))["outcome"] == "+3"


def test_the_document_names_every_column() -> None:
    text = DOCUMENT.read_text(encoding="utf-8")
    rows = [row.split("|")[1] for row in text.splitlines() if row.startswith("| `")]
    assert [name.strip("` ") for row in rows for name in row.split(",")] == list(COLUMNS)


def test_an_interrupted_table_is_not_there(tmp_path: Path) -> None:
    def interrupted() -> None:
        with table(tmp_path / "results.csv") as add:
            add(line({"input": "one"}, None))
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(ResourceError, match=r"^[^\n]*full[^\n]*$"), table(Path("/dev/full/results.csv")):
        pass


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Model:
    return Model.load(tiny_bundle(tmp_path_factory.mktemp("bundle")).folder)


def films(folder: Path, count: int) -> Path:
    for seed in range(count):
        save(folder / f"{seed}.png", film(seed))
    return folder


def run(images: Path, model: Model, out: Path, *, force: bool = False) -> None:
    listed = list(entries([images]))
    list(diagnose_many(studies(listed), Run(Models.only(model), out), paths(listed), force=force))


def test_a_run_has_a_line_for_each_input_of_its_index(tmp_path: Path, model: Model) -> None:
    images, out = films(tmp_path / "in", 3), tmp_path / "out"
    (images / "empty.png").write_bytes(b"")
    run(images, model, out)
    index = json.loads((out / "index.json").read_text(encoding="utf-8"))
    assert (out / "results.csv").read_bytes().count(b"\r\n") == 5
    found = read(out / "results.csv")
    assert [row["input"] for row in found] == [entry["input"] for entry in index["inputs"]]
    for row, entry in zip(found, index["inputs"], strict=True):
        for name in set(COLUMNS) & set(entry):
            assert row[name] == ("" if entry[name] is None else str(entry[name]))
    before = (out / "results.csv").read_bytes()
    run(images, model, out, force=True)
    assert (out / "results.csv").read_bytes() == before


def test_a_table_of_someone_else_is_kept(tmp_path: Path, model: Model) -> None:
    images, out = films(tmp_path / "in", 1), tmp_path / "out"
    out.mkdir()
    (out / "results.csv").write_text("patient,age\n1,2\n", encoding="utf-8")
    with pytest.raises(OutputExistsError, match=r"results\.csv"):
        run(images, model, out)
    assert (out / "results.csv").read_text(encoding="utf-8") == "patient,age\n1,2\n"
    run(images, model, out, force=True)
    assert len(read(out / "results.csv")) == 1
