"""The pictures of an evaluation, as PNG. Drawn without pyplot: no global state, safe in threads."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from io import BytesIO
from typing import NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from sklearn.metrics import precision_recall_curve, roc_auc_score, roc_curve

from pulmoscope.evaluation.agreement import limits_of_agreement
from pulmoscope.evaluation.bootstrap import Estimate
from pulmoscope.evaluation.calibration import Bin
from pulmoscope.evaluation.hospitals import NEGATIVE, POSITIVE, HospitalFigures
from pulmoscope.evaluation.metrics import Metrics, Predictions
from pulmoscope.evaluation.referral import referral, risk_by_coverage

COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
"""Okabe and Ito's colours, told apart with any colour vision; lines differ in their dashes as well."""

DASHES: tuple[str | tuple[int, tuple[float, ...]], ...] = (
    "-",
    (0, (5, 1.5)),
    (0, (1, 1)),
    (0, (5, 1, 1, 1)),
    (0, (3, 1, 1, 1, 1, 1)),
)

MARKERS = ("o", "^", "s", "D", "v", "P", "X")

FEWEST_OF_A_LINE = 20
"""Images of a hospital from which on its risk is drawn."""

_INK, _GRID = "#16212b", "#dbe2e8"


def confusion_matrix(metrics: Metrics) -> bytes:
    """Counts of (label, predicted), shaded by the fraction of the label."""
    classes = list(metrics.by_class)
    counts = np.array(metrics.confusion)
    totals = counts.sum(axis=1, keepdims=True)
    fractions = counts / np.maximum(totals, 1)
    side = max(4.4, 2.2 + 0.6 * len(classes))
    figure, axes = _figure(side + 0.7, side)
    axes.imshow(fractions, cmap="Blues", vmin=0, vmax=1)
    for (row, column), count in np.ndenumerate(counts):
        text = f"{count}\n{fractions[row, column]:.0%}" if totals[row, 0] else "–"
        colour = "white" if fractions[row, column] > 0.65 else _INK
        axes.text(column, row, text, ha="center", va="center", color=colour, fontsize=10)
    axes.set_xticks(range(len(classes)), classes, rotation=30, ha="right", rotation_mode="anchor")
    axes.set_yticks(range(len(classes)), classes)
    axes.set_xlabel("called")
    axes.set_ylabel("label")
    axes.spines[:].set_visible(False)
    axes.tick_params(length=0)
    return _png(figure)


class Curve(NamedTuple):
    """One ROC curve: its name, which images are positive, and their scores, both (images,)."""

    name: str
    positive: np.ndarray
    scores: np.ndarray


def roc(predictions: Predictions) -> bytes:
    """Sensitivity over 1 - specificity for every class against the rest."""
    return roc_curves([Curve(*row[1:]) for row in _one_against_rest(predictions)])


def roc_curves(curves: Sequence[Curve]) -> bytes:
    """Sensitivity over 1 - specificity, several curves in one picture; the legend tells each one's AUROC."""
    figure, axes = _figure(5.6, 4.8)
    axes.plot([0, 1], [0, 1], color="#8b98a3", linewidth=1)
    for index, curve in enumerate(curves):
        false_share, true_share, _ = roc_curve(curve.positive, curve.scores)
        area = roc_auc_score(curve.positive, curve.scores)
        _line(axes, index, false_share, true_share, f"{curve.name}: {area:.3f}")
    _unit_square(axes, "1 − specificity", "sensitivity")
    axes.legend(title="AUROC", loc="best", frameon=False)
    return _png(figure)


def precision_recall(predictions: Predictions, metrics: Metrics) -> bytes:
    """Precision over recall for every class against the rest."""
    figure, axes = _figure(5.6, 4.8)
    for index, name, positive, scores in _one_against_rest(predictions):
        precision, recall, _ = precision_recall_curve(positive, scores)
        value = metrics.by_class[name]["average_precision"].value or 0
        _line(axes, index, recall, precision, f"{name}: {value:.3f}", steps=True)
    _unit_square(axes, "recall (sensitivity)", "precision")
    axes.legend(title="Average precision", loc="best", frameon=False)
    return _png(figure)


