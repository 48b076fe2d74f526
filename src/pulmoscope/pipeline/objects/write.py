"""The objects of one diagnosis: made one after the other, and written all or none.

::

    OUT/<name>/dicom/report.dcm         the Structured Report (TID 1500), which refers to the others
    OUT/<name>/dicom/segmentation-lungs.dcm, segmentation-lesions.dcm   masks; of an X-ray lungs alone
    OUT/<name>/dicom/heat-map-1.dcm …   of a CT: what spoke for the answer, a Parametric Map a stage of the network
    OUT/<name>/dicom/heat-map.dcm       of an X-ray: the same as a Segmentation with fractions
    OUT/<name>/dicom/overlay-1.dcm …    pictures with heat or outlines burned in (Secondary Capture)
    OUT/<name>/dicom/pdf.dcm            the page on paper (Encapsulated PDF)
    OUT/<name>/fhir.json                the same statements as a FHIR Bundle, also of images that are no DICOM

They say whose images they are about, as their sources do: unlike all other results they are not for sharing.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pulmoscope.core.change import SinceReport
from pulmoscope.core.errors import ResourceError
from pulmoscope.core.files import sweep, write_bytes
from pulmoscope.core.types import Diagnosis

if TYPE_CHECKING:  # highdicom takes a second, and may not be installed
    from pydicom.dataset import Dataset

    from pulmoscope.report.dicom.common import Common
    from pulmoscope.report.dicom.earlier import EarlierReport
    from pulmoscope.report.dicom.sources import Sources

FOLDER = "dicom"
"""Of the objects, beside the diagnosis."""
SR, PDF = "report", "pdf"
FHIR = "fhir.json"

Maker = Callable[["Common"], Iterator[tuple[str, "Dataset"]]]
"""Gives the objects of one kind, each with its name: what it is called without ``.dcm``."""


@dataclass(frozen=True)
class Objects:
    """The objects of a diagnosis.

    Attributes:
        files: name within :data:`FOLDER` → content.
        mended: keywords of elements that were not valid in the sources, and were mended on copies.
        missing: why there are none, or not all: a line each, without anything of a patient.
        since: what has changed since an earlier report of the patient; None where there is none.
        fhir: the FHIR Bundle; empty where it could not be made.
    """

    files: Mapping[str, bytes]
    mended: tuple[str, ...] = ()
    missing: tuple[str, ...] = ()
    since: SinceReport | None = None
    fhir: bytes = b""

    def plain(self) -> dict[str, Any]:
        """What ``diagnosis.json`` holds of them."""
        since = self.since
        return {
            "files": [*(f"{FOLDER}/{name}" for name in self.files), *([FHIR] if self.fhir else [])],
            "mended": list(self.mended),
            "missing": list(self.missing),
            "since_report": None
            if since is None
            else {"days": since.days, "differences": since.differences, "label": since.label},
        }


@dataclass(frozen=True)
class Begun:
    """The objects of a diagnosis before they are made.

    Attributes:
        diagnosis: what they say.
        common: what they share; None where there can be none.
        reason: why there can be none; empty where they can.
    """

    diagnosis: Diagnosis
    common: Common | None
    reason: str = ""

    @property
    def since(self) -> SinceReport | None:
        """What has changed since the patient's last report; None where there is none."""
        found = None if self.common is None else self.common.since
        return None if found is None else found[1]

    def finish(self, paper: bytes = b"") -> Objects:
        """Make them; what can't be made is told, and ends nothing.

        Args:
            paper: the page as PDF; empty: there is none.
        """
        if self.common is None:
            fhir, untold = _fhir(self.diagnosis)
            return Objects({}, missing=(self.reason, *untold), fhir=fhir)
        return _made(self.common, self.since, paper)


@dataclass(frozen=True)
class ObjectMaker:
    """Makes the objects of every diagnosis of a run.

    Attributes:
        reports: earlier ones of ours, of any patient.
    """

    reports: Sequence[EarlierReport] = ()

    def begin(self, diagnosis: Diagnosis) -> Begun:
        """The objects of one diagnosis, to be finished when its page is there."""
        return begin(diagnosis, self.reports)


def need_highdicom() -> None:
    """Say before any work that the extra is missing.

    Raises:
        ModuleNotFoundError: it is; the command line says how to get it.
    """
    for package, name in (("highdicom", "highdicom"), ("fhir_core", "fhir.resources")):
        if find_spec(package) is None:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)


def makers() -> Sequence[Maker]:
    """What makes the objects beside the report, in the order in which they are written."""
    from pulmoscope.pipeline.objects.overlays import secondary_captures
    from pulmoscope.report.dicom.parametric_map import parametric_maps
    from pulmoscope.report.dicom.segmentation import segmentations

    return segmentations, parametric_maps, secondary_captures


def make_objects(diagnosis: Diagnosis, reports: Sequence[EarlierReport] = (), paper: bytes = b"") -> Objects:
    """Make the objects of a diagnosis at once, as :func:`begin` and :meth:`Begun.finish` do.

    Raises:
        ModuleNotFoundError: highdicom is not installed.
    """
    return begin(diagnosis, reports).finish(paper)


