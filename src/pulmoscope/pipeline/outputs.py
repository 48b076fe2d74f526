"""The files of a run of ``diagnose``: what is written, what a killed run has left, and what ``--force`` removes.

::

    OUT/index.json                  every input with its outcome; written last, so that its presence means «complete»
    OUT/results.csv                 the same as a table, one line an input; written just before
    OUT/local-names.csv             which input has which name: paths, and so not for sharing
    OUT/<name>/diagnosis.json       written after its neighbours, so that its presence means the same of them
    OUT/<name>/report.html
    OUT/<name>/report.pdf           the same on paper
    OUT/<name>/heat-<class>.png     of an X-ray: the heat map over the image, at most 2048 px a side
    OUT/<name>/heat-<class>.npz     the heat map alone as the network gives it, and where it lies in the image
    OUT/<name>/opacity.png          of an X-ray with a severity: the map of opacity over it, at most 1024 px a side
    OUT/<name>/opacity.npz          the map of opacity alone, likewise
    OUT/<name>/slices.csv           of a CT: what is said of every slice
    OUT/<name>/lungs.nii.gz         of a CT: the lung mask, 1 right, 2 left, in the scan's own geometry
    OUT/<name>/lesions.nii.gz       of a CT: what of it is affected, 1 ground glass, 2 consolidation
    OUT/<name>/slice-<number>.png   an explained slice in the lung window, at its own size
    OUT/<name>/heat-<number>-<class>-stage<number>.png   a heat map over it
    OUT/<name>/dicom/               objects for other systems (pipeline/objects/write.py); these name the patient
    OUT/<name>/fhir.json            the same statements as a FHIR Bundle, which names the patient, too
"""

from __future__ import annotations

import io
import json
import re
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from pulmoscope import __version__
from pulmoscope.core.change import XrayChange
from pulmoscope.core.errors import OutputExistsError, ResourceError
from pulmoscope.core.files import settle, sweep, write_bytes, write_json, write_text
from pulmoscope.core.types import Box, Diagnosis, Flag, FloatArray, Modality, Scan
from pulmoscope.core.xray_severity import XraySeverity
from pulmoscope.explain.gradcam import place
from pulmoscope.explain.overlay import overlay, png
from pulmoscope.io.inputs import Sources
from pulmoscope.io.slice_pictures import SLICE
from pulmoscope.pipeline.change.xray import xray_pair
from pulmoscope.pipeline.clinical.outcome import same_beside
from pulmoscope.pipeline.clinical.values import Values
from pulmoscope.pipeline.drift.survey import STRANGE
from pulmoscope.pipeline.names import LOCAL_NAMES, is_plain, read_local_names
from pulmoscope.pipeline.objects.write import Begun, are_there, clear_objects, is_object, write_objects
from pulmoscope.pipeline.pictures.ct import ct_pictures, slice_files
from pulmoscope.pipeline.pictures.masks import mask_files
from pulmoscope.pipeline.pictures.xray import LUNGS, colour_scale, data_jpeg, edged, grey, shrunk
from pulmoscope.report import ct_page, page
from pulmoscope.report.diagnosis import SCHEMA_VERSION, heat_names, to_json
from pulmoscope.report.page import Pictures
from pulmoscope.report.pdf import to_pdf
from pulmoscope.report.results_table import MARK
from pulmoscope.report.slice_table import to_csv
from pulmoscope.report.xray_severity import map_files

INDEX, DIAGNOSIS, REPORT, SLICES = "index.json", "diagnosis.json", "report.html", "slices.csv"
PDF, RESULTS = "report.pdf", "results.csv"

_WRITTEN = re.compile(
    r"report\.(html|pdf)|slices\.csv|slice-\d+\.png|(heat-[A-Za-z0-9-]+|opacity)\.(png|np[yz])|(lungs|lesions)\.nii\.gz"
)
"""What a run leaves beside ``diagnosis.json``."""

