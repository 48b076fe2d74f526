"""What the code says, as plain data without texts and file names, so that it outlives both.

Everything goes through ``pulmoscope.diagnose`` and the command line. Where a name changes there, the new one is added
here, before the old one; nothing else knows any.
"""

from __future__ import annotations

import csv
import json
from collections.abc import Iterable, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

import pulmoscope
from golden.simulated import command
from pulmoscope.core.errors import InputError

Answer = dict[str, Any]

BLOCKS = 8
"""A heat map is recorded as the means of so many blocks a side."""
BOOTSTRAP = "20"
"""Intervals are not compared, as better ones may come; so few resamples make one quick."""
_ABSENT = object()


def diagnosed(path: Path, model: str, modality: str = "auto") -> Answer:
    """The diagnosis of one image or study; ``modality``: what a picture is."""
    try:
        found = pulmoscope.diagnose(path, opened(model), modality=modality)
    except InputError:
        return {"refused": True}
    flags = [*found.quality.flags, *_of(found.quality, "limits", default=())]
    answer = {
        "label": found.prediction.label,
        "probabilities": _plain(found.prediction.probabilities),
        "decision": str(found.prediction.decision),
        "flags": sorted([flag.code, str(_of(flag, "level", "severity"))] for flag in flags),
        "heat_maps": [_heat(own) for own in found.explanations],
    }
    if getattr(found, "xray_severity", None) is not None:
        answer["severity"] = _xray_severity(found.xray_severity)
    if found.slices:
        answer |= {
            "levels": {name: _plain(shares) for name, shares in found.levels.items()},
            "slices": _slices(found.slices),
            "severity": _severity(found.severity),
            "masks": _masks(found.masks),
            "imputed": _imputed(found.imputed),
        }
    return answer


def evaluated(model: str, data: Path, split: str, out: Path) -> Answer:
    """The figures of ``evaluate``, and the answers that they are of."""
    command("evaluate", model, "--data", data, "--split", split, "--bootstrap", BOOTSTRAP, "-o", out)
    if (out / "slices.json").is_file():
        patients = _json(out / "slices.json")["patients"]
        return {"patients": [_patient(own) for own in patients], "predictions": _table(out / "slices.csv")}
    found = _json(out / "metrics.json")
    overall = found["overall"]
    return {
        "scores": _scores(overall),
        "confusion": overall["confusion"],
        "pairwise": None if found["pairwise"] is None else _scores(found["pairwise"]),
        "referral": found["referral"]["overall"]["counts"],
        "levels": {
            name: None if own is None else _scores(own) for name, own in found.get("levels", {}).items()
        },
        "predictions": _table(out / "predictions.csv"),
        "classifiers": _table(out / "classifiers.csv"),
        "slices": _table(out / "slices.csv"),
    }


def audited(model: str, data: Path, split: str, out: Path) -> Answer:
    """The figures of ``audit``."""
    command("audit", model, "--data", data, "--split", split, "--bootstrap", BOOTSTRAP, "-o", out)
    return {
        own["code"]: {
            "auroc": _value(own["auroc"]),
            "accuracy": _value(own["accuracy"]),
            "same_answer": own["same_answer"],
            "referred": own["referred"],
            "verdict": own["verdict"],
        }
        for own in _json(out / "audit.json")["parts"]["erasure"]["results"]
    }


def calibrated(model: str, data: Path, split: str, out: Path) -> Answer:
    """What ``models calibrate`` makes of a bundle's temperature and thresholds."""
    command("models", "calibrate", model, "--data", data, "--split", split, "-o", out)
    found = _json(out / "bundle.json")
    thresholds = found["thresholds"]
    return {
        "temperature": found["calibration"]["temperature"],
        "confidence": thresholds["confidence"],
        "by_class": thresholds["by_class"],
        "distance": thresholds["distance"],
    }


@cache
def opened(model: str) -> Any:
    """A bundle, by name or folder, ready to answer; several answers take it."""
    from pulmoscope.pipeline.api import open_model

    return open_model(model)


def checked(model: str) -> Answer:
    """What ``models check`` says of a bundle: nothing but that it is whole, or an error."""
    return {"exit_code": command("models", "check", model)}


def lungs_and_view(path: Path, model: str) -> Answer:
    """What the lung finder and the view network make of a picture."""
    pixels = pulmoscope.diagnose(path, opened(model), explain=False).scan.pixels[0]
    seen = opened(model).prepare(pixels)
    view = None if seen.view is None else {"name": seen.view.name, "distance": float(seen.view.distance)}
    return {"lungs": _summary(seen.lungs), "view": view}


