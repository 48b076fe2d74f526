"""The main flow: study → scan → quality → prediction → decision → explanation; for one study and for thousands.

What is done with a CT is in :mod:`pulmoscope.pipeline.diagnose_ct`, with a radiograph in
:mod:`pulmoscope.pipeline.diagnose_xray`.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from threading import Event
from time import perf_counter

from pulmoscope.core.errors import InputError
from pulmoscope.core.threads import ahead, cores
from pulmoscope.core.types import Diagnosis, Modality, Scan
from pulmoscope.inference.image import SeenImage
from pulmoscope.io import Study, content_of, read_scan, sources
from pulmoscope.io.inputs import content_name
from pulmoscope.io.studies import Wanted
from pulmoscope.pipeline import outputs as files
from pulmoscope.pipeline.change.earlier import Earlier
from pulmoscope.pipeline.choice import Models
from pulmoscope.pipeline.clinical.outcome import with_values
from pulmoscope.pipeline.clinical.values import Values, of_source
from pulmoscope.pipeline.diagnose_ct import diagnose_ct
from pulmoscope.pipeline.diagnose_xray import diagnose_xray, scored_alike
from pulmoscope.pipeline.film_studies import FilmStudies
from pulmoscope.pipeline.names import Names, local_path
from pulmoscope.pipeline.runs.completion import completed
from pulmoscope.pipeline.runs.helper import HelperLostError
from pulmoscope.pipeline.runs.lanes import Lane, Lanes
from pulmoscope.pipeline.runs.run import Outcome, Run
from pulmoscope.pipeline.runs.study import Job, diagnosed, wants_page
from pulmoscope.report.results_table import line, table
from pulmoscope.runtime.model import Model

FEW = 100
"""Radiographs that are sooner diagnosed in this process than another one has begun."""


def diagnose(
    source: str | Path | Scan,
    model: str | Path | Model = "auto",
    *,
    series: str = "",
    modality: Wanted = "auto",
    explain: bool = True,
    earlier: str | Path | Scan | None = None,
    values: str | Path | Values | None = None,
    severity: str | Path = "auto",
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
        earlier: an earlier CT of the same patient, to compare a CT with; an earlier radiograph, to compare a
            radiograph with; gives ``Diagnosis.change``.
        values: a file of the patient's values (CSV, FHIR R4 Bundle), or one that was read; gives ``Diagnosis.values``.
        severity: what scores a radiograph: ``auto``: the built-in model; a severity model's folder; ``none``: nothing.

    Raises:
        InputError: the image is refused, or the earlier one, or the values.
        BundleError: there is no such bundle, or it is damaged.
        ResourceError: the runtime is not there.
    """
    models = (
        Models(str(model), severity=severity)
        if isinstance(model, str | Path)
        else Models.only(model, severity)
    )
    start = perf_counter()
    scan = source if isinstance(source, Scan) else read_scan(Path(source), modality, series)
    read_s = perf_counter() - start
    opened = models.of(scan.modality, scan.name if isinstance(source, Scan) else str(source))
    given = of_source(source, scan, values, modality)
    before = None if earlier is None else Earlier.of(earlier, modality).read_for(scan)
    if scan.modality is Modality.CT:
        found = diagnose_ct(scan, opened, read_s=read_s, wanted=lambda _: explain, earlier=before)
    else:
        scorer = models.severity
        found = diagnose_xray(
            scan, opened, severity=scorer, read_s=read_s, wanted=lambda _: explain, earlier=before
        )
    return with_values(found, given, values)


@dataclass(frozen=True)
class _Turn:
    """An input of a run and its turn among those of its kind, in which they are named.

    So that of equal ones the same one has a number behind its name in every run.

    Attributes:
        number: among all inputs, counted from 1.
        place: among those of its kind, counted from 0.
        before, named: set when the turn before is named or refused, and to be set when this one is.
    """

    number: int
    place: int
    study: Study
    before: Event
    named: Event


@dataclass(frozen=True)
class _Run:
    """A run under way.

    Attributes:
        left: name → path of what a killed run has left.
        lanes: for its CTs.
    """

    run: Run
    names: Names
    left: Mapping[str, str]
    lanes: Lanes

    def named(self, turn: _Turn, content: str) -> str:
        """The name of an input by its content, when its turn has come."""
        turn.before.wait()
        name = self.names.of(turn.number, turn.study, content)
        turn.named.set()
        return name