_STRENGTH = 0.5
"""Of the greatest heat in a saved picture, and of the greatest opacity on the page: 0 is transparent."""
_SAVED_SIDE = 2048
"""Longest side of a heat map over an X-ray, px."""
_OPACITY_SIDE = 1024
"""Likewise of the map of opacity, px: a quarter of the time, and the map is coarse."""
_PAGE_SIDE = 768
"""Longest side of a picture within the page, px: sharp on a screen, small in the file."""


def claim(out: Path, known: Collection[str], force: bool) -> dict[str, str]:
    """Make the folder for a run over these inputs; with ``force`` remove what the run before has written.

    A killed run has no index: its results stay, and :func:`kept` decides about each. A run that refused everything has
    nothing to lose: the next one takes its place.

    Args:
        known: the paths of all inputs, from the root.

    Returns:
        Name → path of what a killed run has left of these inputs.

    Raises:
        OutputExistsError: a complete run is there, or a killed one of other inputs, or someone else's ``results.csv``,
            and ``force`` is not given.
        ResourceError: the folder can't be made or cleared.
    """
    index = out / INDEX
    complete = index.exists() and index.stat().st_size > 0  # an empty one is of a power cut
    folders = _folders(index)
    if complete and not force and folders != []:
        raise OutputExistsError(index)
    if not force and not _is_ours(out / RESULTS):
        raise OutputExistsError(out / RESULTS)
    paths = {name: path for name, path in read_local_names(out).items() if is_plain(name)}
    results = (
        set(paths)
        if folders is not None
        else {*paths, *(path.parent.name for path in out.glob(f"*/{DIAGNOSIS}"))}
    )
    left = {} if complete else {name: path for name, path in paths.items() if path in known}
    others = sorted({*results, *(folders or [])} - set(left))
    unfinished = [other for other in others if not complete and (out / other / DIAGNOSIS).exists()]
    if unfinished and not force:
        raise OutputExistsError(
            out, finding=f"holds {len(unfinished)} results of an unfinished run over other inputs"
        )
    for other in others:
        clear(out / other)
    try:
        out.mkdir(parents=True, exist_ok=True)
        index.unlink(missing_ok=True)
        (out / RESULTS).unlink(missing_ok=True)
        if not left:
            (out / LOCAL_NAMES).unlink(missing_ok=True)
        for folder in (out, *(out / name for name in left)):
            sweep(folder)
    except OSError as error:
        raise ResourceError(f"{out}: could not be made ready ({error.strerror or error})") from error
    return left


def kept(
    folder: Path,
    sources: Sources,
    model: Mapping[str, str],
    limits: Collection[Flag] = (),
    earlier: Sequence[str] = (),
    show_date: bool = False,
    values: Values | None = None,
    dicom: bool = False,
) -> dict[str, Any] | None:
    """The ``diagnosis.json`` that a killed run has left for the same files, model and versions; None without one.

    Args:
        sources: the files, and what there was to remark about them without decoding any.
        limits: of the place that they are of: one that a survey did not find before, or finds no more, is no matter of
            the files.
        earlier: the checksums of the files of the earlier scan that it is compared with; empty: with none.
        show_date: whether a CT's page is to tell the date of the study.
        values: what the patient's values are to be linked from; None: from nothing.
        dicom: whether there are to be objects for other systems.
    """
    try:
        plain = json.loads((folder / DIAGNOSIS).read_text(encoding="utf-8"))
        if not all(path.stat().st_size for path in folder.iterdir() if path.is_file()):
            return None  # as a power cut leaves files that were not settled
        if dicom is not ("dicom" in plain) or (dicom and not are_there(folder, plain["dicom"])):
            return None
        same = (
            plain["schema_version"] == SCHEMA_VERSION
            and [file["sha256"] for file in plain["input"]["files"]]
            == [file.sha256 for file in sources.files]
            and _earlier_sums(plain["change"]) == list(earlier)
            and plain["model"] == dict(model)
            and same_beside(values, plain)
            and _page_tells_date(folder)
            in (None, show_date and plain["input"]["modality"] == Modality.CT.value)
            and plain["software"]["pulmoscope"] == __version__
            and {(flag.finding, flag.rule) for flag in sources.remarks}
            <= {(flag["finding"], flag["rule"]) for flag in plain["quality"]["flags"]}
            and {(flag["level"], flag["finding"]) for flag in plain["limits"] if flag["code"] == STRANGE}
            == {(flag.level.value, flag.finding) for flag in limits}
            # What pictures were taken for is no matter of their content.
            and (SLICE in {flag.code for flag in sources.remarks})
            is (SLICE in {flag["code"] for flag in plain["quality"]["flags"]})
        )
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return plain if same else None


