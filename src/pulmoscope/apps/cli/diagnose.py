"""``pulmoscope diagnose``: chest X-rays and CTs in, diagnoses and reports out."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from enum import StrEnum
from itertools import chain, islice
from pathlib import Path, PurePath
from typing import TYPE_CHECKING, Annotated

import typer

from pulmoscope.apps.cli.clinical.options import ClinicalOptions, read_given
from pulmoscope.apps.cli.options import Device, Force, On, Runtime, WithRuntime, grouped
from pulmoscope.apps.cli.outcomes import Shown, counted, tell_run
from pulmoscope.apps.cli.results.options import FEW, Report, ResultOptions, check_extras

if TYPE_CHECKING:
    from pulmoscope.apps.ray.diagnose import Archive
    from pulmoscope.io import Entry, Study
    from pulmoscope.pipeline.change.earlier import Earlier
    from pulmoscope.pipeline.choice import Models
    from pulmoscope.pipeline.clinical.values import Values
    from pulmoscope.pipeline.objects.write import ObjectMaker
    from pulmoscope.pipeline.runs.run import Outcome, Reports, Run

CT_FOLDER = (
    "looks like the slices of a CT saved as pictures; --modality ct reads them as one "
    "(--modality xray as radiographs)"
)


class Modality(StrEnum):
    """What pictures are."""

    AUTO = "auto"
    XRAY = "xray"
    CT = "ct"


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


@grouped
def command(
    inputs: Annotated[
        list[str],
        typer.Argument(
            metavar="INPUTS...",
            help="X-rays (PNG, JPEG, TIFF, DICOM), CTs (DICOM slices or multi-frame, NIfTI, MHA, NRRD), a DICOMDIR, "
            "folders or zips of them; with --on also s3://… and dicomweb+https://…",
        ),
    ],
    out: Annotated[
        str, typer.Option("-o", "--out", metavar="PATH", help="Folder for the results; with --on also s3://…")
    ],
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
    on: On = "",
) -> None:
    """Diagnose chest X-rays and CTs: a probability, a decision, its reason and a report for each.

    Exit code 0: all diagnosed; 3: some refused, the others done; 4: all refused; 2: wrong usage. A run that was
    interrupted goes on when the same command is given again.
    """
    _begin(results)
    from pulmoscope.io import studies
    from pulmoscope.io.studies import paths
    from pulmoscope.pipeline.choice import Models

    listed = _listed(inputs, out, quiet, on)
    models = Models(model, runtime.value, device, reading.severity)
    _prepare(listed, models)

    looked = _looked_ahead(listed) if on else listed
    hinted = _hinted(studies(looked, reading.modality.value, _own(quiet)), silent=quiet)
    first = list(islice(hinted, FEW + 1))  # of a long list the others are found while these are diagnosed
    alone, few = len(first) == 1, len(first) <= FEW
    values = read_given(clinical, paths(listed), only=alone, quiet=quiet)
    run = _run(models, Path(out), looked, reading, results, values, few)
    if len(first) > 1:
        _check_for_several(reading, results)
    shown = Shown(len(listed), silent=quiet or alone)
    found = shown.studies(chain(first, hinted))
    asked = model, device, runtime.value, reading.severity
    with _diagnosing(found, run, listed, force, on, out, asked) as (stream, archive):
        tally = counted(shown.outcomes(stream), silent=quiet or not few, alone=alone)
    if not quiet:
        tell_run(run, tally, archive, few=few, alone=alone)
    raise typer.Exit(tally.exit_code())


def _begin(results: ResultOptions) -> None:
    """Set how the process uses memory, and say before any work what the results need that is not installed."""
    from pulmoscope.runtime.process import collect_less_often

    collect_less_often()
    check_extras(results)


def _run(
    models: Models,
    out: Path,
    listed: Sequence[Entry],
    reading: ReadingOptions,
    results: ResultOptions,
    values: Values | None,
    few: bool,
) -> Run:
    """What the inputs share."""
    from pulmoscope.pipeline.drift.survey import Survey
    from pulmoscope.pipeline.names import Naming
    from pulmoscope.pipeline.runs.run import Run

    return Run(
        models,
        out,
        _reports(results.report, few),
        reading.series,
        Naming(results.name, results.keep_names),
        _earlier(reading),
        Survey(listed, reading.modality.value, strict=results.strict_drift),
        results.show_date,
        values,
        _object_maker(listed, out) if results.dicom else None,
        results.pdf,
    )


@contextmanager
def _diagnosing(
    found: Iterable[Study],
    run: Run,
    listed: Sequence[Entry],
    force: bool,
    on: str,
    out: str,
    asked: tuple[str, str, str, str],
) -> Iterator[tuple[Iterator[Outcome], Archive | None]]:
    """The outcomes of a run, here or on the cluster that ``--on`` names, and that run on the cluster.

    Args:
        asked: model, device, runtime and severity.
    """
    if not on:
        from pulmoscope.io.studies import paths
        from pulmoscope.pipeline.diagnose import diagnose_many

        yield diagnose_many(found, run, paths(listed), force=force), None
        return
    from pulmoscope.apps.ray.command import on_cluster

    with on_cluster(on, run, out, *asked) as archive:
        yield archive.outcomes(found, force), archive


def _listed(inputs: Sequence[str], out: str, quiet: bool, on: str) -> list[Entry]:
    """The files of the inputs; what is left out of them is told.

    Raises:
        PulmoscopeError: the results would lie among them, or a store is named without ``--on``.
    """
    from pulmoscope.core.errors import PulmoscopeError
    from pulmoscope.io import entries

    def same(source: str) -> bool:
        if "://" in source:
            return source.rstrip("/") == out.rstrip("/")
        return Path(source).is_dir() and Path(source).resolve() == Path(out).resolve()

    if any(map(same, inputs)):
        raise PulmoscopeError(f"{out}: is one of the inputs; results go into a folder of their own")
    elsewhere = next((source for source in (*inputs, out) if "://" in source), None)
    passed_over: list[str] = []
    if on:
        from pulmoscope.apps.ray.inputs import entries_anywhere

        listed = list(entries_anywhere(inputs, out, passed_over.append))
    elif elsewhere is not None:
        raise PulmoscopeError(f"{elsewhere}: stores and servers are read and written with --on ray")
    else:
        listed = list(entries([Path(source) for source in inputs], Path(out), passed_over.append))
    if passed_over and not quiet:
        typer.echo(f"pulmoscope: {_left_out(passed_over)}", err=True)
    return listed


def _looked_ahead(listed: Sequence[Entry]) -> Sequence[Entry]:
    """The same files; what is in a store is fetched, some at a time, before headers are read."""
    from pulmoscope.apps.ray.stores import LookedAhead

    return LookedAhead(listed)


def _object_maker(listed: Sequence[Entry], out: Path) -> ObjectMaker:
    """Makes DICOM objects, knowing the reports of ours among the inputs and in the folder of the results."""
    from pulmoscope.pipeline.objects.read import reports_among
    from pulmoscope.pipeline.objects.write import ObjectMaker

    return ObjectMaker(reports_among(listed, out))


def _own(quiet: bool) -> Callable[[Sequence[Entry]], None]:
    """Tells in one line which of the inputs are objects of ours, where lines are wanted."""

    def tell(objects: Sequence[Entry]) -> None:
        others = f" and {len(objects) - 1} more" if len(objects) > 1 else ""
        finding = "left out, as DICOM objects that Pulmoscope wrote are no images"
        typer.echo(f"pulmoscope: {objects[0].name}{others}: {finding}", err=True)

    return (lambda _: None) if quiet else tell


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


def _reports(report: Report, few: bool) -> Reports:
    """Whose pages are written, with ``auto`` decided."""
    if report is Report.NONE:
        return "none"
    return "all" if report is Report.ALL or (report is Report.AUTO and few) else "positive"
