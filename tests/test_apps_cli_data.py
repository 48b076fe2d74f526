from __future__ import annotations

from pathlib import Path

import pytest

from films import film, save
from pulmoscope.apps.cli.data import load_data
from pulmoscope.datasets import load


def test_a_data_set_comes_with_its_warnings_on_stderr(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for number in range(6):
        save(tmp_path / "COVID" / f"{number}.png", film(number))
    table = load_data([tmp_path])
    expected = load(tmp_path)
    assert [(own.file, own.label, own.split) for own in table] == [
        (own.file, own.label, own.split) for own in expected
    ]
    said = capsys.readouterr()
    assert said.out == ""
    assert [line for line in said.err.splitlines() if line.startswith("pulmoscope: ")] == [
        f"pulmoscope: {tmp_path}: {warning}" for warning in table.warnings
    ]