def reliability_curve(bins: Sequence[Bin], error: float) -> bytes:
    """How often the answer is right over how sure it is, with the images per bin below."""
    figure = Figure(figsize=(5.6, 4.8), layout="constrained")
    FigureCanvasAgg(figure)
    axes, below = figure.subplots(2, 1, sharex=True, height_ratios=[4, 1])
    filled = [bin_ for bin_ in bins if bin_.images]
    axes.plot([0, 1], [0, 1], color="#8b98a3", linewidth=1)
    axes.plot(
        [bin_.confidence for bin_ in filled],
        [bin_.accuracy for bin_ in filled],
        color=COLOURS[0],
        marker="o",
        label=f"calibration error {error:.3f}",
    )
    _unit_square(axes, "", "fraction that is right")
    axes.legend(loc="best", frameon=False)
    width = bins[0].high - bins[0].low
    below.bar(
        [bin_.low for bin_ in bins], [bin_.images for bin_ in bins], width, align="edge", color=COLOURS[5]
    )
    below.set_xlabel("probability of the called class")
    below.set_ylabel("images")
    _plain(below)
    return _png(figure)


def outcome_calibration(groups: Sequence[Mapping[str, float]]) -> bytes:
    """How often an outcome happened over its mean predicted probability, in groups of equal size.

    Args:
        groups: each with ``predicted``, ``observed`` and ``patients``.
    """
    figure, axes = _figure(5.6, 4.8)
    axes.plot([0, 1], [0, 1], color="#8b98a3", linewidth=1)
    predicted = [group["predicted"] for group in groups]
    observed = [group["observed"] for group in groups]
    axes.plot(predicted, observed, color=COLOURS[0], marker="o", linewidth=1.8)
    _unit_square(axes, "mean predicted probability", "fraction with the outcome")
    return _png(figure)


def risk_coverage(predictions: Predictions) -> bytes:
    """Fraction of wrong answers over the fraction of images answered, the surest first, and where the model stands.

    A line for each hospital (source, where none is known) of :data:`FEWEST_OF_A_LINE` images and more, where there are
    several.
    The point may lie off the line: the model also refers for an image's quality, whatever its probability.
    """
    figure, axes = _figure(5.6, 4.8)
    coverage, risk = risk_by_coverage(predictions)
    axes.plot(coverage, risk, color=COLOURS[0], linewidth=1.8, label="by probability alone")
    origins = predictions.hospitals or predictions.sources
    lines = [name for name, images in sorted(Counter(origins).items()) if images >= FEWEST_OF_A_LINE]
    for index, name in enumerate(lines if len(set(origins)) > 1 else [], start=2):
        part = predictions.select([origin == name for origin in origins])
        _line(axes, index, *risk_by_coverage(part), f"{name or 'source unknown'} ({len(part)})", width=1.0)
    counts = referral(predictions, bootstrap=0)["counts"]
    reported = counts["right_reported"] + counts["wrong_reported"]
    if reported:
        at = reported / len(predictions), counts["wrong_reported"] / reported
        axes.plot(
            *at, "o", color=COLOURS[1], label=f"as decided: {at[0]:.0%} reported, {at[1]:.1%} of it wrong"
        )
    axes.set_xlim(-0.02, 1.02)
    axes.set_ylim(bottom=0)
    axes.set_xlabel("fraction of images that is reported")
    axes.set_ylabel("fraction of those that is wrong")
    axes.legend(loc="best", frameon=False)
    _plain(axes)
    return _png(figure)