def _of(owner: Any, *names: str, default: Any = _ABSENT) -> Any:
    """The first of these attributes that there is."""
    for name in names:
        if hasattr(owner, name):
            return getattr(owner, name)
    if default is _ABSENT:
        raise AttributeError(f"{type(owner).__name__} has none of {', '.join(names)}")
    return default


def _plain(shares: Mapping[str, float] | None) -> dict[str, float] | None:
    return None if shares is None else {name: float(share) for name, share in shares.items()}


def _number(value: float | None) -> float | None:
    return None if value is None or np.isnan(value) else float(value)


def _heat(own: Any) -> Answer:
    return {"kind": own.kind, "target": own.target, "index": own.index, "stage": own.stage} | _summary(
        own.heat
    )


def _summary(image: Any) -> Answer:
    """Shape, mean, maximum and means of blocks of an image."""
    rows = [band for band in np.array_split(image.astype(np.float64), BLOCKS, axis=0) if len(band)]
    blocks = [
        [float(own.mean()) for own in np.array_split(band, BLOCKS, axis=1) if own.size] for band in rows
    ]
    return {
        "shape": list(image.shape),
        "mean": float(image.mean(dtype=np.float64)),
        "max": float(image.max()),
        "blocks": blocks,
    }


def _slices(slices: Sequence[Any]) -> Answer:
    """A list for each thing that is known of a slice, from the feet to the head."""
    named = {
        "z_mm": ("z_mm",),
        "lung": ("lung_fraction", "lung_share"),
        "dense": ("dense_fraction", "dense_share"),
        "lesion": ("lesion_fraction", "lesion_share"),
        "missing": ("missing_fraction", "missing_share"),
        "anomaly": ("anomaly_score",),
    }
    return {
        "index": [own.index for own in slices],
        "probabilities": _rows(own.probabilities for own in slices),
        "network": _rows(own.network for own in slices),
    } | {name: [_number(_of(own, *names)) for own in slices] for name, names in named.items()}


def _rows(shares: Iterable[Mapping[str, float] | None]) -> list[list[float] | None]:
    return [None if own is None else [float(share) for share in own.values()] for own in shares]


def _xray_severity(found: Any) -> Answer:
    return {
        "scores": [[own.value, own.low, own.high] for own in (found.extent, found.opacity, found.brixia)],
        "zones": {
            name: [own.score.value, own.top, own.left, own.height, own.width]
            for name, own in sorted(found.zones.items())
        },
        "map": [float(found.cells.mean()), float(found.cells.max())],
    }


def _severity(found: Any) -> Answer | None:
    if found is None:
        return None
    return {
        "percent_affected": found.percent_affected,
        "right": found.right,
        "left": found.left,
        "grade": found.grade,
        "score": found.score,
        "regions": {
            name: [own.volume_ml, own.affected, own.score] for name, own in sorted(found.regions.items())
        },
        "volumes_ml": dict(sorted(found.volumes_ml.items())),
        "bands": {name: list(own.values()) for name, own in sorted(found.bands.items())},
        "slices": [_number(own) for own in _of(found, "slice_fractions", "slice_shares")],
    }


def _masks(found: Any) -> Answer | None:
    """How many voxels have each label."""
    if found is None:
        return None
    return {name: np.bincount(getattr(found, name).ravel()).tolist() for name in ("lungs", "lesions")}


def _imputed(found: Any) -> Answer | None:
    if found is None:
        return None
    return {
        "fraction": float(_of(found, "fraction", "share")),
        "slices": found.slices,
        "imputer": found.imputer,
        "voxels": int(found.mask.sum()),
    }


def _json(path: Path) -> Any:
    return json.loads(path.read_text(encoding="utf-8"))


def _value(estimate: Mapping[str, Any]) -> float | None:
    value: float | None = estimate["value"]
    return value


def _scores(metrics: Mapping[str, Any]) -> dict[str, float | None]:
    return {name: _value(own) for name, own in sorted(metrics["scores"].items())}


def _patient(own: Mapping[str, Any]) -> Answer:
    plain = ("label", "predicted", "probabilities", "decision", "slices", "judged", "infected")
    return {name: own[name] for name in plain} | {
        name: _value(own[name]) for name in ("auroc", "network_auroc", "dense_auroc")
    }


_TEXTS = {"file", "patient", "source", "hospital"}


def _table(path: Path) -> list[list[Any]] | None:
    """A table's rows without names of files, patients and sources; None where there is none."""
    if not path.is_file():
        return None
    with path.open(encoding="utf-8", newline="") as stream:
        return [
            [_read(value) for name, value in row.items() if name not in _TEXTS]
            for row in csv.DictReader(stream)
        ]


def _read(text: str) -> float | str | None:
    try:
        return float(text) if text else None
    except ValueError:
        return text
