"""What the tests of phantoms' folders share."""

from __future__ import annotations

import csv
import dataclasses
from pathlib import Path

import numpy as np
import pytest

from pulmoscope.phantoms.ct.draw import CtPhantom


def draw_quickly(monkeypatch: pytest.MonkeyPatch, module: str, chest: CtPhantom) -> None:
    """Where it matters how studies are written and not what is in them: one chest, brighter with every seed."""

    def drawn(label: str, seed: tuple[int, int], **_: object) -> CtPhantom:
        return dataclasses.replace(chest, label=label, hu=chest.hu.clip(-1000) + np.int16(sum(seed)))

    monkeypatch.setattr(f"pulmoscope.phantoms.ct.{module}.draw", drawn)


def truth(folder: Path) -> list[dict[str, str]]:
    """The rows of a folder's table of truth."""
    with (folder / "truth.csv").open(newline="", encoding="utf-8") as stream:
        return list(csv.DictReader(stream))
