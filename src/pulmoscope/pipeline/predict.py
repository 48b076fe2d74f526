"""A model's answers for a whole table of images: read ahead in threads, in constant memory, in the table's order."""

from __future__ import annotations

import csv
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import partial
from itertools import islice
from pathlib import Path

import numpy as np

from pulmoscope.core.errors import DatasetError, InputError
from pulmoscope.core.files import csv_text, write_text
from pulmoscope.core.threads import ahead, cores
from pulmoscope.core.types import FloatArray, Prediction, Quality
from pulmoscope.datasets.hospitals import hospital_of
from pulmoscope.datasets.table import Sample, SampleTable
from pulmoscope.evaluation.metrics import Predictions
from pulmoscope.inference.image import SeenImage, infer_images, look_at_image
from pulmoscope.io import read_xray
from pulmoscope.preprocess.ct_slice import SlicePreprocess
from pulmoscope.runtime.model import Model, Outputs
from pulmoscope.segment.slice_lungs import slice_lungs

BATCH = 16
_AHEAD = 4 * BATCH
"""Images that are read before they are needed: what bounds the memory."""

Transform = Callable[[FloatArray], FloatArray]
Progress = Callable[[int, int], None]
"""Called with (images done, images in all)."""


@dataclass(frozen=True)
class Failure:
    """A file without a prediction, as the table names it, and the reason in one line."""

    file: str
    reason: str


def predict_table(
    model: Model,
    table: SampleTable,
    transform: Transform | None = None,
    progress: Progress | None = None,
    *,
    framed: bool = False,
    with_features: bool = False,
) -> tuple[Predictions, tuple[Failure, ...]]:
    """Predict every image of a table; every row carries the name of the file that it was read from.

    Args:
        transform: done to the raw image, float32 (rows, columns) in [0, 1], before all preprocessing.
        progress: called after every batch.
        framed: look for the lungs before ``transform``, not after it.
        with_features: keep each image's features, averaged over space.

    Returns:
        The predictions of the readable images in the table's order, and the others with their reasons.

    Raises:
        DatasetError: no image could be read.
    """
    predictions, failures = predict_part(
        model, table, transform, progress, framed=framed, with_features=with_features
    )
    return of_table(table, predictions, failures)


def of_table(
    table: SampleTable, predictions: Predictions | None, failures: Sequence[Failure]
) -> tuple[Predictions, tuple[Failure, ...]]:
    """The answers for a table.

    Raises:
        DatasetError: there is none.
    """
    if predictions is None:
        reason = f"; the first, {failures[0].file}: {failures[0].reason}" if failures else ""
        raise DatasetError(f"{table.root}: no image could be read (of {len(table)}){reason}")
    return predictions, tuple(failures)


def predict_part(
    model: Model,
    table: SampleTable,
    transform: Transform | None = None,
    progress: Progress | None = None,
    *,
    framed: bool = False,
    with_features: bool = False,
) -> tuple[Predictions | None, tuple[Failure, ...]]:
    """The same for a part of a table, of which none may be readable: then there are no predictions.

    Parts of a multiple of :data:`BATCH` images, put together, are the whole to the last bit.
    """
    failures: list[Failure] = []
    kept = _Kept([], [], [], [], [])
    done = 0
    with ThreadPoolExecutor(cores()) as threads:
        stream = ahead(threads, partial(_prepared, model, table, transform, framed), table, _AHEAD)
        while batch := list(islice(stream, BATCH)):
            failures += [
                Failure(sample.file, outcome.reason)
                for sample, outcome in batch
                if isinstance(outcome, InputError)
            ]
            ready = [(sample, outcome) for sample, outcome in batch if not isinstance(outcome, InputError)]
            if ready:
                outputs, answers = infer_images([seen for _, seen in ready], model)
                kept.add([sample for sample, _ in ready], outputs, answers, with_features)
            done += len(batch)
            if progress is not None:
                progress(done, len(table))
    return kept.predictions(model.bundle.classes) if kept.samples else None, tuple(failures)


