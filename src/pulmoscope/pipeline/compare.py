"""Two models asked about the same images: what they differ by, and what can be concluded from it."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from pulmoscope.core.errors import DatasetError
from pulmoscope.core.files import NOTICE, claim_folder, write_json, write_text
from pulmoscope.core.software import versions
from pulmoscope.core.types import Modality
from pulmoscope.datasets.hospitals import UNIDENTIFIED
from pulmoscope.datasets.studies import holds_studies
from pulmoscope.datasets.table import SampleTable
from pulmoscope.evaluation import plots
from pulmoscope.evaluation.bootstrap import INTERVAL
from pulmoscope.evaluation.compare import COMPARED, Comparison, common_classes, in_common
from pulmoscope.evaluation.compare import compare as measure
from pulmoscope.evaluation.metrics import PAIR, Predictions, pairwise
from pulmoscope.pipeline.api import evaluate
from pulmoscope.pipeline.predict import Progress, read_predictions
from pulmoscope.report.compare import compare_page, conclusion, names_of
from pulmoscope.runtime.model import Model

SCHEMA_VERSION = "1.1"
RESULT = "compare.json"
PAGE = "compare.html"
FIRST, SECOND = "first", "second"
"""Folders of the two evaluations, within the folder of a comparison that made them."""


def compare_models(
    models: tuple[Model, Model],
    tables: tuple[SampleTable, SampleTable],
    out: Path,
    *,
    split: str = "",
    bootstrap: int = 1000,
    seed: int = 20,
    command: str = "",
    force: bool = False,
    progress: Progress | None = None,
) -> dict[str, Any]:
    """Evaluate two models on one data set, into ``out/first`` and ``out/second``, and compare the evaluations.

    Args:
        tables: the same files in the same order, with the labels in the words of each model.
        split: what the tables are called in the results.
        progress: called with (images done, images in all) of both evaluations together.

    Returns:
        The content of ``compare.json``, as of :func:`compare`.

    Raises:
        OutputExistsError: ``out`` holds results, and ``force`` is not given.
        DatasetError: one model reads images and the other studies, or they read other modalities; no label means the
            same class to both; nothing could be read.
    """
    _check_alike(models, tables)
    claim_folder(out, RESULT, force)
    total = sum(map(len, tables))
    for name, model, table, before in zip((FIRST, SECOND), models, tables, (0, len(tables[0])), strict=True):

        def moved(done: int, _: int, before: int = before) -> None:
            if progress is not None:
                progress(before + done, total)

        evaluate(
            model,
            table,
            out / name,
            split=split,
            bootstrap=bootstrap,
            seed=seed,
            command=command,
            force=force,
            progress=moved,
        )
    pair = _Evaluation.read(out / FIRST), _Evaluation.read(out / SECOND)
    return _compared(pair, out, bootstrap, seed, command, force, same_table=True)


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
    """Compare two evaluations of the same images and write ``compare.html`` and, last, ``compare.json``.

    Models of the same classes are compared over all of them, others over the pair COVID against Normal alone.

    Args:
        first: a folder that ``evaluate`` has written.
        second: another.
        out: folder for the result.
        bootstrap: resamples for the intervals.
        seed: theirs.
        command: how to do it again, for the results.

    Returns:
        The content of ``compare.json``.

    Raises:
        OutputExistsError: ``out`` holds a comparison, and ``force`` is not given.
        DatasetError: a folder holds no evaluation, the two are not of the same images, or the models have nothing in
            common.
    """
    pair = _Evaluation.read(first), _Evaluation.read(second)
    return _compared(pair, out, bootstrap, seed, command, force, same_table=False)


def _check_alike(models: tuple[Model, Model], tables: tuple[SampleTable, SampleTable]) -> None:
    """What would only be found out after both evaluations (errors: as of :func:`compare_models`)."""
    one, other = (model.bundle for model in models)
    both = f"{one.folder}, {other.folder}"
    if one.modality != other.modality:
        raise DatasetError(f"{both}: only models of one modality can be compared")
    studies = holds_studies(tables[0])
    if (one.patient is None) != (other.patient is None) or (
        studies and one.modality == Modality.CT and one.patient is None
    ):
        raise DatasetError(
            f"{both}: only models that answer for the same can be compared, both for single images or both for studies"
        )
    try:
        classes = common_classes(one.classes, other.classes)
    except ValueError as error:
        raise DatasetError(f"{both}: can't be compared ({error})") from error
    if not any(
        mine.label == theirs.label and mine.label in classes for mine, theirs in zip(*tables, strict=True)
    ):
        found = " and ".join(", ".join(table.classes) or "no labels" for table in tables)
        raise DatasetError(
            f"{tables[0].root}: no label means the same class to both models (found, in the words of each: {found}); "
            "--labels says what the labels mean"
        )


def _compared(
    pair: tuple[_Evaluation, _Evaluation],
    out: Path,
    bootstrap: int,
    seed: int,
    command: str,
    force: bool,
    *,
    same_table: bool,
) -> dict[str, Any]:
    """Compare two evaluations, see :func:`compare`; ``same_table``: they are known to be of the same files."""
    one, other = pair
    first, second, other_words = _matched(one, other, same_table=same_table)
    try:
        answers = in_common(first, second)
        comparison = measure(*answers, bootstrap, seed)
    except ValueError as error:
        raise DatasetError(f"{one.folder}, {other.folder}: can't be compared ({error})") from error
    claim_folder(out, RESULT, force)
    result: dict[str, Any] = {
        "schema_version": SCHEMA_VERSION,
        "first": one.facts(),
        "second": other.facts(),
        "data": {
            "images": comparison.images,
            "units": comparison.units,
            "several": comparison.several,
            "labels": dict(sorted(Counter(first.labels).items())),
            "sha256": one.metrics["data"]["sha256"],
        },
        "compared": {
            "classes": list(answers[0].classes),
            "only_first": [name for name in first.classes if name not in second.classes],
            "only_second": [name for name in second.classes if name not in first.classes],
            "labels_differ": other_words,
        },
        **_figures(comparison, answers[0].classes),
        "pair": _pair(answers, comparison, bootstrap, seed),
        "method": {
            "bootstrap": bootstrap,
            "seed": seed,
            "interval": f"{INTERVAL}; of paired differences, both models asked about the same patients",
            "mcnemar": "exact, two-sided; a patient with several images counts once",
            "delong": "of two correlated AUROCs (DeLong 1988), two-sided; every image counts as independent",
        },
        "command": command,
        "software": versions("numpy"),
        "notice": NOTICE,
    }
    result["conclusion"] = conclusion(result)
    write_text(out / PAGE, compare_page(result, plots.roc_curves(_curves(answers, names_of(result)))))
    write_json(out / RESULT, result)
    return result


def _figures(comparison: Comparison, classes: Sequence[str]) -> dict[str, Any]:
    """What ``compare.json`` says of both models' figures, and of the answers that only one has right."""
    of_class: dict[str, dict[str, Any]] = {
        label: {
            name: difference.plain() for (of, name), difference in comparison.figures.items() if of == label
        }
        for label in classes
    }
    for label, test in comparison.delong.items():
        of_class[label]["delong"] = None if test is None else test.plain()
    return {
        "figures": {name: comparison.figures["", name].plain() for name in COMPARED},
        "by_class": of_class,
        "mcnemar": asdict(comparison.mcnemar),
    }


