"""The maps of wrong answers lie where the evidence is known to be."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np

from bundles import quadrants, tiny_bundle
from pulmoscope.datasets.table import Sample, SampleTable
from pulmoscope.pipeline.predict import predict_table
from pulmoscope.pipeline.worst import worst_cases
from pulmoscope.runtime.model import Model


def changed(picture: bytes, over: bytes) -> list[bool]:
    """Whether each quadrant's middle differs between a picture and a map over it."""
    one, other = (cv2.imdecode(np.frombuffer(own, np.uint8), cv2.IMREAD_COLOR) for own in (picture, over))
    difference = np.abs(one.astype(int) - other.astype(int)).max(axis=2)
    rows, columns = difference.shape
    middles = [(1, 1), (1, 3), (3, 1), (3, 3)]
    return [bool(difference[row * rows // 4, column * columns // 4] > 15) for row, column in middles]


def test_order_count_and_place(tmp_path: Path) -> None:
    levels = {"sure": (0.9, 0.2), "unsure": (0.6, 0.4), "surest": (0.9, 0.1), "right": (0.2, 0.9)}
    for name, brightness in levels.items():
        image = np.rint(quadrants((*brightness, 0.5, 0.5), 400) * 255).astype(np.uint8)
        cv2.imwrite(str(tmp_path / f"{name}.png"), image)
    table = SampleTable(tmp_path, "test", tuple(Sample(f"{name}.png", "Normal") for name in levels))
    model = Model(tiny_bundle(tmp_path / "bundle"))
    predictions, _ = predict_table(model, table)

    cases = worst_cases(model, table, predictions, count=2)

    assert [case.file for case in cases] == ["surest.png", "sure.png"]
    assert {(case.label, case.called) for case in cases} == {("Normal", "COVID")}
    assert cases[0].probability > cases[1].probability > 0.9
    assert abs(cases[0].probability + cases[0].label_probability - 1) < 1e-6
    assert changed(cases[0].picture, cases[0].called_map) == [True, False, False, False]
    assert changed(cases[0].picture, cases[0].label_map) == [False, True, False, False]
    shown = cv2.imdecode(np.frombuffer(cases[0].picture, np.uint8), cv2.IMREAD_COLOR)
    assert shown.shape == (300, 300, 3)


def test_nothing_wrong_nothing_shown(tmp_path: Path) -> None:
    cv2.imwrite(str(tmp_path / "a.png"), np.rint(quadrants((0.9, 0.2), 96) * 255).astype(np.uint8))
    table = SampleTable(tmp_path, "test", (Sample("a.png", "COVID"),))
    model = Model(tiny_bundle(tmp_path / "bundle"))
    assert worst_cases(model, table, predict_table(model, table)[0]) == []