def begin(diagnosis: Diagnosis, reports: Sequence[EarlierReport] = ()) -> Begun:
    """Read the sources of a diagnosis once more, and compare it with earlier reports.

    Args:
        reports: earlier ones of ours: the new one takes the place of those on the same images, and tells what has
            changed since the patient's last one.

    Raises:
        ModuleNotFoundError: highdicom is not installed.
    """
    need_highdicom()
    from pulmoscope.report.dicom.common import Common
    from pulmoscope.report.dicom.sources import NoSourceError, read_sources

    try:
        sources = read_sources(diagnosis.scan)
    except NoSourceError as error:
        return Begun(diagnosis, None, f"no DICOM objects: {error}")
    return Begun(diagnosis, Common(diagnosis, sources, tuple(reports)))


def _made(common: Common, since: SinceReport | None, paper: bytes) -> Objects:
    """All objects that the sources allow."""
    from pulmoscope.report.dicom.common import file_bytes
    from pulmoscope.report.dicom.paper import encapsulated_pdf
    from pulmoscope.report.dicom.structured_report import structured_report

    files: dict[str, bytes] = {}
    made: list[Dataset] = []
    missing: list[str] = []

    def take(what: str, objects: Callable[[], Iterable[tuple[str, Dataset]]]) -> None:
        try:
            for name, dataset in objects():
                files[f"{name}.dcm"] = file_bytes(dataset)
                made.append(dataset)
        except Exception as error:  # highdicom says with errors of any class what it can't write of a source
            missing.append(_not_made(what, error))

    for make in makers():
        take(make.__name__, partial(make, common))
    if paper:
        take("PDF", lambda: [(PDF, encapsulated_pdf(common, paper))])
    take("structured report", lambda: [(SR, structured_report(common, made))])
    fhir, untold = _fhir(common.diagnosis, common.sources, common.uid)
    return Objects(files, common.sources.mended, (*missing, *untold), since, fhir)


def _fhir(
    diagnosis: Diagnosis, sources: Sources | None = None, name: Callable[[str], str] | None = None
) -> tuple[bytes, tuple[str, ...]]:
    """The FHIR Bundle; empty, with the line that says so, where it can't be made."""
    from pulmoscope.report.fhir.bundle import fhir_json

    try:
        return fhir_json(diagnosis, sources, name), ()
    except ValueError as error:
        return b"", (_not_made("FHIR Bundle", error),)


def _not_made(what: str, error: Exception) -> str:
    """What could not be made; only the error's class, as its message may quote an element."""
    return f"no {what.replace('_', ' ')}: these sources don't allow it ({type(error).__name__})"


def write_objects(objects: Objects, folder: Path) -> None:
    """Write objects into ``folder/dicom``, and the FHIR Bundle beside it: all of them, or on a full disk none.

    Raises:
        ResourceError: the disk is full or the folder can't be written.
    """
    try:
        for name, content in objects.files.items():
            write_bytes(folder / FOLDER / name, content)
        if objects.fhir:
            write_bytes(folder / FHIR, objects.fhir)
    except BaseException:
        with suppress(ResourceError):
            clear_objects(folder)
        raise


def clear_objects(folder: Path) -> None:
    """Remove the objects that an earlier run has written; nothing else is touched.

    Raises:
        ResourceError: the folder can't be written.
    """
    objects = folder / FOLDER
    try:
        (folder / FHIR).unlink(missing_ok=True)
        if not objects.is_dir():
            return
        sweep(objects)
        for path in objects.iterdir():
            if _WRITTEN.fullmatch(path.name):
                path.unlink()
        if not any(objects.iterdir()):
            objects.rmdir()
    except OSError as error:
        raise ResourceError(f"{objects}: could not be cleared ({error.strerror or error})") from error


def are_there(folder: Path, plain: Mapping[str, Any]) -> bool:
    """Whether the objects that a ``diagnosis.json`` names lie beside it, none of them empty."""
    try:
        return all((folder / file).stat().st_size > 0 for file in plain["files"])
    except (OSError, KeyError, TypeError):
        return False


def is_object(file: str) -> bool:
    """Whether a file's name, relative to the diagnosis's folder, is one of those that objects have."""
    folder, _, name = file.rpartition("/")
    return file == FHIR or (folder == FOLDER and _WRITTEN.fullmatch(name) is not None)


def remarks(plain: Mapping[str, Any]) -> tuple[str, ...]:
    """What a ``diagnosis.json`` says of its objects, a line each: which are missing, what was mended."""
    objects = plain.get("dicom", {})
    mended = ", ".join(objects.get("mended", ()))
    mending = (
        (f"DICOM objects: not valid in the sources, and mended in the objects: {mended}",) if mended else ()
    )
    return (*objects.get("missing", ()), *mending)


_WRITTEN = re.compile(rf"({SR}|segmentation-[a-z]+|heat-map(-\d+)?|overlay-\d+|pdf)\.dcm")
"""Every file that may be written."""
