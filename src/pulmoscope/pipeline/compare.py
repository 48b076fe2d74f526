"""Two evaluations of the same images: what the models differ by, and what can be concluded from it."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from pulmoscope.core.errors import DatasetError
from pulmoscope.core.files import NOTICE, claim_folder, write_json
from pulmoscope.core.software import versions
from pulmoscope.evaluation.bootstrap import INTERVAL
from pulmoscope.evaluation.compare import COMPARED, Comparison
from pulmoscope.evaluation.compare import compare as measure
from pulmoscope.evaluation.metrics import Predictions
from pulmoscope.pipeline.predict import read_predictions

SCHEMA_VERSION = "1.0"
RESULT = "compare.json"
TITLES = {
    "macro_auroc": "AUROC",
    "accuracy": "accuracy",
    "balanced_accuracy": "balanced accuracy",
    "mcc": "MCC",
}
"""What the compared figures are called in a sentence."""


def compare(
    first: Path,
    second: Path,
    out: Path,
    *,
    bootstrap: int = 1000,
    seed: int = 20,
    command: str = "",
    force: bool = False,
) -> dict[str, Any]:
    """Compare two evaluations of the same images and write ``compare.json``.

    Args:
        first, second: folders that ``evaluate`` has written.
        out: folder for the result.
        bootstrap, seed: resamples for the intervals, and their seed.
        command: how to do it again, for the results.

    Returns:
        The content of ``compare.json``.

    Raises:
        OutputExistsError: ``out`` holds a comparison, and ``force`` is not given.
        DatasetError: a folder holds no evaluation, or the two are not of the same images.
    """
    one, other = _Evaluation.read(first), _Evaluation.read(second)
    pair = _matched(one, other)
    try:
        comparison = measure(*pair, bootstrap, seed)
    except ValueError as error:
        raise DatasetError(f"{first}, {second}: can't be compared ({error})") from error
    claim_folder(out, RESULT, force)
    result = {
        "schema_version": SCHEMA_VERSION,
        "first": one.facts(),
        "second": other.facts(),
        "data": {
            "images": comparison.images,
            "units": comparison.units,
            "labels": dict(sorted(Counter(pair[0].labels).items())),
            "sha256": one.metrics["data"]["sha256"],
        },
        **_figures(comparison, pair[0].classes),
        "conclusion": conclusion(comparison, one.name, other.name),
        "method": {
            "bootstrap": bootstrap,
            "seed": seed,
            "interval": f"{INTERVAL}; of paired differences, both models asked about the same patients",
            "mcnemar": "exact, two-sided; a patient with several images counts once",
        },
        "command": command,
        "software": versions("numpy"),
        "notice": NOTICE,
    }
    write_json(out / RESULT, result)
    return result


def _figures(comparison: Comparison, classes: Sequence[str]) -> dict[str, Any]:
    """What ``compare.json`` says of both models' figures, and of the answers that only one has right."""
    of_class = {
        label: {
            name: difference.plain() for (of, name), difference in comparison.figures.items() if of == label
        }
        for label in classes
    }
    return {
        "figures": {name: comparison.figures["", name].plain() for name in COMPARED},
        "by_class": of_class,
        "mcnemar": asdict(comparison.mcnemar),
    }


@dataclass(frozen=True)
class _Evaluation:
    """A folder that ``evaluate`` has written."""

    folder: Path
    metrics: Mapping[str, Any]
    predictions: Predictions

    @classmethod
    def read(cls, folder: Path) -> _Evaluation:
        """Read one.

        Raises:
            DatasetError: it is none.
        """
        file = folder / "metrics.json"
        try:
            metrics = json.loads(file.read_text(encoding="utf-8"))
            if (
                not {"name", "version", "sha256"} <= metrics["model"].keys()
                or "sha256" not in metrics["data"]
            ):
                raise ValueError("the model or the data are not named")
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            raise DatasetError(f"{folder}: holds no evaluation ({file.name}: {error})") from error
        return cls(folder, metrics, read_predictions(folder / "predictions.csv"))

    @property
    def name(self) -> str:
        """Of the model, with its version."""
        return f"{self.metrics['model']['name']} {self.metrics['model']['version']}"

    def facts(self) -> dict[str, Any]:
        """Which model, and how many of the images calibration has shown it."""
        identity = {name: self.metrics["model"][name] for name in ("name", "version", "sha256")}
        return {**identity, "used_for_calibration": self.metrics["data"].get("used_for_calibration", 0)}