def _pair(
    answers: tuple[Predictions, Predictions], comparison: Comparison, bootstrap: int, seed: int
) -> dict[str, Any] | None:
    """AUROC of COVID against Normal alone; None where models or images lack one of them."""
    positive, negative = PAIR
    if not set(PAIR) <= set(answers[0].classes) or not set(PAIR) <= set(answers[0].labels):
        return None
    if len(answers[0].classes) > len(PAIR):
        one, other = (pairwise(predictions, *PAIR) for predictions in answers)
        comparison = measure(one, other, bootstrap, seed)
    test = comparison.delong[positive]
    return {
        "positive": positive,
        "negative": negative,
        "images": comparison.images,
        "units": comparison.units,
        "several": comparison.several,
        "auroc": comparison.figures[positive, "auroc"].plain(),
        "delong": None if test is None else test.plain(),
    }


def _curves(answers: tuple[Predictions, Predictions], names: Mapping[str, str]) -> list[plots.Curve]:
    """What the picture shows of both models: the pair where there is one, else each class against the rest."""
    classes = set(answers[0].classes) & set(answers[0].labels)
    if set(PAIR) <= classes:
        answers = pairwise(answers[0], *PAIR), pairwise(answers[1], *PAIR)
        classes = {PAIR[0]}
    return [
        plots.Curve(
            f"{name}, {label}" if len(classes) > 1 else name,
            np.array([truth == label for truth in predictions.labels]),
            predictions.probabilities[:, predictions.classes.index(label)],
        )
        for label in sorted(classes)
        for name, predictions in zip(names.values(), answers, strict=True)
    ]


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
            raise DatasetError(
                f"{folder}: holds no evaluation ({file.name}: {error}); to evaluate two models first, give --data"
            ) from error
        return cls(folder, metrics, read_predictions(folder / "predictions.csv"))

    def facts(self) -> dict[str, Any]:
        """Which model, and what it has seen: of the images by calibration, and of their hospitals by training."""
        identity = {name: self.metrics["model"][name] for name in ("name", "version", "sha256")}
        hospitals = (self.metrics.get("hospitals") or {}).get("rows", [])
        return {
            **identity,
            "used_for_calibration": self.metrics["data"].get("used_for_calibration", 0),
            "learnt_from": {
                row["hospital"]: None if row["hospital"] == UNIDENTIFIED else row["learnt"]
                for row in hospitals
            },
        }


