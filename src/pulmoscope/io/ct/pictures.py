"""Slices that were saved as pictures → scan: grey, no HU, no geometry, and marked so."""

from __future__ import annotations

import re
from collections.abc import Sequence

import numpy as np

from pulmoscope.core.errors import InputError, UnreadableError, UnsuitableError
from pulmoscope.core.files import sha256_of
from pulmoscope.core.types import Flag, FlagLevel, FloatArray, Modality, Scan, SourceFile, Units
from pulmoscope.io.ct.limits import MOST_BAD, MOST_VOXELS
from pulmoscope.io.formats import format_of
from pulmoscope.io.inputs import Entry, content_name
from pulmoscope.io.xray import raster


def read_pictures(name: str, entries: Sequence[Entry]) -> Scan:
    """Read the pictures of one folder as the slices of one CT, in the order of the numbers in their names.

    Raises:
        UnreadableError: more than a quarter can't be read.
        UnsuitableError: they are not of one size, or too many.
    """
    ordered = in_order(entries)
    read: list[tuple[FloatArray, SourceFile]] = []
    voxels = 0
    bad: list[InputError] = []
    for entry in ordered:
        try:
            data = entry.read_bytes()
            picture = raster.decode(data, entry.name, str(format_of(data)))
            read.append((picture.pixels, entry.file(sha256_of(data))))
            voxels += picture.pixels.size
        except InputError as error:
            bad.append(error)
        if voxels > MOST_VOXELS:
            most = MOST_VOXELS // 10**6
            finding = f"more than {most} million pixels in a folder of {len(ordered)} pictures"
            raise UnsuitableError(
                name, "too-many-pixels", finding, f"the slices of one CT have at most {most} million"
            )
    if len(bad) > MOST_BAD * len(ordered):
        finding = f"{len(bad)} of {len(ordered)} pictures can't be decoded; the first: {bad[0].finding}"
        raise UnreadableError(
            name, "too-many-bad-slices", finding, f"at most {100 * MOST_BAD:.0f} % may be bad"
        )
    sizes = {pixels.shape for pixels, _ in read}
    if len(sizes) > 1:
        shown = ", ".join(f"{rows} x {columns}" for rows, columns in sorted(sizes)[:4])
        raise UnsuitableError(
            name, "sizes-differ", f"pictures of {shown} pixels", "the slices of one CT are of one size"
        )
    finding = (
        "the slices are pictures, whose window, spacing and order are not known; they are read in the order of the "
        "numbers in their names"
    )
    flags = [
        Flag("pictures", FlagLevel.WARN, finding, "slices are in HU, in a known geometry"),
        *bad_flags(bad),
    ]
    return Scan(
        name=content_name(Modality.CT, [file.sha256 for _, file in read]),
        modality=Modality.CT,
        pixels=np.stack([pixels for pixels, _ in read]),
        files=tuple(file for _, file in read),
        units=Units.GREY,
        remarks=tuple(flags),
    )


def bad_flags(bad: Sequence[InputError]) -> list[Flag]:
    """What the slices that can't be decoded come to; the first of them is quoted."""
    if not bad:
        return []
    verb = "slice was" if len(bad) == 1 else "slices were"
    finding = f"{len(bad)} {verb} left out, as it can't be decoded"
    return [Flag("bad-slice", FlagLevel.WARN, f"{finding}; the first: {bad[0].finding}")]


def in_order(entries: Sequence[Entry]) -> list[Entry]:
    """Pictures in the order of the numbers in their names."""
    return sorted(entries, key=lambda entry: _numbers(entry.name))


def _numbers(name: str) -> list[tuple[int, int, str]]:
    """A key by which slice9 comes before slice10."""
    return [
        (0, int(part), "") if part.isdecimal() else (1, 0, part) for part in re.split(r"(\d{1,18})", name)
    ]
