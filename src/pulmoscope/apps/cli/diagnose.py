"""``pulmoscope diagnose``: chest X-rays and CTs in, diagnoses and reports out."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from itertools import chain, islice
from pathlib import Path, PurePath
from typing import TYPE_CHECKING, Annotated

import typer

from pulmoscope.apps.cli.clinical.options import ClinicalOptions, read_given
from pulmoscope.apps.cli.console import progress_bar
from pulmoscope.apps.cli.options import Device, Force, Out, Runtime, WithRuntime, grouped

if TYPE_CHECKING:
    from pulmoscope.io import Entry, Study
    from pulmoscope.pipeline.change.earlier import Earlier
    from pulmoscope.pipeline.choice import Models
    from pulmoscope.pipeline.diagnose import Outcome, Reports, Run
    from pulmoscope.pipeline.drift.survey import Place
    from pulmoscope.pipeline.film_studies import StudyAnswer

FEW = 20
"""Up to so many inputs each get a page and heat maps; of more, those that are positive or referred."""
CT_FOLDER = (
    "looks like the slices of a CT saved as pictures; --modality ct reads them as one "
    "(--modality xray as radiographs)"
)


class Modality(StrEnum):
    """What pictures are."""

    AUTO = "auto"
    XRAY = "xray"
    CT = "ct"


class Report(StrEnum):
    """Whose page and heat maps are written."""

    AUTO = "auto"
    ALL = "all"
    POSITIVE = "positive"
    NONE = "none"


@dataclass(frozen=True)
class ReadingOptions:
    """What pictures are taken for, which series of a CT is read, and what it is compared with."""

    modality: Annotated[
        Modality,
        typer.Option(
            help="What pictures are: X-rays, or (ct) a folder's the slices of one CT. DICOM says so itself."
        ),
    ] = Modality.AUTO
    series: Annotated[
        str, typer.Option(help="SeriesInstanceUID of the CT series to read; default: chosen by stated rules.")
    ] = ""
    severity: Annotated[
        str,
        typer.Option(
            help="What scores how ill an X-ray is: a folder of `train xray-severity`; auto: the built-in; none."
        ),
    ] = "auto"
    earlier: Annotated[
        Path | None,
        typer.Option(help="An earlier CT, or X-ray, of the same patient: what has changed since is shown."),
    ] = None


@dataclass(frozen=True)
class ResultOptions:
    """Which results have pages, what results are called, and whether a strange place refers."""

    report: Annotated[
        Report,
        typer.Option(
            help="Whose report.html and heat maps are written: all; positive (or referred); none; "
            f"auto: all for up to {FEW} inputs, positive for more."
        ),
    ] = Report.AUTO
    name: Annotated[
        str,
        typer.Option(
            help="What the only input is called in its results; default: by its content, as paths may name patients."
        ),
    ] = ""
    keep_names: Annotated[
        bool,
        typer.Option(
            "--keep-names", help="Name results after the files: only where no file names a patient."
        ),
    ] = False
    show_date: Annotated[
        bool,
        typer.Option(
            "--show-date",
            help="Tell a CT's date on its page: only where the page stays where patients are known.",
        ),
    ] = False
    strict_drift: Annotated[
        bool,
        typer.Option(
            "--strict-drift",
            help="Refer all X-rays of a place (device or folder) that is unlike every hospital the model knows.",
        ),
    ] = False


@grouped
def command(
    inputs: Annotated[
        list[Path],
        typer.Argument(
            help="X-rays (PNG, JPEG, TIFF, DICOM), CTs (DICOM slices or multi-frame, NIfTI, MHA, NRRD), a DICOMDIR, "
            "folders or zips of them."
        ),
    ],
    out: Out,
    reading: ReadingOptions,
    results: ResultOptions,
    clinical: ClinicalOptions,
    model: Annotated[
        str,
        typer.Option(
            help="A built-in model's name, or a bundle's folder; auto: the built-in one for each kind."
        ),
    ] = "auto",
    device: Device = "auto",
    runtime: WithRuntime = Runtime.AUTO,
    force: Force = False,
    quiet: Annotated[bool, typer.Option("--quiet", help="Say nothing but errors.")] = False,
) -> None:
    """Diagnose chest X-rays and CTs: a probability, a decision, its reason and a report for each.

    Exit code 0: all diagnosed; 3: some refused, the others done; 4: all refused; 2: wrong usage. A run that was
    interrupted goes on when the same command is given again.
    """
    from pulmoscope.runtime.process import collect_less_often

    collect_less_often()
    from pulmoscope.io import studies
    from pulmoscope.io.studies import paths
    from pulmoscope.pipeline.choice import Models

    listed = _listed(inputs, out, quiet)
    models = Models(model, runtime.value, device, reading.severity)
    _prepare(listed, models)

    from pulmoscope.pipeline.diagnose import Run, diagnose_many
    from pulmoscope.pipeline.drift.survey import Survey
    from pulmoscope.pipeline.names import Naming

    naming = Naming(results.name, results.keep_names)
    hinted = _hinted(studies(listed, reading.modality.value), silent=quiet)
    first = list(islice(hinted, FEW + 1))  # of a long list the others are found while these are diagnosed
    if len(first) > 1:
        _check_for_several(reading, results)
    few = len(first) <= FEW
    survey = Survey(listed, reading.modality.value, strict=results.strict_drift)
    reports = _reports(results.report, few)
    values = read_given(clinical, paths(listed), only=len(first) == 1, quiet=quiet)
    earlier = _earlier(reading)
    run = Run(models, out, reports, reading.series, naming, earlier, survey, results.show_date, values)
    shown = _Shown(len(listed), silent=quiet or len(first) == 1)
    stream = diagnose_many(shown.studies(chain(first, hinted)), run, paths(listed), force=force)
    tally = _counted(shown.outcomes(stream), silent=quiet or not few, alone=len(first) == 1)
    if not quiet:
        _tell_run(run, tally, few=few, alone=len(first) == 1)
    raise typer.Exit(tally.exit_code())


def _listed(inputs: Sequence[Path], out: Path, quiet: bool) -> list[Entry]:
    """The files of the inputs; what is left out of them is told.

    Raises:
        PulmoscopeError: the results would lie among them.
    """
    from pulmoscope.core.errors import PulmoscopeError
    from pulmoscope.io import entries

    if any(source.is_dir() and source.resolve() == out.resolve() for source in inputs):
        raise PulmoscopeError(f"{out}: is one of the inputs; results go into a folder of their own")
    passed_over: list[str] = []
    listed = list(entries(inputs, out, passed_over.append))
    if passed_over and not quiet:
        typer.echo(f"pulmoscope: {_left_out(passed_over)}", err=True)
    return listed


def _prepare(listed: Sequence[Entry], models: Models) -> None:
    """Begin to load what the first input needs, while the rest is imported and headers are read."""
    from pulmoscope.core.types import Modality as Kind
    from pulmoscope.io.studies import is_of_ct
    from pulmoscope.runtime.process import keep_freed_memory, one_thread_in_opencv

    keep_freed_memory()
    if listed and is_of_ct(listed[0]):
        models.expect(Kind.CT)
    else:
        models.expect(Kind.XRAY)
        one_thread_in_opencv()


def _earlier(reading: ReadingOptions) -> Earlier | None:
    """The scan that the only input is compared with."""
    from pulmoscope.pipeline.change.earlier import Earlier

    return None if reading.earlier is None else Earlier(reading.earlier, reading.modality.value)


def _check_for_several(reading: ReadingOptions, results: ResultOptions) -> None:
    """Refuse options that are for one input alone.

    Raises:
        PulmoscopeError: there is one.
    """
    from pulmoscope.core.errors import PulmoscopeError

    if results.name:
        raise PulmoscopeError(
            "--name names one input, and there are several; --keep-names names them after their files"
        )
    if reading.earlier is not None:
        raise PulmoscopeError("--earlier compares one scan with an earlier one, and there are several inputs")


def _left_out(folders: Sequence[str]) -> str:
    """One line about folders that hold results of an earlier run."""
    others = f" and {len(folders) - 1} more folders" if len(folders) > 1 else ""
    return f"{folders[0]}{others}: left out, as Pulmoscope's own results are no inputs"


def _hinted(listed: Iterable[Study], *, silent: bool) -> Iterator[Study]:
    """The same studies; of each folder that looks like the slices of a CT one line on stderr."""
    warned: set[str] = set()
    for study in listed:
        folder = str(PurePath(study.name).parent)
        if study.remarks and folder not in warned and not silent:
            warned.add(folder)
            typer.echo(f"pulmoscope: {folder}: {CT_FOLDER}", err=True)
        yield study


def _counted(outcomes: Iterable[Outcome], *, silent: bool, alone: bool) -> _Tally:
    """Count the outcomes, and say of each what became of it; where ``silent``, only of those that were refused."""
    tally = _Tally()
    for outcome in outcomes:
        tally.add(outcome)
        if outcome.error is not None:
            typer.echo(f"pulmoscope: refused: {outcome.path}: {outcome.error.reason}", err=True)
        elif not silent:
            _tell(outcome, alone=alone)
    return tally


def _reports(report: Report, few: bool) -> Reports:
    """Whose pages are written, with ``auto`` decided."""
    if report is Report.NONE:
        return "none"
    return "all" if report is Report.ALL or (report is Report.AUTO and few) else "positive"


class _Tally:
    """How many inputs came to what, and which path each name stands for."""

    def __init__(self) -> None:
        self.diagnosed = self.referred = self.refused = self.kept = self.unlinked = 0
        self.paths: dict[str, str] = {}

    def add(self, outcome: Outcome) -> None:
        """Count one."""
        self.refused += outcome.error is not None
        self.kept += outcome.kept
        self.paths[outcome.name] = outcome.path
        if outcome.plain is not None:
            self.diagnosed += 1
            self.referred += outcome.plain["prediction"]["decision"] == "refer"
            values = outcome.plain.get("values")
            self.unlinked += values is not None and not values["used"]

    def line(self) -> str:
        """For people."""
        before = f" ({self.kept} by the interrupted run)" if self.kept else ""
        values = f"; {self.unlinked} of them without any of the values" if self.unlinked else ""
        return f"{self.diagnosed} diagnosed{before}, {self.referred} of them referred{values}; {self.refused} refused"

    def exit_code(self) -> int:
        """0: all diagnosed; 3: some refused; 4: all refused."""
        if not self.refused:
            return 0
        return 3 if self.diagnosed else 4


def _tell(outcome: Outcome, alone: bool) -> None:
    """Say what became of one input: in a few lines where it is the only one, else in one."""
    from pulmoscope.report.page import brief, summary

    assert outcome.plain is not None
    if alone:
        for line in summary(outcome.plain):
            typer.echo(line)
        if outcome.report is not None:
            typer.echo(f"Report          {outcome.report}")
        typer.echo("Research use only; a physician must read the image.")
        return
    where = f"  {outcome.report}" if outcome.report else ""
    typer.echo(f"{outcome.path}  {brief(outcome.plain)}{where}")


def _tell_run(run: Run, tally: _Tally, *, few: bool, alone: bool) -> None:
    """Say what became of the run as a whole: of its studies (of few inputs), its places, how many came to what."""
    if few:
        _tell_studies(run.answers, tally.paths)
    if not alone:
        _tell_places(run.places)
        typer.echo(f"{tally.line()}; {run.out / 'index.json'}")


def _tell_studies(answers: Iterable[StudyAnswer], paths: Mapping[str, str]) -> None:
    """Say what became of each study of several radiographs."""
    from pulmoscope.report.html import percent
    from pulmoscope.report.names import DECISIONS

    for answer in answers:
        used = sum(radiograph.used for radiograph in answer.films)
        names = ", ".join(PurePath(paths[radiograph.name]).name for radiograph in answer.films)
        prediction = answer.prediction
        outcome = (
            "no answer"
            if prediction is None
            else f"{prediction.label} {percent(prediction.probabilities[prediction.label])}"
        )
        typer.echo(
            f"Study of {len(answer.films)} radiographs ({names}), {used} used  {outcome}  "
            f"{DECISIONS[answer.decision].title.lower()}"
        )


def _tell_places(places: Sequence[Place]) -> None:
    """Say which places are strange to the model; or that nobody could look."""
    from pulmoscope.quality.drift import LEAST_IMAGES

    for place in places:
        if place.verdict == "strange":
            typer.echo(f"{place.name} ({place.folder}, {place.images} images): {place.reason}")
    if places and all(place.verdict == "not-told" for place in places):
        typer.echo(
            "Whether these images are of a hospital that the model knows was not looked for: at least "
            f"{LEAST_IMAGES} of one folder or device are needed"
        )


class _Shown:
    """A progress bar on stderr that counts files, as the number of studies shows only at the end."""

    def __init__(self, files: int, silent: bool) -> None:
        self._files, self._silent = files, silent
        self._sizes: deque[int] = deque()

    def studies(self, listed: Iterable[Study]) -> Iterator[Study]:
        """The same studies, their sizes noted."""
        for study in listed:
            self._sizes.append(len(study.entries) + study.others + study.broken)
            yield study

    def outcomes(self, stream: Iterable[Outcome]) -> Iterator[Outcome]:
        """The same outcomes, under the bar."""
        if self._silent:
            yield from stream
            return
        with progress_bar("Diagnosing") as progress:
            done = 0
            for outcome in stream:
                done += self._sizes.popleft()
                progress(min(done, self._files), self._files)
                yield outcome
