"""What a model says of whole CT studies as they are, and changed: each is read once, whatever is done to it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from functools import partial

import numpy as np

from pulmoscope.core.errors import DatasetError, InputError, UnsuitableError
from pulmoscope.core.threads import ahead
from pulmoscope.core.types import FloatArray
from pulmoscope.datasets.ct_studies import read_labelled
from pulmoscope.datasets.hospitals import hospital_of
from pulmoscope.datasets.table import Sample, SampleTable
from pulmoscope.evaluation.embedding import side_by_side
from pulmoscope.evaluation.metrics import Predictions
from pulmoscope.inference.ct import infer
from pulmoscope.inference.look import SeenCt, look_at
from pulmoscope.pipeline.predict import Failure
from pulmoscope.runtime.model import Model

_AHEAD = 1
"""Studies read and not yet predicted."""

Change = Callable[[SeenCt], SeenCt | None]
"""From a CT to what the model is shown instead; None: it can't be done to this one."""


def as_it_is(seen: SeenCt) -> SeenCt:
    """No change."""
    return seen


def with_lungs(apply: Callable[..., FloatArray]) -> Change:
    """A change that needs the lungs, which the model is then told, as they can't be found any more."""

    def change(seen: SeenCt) -> SeenCt | None:
        if seen.lungs is None:
            return None
        return seen.changed(partial(apply, lungs=seen.lungs.labels > 0))

    return change


def of_scan(apply: Callable[..., FloatArray]) -> Change:
    """A change of HU, after which the lungs are looked for again; ``apply`` is told the spacing, too."""

    def change(seen: SeenCt) -> SeenCt | None:
        if seen.lungs is None:
            return None
        hu = np.asarray(seen.raw.pixels, dtype=np.float32)
        return look_at(replace(seen.raw, pixels=apply(hu, seen.raw.spacing_mm)))

    return change


def predict_changed(
    model: Model, table: SampleTable, changes: Mapping[str, Change]
) -> tuple[dict[str, Predictions], tuple[Failure, ...]]:
    """Ask about every study of a table as a diagnosis does, under every change.

    Args:
        changes: code → what is done to the CT, :func:`as_it_is` among them or not.

    Returns:
        Code → the answers, with the patients' vectors as features where the model has some, in the table's order,
        without the studies that a changed CT of is refused; and the studies that could not be read at all. Changes
        under which no study is answered are missing.

    Raises:
        DatasetError: no study could be read.
    """
    kept = {code: _Kept() for code in changes}
    failures: list[Failure] = []
    with ThreadPoolExecutor(1) as aside:
        for sample, seen in ahead(aside, partial(_read, table), table, _AHEAD):
            if isinstance(seen, InputError):
                failures.append(Failure(sample.file, seen.reason))
                continue
            for code, change in changes.items():
                try:
                    kept[code].ask(sample, change(seen), model)
                except UnsuitableError as error:
                    if change is as_it_is:
                        failures.append(Failure(sample.file, error.reason))
    if len(failures) == len(table):
        raise DatasetError(
            f"{table.root}: no study could be read (of {len(table)}); the first, {failures[0].file}: "
            f"{failures[0].reason}"
        )
    classes = model.bundle.classes
    return {code: one.predictions(classes) for code, one in kept.items() if one.samples}, tuple(failures)


@dataclass(frozen=True)
class _Kept:
    """What is kept of every study."""

    samples: list[Sample] = field(default_factory=list)
    probabilities: list[list[float]] = field(default_factory=list)
    decisions: list[str] = field(default_factory=list)
    vectors: list[FloatArray] = field(default_factory=list)

    def ask(self, sample: Sample, seen: SeenCt | None, model: Model) -> None:
        """Errors: UnsuitableError, where the model refuses it."""
        if seen is None:
            return
        result = infer(seen, model, measure=False)
        self.samples.append(sample)
        self.probabilities.append([result.answer.patient[name] for name in model.bundle.classes])
        self.decisions.append(result.prediction.decision.value)
        if result.answer.vectors:
            self.vectors.append(side_by_side(list(result.answer.vectors.values())))

    def predictions(self, classes: tuple[str, ...]) -> Predictions:
        return Predictions(
            files=tuple(sample.file for sample in self.samples),
            labels=tuple(sample.label for sample in self.samples),
            patients=tuple(sample.patient for sample in self.samples),
            sources=tuple(sample.source for sample in self.samples),
            classes=classes,
            probabilities=np.array(self.probabilities, dtype=np.float64),
            decisions=tuple(self.decisions),
            hospitals=tuple(map(hospital_of, self.samples)),
            features=np.stack(self.vectors) if self.vectors else None,
        )


def _read(table: SampleTable, sample: Sample) -> tuple[Sample, SeenCt | InputError]:
    """A study, or why it can't be read."""
    try:
        return sample, look_at(read_labelled(table.path(sample), sample.infected))
    except InputError as error:
        return sample, error
