"""The files of a run of ``diagnose``: what is written, what a killed run has left, and what ``--force`` removes.

::

    OUT/index.json                  every input with its outcome; written last, so that its presence means «complete»
    OUT/<slug>/diagnosis.json       written after its neighbours, so that its presence means the same of them
    OUT/<slug>/report.html
    OUT/<slug>/heat-<class>.png     of an X-ray: the heat map over the image, at the image's own size
    OUT/<slug>/heat-<class>.npy     the heat map alone: float16 (rows, columns) in [0, 1]
    OUT/<slug>/slices.csv           of a CT: what is said of every slice
    OUT/<slug>/lungs.nii.gz         of a CT: the lung mask, 1 right, 2 left, in the scan's own geometry
    OUT/<slug>/lesions.nii.gz       of a CT: what of it is affected, 1 ground glass, 2 consolidation
    OUT/<slug>/slice-<number>.png   an explained slice in the lung window, at its own size
    OUT/<slug>/heat-<number>-<class>-stage<number>.png   a heat map over it
"""

from __future__ import annotations

import io
import json
import re
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from pulmoscope import __version__
from pulmoscope.core.errors import OutputExistsError, ResourceError
from pulmoscope.core.files import write_bytes, write_json, write_text
from pulmoscope.core.types import Diagnosis, FloatArray, Modality
from pulmoscope.explain.overlay import overlay, png
from pulmoscope.io.inputs import Sources
from pulmoscope.io.slice_pictures import SLICE
from pulmoscope.pipeline.ct_pictures import ct_pictures, slice_files
from pulmoscope.pipeline.mask_files import mask_files
from pulmoscope.pipeline.pictures import colour_scale, data_jpeg, grey, shrunk
from pulmoscope.report import ct_page, page
from pulmoscope.report.diagnosis import SCHEMA_VERSION, heat_names, to_json
from pulmoscope.report.page import Pictures
from pulmoscope.report.slice_table import to_csv

INDEX, DIAGNOSIS, REPORT, SLICES = "index.json", "diagnosis.json", "report.html", "slices.csv"

_WRITTEN = re.compile(
    r"report\.html|slices\.csv|slice-\d+\.png|heat-[A-Za-z0-9-]+\.(png|npy)|(lungs|lesions)\.nii\.gz"
)
"""What a run leaves beside ``diagnosis.json``."""

_SAVED_OPACITY = 0.5
_PAGE_SIDE = 768
"""Longest side of a picture within the page, px: sharp on a screen, small in the file."""


def claim(out: Path, slugs: Collection[str], force: bool) -> None:
    """Make the folder for a run over these inputs; with ``force`` remove what a run before has left of others.

    A slug may have a number behind it that makes it unique.

    A killed run has no index: its results stay, and :func:`kept` decides about each. A run that refused everything has
    nothing to lose: the next one takes its place.

    Raises:
        OutputExistsError: a complete run is there, or a killed one of other inputs, and ``force`` is not given.
        ResourceError: the folder can't be made or cleared.
    """
    index = out / INDEX
    if index.exists() and not force and _folders(index) != []:
        raise OutputExistsError(index)
    others = [] if index.exists() else sorted({path.parent for path in out.glob(f"*/{DIAGNOSIS}")})
    others = [other for other in others if not {other.name, re.sub(r"-\d+$", "", other.name)} & set(slugs)]
    if others and not force:
        raise OutputExistsError(
            out, found=f"holds {len(others)} results of an unfinished run over other inputs"
        )
    for other in others:
        clear(other)
    try:
        out.mkdir(parents=True, exist_ok=True)
        if index.exists():
            for folder in _folders(index) or []:
                clear(out / folder)
            index.unlink()
    except OSError as error:
        raise ResourceError(f"{out}: could not be made ready ({error.strerror or error})") from error


def kept(folder: Path, sources: Sources, model: Mapping[str, str]) -> dict[str, Any] | None:
    """The ``diagnosis.json`` that a killed run has left for the same files, model and versions; None without one.

    Args:
        sources: the files, and what there was to remark about them without decoding any.
    """
    try:
        found = json.loads((folder / DIAGNOSIS).read_text(encoding="utf-8"))
        same = (
            found["schema_version"] == SCHEMA_VERSION
            and found["input"]["files"]
            == [{"name": file.name, "sha256": file.sha256} for file in sources.files]
            and found["model"] == dict(model)
            and found["software"]["pulmoscope"] == __version__
            and {(flag.finding, flag.rule) for flag in sources.remarks}
            <= {(flag["finding"], flag["rule"]) for flag in found["quality"]["flags"]}
            # What pictures were taken for is no matter of their content.
            and (SLICE in {flag.code for flag in sources.remarks})
            is (SLICE in {flag["code"] for flag in found["quality"]["flags"]})
        )
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return found if same else None


def save(diagnosis: Diagnosis, folder: Path, report: bool = True) -> dict[str, Any]:
    """Write a diagnosis into its folder, in place of an older one, and give back what ``diagnosis.json`` holds.

    Args:
        report: also write the page; the heat maps are written where the diagnosis has them.

    Raises:
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
    if report and series:
        write_text(folder / REPORT, ct_page.to_html(diagnosis, ct_pictures(diagnosis)))
    elif report:
        write_text(folder / REPORT, page.to_html(diagnosis, pictures(diagnosis)))
    plain = to_json(diagnosis)
    write_json(folder / DIAGNOSIS, plain)
    return plain


def clear(folder: Path) -> None:
    """Remove what an earlier run has left of an input, the diagnosis first; nothing else is touched.

    Raises:
        ResourceError: the folder can't be written.
    """
    try:
        (folder / DIAGNOSIS).unlink(missing_ok=True)
        for path in folder.glob("*"):
            if _WRITTEN.fullmatch(path.name):
                path.unlink()
    except OSError as error:
        raise ResourceError(f"{folder}: could not be cleared ({error.strerror or error})") from error


def pictures(diagnosis: Diagnosis) -> Pictures:
    """The pictures of an X-ray's page, at most 768 px a side."""
    pixels = shrunk(diagnosis.scan.pixels[0], _PAGE_SIDE)
    heats = [shrunk(explanation.heat, _PAGE_SIDE) for explanation in diagnosis.explanations]
    return Pictures(
        scan=data_jpeg(grey(pixels)),
        overlays=tuple(data_jpeg(overlay(pixels, heat, 1.0)) for heat in heats),
        scale=colour_scale() if heats else "",
    )


def _folders(index: Path) -> list[str] | None:
    """The folders that a complete run has made, by its index; None where that can't be read.

    Only names, so that nothing beyond them is reached.
    """
    try:
        listed = json.loads(index.read_text(encoding="utf-8"))["inputs"]
        names = [str(entry["folder"]) for entry in listed if "folder" in entry]
    except (ValueError, KeyError, TypeError):
        return None
    return [name for name in names if Path(name).name == name]


def _heat_files(diagnosis: Diagnosis) -> Iterator[tuple[str, bytes]]:
    """Names and contents of an X-ray's heat maps: over the image, and alone."""
    pixels = diagnosis.scan.pixels[0]
    for explanation, name in zip(diagnosis.explanations, heat_names(diagnosis), strict=True):
        yield f"{name}.png", png(overlay(pixels, explanation.heat, _SAVED_OPACITY))
        yield f"{name}.npy", _npy(explanation.heat)


def _npy(heat: FloatArray) -> bytes:
    stream = io.BytesIO()
    np.save(stream, heat.astype(np.float16))
    return stream.getvalue()
