"""A CT's diagnosis as one HTML page that needs nothing outside itself, in words for a clinician."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import PurePosixPath
from typing import Any

from pulmoscope.core.change import CtChange, SinceReport
from pulmoscope.core.classes import suspicion
from pulmoscope.core.types import NOT_FILLED, Diagnosis, Imputed, Scan, SliceResult, Units
from pulmoscope.report import slice_plot as plot
from pulmoscope.report.change.ct import SlicePair, change_section
from pulmoscope.report.change.report import since_section
from pulmoscope.report.html import percent, render
from pulmoscope.report.names import spelt_out
from pulmoscope.report.page import facts
from pulmoscope.report.severity import (
    BAND_TITLES,
    METHOD,
    bands_table,
    beside_network,
    between,
    dense_percent,
    extents_table,
    grade_words,
    sentence,
)
from pulmoscope.report.slice_axis import Axis, axis_of, spread
from pulmoscope.runtime.beside_measure import no_better_than_measure

TEMPLATE = "ct_diagnosis.html"
DATED = "<!-- may tell the date of the study -->"
"""Stands in such a page."""
LEANING = 0.5
"""From this score on, a slice counts as one in which the model finds something."""

_LABEL_GAP = 15
"""Between the numbers of two slices beside a cut, px."""
_SAME_MM = 0.05
"""A slice's thickness and the slices' distance that differ by less are the same."""


@dataclass(frozen=True)
class Cut:
    """A cut along the patient as a picture, its head up.

    Attributes:
        title: ``Coronal`` or ``Sagittal``.
        sides: what is at the picture's left and right.
        picture: a ``data:`` address; from the lower end of the lowest slice to the upper end of the highest.
        width, height: px.
    """

    title: str
    sides: tuple[str, str]
    picture: str
    width: int
    height: int


@dataclass(frozen=True)
class CtPictures:
    """What the page shows, each as a ``data:`` address.

    Attributes:
        slices: those that are explained, by their number.
        overlays: one per explanation, in their order: the slice under its heat map.
        scale: the heat map's colours from no to most evidence, left to right; empty without explanations.
        grid: small pictures of slices all over the study, by their number.
        cuts: along the patient; empty for a single slice.
        grey: what the greys are.
        imputed: what stands around filled-in pixels; empty where nothing was filled in.
        affected: the slices with most lesion, the worst first: number → pictures with lungs and lesions outlined, in a
            lung and in a soft-tissue window; empty where severity was not measured.
        pairs: slices beside those of an earlier CT; empty without one.
    """

    slices: Mapping[int, str]
    overlays: tuple[str, ...]
    scale: str
    grid: Mapping[int, str]
    cuts: tuple[Cut, ...]
    grey: str
    affected: Mapping[int, tuple[str, str]] = field(default_factory=dict)
    imputed: str = ""
    pairs: tuple[SlicePair, ...] = ()


@dataclass(frozen=True)
class Shown:
    """A slice in words and figures.

    Attributes:
        title: «slice 42 (instance 58), z −261.3 mm», without what the files don't say.
        file: the last part of its file's name.
        ranked: classes with their probabilities, the most probable first; empty where there is no prediction.
        parts: of the positive classes: the class's number among them, name and probability.
        suspicion: the probability that there is something; None where there is no prediction.
        imputed: of the body in it, the fraction that was filled in.
        anomaly: how unlike a normal one it is, as a multiple of the limit; 0 where that is not known.
        lesion: of its lung, the fraction that is affected by measure; None where that was not measured.
    """

    index: int
    title: str
    file: str
    ranked: tuple[tuple[str, float], ...]
    parts: tuple[tuple[int, str, float], ...]
    suspicion: float | None
    imputed: float
    anomaly: float
    lesion: float | None = None

    @property
    def affected(self) -> str:
        """How much of its lung is affected, in words; empty where that was not measured."""
        return "" if self.lesion is None else f"{100 * self.lesion:.1f} % of its lung affected"

    @property
    def says(self) -> str:
        """All that is known of it in one line: measured, predicted, how much it lacks, whether it is unlike normal."""
        text = ", ".join(f"{name} {percent(fraction)}" for name, fraction in self.ranked) or "no prediction"
        if self.affected:
            text = f"{self.affected}; {text}"
        if self.imputed:
            text += f"; {percent(self.imputed)} of it filled in"
        return f"{text}; unlike normal, {self.anomaly:.1f} times the limit" if self.anomaly > 1 else text


@dataclass(frozen=True)
class Explained:
    """A slice with its heat maps: per class, the stages (number and picture), from early to late."""

    slice: Shown
    picture: str
    classes: tuple[tuple[str, tuple[tuple[int, str], ...]], ...]


def to_html(
    diagnosis: Diagnosis,
    pictures: CtPictures,
    since: SinceReport | None = None,
    *,
    show_date: bool = False,
) -> str:
    """The page ``report.html`` of a CT; for what it says of the model see :func:`pulmoscope.report.page.facts`.

    ``diagnosis.card["thresholds"]["slice"]``, where it is there, is drawn as the threshold of a slice's score.

    Args:
        since: what has changed since an earlier report of the patient; None where there is none.
        show_date: tell the date of the study, which may identify a patient.
    """
    scan, axis = diagnosis.scan, axis_of(diagnosis.scan)
    classes = plot.positive_classes(diagnosis.slices)
    slices = {one_slice.index: shown(one_slice, classes) for one_slice in diagnosis.slices}
    explained = list(dict.fromkeys(explanation.index for explanation in diagnosis.explanations))
    threshold = diagnosis.card.get("thresholds", {}).get("slice")
    return render(
        TEMPLATE,
        **facts(diagnosis, "study", "studies"),
        positives=classes,
        plot=plot.slice_plot(diagnosis.slices, axis, explained, threshold),
        frame=plot,
        slice_threshold=threshold,
        weighed=_weighed(diagnosis),
        findings=findings(diagnosis),
        slices=slices,
        levels=diagnosis.levels if len(diagnosis.levels) > 1 else {},
        agreeing=agreement(diagnosis),
        explained=explained_slices(diagnosis, slices, pictures),
        lightbox=[(slices[index], picture) for index, picture in pictures.grid.items()],
        cuts=[(cut, cut_marks(cut, axis, explained)) for cut in pictures.cuts],
        scale=pictures.scale,
        unlike=any(one.kind == "anomaly" for one in diagnosis.explanations),
        severity=None if diagnosis.severity is None else _severity(diagnosis),
        affected=[(slices[index], *pair) for index, pair in pictures.affected.items()],
        change=change_section(diagnosis.change, pictures.pairs)
        if isinstance(diagnosis.change, CtChange)
        else None,
        since=since_section(since),
        grey=pictures.grey,
        imputed=pictures.imputed,
        dated=DATED if show_date else "",
        geometry=[*geometry(scan, axis), *acquisition(scan, show_date=show_date)],
        no_hu=scan.units is not Units.HU,
        to_scale=scan.spacing_mm is not None,
    )


def _severity(diagnosis: Diagnosis) -> dict[str, Any]:
    """What the section on severity says."""
    severity = diagnosis.severity
    no_better = no_better_than_measure(diagnosis.card.get("metrics", {}))
    return (
        {}
        if severity is None
        else {
            "measure": severity,
            "between": between(severity),
            "grade_words": grade_words(severity),
            "sentence": sentence(severity),
            "beside": beside_network(diagnosis),
            "no_better": no_better and no_better._replace(what=spelt_out(no_better.what)),
            "extents": extents_table(severity),
            "band_titles": BAND_TITLES,
            "bands": bands_table(severity),
            "dense": dense_percent(diagnosis.slices),
            "method": METHOD,
        }
    )


def _weighed(diagnosis: Diagnosis) -> bool:
    """Whether the answer is held to the measure of dense lung, as those of models of slices alone are.

    Why: ``docs/decisions/0010-dense-lung.md``.
    """
    return not diagnosis.levels and any(
        one_slice.dense_fraction is not None for one_slice in diagnosis.slices
    )


def shown(one_slice: SliceResult, positives: list[str]) -> Shown:
    """A slice in words and figures.

    Args:
        positives: the classes whose scores are shown.
    """
    probabilities = one_slice.probabilities or {}
    return Shown(
        index=one_slice.index,
        title=f"slice {one_slice.index}"
        + ("" if one_slice.instance is None else f" (instance {one_slice.instance})")
        + ("" if one_slice.z_mm is None else f", z {plot.signed(one_slice.z_mm)} mm"),
        file=PurePosixPath(one_slice.file).name,
        ranked=tuple(sorted(probabilities.items(), key=lambda pair: -pair[1])),
        parts=tuple(
            (number, name, probabilities[name])
            for number, name in enumerate(positives)
            if name in probabilities
        ),
        suspicion=None if one_slice.probabilities is None else suspicion(probabilities),
        imputed=one_slice.missing_fraction or 0.0,
        anomaly=one_slice.anomaly_score or 0.0,
        lesion=one_slice.lesion_fraction,
    )


def findings(diagnosis: Diagnosis) -> list[str]:
    """What the slices say, as sentences; none of a single one with a prediction."""
    predicted = [one_slice for one_slice in diagnosis.slices if one_slice.probabilities is not None]
    lacking = (
        [] if diagnosis.imputed is None else [imputed_sentence(diagnosis.imputed, len(diagnosis.slices))]
    )
    if not predicted:
        return ["No slice shows enough lung for a prediction by itself.", *lacking]
    if len(diagnosis.slices) == 1:
        return lacking  # the answer is the slice's
    verb = "shows" if len(predicted) == 1 else "show"
    sentences = [f"{len(predicted)} of {len(diagnosis.slices)} slices {verb} enough lung for a prediction."]
    named = " or ".join(plot.positive_classes(predicted))
    leaning = [one_slice for one_slice in predicted if suspicion(one_slice.probabilities or {}) >= LEANING]
    if leaning:
        low, high = leaning[0], leaning[-1]
        between = f"slice {low.index}" if low is high else f"slices {low.index} to {high.index}"
        if low.z_mm is not None and high.z_mm is not None:
            heights = dict.fromkeys(plot.signed(end) for end in (low.z_mm, high.z_mm))
            between += f" (z {' to '.join(heights)} mm)"
        verb = "It is" if len(leaning) == 1 else "They lie within"
        sentences.append(f"In {len(leaning)} of them {named} is more probable than not. {verb} {between}.")
    else:
        sentences.append(f"In none of them is {named} more probable than not.")
    return [*sentences, *lacking]


def imputed_sentence(imputed: Imputed, slices: int) -> str:
    """What was filled in, for someone who reads the answer only."""
    verb = "lacks" if imputed.slices == 1 else "lack"
    how = f"was filled in before lungs and lesions were looked for, and for the network ({imputed.imputer})"
    if imputed.imputer == NOT_FILLED:
        how = (
            "was filled in for lungs and lesions to be looked for; the network was shown the damage as it is"
        )
    return (
        f"{imputed.slices} of {slices} slices {verb} data: {percent(imputed.fraction)} of the body at the height of "
        f"the lungs was not measured, and {how}. What is filled in is a guess; disease there can't be seen."
    )


def agreement(diagnosis: Diagnosis) -> int:
    """How many of the classifiers that look at the whole patient say what the diagnosis says."""
    label = diagnosis.prediction.label
    return sum(
        max(probabilities, key=lambda name: probabilities[name]) == label
        for probabilities in diagnosis.levels.values()
    )


def explained_slices(
    diagnosis: Diagnosis, slices: Mapping[int, Shown], pictures: CtPictures
) -> list[Explained]:
    """The explanations, put together by slice and class in the order given, and by stage."""
    by_slice: dict[int, dict[str, list[tuple[int, str]]]] = {}
    for explanation, overlay in zip(diagnosis.explanations, pictures.overlays, strict=True):
        by_class = by_slice.setdefault(explanation.index, {})
        by_class.setdefault(explanation.target, []).append((explanation.stage, overlay))
    return [
        Explained(
            slices[index],
            pictures.slices[index],
            tuple((target, tuple(sorted(stages))) for target, stages in by_class.items()),
        )
        for index, by_class in by_slice.items()
    ]


def cut_marks(cut: Cut, axis: Axis, indices: list[int]) -> list[tuple[int, float, float]]:
    """Where slices cross a cut: the number, the line's height and that of its label, px from the top."""
    marked = sorted(indices, reverse=True)
    lines = [cut.height * (1 - axis.fraction(axis.positions[index])) for index in marked]
    labels = spread(lines, _LABEL_GAP, 8, cut.height - 4)
    return list(zip(marked, lines, labels, strict=True))


