"""docs/values.md: its examples run, and its tables are those of the code."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest
from typer.testing import CliRunner

from pulmoscope.apps.cli.main import app
from pulmoscope.core import units
from pulmoscope.core.analytes import ANALYTES, Analyte
from pulmoscope.values.choose import Window
from pulmoscope.values.link import Image, linked
from pulmoscope.values.read import read_values

ROOT = Path(__file__).resolve().parents[1]
PAGE = (ROOT / "docs" / "values.md").read_text(encoding="utf-8")
TEXTS = re.findall(r"```text\n(.*?)```", PAGE, re.S)
(SCRIPT,) = re.findall(r"```python\n(.*?)```", PAGE, re.S)


def catalogue() -> str:
    """The table of all analytes."""
    lines = ["| name | what | unit | kinds of unit | limits | LOINC |", "|---|---|---|---|---|---|"]
    for name, analyte in ANALYTES.items():
        names = [one for form in analyte.forms for one in form.names if one != name]
        also = f"`{name}`" + (f" ({', '.join(names)})" if names else "")
        unit = "" if analyte.unit == "1" else analyte.unit
        limits = "m or f" if name == "sex" else f"{analyte.low:,.12g} to {analyte.high:,.12g}"
        codes = ", ".join(code for form in analyte.forms for code in form.loinc)
        lines.append(f"| {also} | {analyte.title} | {unit} | {_others(analyte)} | {limits} | {codes} |")
    return "\n".join(lines)


KINDS = {
    units.AGE: "time",
    units.FRACTION: "part",
    units.RATE: "rate",
    units.TEMPERATURE: "temperature",
    units.PRESSURE: "pressure",
    units.MASS: "mass",
    units.AMOUNT: "moles",
    units.IONS: "ions",
    units.CELLS: "cells",
    units.ENZYME: "activity",
    units.SECONDS: "seconds",
}


def _others(analyte: Analyte) -> str:
    """The kinds of its units, and the molar masses."""
    masses = [f"{float(form.molar_g):g} g/mol" for form in analyte.forms if form.molar_g is not None]
    other = {"mass": "moles", "moles": "mass"}.get(KINDS.get(analyte.kind, ""), "") if masses else ""
    return " or ".join(filter(None, (KINDS.get(analyte.kind, ""), other))) + "".join(
        f", {one}" for one in masses
    )


def kinds() -> str:
    """The table of units by kind."""
    lines = ["| kind | units |", "|---|---|"]
    for kind, word in KINDS.items():
        lines.append(f"| {word} | {', '.join(unit.code for unit in kind)} |")
    return "\n".join(lines)


def test_the_catalogue_is_the_codes() -> None:
    assert PAGE.partition("<!-- catalogue -->")[2].strip() == f"{catalogue()}\n\n{kinds()}"


def test_the_example_reads_as_it_says(tmp_path: Path) -> None:
    example, said, long = TEXTS
    (tmp_path / "values.csv").write_text(example, encoding="utf-8")
    done = CliRunner().invoke(app, ["values", "check", str(tmp_path / "values.csv")])
    assert (done.exit_code, done.stdout) == (0, said)
    (tmp_path / "long.csv").write_text(long, encoding="utf-8")
    (record,) = read_values(tmp_path / "long.csv").records
    assert {value.name: value.value for value in record.values} == {"crp": 43.1, "haemoglobin": 131}


def test_every_flag_is_explained_and_no_other() -> None:
    calls = [
        node
        for file in (ROOT / "src" / "pulmoscope" / "values").glob("*.py")
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8")))
        if isinstance(node, ast.Call)
        and isinstance(node.func, ast.Name)
        and node.func.id in ("left_out", "Flag")
    ]
    used = {call.args[0].value for call in calls if isinstance(call.args[0], ast.Constant)}
    section = PAGE.partition("## What is left out")[2].partition("What makes the whole file")[0]
    listed = re.findall(r"`([a-z-]+)`", " ".join(re.findall(r"^\| (`.*?) \|", section, re.M)))
    assert sorted(listed) == sorted(used)


@pytest.mark.parametrize("name", ["COVID-0038.jpg", "COVID-0086.jpg"])
def test_the_pairs_of_hannover(
    shared: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    (tmp_path / "hannover.csv").write_bytes((shared / "data" / "clinical" / "hannover.csv").read_bytes())
    monkeypatch.chdir(tmp_path)
    exec(compile(SCRIPT, "docs/values.md", "exec"), {})
    file = read_values(tmp_path / "hannover-values.csv")
    found = linked(file, Image(name, f"/data/xray4/COVID/images/{name}"), Window())
    assert found.link == "file"
    expected = {
        "COVID-0038.jpg": {
            **{"sex": 1, "crp": 3, "d_dimer": 3.2, "ldh": 280, "lymphocytes": 1.4, "neutrophils": 11},
            **{"pco2": 35, "po2": 80},
        },
        "COVID-0086.jpg": {
            **{"sex": 1, "crp": 11, "ldh": 200, "lymphocytes": 1.8, "neutrophils": 1.6},
            **{"pco2": 50, "po2": 20},
        },
    }
    assert found.numbers == expected[name]  # a D-dimer two days later is too far
    assert len({record.file for record in file.records}) == 49
