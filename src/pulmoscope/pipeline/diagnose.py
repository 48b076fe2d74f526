"""The main flow: study → scan → quality → prediction → decision → explanation; for one study and for thousands.

What is done with a CT is in :mod:`pulmoscope.pipeline.diagnose_ct`.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Collection, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from time import perf_counter
from typing import Any, Literal

from pulmoscope import __version__
from pulmoscope.core.ahead import ahead
from pulmoscope.core.classes import is_positive
from pulmoscope.core.errors import InputError, UnreadableError
from pulmoscope.core.files import write_json
from pulmoscope.core.software import versions_with
from pulmoscope.core.types import Decision, Diagnosis, Explanation, Modality, Scan
from pulmoscope.explain import gradcam
from pulmoscope.inference.image import SeenImage, infer_images, look_at_image
from pulmoscope.inference.models import AnyModel
from pulmoscope.io import ReadResult, Study, read_scan, read_study, sources
from pulmoscope.io.studies import Film, Wanted
from pulmoscope.pipeline import outputs as files
from pulmoscope.pipeline.choice import Models
from pulmoscope.pipeline.diagnose_ct import card, diagnose_ct
from pulmoscope.pipeline.film_studies import FilmStudies, StudyAnswer
from pulmoscope.report.diagnosis import diagnosed_entry, refused_entry, to_index
from pulmoscope.runtime.bundle import Thresholds
from pulmoscope.runtime.model import Model, Outputs

Reports = Literal["all", "positive", "none"]
"""Whose page and heat maps are written: everyone's, those of positive or referred images, or no one's."""

_SHOWN = 0.05
"""Least probability of a class, other than the most probable one, whose evidence is shown."""


@dataclass(frozen=True)
class Outcome:
    """What became of one input of a run.

    Attributes:
        name: the input as the user named it.
        folder: the name of its folder within the run's.
        plain: its ``diagnosis.json``; None where it was refused.
        report: its page; None where none was written.
        error: why it was refused.
        kept: whether an interrupted run had already diagnosed it.
        film: of a radiograph in DICOM, which study it is of; never shown.
    """

    name: str
    folder: str
    plain: Mapping[str, Any] | None = None
    report: Path | None = None
    error: InputError | None = None
    kept: bool = False
    film: Film | None = field(default=None, repr=False)

    def entry(self) -> dict[str, Any]:
        """This outcome in ``index.json``."""
        if self.error is not None:
            return refused_entry(self.name, self.error)
        assert self.plain is not None
        report = f"{self.folder}/{files.REPORT}" if self.report else None
        return diagnosed_entry(self.name, self.folder, self.plain, report)


def diagnose(
    source: str | Path | Scan,
    model: str | Path | AnyModel = "auto",
    *,
    series: str = "",
    modality: Wanted = "auto",
    explain: bool = True,
) -> Diagnosis:
    """Diagnose one X-ray or CT.

    Args:
        source: a file, a folder or zip of one CT study, or a scan that was already read.
        model: ``auto``: the built-in one for the kind of image; a built-in bundle's name, a bundle's folder, or an
            opened model (quicker for several images).
        series: the SeriesInstanceUID to read of a DICOM study; empty: chosen by the rules.
        modality: what pictures are: ``ct``: a folder's are the slices of one CT; else each is a radiograph.
        explain: also compute heat maps: of an X-ray for the most probable class and every other of at least 5 %, of a
            CT for its most suspicious slices.

    Raises:
        InputError: the image is refused.
        BundleError: there is no such bundle, or it is damaged.
        ResourceError: the runtime is not there.
    """
    models = Models(str(model)) if isinstance(model, str | Path) else Models.only(model)
    start = perf_counter()
    scan = source if isinstance(source, Scan) else read_scan(Path(source), modality, series)
    read_s = perf_counter() - start
    opened = models.of(scan.modality, scan.name if isinstance(source, Scan) else str(source))
    if not isinstance(opened, Model) or scan.modality is Modality.CT:
        return diagnose_ct(scan, opened, read_s=read_s, wanted=lambda _: explain)
    diagnosis, seen, answer = _diagnosed(opened, scan, read_s)
    return _explained(diagnosis, seen, answer) if explain else diagnosis


@dataclass(frozen=True)
class Run:
    """What all inputs of a run share.

    Attributes:
        models: which model reads what.
        out: the folder of the results.
        reports: whose page is written.
        series: the SeriesInstanceUID to read of DICOM studies; empty: chosen by the rules.
        answers: of each study of several films one, once the run is complete.
    """

    models: Models
    out: Path
    reports: Reports = "all"
    series: str = ""
    answers: list[StudyAnswer] = field(default_factory=list)
    _one_ct: threading.Lock = field(default_factory=threading.Lock)


def diagnose_many(
    studies: Iterable[Study], run: Run, known: Collection[str], *, force: bool = False
) -> Iterator[Outcome]:
    """Diagnose many studies in flat memory, and write each one's files and the run's ``index.json``.

    X-rays go through all stages in one thread each, so that only as many as there are threads are in memory; of CTs,
    which use all cores by themselves, there is one at a time. A run that was killed goes on when it is started again:
    what is complete is kept. Outcomes come in the order of ``studies``; the index is written after the last was taken.

    Args:
        known: every slug that one of the studies may have (see :func:`pulmoscope.io.studies.slugs`).

    Raises:
        OutputExistsError: the run's folder has a complete run in it, or an unfinished one over other inputs, and
            ``force`` is not given.
        ResourceError: the disk is full, or the folder can't be written.
    """
    files.claim(run.out, known, force)
    listed, films = [], FilmStudies()
    workers = (os.cpu_count() or 1) + 1  # one more than cores: some of them wait for the disk
    with ThreadPoolExecutor(workers) as threads:
        for outcome in ahead(threads, partial(_one, run), studies, 8 * workers):
            listed.append(outcome.entry())
            films.add(outcome.film, outcome)
            yield outcome
    run.answers[:] = films.answers(run.out, partial(_thresholds, run))
    answers = [answer.entry() for answer in run.answers]
    write_json(run.out / files.INDEX, to_index(run.models.used, listed, __version__, answers))


def _thresholds(run: Run) -> Thresholds:
    """The threshold of referral of the model that reads X-rays."""
    return run.models.of(Modality.XRAY, "").bundle.thresholds


def _one(run: Run, study: Study) -> Outcome:
    """One input, from its files to its results: refused, already done by a killed run, or diagnosed."""
    if study.kind == "image":
        return replace(_read_and_diagnosed(run, study), film=study.film)
    with run._one_ct:
        run.models.expect_ct()
        return _read_and_diagnosed(run, study)


def _read_and_diagnosed(run: Run, study: Study) -> Outcome:
    """The same, whatever the kind of image."""
    if (left := _kept(run, study)) is not None:
        return left
    start = perf_counter()
    result = read_study(study, run.series)
    folder = run.out / result.slug
    try:
        if result.error is not None:
            raise result.error
        assert result.scan is not None
        scan, model = result.scan, run.models.of(result.scan.modality, result.name)
    except InputError as error:
        files.clear(folder)
        return Outcome(result.name, result.slug, error=error)
    try:
        return _written(run, result, scan, model, perf_counter() - start)
    except InputError as error:
        refusal = error
    except MemoryError:
        refusal = UnreadableError(result.name, "out-of-memory", "it does not fit into this machine's memory")
    files.clear(folder)
    return Outcome(result.name, result.slug, error=refusal)


def _kept(run: Run, study: Study) -> Outcome | None:
    """What a killed run has left of a study whose files are the same, which is told without decoding them.

    One of which damaged slices were left out is not known by its files, and is diagnosed again.
    """
    folder = run.out / study.slug
    if not (folder / files.DIAGNOSIS).exists():
        return None
    try:
        model = run.models.of(Modality.XRAY if study.kind == "image" else Modality.CT, study.name)
        plain = files.kept(folder, sources(study, run.series), model.identity)
    except (InputError, MemoryError):  # reading it says what is wrong
        return None
    if plain is None:
        return None
    report, prediction = folder / files.REPORT, plain["prediction"]
    if not report.exists() and _wanted(run.reports, prediction["label"], prediction["decision"]):
        return None
    return Outcome(study.name, study.slug, plain, report if report.exists() else None, kept=True)


def _written(run: Run, result: ReadResult, scan: Scan, model: AnyModel, read_s: float) -> Outcome:
    """Diagnose a scan and write its files."""
    folder = run.out / result.slug
    diagnosis = _answer(run, scan, model, read_s)
    wanted = _wanted(run.reports, diagnosis.prediction.label, diagnosis.prediction.decision)
    plain = files.save(diagnosis, folder, wanted)
    return Outcome(result.name, result.slug, plain, folder / files.REPORT if wanted else None)


def _answer(run: Run, scan: Scan, model: AnyModel, read_s: float) -> Diagnosis:
    """The diagnosis of a scan, explained where its page is wanted."""
    if not isinstance(model, Model) or scan.modality is Modality.CT:
        return diagnose_ct(
            scan, model, read_s=read_s, wanted=lambda own: _wanted(run.reports, own.label, own.decision)
        )
    diagnosis, seen, answer = _diagnosed(model, scan, read_s)
    if _wanted(run.reports, diagnosis.prediction.label, diagnosis.prediction.decision):
        return _explained(diagnosis, seen, answer)
    return diagnosis


def _diagnosed(model: Model, scan: Scan, read_s: float) -> tuple[Diagnosis, SeenImage, Outputs]:
    """Quality, prediction and decision of a scan, and what they rest on."""
    start = perf_counter()
    seen = look_at_image(scan, model)
    looked = perf_counter()
    answer, ((quality, prediction),) = infer_images([seen], model)
    diagnosis = Diagnosis(
        scan=scan,
        model=model.identity,
        quality=quality,
        prediction=prediction,
        timings_s={"read": read_s, "look": looked - start, "predict": perf_counter() - looked},
        software=versions_with(model.runtime),
        card=card(model),
    )
    return diagnosis, seen, answer


def _explained(diagnosis: Diagnosis, seen: SeenImage, answer: Outputs) -> Diagnosis:
    """Add the heat maps of the classes that are in play, the most probable one first."""
    start = perf_counter()
    label, shares = diagnosis.prediction.label, diagnosis.prediction.probabilities
    targets = sorted(
        (name for name, share in shares.items() if name == label or share >= _SHOWN),
        key=lambda name: (name != label, -shares[name]),
    )
    classes = list(shares)
    rows, columns = diagnosis.scan.pixels.shape[1:]
    maps = tuple(
        Explanation(
            "grad-cam",
            target,
            gradcam.explain(answer, 0, seen.prepared, classes.index(target), rows, columns),
        )
        for target in targets
    )
    timings_s = {**diagnosis.timings_s, "explain": perf_counter() - start}
    return replace(diagnosis, explanations=maps, timings_s=timings_s)


def _wanted(reports: Reports, label: str, decision: str) -> bool:
    positive = is_positive(label) or decision == Decision.REFER
    return reports == "all" or (reports == "positive" and positive)
