"""What a node does: it diagnoses a study, looks at a place's images, and tells copies from each other.

The model is loaded once a process, and kept for the studies to come.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from pulmoscope.apps.ray.results import FolderResults, Results
from pulmoscope.core.errors import InputError, ResourceError
from pulmoscope.core.files import sha256_of, sha256_of_all
from pulmoscope.core.types import Flag, Modality
from pulmoscope.core.version import VERSION
from pulmoscope.inference.hospitals import hospitals_of
from pulmoscope.io import Study, studies
from pulmoscope.io.stored import Member
from pulmoscope.pipeline import outputs as files
from pulmoscope.pipeline.choice import Models
from pulmoscope.pipeline.clinical.values import Values
from pulmoscope.pipeline.drift.survey import Part, Place, place_of
from pulmoscope.pipeline.names import BY_CONTENT, Naming
from pulmoscope.pipeline.objects.write import ObjectMaker, need_highdicom
from pulmoscope.pipeline.runs.run import Outcome, Reports, Run
from pulmoscope.pipeline.runs.study import Job, diagnosed
from pulmoscope.report.pdf import check_pdf
from pulmoscope.runtime.network import Runtime
from pulmoscope.runtime.process import keep_freed_memory, one_thread_in_opencv

LONG = ("slices",)
"""What of a ``diagnosis.json`` stays on the node: the driver needs none of it, and of a CT it is most."""


@dataclass(frozen=True)
class Settings:
    """What all studies of a run share.

    Attributes:
        results: where they go.
        model, runtime, device, severity: as of :class:`Models`; folders are read on the nodes.
        version: of Pulmoscope, which is the same on all nodes.
    """

    results: Results
    model: str = "auto"
    runtime: Runtime = "auto"
    device: str = "auto"
    severity: str = "auto"
    reports: Reports = "all"
    series: str = ""
    naming: Naming = BY_CONTENT
    show_date: bool = False
    values: Values | None = None
    objects: ObjectMaker | None = None
    pdf: bool = False
    version: str = VERSION

    def models(self) -> Models:
        """The run's models.

        Raises:
            BundleError, ResourceError: as of :class:`Models`.
        """
        return Models(self.model, self.runtime, self.device, self.severity)


@dataclass(frozen=True)
class Shared:
    """Settings in the cluster's store of objects, which a process fetches once.

    Attributes:
        name: tells the settings of a run from those of another.
        reference: Ray's.
    """

    name: str
    reference: Any

    def get(self) -> tuple[Settings, Run]:
        """The settings, and the run that they make with this process's models."""
        return _opened(self)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Shared) and other.name == self.name

    def __hash__(self) -> int:
        return hash(self.name)


@dataclass(frozen=True)
class Planned:
    """A study that a node is to diagnose.

    Attributes:
        number: of the study in the run, counted from 1.
        study: what it is.
        key: of its entry.
        stamp: what its results depend on: of files and settings.
        name: of its results; empty: by its content.
        copy: which of the studies with the same content it is, counted from 1.
        limits: what there is to know of the place that it is of.
    """

    number: int
    study: Study
    key: str
    stamp: str
    name: str = ""
    copy: int = 1
    limits: tuple[Flag, ...] = ()

    def name_of(self, content: str) -> str:
        """What it is called in results."""
        base = self.name or content or f"input-{self.number}"
        return base if self.copy == 1 or self.name else f"{base}-{self.copy}"


def diagnose_planned(shared: Shared, planned: Planned) -> Outcome:
    """Diagnose a study, and write its results and its entry.

    Raises:
        ResourceError: the disk is full, the results can't be written, or a store can't be reached.
    """
    settings, run = shared.get()
    with settings.results.folder() as folder, TemporaryDirectory(prefix="pulmoscope-") as scratch:
        study = at_hand(planned.study, Path(scratch))
        outcome = diagnosed(replace(run, out=folder), Job(study, planned.name_of, planned.limits))
        settings.results.publish(folder, outcome.name)
    outcome = slim(outcome, settings.results)
    settings.results.put_entry(planned.key, to_entry(outcome, planned.stamp))
    return outcome