def scatter(points: np.ndarray, labels: Sequence[str]) -> bytes:
    """Points (n, 2) in the colours and markers of their labels; the axes of such a map mean nothing."""
    figure, axes = _figure(5.6, 4.8)
    for index, name in enumerate(sorted(set(labels))):
        members = np.array([label == name for label in labels])
        axes.scatter(
            points[members, 0],
            points[members, 1],
            s=30,
            color=COLOURS[index % len(COLOURS)],
            marker=MARKERS[index % len(MARKERS)],
            label=f"{name or '(no label)'}: {int(members.sum())}",
        )
    axes.set_xticks([])
    axes.set_yticks([])
    axes.legend(loc="best", frameon=False)
    _plain(axes)
    return _png(figure)


def distributions(
    values: np.ndarray, classes: Sequence[str], what: str, limit: float | None = None, limit_label: str = ""
) -> bytes:
    """How values (n,) are spread in each class: box (quartiles and median), whiskers to the ends, and every value.

    Args:
        what: the values are. limit: a line is drawn there, named ``limit_label``.
    """
    names = sorted(set(classes))
    figure, axes = _figure(1.6 + 1.2 * len(names), 4.8)
    parts = [values[np.array([label == name for label in classes])] for name in names]
    for position, part in enumerate(parts):
        # Spread evenly over the box's width, so that equal values stay apart without chance.
        apart = position + 0.28 * (2 * ((np.arange(len(part)) * 0.618034) % 1) - 1)
        axes.scatter(apart, part, s=6, alpha=0.35, linewidths=0, color=COLOURS[position % len(COLOURS)])
    axes.boxplot(
        parts,
        positions=range(len(names)),
        whis=(0, 100),
        widths=0.62,
        medianprops={"color": _INK, "linewidth": 1.8},
        boxprops={"color": _INK},
        whiskerprops={"color": _INK},
        capprops={"color": _INK},
    )
    if limit is not None:
        axes.axhline(limit, color="#8b98a3", linewidth=1.2, linestyle=DASHES[1], label=limit_label)
        axes.legend(loc="best", frameon=False)
    axes.set_xticks(
        range(len(names)), [f"{name}\n({len(part)})" for name, part in zip(names, parts, strict=True)]
    )
    axes.set_ylabel(what)
    _plain(axes)
    return _png(figure)


def bland_altman(true: np.ndarray, measured: np.ndarray, what: str) -> bytes:
    """Differences of percentages over their means, with bias and 95 % limits of agreement.

    Source: Bland and Altman, Lancet 327 (1986) 307, figure 2.

    Args:
        true, measured: percent affected, (n,) each.
        what: each of them is: ``study``, ``slice``.
    """
    figure, axes = _figure(6.4, 4.4)
    difference = measured - true
    faint = min(1.0, 0.25 + 20 / len(true))
    axes.scatter((true + measured) / 2, difference, s=22, alpha=faint, linewidths=0, color=COLOURS[0])
    axes.axhline(0, color="#8b98a3", linewidth=1)
    limits = limits_of_agreement(difference)
    if limits is not None:
        lines = (("upper limit", limits.high, 1), ("bias", limits.bias, 0), ("lower limit", limits.low, 1))
        for name, line, dashes in lines:
            value = line.value or 0.0
            axes.axhline(value, color=COLOURS[1], linewidth=1.6, linestyle=DASHES[dashes])
            axes.annotate(
                f"{name} {round(value, 1) + 0.0:.1f}".replace("-", "−"),  # no minus before 0
                (1, value),
                (-2, 3),
                xycoords=("axes fraction", "data"),
                textcoords="offset points",
                ha="right",
                color=COLOURS[1],
            )
    axes.set_xlabel(f"percent affected of a {what}, mean of true and measured")
    axes.set_ylabel("measured less true, points")
    axes.margins(y=0.15)
    _plain(axes)
    return _png(figure)


