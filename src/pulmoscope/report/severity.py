"""The measured severity of a CT: as plain data, and in words and tables."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from pulmoscope.core.severity import GRADES, SeverityMeasure, grade_number
from pulmoscope.core.types import Diagnosis

LUNGS_FILE, LESIONS_FILE = "lungs.nii.gz", "lesions.nii.gz"

METHOD = (
    "Counted in Hounsfield units within the lung mask, nothing is learned: lung denser than -700 HU, in places "
    "at least 7 mm thick, without vessels; consolidation from -300 HU on."
)

REGION_TITLES = {
    "right-upper": "Right, upper third",
    "right-middle": "Right, middle third",
    "right-lower": "Right, lower third",
    "left-upper": "Left, upper half",
    "left-lower": "Left, lower half",
}
PART_TITLES = {
    "both": "Both lungs",
    "right": "Right lung",
    "right-upper": "upper third",
    "right-middle": "middle third",
    "right-lower": "lower third",
    "left": "Left lung",
    "left-upper": "upper third",
    "left-middle": "middle third",
    "left-lower": "lower third",
}
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


def sentence(severity: SeverityMeasure) -> str:
    """The measure in a sentence for someone who sees one for the first time."""
    sides = [
        f"{percent:.1f} % of the {name} lung"
        for name, percent in (("right", severity.right), ("left", severity.left))
        if percent is not None
    ]
    number = GRADES.index(severity.grade)
    return (
        f"{severity.percent_affected:.1f} % of the lung that the scan shows is denser than lung full of air should be, "
        f"in patches too thick for vessels: {' and '.join(sides)}. That is grade {severity.grade}, "
        f"{_GRADE_WORDS[number]}, and {severity.score} of 25 points of the CT severity score."
    )


def beside_network(diagnosis: Diagnosis) -> str:
    """The network's grade beside the measured one; empty where its classes are no grades."""
    label = diagnosis.prediction.label
    if diagnosis.severity is None or grade_number(label) is None:
        return ""
    return f"The network says {label}; the measure says {diagnosis.severity.grade}."


def regions_table(severity: SeverityMeasure) -> Sequence[tuple[str, float, float | None, int]]:
    """Title, ml, percent affected and score of each region that the scan shows."""
    return [
        (
            title,
            severity.regions[name].volume_ml,
            severity.regions[name].affected,
            severity.regions[name].score,
        )
        for name, title in REGION_TITLES.items()
    ]


def bands_table(severity: SeverityMeasure) -> Sequence[tuple[str, bool, Sequence[float]]]:
    """Title, whether it is a part of a lung, and the percentages of each part that the scan shows."""
    return [
        (title, "-" in part, [severity.bands[part][band] for band in BAND_TITLES])
        for part, title in PART_TITLES.items()
        if part in severity.bands
    ]