def has_page(folder: Path, pdf: bool) -> bool:
    """Whether a result's page is there, and where ``pdf`` asks for it the same on paper."""
    return (folder / REPORT).exists() and (not pdf or (folder / PDF).exists())


def _page_tells_date(folder: Path) -> bool | None:
    """Whether the page that was left may tell the date of the study; None without a page."""
    page = folder / REPORT
    return ct_page.DATED in page.read_text(encoding="utf-8") if page.exists() else None


def _earlier_sums(change: Mapping[str, Any] | None) -> list[str]:
    """The checksums of the earlier scan's files that a ``diagnosis.json`` names."""
    return [] if change is None else [file["sha256"] for file in change["earlier"]["files"]]


def save(
    diagnosis: Diagnosis,
    folder: Path,
    report: bool = True,
    *,
    show_date: bool = False,
    pdf: bool = False,
    objects: Callable[[Diagnosis], Begun] | None = None,
) -> dict[str, Any]:
    """Write a diagnosis into its folder, in place of an older one, and give back what ``diagnosis.json`` holds.

    Args:
        report: also write the page; the heat maps are written where the diagnosis has them.
        show_date: a CT's page tells the date of the study, which may identify a patient.
        pdf: also write the page on paper, where there is one.
        objects: begins those for other systems, which are finished with the page on paper; None: there are to be none.

    Raises:
        ModuleNotFoundError, ResourceError: as of :func:`pulmoscope.report.pdf.check_pdf`.
        ResourceError: the disk is full or the folder can't be written.
    """
    clear(folder)
    series = diagnosis.scan.modality is Modality.CT
    for name, content in slice_files(diagnosis) if series else _heat_files(diagnosis):
        write_bytes(folder / name, content)
    if series:
        write_text(folder / SLICES, to_csv(diagnosis))
        for name, content in mask_files(diagnosis):
            write_bytes(folder / name, content)
    begun = None if objects is None else objects(diagnosis)
    since = None if begun is None else begun.since
    html, paper = "", b""
    if report:
        html = (
            ct_page.to_html(diagnosis, ct_pictures(diagnosis), since, show_date=show_date)
            if series
            else page.to_html(diagnosis, pictures(diagnosis), since)
        )
        write_text(folder / REPORT, html)
    if report and pdf:
        write_bytes(folder / PDF, paper := to_pdf(html))
    plain = to_json(diagnosis)
    if begun is not None:
        made = begun.finish(paper)
        write_objects(made, folder)
        plain["dicom"] = made.plain()
    write_json(folder / DIAGNOSIS, plain)
    return plain


def complete(out: Path, index: Mapping[str, Any]) -> None:
    """Write ``index.json``, when the disk holds everything that it vouches for.

    Raises:
        ResourceError: the disk is full or broken.
    """
    settle(out)
    write_json(out / INDEX, index)
    settle(out)


def clear(folder: Path) -> None:
    """Remove what an earlier run has left of an input, the diagnosis first; nothing else is touched.

    Raises:
        ResourceError: the folder can't be written.
    """
    try:
        (folder / DIAGNOSIS).unlink(missing_ok=True)
        sweep(folder)
        clear_objects(folder)
        for path in folder.glob("*"):
            if _WRITTEN.fullmatch(path.name):
                path.unlink()
        if folder.is_dir() and not any(folder.iterdir()):
            folder.rmdir()
    except OSError as error:
        raise ResourceError(f"{folder}: could not be cleared ({error.strerror or error})") from error


def is_written(file: str) -> bool:
    """Whether a file's name is one of those that a run leaves in an input's folder, or below that (``dicom/…``)."""
    return file == DIAGNOSIS or _WRITTEN.fullmatch(file) is not None or is_object(file)


