from __future__ import annotations

from dataclasses import replace

import pytest

from pulmoscope.core.types import SliceResult
from pulmoscope.report.slice_axis import Axis
from pulmoscope.report.slice_plot import BOTTOM, LEFT, RIGHT, TOP, Cell, Mark, signed, slice_plot

FOUR = Axis((0.0, 1.0, 2.0, 3.0), 1.0, in_mm=False)
"""Cells of a quarter of the width of 798 each: 199.5."""


def slices(*scores: float | None) -> list[SliceResult]:
    return [
        SliceResult(
            index,
            f"{index}.dcm",
            None,
            None if score is None else {"COVID": score, "CAP": 0.0, "Normal": 1 - score},
        )
        for index, score in enumerate(scores)
    ]


def test_slices_are_joined_at_their_middles() -> None:
    assert (LEFT, RIGHT, TOP, BOTTOM) == (52, 850, 34, 232)
    covid, cap = slice_plot(slices(0, 0.5, 1, 0.25), FOUR, ()).lines
    # x = 52 + 798 / 8 = 151.75 and so on by 199.5; y = 232 - 198 x score
    assert covid.path == "M151.8 232.0 L351.2 133.0 L550.8 34.0 L750.2 182.5"
    assert (covid.label, covid.number, cap.label, cap.number) == ("COVID", 0, "CAP", 1)


def test_a_line_is_lifted_where_a_slice_was_not_judged() -> None:
    plot = slice_plot(slices(0, None, 1, None), FOUR, ())
    assert plot.lines[0].path == "M148.8 232.0 L154.8 232.0 M547.8 34.0 L553.8 34.0"
    assert plot.together == plot.lines[0].path  # CAP has nothing
    assert plot.unpredicted == (Cell(1, 251.5, 199.5), Cell(3, 650.5, 199.5))
    assert plot.unpredicted[0].x == plot.cells[1].x


def test_neighbours_that_were_not_judged_are_one_stretch() -> None:
    assert slice_plot(slices(None, None, None, 1), FOUR, ()).unpredicted == (Cell(0, 52, 3 * 199.5),)


def test_a_line_is_lifted_where_slices_are_missing() -> None:
    gap = Axis((0.0, 1.0, 7.0), 1.0, in_mm=True)  # -0.5 to 7.5: 99.75 a mm
    path = slice_plot(slices(1, 1, 1), gap, ()).lines[0].path
    assert path == "M101.9 34.0 L201.6 34.0 M797.1 34.0 L803.1 34.0"


def test_slices_shown_below_are_marked_from_left_to_right() -> None:
    plot = slice_plot(slices(0, 0, 0, 0), FOUR, (3, 1, 3))
    assert plot.marks == (Mark(1, 351.25, 351.25), Mark(3, 750.25, 750.25))


def test_a_threshold_is_a_height() -> None:
    assert slice_plot(slices(0, 0, 0, 0), FOUR, (), 0.25).threshold == 182.5
    assert slice_plot(slices(0, 0, 0, 0), FOUR, ()).threshold is None


def test_ticks_stand_where_their_slices_do() -> None:
    plot = slice_plot(slices(0, 0, 0, 0), FOUR, ())
    assert plot.ticks == ((151.75, "0"), (351.25, "1"), (550.75, "2"), (750.25, "3"))
    assert not plot.in_mm


def test_one_positive_class_needs_no_sum() -> None:
    found = [SliceResult(0, "a", None, {"COVID": 0.75, "non-COVID": 0.25})]
    plot = slice_plot(found, Axis((0.0,), 1.0, in_mm=False), ())
    assert [line.label for line in plot.lines] == ["COVID"]
    assert plot.together == ""


def test_classes_that_are_all_negative_are_all_drawn() -> None:
    found = [SliceResult(0, "a", None, {"Normal": 0.75, "Healthy": 0.25})]
    lines = slice_plot(found, Axis((0.0,), 1.0, in_mm=False), ()).lines
    assert [line.label for line in lines] == ["Normal", "Healthy"]


def test_a_study_in_which_nothing_was_judged_has_an_empty_plot() -> None:
    plot = slice_plot(slices(None, None, None, None), FOUR, ())
    assert (plot.lines, plot.together) == ((), "")
    assert plot.unpredicted == (Cell(0, 52, 798),)


@pytest.mark.parametrize(
    ("value", "written"), [(-261.34, "−261.3"), (12.0, "12.0"), (-0.04, "0.0"), (0.0, "0.0")]
)
def test_a_height_has_a_true_minus(value: float, written: str) -> None:
    assert signed(value) == written


def test_slices_of_which_something_was_filled_in_are_marked() -> None:
    lacking = [
        replace(own, missing_fraction=share)
        for own, share in zip(slices(0, 1, 0, 1), (0.0, 0.2, None, 1.0), strict=True)
    ]
    assert slice_plot(lacking, FOUR, ()).imputed == (Cell(1, 251.5, 199.5), Cell(3, 650.5, 199.5))