@dataclass(frozen=True)
class _Kept:
    """What is kept of every batch."""

    samples: list[Sample]
    probabilities: list[FloatArray]
    logits: list[FloatArray]
    decisions: list[str]
    features: list[FloatArray]

    def add(
        self,
        samples: Sequence[Sample],
        outputs: Outputs,
        answers: Sequence[tuple[Quality, Prediction]],
        with_features: bool,
    ) -> None:
        self.samples.extend(samples)
        self.probabilities.append(outputs.probabilities)
        self.logits.append(outputs.logits)
        self.decisions.extend(prediction.decision.value for _, prediction in answers)
        if with_features:
            self.features.append(outputs.features.mean(axis=(2, 3)))

    def predictions(self, classes: tuple[str, ...]) -> Predictions:
        return Predictions(
            files=tuple(sample.file for sample in self.samples),
            labels=tuple(sample.label for sample in self.samples),
            patients=tuple(sample.patient for sample in self.samples),
            sources=tuple(sample.source for sample in self.samples),
            classes=classes,
            probabilities=np.concatenate(self.probabilities).astype(np.float64),
            logits=np.concatenate(self.logits).astype(np.float64),
            decisions=tuple(self.decisions),
            hospitals=tuple(map(hospital_of, self.samples)),
            features=np.concatenate(self.features) if self.features else None,
        )


def write_predictions(path: Path, predictions: Predictions) -> None:
    """Write ``file,patient,source,label,predicted,p_<class>…,decision``; files as the table names them.

    Where the images' hospitals are known, ``hospital`` follows.

    Probabilities have all digits that a float32 has, so that every figure can be computed again from the file.
    """
    names = [f"p_{name}" for name in predictions.classes]
    header = ["file", "patient", "source", "label", "predicted", *names, "decision"]
    header += ["hospital"] * bool(predictions.hospitals)
    hospitals = predictions.hospitals or ("",) * len(predictions)
    columns = (
        predictions.files,
        predictions.patients,
        predictions.sources,
        predictions.labels,
        predictions.predicted,
    )
    probabilities = predictions.probabilities.astype(np.float32)
    rows = (
        [
            *texts,
            *(str(probability) for probability in row),
            decision,
            *([hospital] if predictions.hospitals else []),
        ]
        for *texts, row, decision, hospital in zip(
            *columns, probabilities, predictions.decisions, hospitals, strict=True
        )
    )
    write_text(path, csv_text(header, rows))


def read_predictions(path: Path) -> Predictions:
    """Read what :func:`write_predictions` wrote; probabilities have the digits of a float32.

    Raises:
        DatasetError: the file can't be read, or is none of those.
    """
    try:
        with path.open(encoding="utf-8", newline="") as stream:
            header, *lines = csv.reader(stream)
        rows = [dict(zip(header, line, strict=True)) for line in lines]
        classes = tuple(name.removeprefix("p_") for name in header[5:] if name.startswith("p_"))
        probabilities = np.array(
            [[float(row[f"p_{name}"]) for name in classes] for row in rows], dtype=np.float64
        )

        def column(name: str) -> tuple[str, ...]:
            return tuple(row[name] for row in rows)

        return Predictions(
            files=column("file"),
            labels=column("label"),
            patients=column("patient"),
            sources=column("source"),
            classes=classes,
            probabilities=probabilities.reshape(len(rows), len(classes)),
            decisions=column("decision"),
            hospitals=column("hospital") if "hospital" in header else (),
        )
    except (OSError, ValueError, KeyError) as error:
        raise DatasetError(f"{path}: is no predictions.csv that can be read ({error})") from error


def _prepared(
    model: Model, table: SampleTable, transform: Transform | None, framed: bool, sample: Sample
) -> tuple[Sample, SeenImage | InputError]:
    """A sample as the network sees it; or why it can't be read."""
    try:
        scan = read_xray(table.path(sample))
    except InputError as error:
        return sample, error
    lungs = _lungs(model, scan.pixels[0]) if framed else None
    if transform is not None:
        scan = replace(scan, pixels=transform(scan.pixels[0])[None])
    return sample, look_at_image(scan, model, lungs)


def _lungs(model: Model, pixels: FloatArray) -> FloatArray | None:
    """Where a model finds the lungs of an image: by its finder, or a CT slice's by grey; None: it looks for none."""
    if not isinstance(model.bundle.preprocess, SlicePreprocess):
        return model.lung_map(pixels)
    lungs = slice_lungs(pixels)
    return None if lungs is None else lungs.astype(np.float32)