def _matched(one: _Evaluation, other: _Evaluation) -> tuple[Predictions, Predictions]:
    """Both evaluations' predictions, with the files in the order of the first.

    Raises:
        DatasetError: they are not of the same images with the same labels.
    """
    both = f"{one.folder}, {other.folder}"
    first, second = one.predictions, other.predictions
    if set(first.classes) != set(second.classes):
        classes = " against ".join(", ".join(sorted(predictions.classes)) for predictions in (first, second))
        raise DatasetError(f"{both}: only models of the same classes can be compared (found: {classes})")
    rows = {file: number for number, file in enumerate(second.files)}
    alone = len(set(first.files) - rows.keys()), len(rows.keys() - set(first.files))
    if any(alone):
        raise DatasetError(
            f"{both}: only evaluations of the same files can be compared "
            f"(found: {alone[0]} only in the first, {alone[1]} only in the second)"
        )
    second = _reordered(second, [rows[file] for file in first.files], first.classes)
    for name in ("labels", "patients"):
        pairs = zip(getattr(first, name), getattr(second, name), strict=True)
        differing = sum(mine != theirs for mine, theirs in pairs)
        if differing:
            raise DatasetError(
                f"{both}: only evaluations with the same {name} can be compared (found: {differing} files differ)"
            )
    if one.metrics["data"]["sha256"] != other.metrics["data"]["sha256"]:
        raise DatasetError(f"{both}: the files have the same names, but not the same content or splits")
    return first, second


def _reordered(predictions: Predictions, rows: Sequence[int], classes: Sequence[str]) -> Predictions:
    """The rows of predictions in another order, and the columns in that of ``classes``."""
    columns = [predictions.classes.index(name) for name in classes]
    return Predictions(
        files=tuple(predictions.files[row] for row in rows),
        labels=tuple(predictions.labels[row] for row in rows),
        patients=tuple(predictions.patients[row] for row in rows),
        sources=tuple(predictions.sources[row] for row in rows),
        classes=tuple(classes),
        probabilities=predictions.probabilities[rows][:, columns],
    )


def conclusion(comparison: Comparison, first: str, second: str) -> dict[str, Any]:
    """What can be concluded: ``better`` (``first``, ``second``, ``mixed`` or ``none``) and a plain sentence.

    A model is better in a figure where the 95 % interval of the difference lies on one side of 0.

    Args:
        first, second: the models' names.
    """
    sides: dict[str, list[str]] = {"first": [], "second": [], "neither": []}
    for name in COMPARED:
        gap = comparison.figures["", name].difference
        if gap.low is not None and gap.high is not None:
            sides["first" if gap.low > 0 else "second" if gap.high < 0 else "neither"].append(name)
    patients = "" if comparison.units == comparison.images else f" of {comparison.units} patients"
    where = f"on these {comparison.images} images{patients}"
    parts = [
        f"{model} is better in {_listed([TITLES[score] for score in sides[side]])}"
        for side, model in (("first", first), ("second", second))
        if sides[side]
    ]
    if not parts:
        text = (
            f"No difference between {first} and {second} can be shown {where}: no interval of a difference lies on "
            "one side of 0. That does not mean that they are equally good."
        )
        return {"better": "none", "first": [], "second": [], "sentence": text}
    others = [TITLES[name] for name in sides.pop("neither")]
    rest = f"; in {_listed(others)} chance may explain the difference" if others else ""
    better = "mixed" if len(parts) > 1 else "first" if sides["first"] else "second"
    sentence = (
        f"{where[0].upper()}{where[1:]} {' and '.join(parts)}{rest}. Other hospitals may show otherwise."
    )
    return {"better": better, **sides, "sentence": sentence}


def _listed(names: Sequence[str]) -> str:
    """``a``, ``a and b``, ``a, b and c``."""
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"
