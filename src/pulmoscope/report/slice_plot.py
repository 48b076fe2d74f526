"""The slices' scores along the patient as numbers for an SVG; ``slices.svg.html`` draws them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from operator import itemgetter

from pulmoscope.core.classes import is_positive, suspicion
from pulmoscope.core.types import SliceResult
from pulmoscope.report.slice_axis import Axis, spread, ticks

WIDTH, HEIGHT = 860, 286
LEFT, RIGHT, TOP, BOTTOM = 52, 850, 34, 232
LABEL_GAP = 26
"""Between the numbers of two marked slices."""
DASH = 3
"""To either side of the middle of a slice that stands alone."""


@dataclass(frozen=True)
class Line:
    """A class's score as an SVG path; ``number`` is the class's place among the positive ones, for its colour."""

    label: str
    number: int
    path: str


@dataclass(frozen=True)
class Cell:
    """A slice's share of the width, from its lower to its upper end."""

    index: int
    x: float
    width: float


@dataclass(frozen=True)
class Mark:
    """A slice that is shown below; ``label_x`` is where its number has room."""

    index: int
    x: float
    label_x: float


@dataclass(frozen=True)
class SlicePlot:
    """The whole plot, in the units of an SVG of 860 x 286.

    Attributes:
        lines: one per positive class; broken where a slice has no prediction or is missing.
        together: the path of what several positive classes have together; empty where there is one.
        unpredicted: stretches of slices without a prediction.
        imputed: slices of which something was filled in.
        cells: one per slice.
        marks: the slices shown below.
        ticks: of the axis along the patient: x and the text.
        threshold: the y of the threshold; None without one.
        in_mm: whether the axis is in mm, else in slice numbers.
    """

    lines: tuple[Line, ...]
    together: str
    unpredicted: tuple[Cell, ...]
    imputed: tuple[Cell, ...]
    cells: tuple[Cell, ...]
    marks: tuple[Mark, ...]
    ticks: tuple[tuple[float, str], ...]
    threshold: float | None
    in_mm: bool


def slice_plot(
    slices: Sequence[SliceResult], axis: Axis, shown: Sequence[int], threshold: float | None = None
) -> SlicePlot:
    """Lay the plot out.

    Args:
        slices: of the study, from the feet to the head.
        shown: the numbers of the slices that are shown below.
        threshold: of a slice's score, 0 to 1.
    """
    cells = tuple(_cell(one_slice.index, axis) for one_slice in slices)
    marked = sorted(set(shown))
    lines = [_x(axis, axis.positions[index]) for index in marked]
    labels = spread(lines, LABEL_GAP, LEFT + 8, RIGHT - 8)
    classes = positive_classes(slices)
    several = sum(map(is_positive, classes)) > 1
    return SlicePlot(
        lines=tuple(
            Line(label, number, _path(slices, axis, itemgetter(label)))
            for number, label in enumerate(classes)
        ),
        together=_path(slices, axis, suspicion) if several else "",
        unpredicted=tuple(_stretches(slices, axis)),
        imputed=tuple(_cell(one_slice.index, axis) for one_slice in slices if one_slice.missing_fraction),
        cells=cells,
        marks=tuple(Mark(*mark) for mark in zip(marked, lines, labels, strict=True)),
        ticks=tuple((_x(axis, position), signed(position, 0)) for position in ticks(axis)),
        threshold=None if threshold is None else _y(threshold),
        in_mm=axis.in_mm,
    )


def positive_classes(slices: Sequence[SliceResult]) -> list[str]:
    """The classes that say that something was found, in the model's order; all where every one is negative."""
    classes = next((list(one_slice.probabilities) for one_slice in slices if one_slice.probabilities), [])
    return [label for label in classes if is_positive(label)] or classes


def signed(value: float, digits: int = 1) -> str:
    """A figure with a true minus sign; never «−0»."""
    written = f"{value:.{digits}f}"
    return written.lstrip("-") if float(written) == 0 else written.replace("-", "−")


def _x(axis: Axis, position: float) -> float:
    return LEFT + axis.fraction(position) * (RIGHT - LEFT)


def _y(score: float) -> float:
    return BOTTOM - score * (BOTTOM - TOP)


def _cell(index: int, axis: Axis) -> Cell:
    position = axis.positions[index]
    low = _x(axis, position - axis.step / 2)
    return Cell(index, low, _x(axis, position + axis.step / 2) - low)


def _path(slices: Sequence[SliceResult], axis: Axis, score: Callable[[Mapping[str, float]], float]) -> str:
    """From slice to slice; lifted where one has no prediction, or where slices are missing between two.

    A slice alone is a short dash.
    """
    runs: list[list[tuple[float, float]]] = []
    before: float | None = None
    for one_slice in slices:
        if one_slice.probabilities is None:
            before = None
            continue
        position = axis.positions[one_slice.index]
        if before is None or position - before > 1.5 * axis.step:
            runs.append([])
        runs[-1].append((_x(axis, position), _y(score(one_slice.probabilities))))
        before = position
    return " ".join(_run(run) for run in runs)


def _run(points: list[tuple[float, float]]) -> str:
    if len(points) == 1:
        ((x, y),) = points
        points = [(x - DASH, y), (x + DASH, y)]
    return "M" + " L".join(f"{x:.1f} {y:.1f}" for x, y in points)


def _stretches(slices: Sequence[SliceResult], axis: Axis) -> list[Cell]:
    """Neighbours without a prediction, as one cell each."""
    stretches: list[Cell] = []
    together = False
    for one in slices:
        if one.probabilities is not None:
            together = False
            continue
        cell = _cell(one.index, axis)
        if together:
            first = stretches.pop()
            cell = Cell(first.index, first.x, cell.x + cell.width - first.x)
        stretches.append(cell)
        together = True
    return stretches