def geometry(scan: Scan, axis: Axis) -> list[tuple[str, str]]:
    """Size, distances and units, each as a title and a fact."""
    count, rows, columns = scan.pixels.shape
    facts = [("Slices", f"{count}, each {columns} × {rows} px")]
    if scan.spacing_mm is None:
        facts.append(("Distances", "unknown: the files don't say, so the slices have numbers and no heights"))
    else:
        apart, down, across = scan.spacing_mm
        facts.append(("Distance of slices", f"{apart:.3f} mm"))
        facts.append(
            ("Pixel", f"{across:.3f} × {down:.3f} mm, {columns * across:.0f} × {rows * down:.0f} mm in all")
        )
    if axis.in_mm:
        low, high = plot.signed(axis.positions[0]), plot.signed(axis.positions[-1])
        facts.append(("Height in the patient", f"z {low} to {high} mm, towards the head"))
    if scan.geometry is not None and scan.geometry.tilt_deg >= 0.1:
        facts.append(
            ("Tilt of the gantry", f"{scan.geometry.tilt_deg:.1f}°; the cuts are drawn as if there were none")
        )
    units = "Hounsfield units" if scan.units is Units.HU else "grey of pictures; their window is unknown"
    return [*facts, ("Units", units)]


def acquisition(scan: Scan, *, show_date: bool = False) -> list[tuple[str, str]]:
    """How a DICOM series was made, as far as its files say, each as a title and a fact.

    Args:
        show_date: also tell when.
    """
    known = scan.facts
    if known is None:
        return []
    facts = []
    if known.thickness_mm is not None and scan.spacing_mm is not None:
        apart = scan.spacing_mm[0]
        how = "as far as they are apart"
        if known.thickness_mm < apart - _SAME_MM:
            how = "less than their distance: between them is lung that no slice shows"
        elif known.thickness_mm > apart + _SAME_MM:
            how = "more than their distance: neighbours overlap"
        facts.append(("Thickness of a slice", f"{known.thickness_mm:.3f} mm, {how}"))
    if known.kernel or known.kernel_name:
        kind = {"lung": "for lung", "soft": "for soft tissue"}.get(known.kernel, "of unknown kind")
        facts.append(("Kernel", f"{known.kernel_name} ({kind})" if known.kernel_name else kind))
    if show_date and known.study_date:
        facts.append(("Date of the study", known.study_date))
    return facts