def diagnose_many(
    studies: Iterable[Study], run: Run, known: Collection[str], *, force: bool = False
) -> Iterator[Outcome]:
    """Diagnose many studies in flat memory, and write each one's files and the run's ``index.json``.

    X-rays go through all stages in one thread each, so that only as many as there are threads are in memory; of CTs,
    which use all cores by themselves, there is one at a time. A run that was killed goes on when it is started again:
    what is complete is kept. Outcomes come in the order of ``studies``; ``results.csv`` and the index are written
    after the last was taken.

    Args:
        known: every path that one of the studies may have (see :func:`pulmoscope.io.studies.paths`).

    Raises:
        OutputExistsError: the run's folder has a complete run in it, or an unfinished one over other inputs, and
            ``force`` is not given.
        ResourceError: the disk is full, or the folder can't be written.
    """
    left = files.claim(run.out, known, force)
    if run.survey is not None:
        run.survey.take(run.models)
    names = Names(run.out, run.naming, [place.name for place in run.places])
    listed, local, radiographs = [], [], FilmStudies()
    workers = cores() + 1  # some of them wait for the disk
    with (
        table(run.out / files.RESULTS) as add,
        Lanes(run) as lanes,
        ThreadPoolExecutor(workers) as threads,
    ):
        work = partial(_one, _Run(run, names, left, lanes))
        for turn, outcome in ahead(threads, work, _in_turn(studies), 8 * workers):
            listed.append(outcome.entry())
            add(line(listed[-1], outcome.plain))
            local.append((outcome.name, local_path(turn.study)))
            radiographs.add(turn.study.film, outcome)
            yield outcome
    for stale in left.keys() - {entry["input"] for entry in listed if entry["outcome"] == "diagnosed"}:
        files.clear(run.out / stale)
    completed(run, listed, local, radiographs)


def _in_turn(studies: Iterable[Study]) -> Iterator[_Turn]:
    """Studies with their turns; the first of each kind has nothing to wait for."""
    first = Event()
    first.set()
    last = dict.fromkeys((True, False), (0, first))
    for number, study in enumerate(studies, start=1):
        kind = study.kind == "image"
        place, before = last[kind]
        turn = _Turn(number, place, study, before, Event())
        last[kind] = place + 1, turn.named
        yield turn


def _one(job: _Run, turn: _Turn) -> tuple[_Turn, Outcome]:
    """One input, from its files to its results: refused, already done by a killed run, or diagnosed."""
    try:
        if turn.study.kind == "image":
            (entry,) = turn.study.entries
            held = replace(turn.study, entries=(entry.held(),))
            job.named(turn, content_of(held))
            turn = replace(turn, study=held)
            return turn, _kept(job, turn) or _diagnosed_xray(job, turn)
        job.run.models.expect(Modality.CT)
        with job.lanes.lane(turn.place, turn.study) as lane:
            return turn, _kept(job, turn) or _diagnosed_ct(job, turn, lane)
    finally:
        turn.named.set()


def _diagnosed_xray(job: _Run, turn: _Turn) -> Outcome:
    """A radiograph, diagnosed by a process that helps where one is idle, else in this thread."""
    run, study, named = job.run, turn.study, partial(job.named, turn)

    def seen(scan: Scan) -> SeenImage | None:
        return None if run.survey is None else run.survey.seen(study, scan)

    if turn.number > FEW and not (run.survey and run.survey.has_seen(study)):
        with job.lanes.spare() as helper:
            if helper is not None:
                with suppress(HelperLostError):
                    outcome = helper.diagnosed(study, run.limits(study), named)
                    run.models.of(Modality.XRAY, study.name)
                    return outcome
                job.lanes.lost(helper)
    return diagnosed(run, Job(study, named, run.limits(study), seen))


def _diagnosed_ct(job: _Run, turn: _Turn, lane: Lane) -> Outcome:
    """A CT, diagnosed by the process whose lane it is; in this one where that is lost."""
    run, study = job.run, turn.study
    named = partial(job.named, turn)

    def name_of(content: str) -> str:
        name = named(content)
        job.lanes.begin(lane)
        return name

    if lane.helper is not None:
        try:
            outcome = lane.helper.diagnosed(study, run.limits(study), named)
            run.models.of(Modality.CT, study.name)  # it counts as used
            return outcome
        except HelperLostError:
            job.lanes.lost(lane.helper)
            lane.helper = None
    return diagnosed(run, Job(study, name_of, run.limits(study)))


def _kept(job: _Run, turn: _Turn) -> Outcome | None:
    """What a killed run has left of a study whose files are the same, which shows without decoding them.

    One of which damaged slices were left out is not known by its files, and is diagnosed again.
    """
    run, study = job.run, turn.study
    if local_path(study) not in job.left.values():
        return None
    try:
        model = run.models.of(Modality.XRAY if study.kind == "image" else Modality.CT, study.name)
        study_files = sources(study, run.series)
        earlier = [] if run.earlier is None else run.earlier.sums()
    except (InputError, MemoryError):  # reading it says what is wrong
        return None
    modality = Modality.XRAY if study.kind == "image" else Modality.CT
    name = job.named(turn, content_name(modality, [file.sha256 for file in study_files.files]))
    limits, folder = run.limits(study), run.out / name
    shown = run.show_date, run.values, run.objects is not None
    plain = files.kept(folder, study_files, model.identity, limits, earlier, *shown)
    if plain is None or (modality is Modality.XRAY and not scored_alike(plain, run.models.severity)):
        return None
    report, prediction = folder / files.REPORT, plain["prediction"]
    wanted = wants_page(run.reports, prediction["label"], prediction["decision"])
    if wanted and not files.has_page(folder, run.pdf):
        return None
    return Outcome(name, study.name, plain, report if report.exists() else None, kept=True)
