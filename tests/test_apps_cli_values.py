"""``pulmoscope values check``: what a file of values holds, without identifying anyone."""

from __future__ import annotations

from pathlib import Path

from typer.testing import CliRunner, Result

from pulmoscope.apps.cli.main import app
from pulmoscope.core.errors import UnreadableError
from values import bundle, observation, quantity, table


def check(path: Path) -> Result:
    return CliRunner().invoke(app, ["values", "check", str(path)])


def test_a_table(tmp_path: Path) -> None:
    text = "patient,time,crp_mg_l,haemoglobin_g_dl,weight_kg\nsecret,2020-03-14,5,13,70\nother,,5000,12,80"
    done = check(table(tmp_path, text))
    assert done.exit_code == 0
    lines = [line.split() for line in done.stdout.splitlines()]
    assert lines[0][:1] == ["3"]
    assert lines[1:3] == [["crp", "1", "mg/L"], ["haemoglobin", "2", "g/L"]]
    assert len(lines) == 5
    assert "secret" not in done.output


def test_a_bundle(tmp_path: Path) -> None:
    done = check(bundle(tmp_path, observation("1988-5", quantity(43.1, "mg/L"))))
    assert [line.split()[:3] for line in done.stdout.splitlines()[1:]] == [["sex", "1"], ["crp", "1", "mg/L"]]
    assert "SECRET" not in done.output


def test_many_remarks_are_counted(tmp_path: Path) -> None:
    rows = "\n".join(f"p{number},5000" for number in range(30))
    done = check(table(tmp_path, f"patient,crp_mg_l\n{rows}"))
    assert len(done.stdout.splitlines()) == 1 + 20 + 1


def test_a_refusal(tmp_path: Path) -> None:
    assert isinstance(check(tmp_path / "missing.csv").exception, UnreadableError)
