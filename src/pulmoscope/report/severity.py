"""The measured severity of a CT: as plain data, and in words and tables."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from pulmoscope.core.severity import GRADES, SeverityMeasure, grade_number
from pulmoscope.core.types import Diagnosis, SliceResult

LUNGS_FILE, LESIONS_FILE = "lungs.nii.gz", "lesions.nii.gz"

METHOD = (
    "Counted in Hounsfield units within the lung mask, nothing is learned: lung denser than half way from this "
    "patient's aerated lung to ground glass (about -720 HU), in places at least 7 mm thick, without vessels, hila and "
    "what is half diaphragm; consolidation from -300 HU on."
)

PART_TITLES = {
    "both": "Both lungs",
    "right": "Right lung",
    "right-upper": "Right, upper third",
    "right-middle": "Right, middle third",
    "right-lower": "Right, lower third",
    "left": "Left lung",
    "left-upper": "Left, upper half",
    "left-lower": "Left, lower half",
}
"""The parts of every table, from the whole on; those with a hyphen are the score's regions."""

BAND_TITLES = {
    "hyperinflated": "below −950 HU",
    "well_aerated": "−950 to −700",
    "ground_glass": "−700 to −300",
    "consolidation": "from −300 on",
}
_GRADE_WORDS = (
    "nothing that the measure takes for disease",
    "at most a quarter of the lungs",
    "a quarter to a half of the lungs",
    "a half to three quarters of the lungs",
    "more than three quarters of the lungs",
)


def severity_json(diagnosis: Diagnosis) -> dict[str, Any]:
    """What ``diagnosis.json`` holds of a measured severity."""
    severity = diagnosis.severity
    if severity is None:
        raise ValueError("this severity was not measured")
    label = diagnosis.prediction.label
    return {
        "percent_affected": round(severity.percent_affected, 2),
        "interval": [round(end, 2) for end in severity.interval],
        "left": None if severity.left is None else round(severity.left, 2),
        "right": None if severity.right is None else round(severity.right, 2),
        "grade": severity.grade,
        "network_grade": None if grade_number(label) is None else label,
        "score": severity.score,
        "regions": {
            name: {
                "volume_ml": round(region.volume_ml, 1),
                "affected": None if region.affected is None else round(region.affected, 2),
                "score": region.score,
            }
            for name, region in severity.regions.items()
        },
        "volumes_ml": {name: round(volume, 1) for name, volume in severity.volumes_ml.items()},
        "bands": {
            part: {band: round(percent, 2) for band, percent in bands.items()}
            for part, bands in severity.bands.items()
        },
        "method": METHOD,
        "limits": list(severity.limits),
        "files": {
            "lungs": LUNGS_FILE,
            "lesions": LESIONS_FILE,
            "geometry": "spacing only" if diagnosis.scan.geometry is None else "patient",
        },
    }


def measured_lines(plain: Mapping[str, Any]) -> list[str]:
    """The ``severity`` of a ``diagnosis.json`` in lines for a terminal: none where nothing was measured."""
    if plain.get("percent_affected") is None:
        return []
    ends = plain.get("interval")
    between = "" if ends is None else f", between {ends[0]:.1f} and {ends[1]:.1f} %"
    return [
        f"Affected        {plain['percent_affected']:.1f} % of the lungs by measure{between}: {plain['grade']}, "
        f"{plain['score']} of 25 points"
    ]


def between(severity: SeverityMeasure) -> str:
    """The ends of the interval, as they stand behind the percentage."""
    low, high = severity.interval
    return f"between {low:.1f} and {high:.1f} %"


def grade_words(severity: SeverityMeasure) -> str:
    """What the grade means."""
    return _GRADE_WORDS[GRADES.index(severity.grade)]


def sentence(severity: SeverityMeasure) -> str:
    """What was measured, and of which lung, for someone who sees a measure for the first time."""
    sides = [
        f"{percent:.1f} % of the {name} lung"
        for name, percent in (("right", severity.right), ("left", severity.left))
        if percent is not None
    ]
    return (
        "Affected is lung that is denser than lung full of air should be, in patches too thick for vessels: "
        f"{' and '.join(sides)}."
    )


def dense_percent(slices: Sequence[SliceResult]) -> float | None:
    """Of the lung in slices with a prediction, the percent that is dense (``segment/ct_dense.py``); None: not known."""
    measured = [
        (one_slice.lung_fraction or 0.0, one_slice.dense_fraction)
        for one_slice in slices
        if one_slice.probabilities is not None and one_slice.dense_fraction is not None
    ]
    lung = sum(fraction for fraction, _ in measured)
    return 100 * sum(fraction * dense for fraction, dense in measured) / lung if lung else None


def beside_network(diagnosis: Diagnosis) -> str:
    """The network's grade beside the measured one; empty where its classes are no grades."""
    label = diagnosis.prediction.label
    if diagnosis.severity is None or grade_number(label) is None:
        return ""
    return f"The network says {label}; the measure says {diagnosis.severity.grade}."


def extents_table(
    severity: SeverityMeasure,
) -> Sequence[tuple[str, bool, float, float | None, int | None]]:
    """Title, whether it is a region, ml, percent affected and points of each part; single lungs have no points."""
    whole = {"both": severity.percent_affected, "right": severity.right, "left": severity.left}
    rows: list[tuple[str, bool, float, float | None, int | None]] = []
    for part, title in PART_TITLES.items():
        region = severity.regions.get(part)
        if region is not None:
            rows.append((title, True, region.volume_ml, region.affected, region.score))
        else:
            points = severity.score if part == "both" else None
            rows.append((title, False, severity.volumes_ml[part], whole[part], points))
    return rows


def bands_table(severity: SeverityMeasure) -> Sequence[tuple[str, bool, Sequence[float]]]:
    """Title, whether it is a region, and the percentages of each part that the scan shows."""
    return [
        (title, "-" in part, [severity.bands[part][band] for band in BAND_TITLES])
        for part, title in PART_TITLES.items()
        if part in severity.bands
    ]
