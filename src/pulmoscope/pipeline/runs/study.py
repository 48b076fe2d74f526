"""One study of a run, from its files to its results: the same on one machine and on many."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from time import perf_counter

from pulmoscope.core.classes import is_positive
from pulmoscope.core.errors import InputError, UnreadableError
from pulmoscope.core.types import Decision, Diagnosis, Flag, Modality, Prediction, Scan
from pulmoscope.inference.image import SeenImage
from pulmoscope.io import ReadResult, Study, content_of, read_study
from pulmoscope.pipeline import outputs as files
from pulmoscope.pipeline.clinical.outcome import with_values
from pulmoscope.pipeline.clinical.values import of_study
from pulmoscope.pipeline.diagnose_ct import diagnose_ct
from pulmoscope.pipeline.diagnose_xray import diagnose_xray
from pulmoscope.pipeline.names import with_name
from pulmoscope.pipeline.runs.run import Outcome, Reports, Run
from pulmoscope.runtime.model import Model


@dataclass(frozen=True)
class Job:
    """A study that is to be diagnosed, and what the run knows of it.

    Attributes:
        study: its files.
        name_of: what it is called in results, by its content (empty where that can't be read); asked when it is read.
        limits: what there is to know of the place that it is of.
        seen: what the model was shown of its scan, where someone has looked before.
    """

    study: Study
    name_of: Callable[[str], str]
    limits: tuple[Flag, ...] = ()
    seen: Callable[[Scan], SeenImage | None] = lambda _: None


def diagnosed(run: Run, job: Job) -> Outcome:
    """Read a study, diagnose it, and write its files; a refusal is in the outcome.

    Raises:
        ResourceError: the disk is full, or the run's folder can't be written.
        BundleError: a built-in model is damaged.
    """
    study, start = job.study, perf_counter()
    try:
        result = read_study(study, run.series)
    except MemoryError:
        result = ReadResult(study.name, content_of(study), error=_too_large(study))
    name = job.name_of(result.content)
    try:
        if result.error is not None:
            raise result.error
        assert result.scan is not None
        scan = with_name(result.scan, name, run.naming)
        model = run.models.of(scan.modality, study.name)
        return _written(run, job, scan, model, perf_counter() - start)
    except InputError as error:
        refusal = error
    except MemoryError:
        refusal = _too_large(study)
    files.clear(run.out / name)
    return Outcome(name, study.name, error=refusal)


def wants_page(reports: Reports, label: str, decision: str) -> bool:
    """Whether a diagnosis with this label and decision gets a page and heat maps."""
    positive = is_positive(label) or decision == Decision.REFER
    return reports == "all" or (reports == "positive" and positive)


def _too_large(study: Study) -> InputError:
    return UnreadableError(study.name, "out-of-memory", "it does not fit into this machine's memory")


def _written(run: Run, job: Job, scan: Scan, model: Model, read_s: float) -> Outcome:
    """Diagnose a study's scan and write its files."""
    folder = run.out / scan.name
    given = of_study(run.values, scan, job.study)
    diagnosis = with_values(_answer(run, job, scan, model, read_s), given, run.values)
    wanted = wants_page(run.reports, diagnosis.prediction.label, diagnosis.prediction.decision)
    objects = None if run.objects is None else run.objects.begin
    plain = files.save(diagnosis, folder, wanted, show_date=run.show_date, pdf=run.pdf, objects=objects)
    return Outcome(scan.name, job.study.name, plain, folder / files.REPORT if wanted else None)


def _answer(run: Run, job: Job, scan: Scan, model: Model, read_s: float) -> Diagnosis:
    """The diagnosis of a study's scan, explained where its page is wanted."""
    before = None if run.earlier is None else run.earlier.read_for(scan)

    def wanted(prediction: Prediction) -> bool:
        return wants_page(run.reports, prediction.label, prediction.decision)

    if scan.modality is Modality.CT:
        return diagnose_ct(scan, model, read_s=read_s, wanted=wanted, earlier=before)
    return diagnose_xray(
        scan,
        model,
        severity=run.models.severity,
        read_s=read_s,
        limits=job.limits,
        seen=job.seen(scan),
        wanted=wanted,
        earlier=before,
    )
