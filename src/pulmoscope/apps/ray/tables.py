"""Tables of images on many machines: each part on some node, put together in the table's order."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import lru_cache, partial
from pathlib import Path
from typing import Any, TypeVar, cast

import numpy as np

from pulmoscope.apps.ray.cluster import connect
from pulmoscope.apps.ray.pool import Pool
from pulmoscope.core.errors import InputError, PulmoscopeError, UnreadableError
from pulmoscope.datasets.check.check import Measure
from pulmoscope.datasets.check.measure import Measured, Progress, measure_all
from pulmoscope.datasets.studies import holds_studies
from pulmoscope.datasets.table import Sample, SampleTable
from pulmoscope.evaluation.metrics import Predictions
from pulmoscope.pipeline.evaluate import Predict
from pulmoscope.pipeline.predict import BATCH, Failure, of_table, predict_part
from pulmoscope.runtime.model import Model
from pulmoscope.runtime.network import Runtime

PART = 4 * BATCH
"""Images of a task."""

_Out = TypeVar("_Out")
_Predicted = tuple[Predictions | None, tuple[Failure, ...]]


def measured_on(
    ray: Any, table: SampleTable, progress: Progress | None = None
) -> list[Measured | InputError]:
    """What :func:`measure_all` gives, each part measured on some node.

    Args:
        ray: the module, connected.
        table: its root and files are shared by all nodes.
        progress: called with (images done, images in all).
    """

    def lost(part: SampleTable, reason: str) -> list[Measured | InputError]:
        return [UnreadableError(str(part.path(sample)), "no-answer", reason) for sample in part]

    parts = _mapped(ray, _measured, _shared(table), lost, progress)
    return [result for part in parts for result in part]


@contextmanager
def measuring(on: str) -> Iterator[Measure]:
    """What measures the images of a table on the cluster that ``on`` names.

    Raises:
        ResourceError: the cluster can't be reached.
    """
    with connect(on) as ray:
        yield partial(measured_on, ray)


@contextmanager
def predicting(
    on: str, model: Model, table: SampleTable, runtime: str, device: str
) -> Iterator[dict[str, Predict]]:
    """What ``evaluate`` is told besides: what predicts on the cluster that ``on`` names.

    Raises:
        PulmoscopeError: the table is of studies.
        ResourceError: the cluster can't be reached.
    """
    if model.bundle.patient is not None or holds_studies(table):
        raise PulmoscopeError("--on spreads tables of single images; studies are evaluated on one machine")
    with connect(on) as ray:
        yield {"predicted_by": Predictor(ray, str(model.bundle.folder), cast(Runtime, runtime), device)}


@dataclass(frozen=True)
class Predictor:
    """A model's answers from the nodes.

    Attributes:
        ray: the module, connected.
        model, runtime, device: what a node is to open; a folder is shared by all nodes.
    """

    ray: Any
    model: str
    runtime: Runtime = "auto"
    device: str = "auto"

    def __call__(
        self, table: SampleTable, progress: Progress | None = None
    ) -> tuple[Predictions, tuple[Failure, ...]]:
        """What :func:`predict_table` gives.

        Raises:
            DatasetError: no image could be read.
        """

        def lost(part: SampleTable, reason: str) -> _Predicted:
            return None, tuple(Failure(sample.file, reason) for sample in part)

        name = str(Path(self.model).absolute()) if Path(self.model).is_dir() else self.model
        work = partial(_predicted, name, self.runtime, self.device)
        answers = list(_mapped(self.ray, work, _shared(table), lost, progress))
        failures = [failure for _, failed in answers for failure in failed]
        return of_table(table, _joined([found for found, _ in answers if found is not None]), failures)


def _mapped(
    ray: Any,
    work: Callable[[SampleTable], _Out],
    table: SampleTable,
    lost: Callable[[SampleTable, str], _Out],
    progress: Progress | None,
) -> Iterator[_Out]:
    """The work on every part of a table, in its order; of a part that is given up, on every image.

    Args:
        lost: what stands for an image that is given up.
    """
    pool, done = Pool(ray), 0
    samples = list(table)
    found: dict[int, _Out] = {}
    alone: list[tuple[int, tuple[Sample, ...]]] = []
    parts = [(at, tuple(samples[at : at + PART])) for at in range(0, len(samples), PART)]
    on_part = partial(_on_part, work, table.with_samples(()))
    for one in pool.spread(on_part, parts):
        start, part = one.item
        if one.value is None:
            alone += [(start + offset, (sample,)) for offset, sample in enumerate(part)]
            continue
        found[start] = one.value
        done += len(part)
        if progress is not None:
            progress(done, len(samples))
    for one in pool.spread(on_part, alone):
        start, part = one.item
        found[start] = lost(table.with_samples(part), one.lost) if one.value is None else one.value
    yield from (found[start] for start in sorted(found))


def _on_part(
    work: Callable[[SampleTable], _Out], table: SampleTable, part: tuple[int, tuple[Sample, ...]]
) -> _Out:
    return work(table.with_samples(part[1]))


def _measured(table: SampleTable) -> list[Measured | InputError]:
    return measure_all(table)


def _predicted(name: str, runtime: Runtime, device: str, table: SampleTable) -> _Predicted:
    return predict_part(_opened(name, runtime, device), table)


@lru_cache(maxsize=1)
def _opened(name: str, runtime: Runtime, device: str) -> Model:
    """A process's model, opened once."""
    return Model.load(name, runtime, device)


def _shared(table: SampleTable) -> SampleTable:
    """The same table wherever a node's process may be."""
    return replace(table, root=table.root.absolute())


def _joined(parts: list[Predictions]) -> Predictions | None:
    """The predictions of all parts; None where there are none."""
    if not parts:
        return None

    def all_of(name: str) -> tuple[str, ...]:
        return tuple(value for part in parts for value in getattr(part, name))

    return Predictions(
        files=all_of("files"),
        labels=all_of("labels"),
        patients=all_of("patients"),
        sources=all_of("sources"),
        classes=parts[0].classes,
        probabilities=np.concatenate([part.probabilities for part in parts]),
        logits=np.concatenate([part.logits for part in parts if part.logits is not None]),
        decisions=all_of("decisions"),
        hospitals=all_of("hospitals"),
    )