def hospitals(rows: Sequence[HospitalFigures]) -> bytes:
    """A line a hospital: AUROC within it, and the fractions of its normal images called and reported as COVID.

    Dots with 95 % intervals. Hollow where the hospital counts in no mean: the model has learnt from it, or it is no
    single hospital.
    """
    figure = Figure(figsize=(11, 1.9 + 0.42 * len(rows)), layout="constrained")
    FigureCanvasAgg(figure)
    left, right = figure.subplots(1, 2, sharey=True)
    normals = [row.by_label.get(NEGATIVE) for row in rows]
    nothing = Estimate(None)
    called = [nothing if normal is None else normal.called[POSITIVE] for normal in normals]
    reported = [nothing if normal is None else normal.reported_as[POSITIVE] for normal in normals]
    hollow = [not row.counts for row in rows]
    _dots(left, 0, [row.auroc_within for row in rows], hollow, 0, f"AUROC, {POSITIVE} against {NEGATIVE}")
    left.axvline(0.5, color="#8b98a3", linewidth=1)
    _dots(right, 1, called, hollow, -0.14, f"{NEGATIVE} called {POSITIVE}")
    _dots(right, 2, reported, hollow, 0.14, f"{NEGATIVE} reported as {POSITIVE}")
    if any(hollow):
        right.plot([], [], "o", color=_INK, markerfacecolor="white", label="counts in no mean")
    left.set_yticks(range(len(rows)), [f"{row.hospital} ({row.images})" for row in rows])
    left.set_ylim(len(rows) - 0.5, -0.5)
    for axes, what in ((left, "AUROC within the hospital"), (right, "fraction of its normal images")):
        axes.set_xlim(-0.02, 1.02)
        axes.set_xlabel(what)
        _plain(axes)
    figure.legend(loc="outside right upper", frameon=False)
    return _png(figure)


def _dots(
    axes: Axes, index: int, values: Sequence[Estimate], hollow: Sequence[bool], apart: float, label: str
) -> None:
    """Estimates, one a line of the axes, in one colour and marker."""
    colour, marker = COLOURS[index], MARKERS[index]
    axes.plot([], [], linestyle="none", label=label, color=colour, marker=marker)
    for position, (estimates, empty) in enumerate(zip(values, hollow, strict=True)):
        if estimates.value is None:
            continue
        if estimates.low is not None and estimates.high is not None:
            axes.plot([estimates.low, estimates.high], [position + apart] * 2, color=colour, linewidth=1.6)
        fill = "white" if empty else colour
        axes.plot(estimates.value, position + apart, color=colour, marker=marker, markerfacecolor=fill)


def _one_against_rest(predictions: Predictions) -> list[tuple[int, str, np.ndarray, np.ndarray]]:
    known = predictions.select(predictions.truth >= 0)
    rows = []
    for index, name in enumerate(known.classes):
        positive = known.truth == index
        if positive.any() and not positive.all():
            rows.append((index, name, positive, known.probabilities[:, index]))
    return rows


def _figure(width: float, height: float) -> tuple[Figure, Axes]:
    figure = Figure(figsize=(width, height), layout="constrained")
    FigureCanvasAgg(figure)
    return figure, figure.subplots()


def _line(
    axes: Axes,
    index: int,
    x: np.ndarray,
    y: np.ndarray,
    label: str,
    *,
    steps: bool = False,
    width: float = 1.8,
) -> None:
    axes.plot(
        x,
        y,
        color=COLOURS[index % len(COLOURS)],
        linestyle=DASHES[index % len(DASHES)],
        linewidth=width,
        label=label,
        drawstyle="steps-post" if steps else "default",
    )


def _unit_square(axes: Axes, x: str, y: str) -> None:
    axes.set_xlim(-0.02, 1.02)
    axes.set_ylim(-0.02, 1.02)
    axes.set_xlabel(x)
    axes.set_ylabel(y)
    _plain(axes)


def _plain(axes: Axes) -> None:
    axes.grid(color=_GRID, linewidth=0.8)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)


def _png(figure: Figure) -> bytes:
    content = BytesIO()
    figure.savefig(content, format="png", dpi=130, facecolor="white", metadata={"Software": None})
    return content.getvalue()