def look_at_place(shared: Shared, part: Part) -> Place:
    """Compare the chosen images of a place with the hospitals that the model knows."""
    _, run = shared.get()
    model = run.models.expected(Modality.XRAY)
    known = None if model is None else hospitals_of(model.bundle)
    assert model is not None  # the driver has asked the same model
    assert known is not None
    return place_of(part, model, known)


def sums_of(chunk: Sequence[Study]) -> list[str]:
    """A checksum of all files of each study; empty where one can't be read."""
    return [_sum(study) for study in chunk]


def slim(outcome: Outcome, results: Results) -> Outcome:
    """What the driver needs of an outcome."""
    plain = outcome.plain and {key: value for key, value in outcome.plain.items() if key not in LONG}
    report = outcome.report and Path(outcome.name) / files.REPORT
    if report is not None and isinstance(results, FolderResults):
        report = results.out / report
    return replace(outcome, plain=plain, report=report)


def to_entry(outcome: Outcome, stamp: str) -> dict[str, Any]:
    """A study's entry: nothing in it tells the study's path."""
    error = outcome.error
    return {
        "stamp": stamp,
        "name": outcome.name,
        "plain": outcome.plain,
        "report": outcome.report is not None,
        "error": None
        if error is None
        else {"code": error.code, "finding": outcome.entry()["finding"], "rule": error.rule},
    }


def from_entry(entry: Mapping[str, Any], study: Study, results: Results) -> Outcome:
    """The outcome that an entry tells of."""
    error, name = entry["error"], entry["name"]
    refusal = error and InputError.noted(study.name, error)
    report = Path(name) / files.REPORT if entry["report"] else None
    return slim(Outcome(name, study.name, entry["plain"], report, refusal, kept=True), results)


def at_hand(study: Study, scratch: Path) -> Study:
    """A study with its files on this node: one in memory, the slices of a CT in a folder. Those of a folder stay there.

    Raises:
        ResourceError: a store can't be reached, or the folder can't be written.
    """
    if all(isinstance(entry.source, Path | Member | bytes | InputError) for entry in study.entries):
        return _with_headers(study)
    if len(study.entries) == 1 and study.kind != "series":
        return replace(study, entries=(study.entries[0].held(),))
    entries = []
    for number, entry in enumerate(study.entries):
        try:
            path = scratch / f"{number:06d}"
            path.write_bytes(entry.read_bytes())
            entries.append(replace(entry, source=path))
        except InputError as error:
            entries.append(replace(entry, source=error))
        except OSError as error:
            raise ResourceError(f"{scratch}: could not be written ({error.strerror or error})") from error
    return _with_headers(replace(study, entries=tuple(entries), headers=()))


def _with_headers(study: Study) -> Study:
    """The same with the headers of its slices, where it has slices and lacks their headers."""
    if study.kind != "series" or study.headers:
        return study
    headers = [header for again in studies(study.entries) for header in again.headers]
    return replace(study, headers=tuple(headers))


def _sum(study: Study) -> str:
    with suppress(InputError):
        return sha256_of_all([sha256_of(entry.read_bytes()) for entry in study.entries])
    return ""


@lru_cache(maxsize=2)
def _opened(shared: Shared) -> tuple[Settings, Run]:
    import ray

    settings: Settings = ray.get(shared.reference)
    if settings.version != VERSION:
        raise ResourceError(
            f"--on ray: a node has Pulmoscope {VERSION}, and the run was begun with {settings.version}"
        )
    settings.results.check_shared()
    _check_extras(settings)
    keep_freed_memory()
    one_thread_in_opencv()
    run = Run(
        settings.models(),
        Path(),
        settings.reports,
        settings.series,
        settings.naming,
        show_date=settings.show_date,
        values=settings.values,
        objects=settings.objects,
        pdf=settings.pdf,
    )
    return settings, run


def _check_extras(settings: Settings) -> None:
    """Refuse a node that can't write the results that are asked for.

    Raises:
        ResourceError: something is not installed there.
    """
    try:
        if settings.objects is not None:
            need_highdicom()
        if settings.pdf:
            check_pdf()
    except ModuleNotFoundError as error:
        raise ResourceError(
            f"--on ray: a node lacks {error.name}; pip install 'pulmoscope[results]'"
        ) from error