def _matched(
    one: _Evaluation, other: _Evaluation, *, same_table: bool
) -> tuple[Predictions, Predictions, list[dict[str, Any]]]:
    """Both evaluations' predictions of the same images, with the files in the order of the first.

    Where the two are known to be of the same table, images whose label means another class to the second model are
    left out, and counted by both labels.

    Raises:
        DatasetError: they are not of the same images with the same labels.
    """
    both = f"{one.folder}, {other.folder}"
    first, second = one.predictions, other.predictions
    rows = {file: number for number, file in enumerate(second.files)}
    alone = len(set(first.files) - rows.keys()), len(rows.keys() - set(first.files))
    if any(alone):
        raise DatasetError(
            f"{both}: only evaluations of the same files can be compared "
            f"(found: {alone[0]} only in the first, {alone[1]} only in the second)"
        )
    second = _reordered(second, [rows[file] for file in first.files])
    for name in ("patients",) if same_table else ("labels", "patients"):
        pairs = zip(getattr(first, name), getattr(second, name), strict=True)
        differing = sum(mine != theirs for mine, theirs in pairs)
        if differing:
            raise DatasetError(
                f"{both}: only evaluations with the same {name} can be compared (found: {differing} files differ)"
            )
    if not same_table and one.metrics["data"]["sha256"] != other.metrics["data"]["sha256"]:
        raise DatasetError(f"{both}: the files have the same names, but not the same content or splits")
    labels = list(zip(first.labels, second.labels, strict=True))
    counts = Counter(pair for pair in labels if pair[0] != pair[1])
    other_words = [
        {FIRST: mine, SECOND: theirs, "images": counts[mine, theirs]} for mine, theirs in sorted(counts)
    ]
    alike = [mine == theirs for mine, theirs in labels]
    return first.select(alike), second.select(alike), other_words


def _reordered(predictions: Predictions, rows: Sequence[int]) -> Predictions:
    """The rows of predictions in another order."""
    return Predictions(
        files=tuple(predictions.files[row] for row in rows),
        labels=tuple(predictions.labels[row] for row in rows),
        patients=tuple(predictions.patients[row] for row in rows),
        sources=tuple(predictions.sources[row] for row in rows),
        classes=predictions.classes,
        probabilities=predictions.probabilities[rows],
    )
