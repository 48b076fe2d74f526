"""Bytes → scan: the content decides the format, whatever the name says."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from pulmoscope.core.errors import InputError, UnreadableError, UnsuitableError
from pulmoscope.core.files import sha256_of
from pulmoscope.core.types import Flag, FlagLevel, FloatArray, Modality, Scan
from pulmoscope.io.ct.pictures import in_order, read_pictures
from pulmoscope.io.formats import PICTURES, VOLUMES, format_of
from pulmoscope.io.inputs import Entry, Sources, content_name, entries
from pulmoscope.io.studies import Study, Wanted, studies
from pulmoscope.io.xray import raster
from pulmoscope.io.xray.picture import Picture

if TYPE_CHECKING:  # pydicom takes a fifth of a second
    from pulmoscope.io.ct.header import SliceHeader


@dataclass(frozen=True)
class ReadResult:
    """What became of one study: a scan, or the error that refuses it; exactly one of them is there.

    Attributes:
        name: as the user named it.
        content: what it is called by its content; empty where that can't be read.
    """

    name: str
    content: str
    scan: Scan | None = None
    error: InputError | None = None


def read(paths: Sequence[Path], wanted: Wanted = "auto") -> Iterator[ReadResult]:
    """Read every scan that the paths hold, one at a time. Raises no InputError.

    Args:
        paths: files, folders and zips (see :func:`entries`).
        wanted: what pictures are (see :func:`studies`).
    """
    return map(read_study, studies(entries(paths), wanted))


def read_study(study: Study, series: str = "") -> ReadResult:
    """Read one study; a refusal is in the result. Safe to call from several threads.

    Args:
        study: what :func:`studies` found.
        series: the SeriesInstanceUID of the series to read of a DICOM study; empty: chosen by the rules of
            ``io/ct/choice.py``.
    """
    try:
        scan = _read(study, series)
    except InputError as error:
        return ReadResult(study.name, content_of(study), error=error)
    return ReadResult(study.name, scan.name, scan=scan)


def content_of(study: Study) -> str:
    """What a study is called by the content of all its files; empty where one can't be read.

    Of a CT, :func:`read_study` says what the slices are called that are read of it.
    """
    modality = Modality.XRAY if study.kind == "image" else Modality.CT
    try:
        return content_name(modality, [_sha256(entry) for entry in study.entries])
    except InputError:
        return ""


def sources(study: Study, series: str = "") -> Sources:
    """What the scan that :func:`read_study` gives is made of, where no damaged slice is left out; decodes nothing.

    Raises:
        InputError: a file can't be read, or the headers tell that the study is refused.
    """
    if study.kind == "series":
        from pulmoscope.io.ct.series import series_sources

        return series_sources(study.name, *_chosen(study, series))
    files = in_order(study.entries) if study.kind == "pictures" else study.entries
    sums = tuple(entry.file(_sha256(entry)) for entry in files)
    return Sources(sums, study.remarks)


def _sha256(entry: Entry) -> str:
    """The checksum of a file as it is now."""
    return entry.held_sha256 if isinstance(entry.source, bytes) else sha256_of(entry.read_bytes())


def read_scan(path: Path, wanted: Wanted = "auto", series: str = "") -> Scan:
    """Read the one scan that a file, folder or zip holds.

    Raises:
        UnreadableError: it can't be read, or none is there.
        UnsuitableError: it is no chest X-ray or CT that can be diagnosed, or there are several.
    """
    return _read(only_study(path, wanted), series)


def only_study(path: Path, wanted: Wanted = "auto") -> Study:
    """The one study that a file, folder or zip holds.

    Raises:
        UnsuitableError: there are several.
    """
    listed = list(studies(entries([path]), wanted))
    if len(listed) != 1:
        raise UnsuitableError(path, "several-scans", _counted(listed), "one scan is read")
    return listed[0]


def _counted(listed: Sequence[Study]) -> str:
    """How many scans there are, and what they are together."""
    if any(study.remarks for study in listed):
        return f"{len(listed)} pictures that look like slices of a CT: modality ct reads them as one"
    if len(listed) > 1 and listed[0].film and len({study.film and study.film.study for study in listed}) == 1:
        return f"{len(listed)} films of one study: pulmoscope.diagnose_films gives their one answer"
    return f"{len(listed)} scans"


def _read(study: Study, series: str) -> Scan:
    """Read one study (errors: those of its kind's reader)."""
    if study.kind == "image":
        scan = _scan(study.entries[0])
        return replace(scan, remarks=(*scan.remarks, *study.remarks))
    if study.kind == "volume":
        from pulmoscope.io.ct.volume import read_volume  # SimpleITK takes a third of a second

        return read_volume(study.entries[0])
    if study.kind == "pictures":
        return read_pictures(study.name, study.entries)
    from pulmoscope.io.ct.series import read_series

    chosen, flags = _chosen(study, series)
    return read_series(study.name, chosen, flags)


def _chosen(study: Study, series: str) -> tuple[Sequence[SliceHeader], list[Flag]]:
    """The slices that are read of a study, and what there is to remark about the others."""
    from pulmoscope.io.ct.choice import choose

    chosen, flags = choose(study.name, study.headers, study.others, series)
    if study.broken:
        files = "file was" if study.broken == 1 else "files were"
        finding = f"{study.broken} {files} left out that can't be read, beside the slices"
        flags.append(Flag("broken-files", FlagLevel.WARN, finding))
    return chosen, flags


def read_xray(path: Path) -> Scan:
    """Read one X-ray file.

    Raises:
        UnreadableError: missing, damaged, or no image that is supported.
        UnsuitableError: an image, but no chest X-ray that can be diagnosed.
    """
    return _scan(Entry(str(path), "", path))


def read_pixels(path: Path) -> FloatArray:
    """Only the pixels of one X-ray file, float32 (rows, columns) in [0, 1], air dark, upright; all checks done.

    Raises:
        InputError: as :func:`read_xray`.
    """
    return _decode(Entry(str(path), "", path).read_bytes(), str(path)).pixels


def _decode(data: bytes, name: str) -> Picture:
    """Decode by content."""
    if not data:
        raise UnreadableError(name, "empty-file", "the file is empty: 0 bytes")
    kind = format_of(data)
    if kind == "DICOM":
        from pulmoscope.io.xray import dicom

        return dicom.decode(data, name)
    if kind == "zip":
        finding = "a zip in a zip, or one that is not named .zip"
        raise UnreadableError(name, "nested-zip", finding)
    if kind not in PICTURES:
        rule = "DICOM, PNG, JPEG, TIFF, WebP and BMP images are read, and NIfTI, MHA and NRRD volumes"
        if kind in VOLUMES:
            raise UnsuitableError(name, "other-modality", f"a {kind} volume", "an X-ray is one image")
        if kind is None:
            raise UnreadableError(name, "not-an-image", "no image of a known format", rule)
        raise UnreadableError(name, "unsupported-format", f"the file is in the format {kind}", rule)
    return raster.decode(data, name, str(kind))


def _scan(entry: Entry) -> Scan:
    """Read and decode one entry.

    An X-ray is a projection: it has no distance between slices, so its ``spacing_mm`` begins with 0.
    """
    data = entry.read_bytes()
    picture = _decode(data, entry.name)
    file = entry.file(_sha256(entry) if data is entry.source else sha256_of(data))
    return Scan(
        name=content_name(Modality.XRAY, [file.sha256]),
        modality=Modality.XRAY,
        pixels=picture.pixels[None],
        files=(file,),
        spacing_mm=picture.spacing_mm and (0.0, *picture.spacing_mm),
        view=picture.view,
        remarks=picture.remarks,
        facts=picture.facts,
    )