def pictures(diagnosis: Diagnosis) -> Pictures:
    """The pictures of an X-ray's page, at most 768 px a side."""
    pixels = shrunk(diagnosis.scan.pixels[0], _PAGE_SIDE)
    heats = [shrunk(explanation.heat, _PAGE_SIDE) for explanation in diagnosis.explanations]
    severity = diagnosis.xray_severity
    opacity = None if severity is None else shrunk(_opacity(diagnosis.scan, severity), _PAGE_SIDE)
    return Pictures(
        scan=data_jpeg(grey(pixels)),
        overlays=tuple(
            data_jpeg(edged(overlay(pixels, heat, 1.0), diagnosis.lungs, LUNGS)) for heat in heats
        ),
        scale=colour_scale() if heats or severity else "",
        lungs="" if diagnosis.lungs is None else data_jpeg(edged(grey(pixels), diagnosis.lungs, LUNGS)),
        opacity="" if opacity is None else data_jpeg(overlay(pixels, opacity, _STRENGTH)),
        change=xray_pair(diagnosis.change) if isinstance(diagnosis.change, XrayChange) else None,
    )


def _is_ours(table: Path) -> bool:
    """Whether a table of results is of a run, or there is none: the name is a common one."""
    try:
        with table.open("rb") as stream:
            return stream.read(len(MARK)) == MARK
    except (FileNotFoundError, NotADirectoryError):
        return True
    except OSError:
        return False


def _folders(index: Path) -> list[str] | None:
    """The folders that a complete run has made, by its index; None where there is none, or it can't be read.

    Only names, so that nothing beyond them is reached.
    """
    try:
        listed = json.loads(index.read_text(encoding="utf-8"))["inputs"]
        names = [str(entry["folder"]) for entry in listed if "folder" in entry]
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return [name for name in names if is_plain(name)]


def _heat_files(diagnosis: Diagnosis) -> Iterator[tuple[str, bytes]]:
    """Names and contents of an X-ray's heat maps and of its map of opacity: over the image, and alone."""
    pixels = shrunk(diagnosis.scan.pixels[0], _SAVED_SIDE)

    def under(heat: FloatArray, image: FloatArray) -> bytes:
        picture = overlay(image, shrunk(heat, max(image.shape)), _STRENGTH)
        return png(edged(picture, diagnosis.lungs, LUNGS))

    for explanation, name in zip(diagnosis.explanations, heat_names(diagnosis), strict=True):
        heat, box = explanation.cells, explanation.box
        if heat is None or box is None:
            heat, box = explanation.heat, Box(0, 0, *explanation.heat.shape)
        yield f"{name}.png", under(explanation.heat, pixels)
        yield f"{name}.npz", _npz("heat", heat, box)
    severity = diagnosis.xray_severity
    if severity is not None and (drawn := map_files(diagnosis)) is not None:
        small = shrunk(diagnosis.scan.pixels[0], _OPACITY_SIDE)
        yield drawn["picture"], under(_opacity(diagnosis.scan, severity), small)
        yield drawn["array"], _npz("opacity", severity.cells, Box(*severity.box))


def _opacity(scan: Scan, severity: XraySeverity) -> FloatArray:
    """The probability of an opacity, float32 (rows, columns) at the scan's own size."""
    return place(severity.cells, Box(*severity.box), *scan.pixels.shape[1:])


def _npz(name: str, cells: FloatArray, box: Box) -> bytes:
    """``name``: float16, the cells in [0, 1]; ``affine``: float64 (2, 3), from a cell to the image.

    ``affine @ (i, j, 1)`` is the row and column in the image, counted from the centre of its first pixel, of the
    centre of the cell (i, j). Between centres a map is bilinear, and 0 outside the cells.
    """
    down, across = box.height / cells.shape[0], box.width / cells.shape[1]
    affine = [[down, 0, box.top + (down - 1) / 2], [0, across, box.left + (across - 1) / 2]]
    stream = io.BytesIO()
    held: dict[str, Any] = {name: cells.astype(np.float16), "affine": np.array(affine, dtype=np.float64)}
    np.savez(stream, **held)
    return stream.getvalue()
