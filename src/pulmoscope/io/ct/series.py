"""One DICOM series → scan: slices decoded in threads, each into its place; a bad one is left out and flagged."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial

import numpy as np

from pulmoscope.core.errors import InputError, UnreadableError
from pulmoscope.core.files import sha256_of
from pulmoscope.core.threads import cores
from pulmoscope.core.types import Flag, FlagLevel, Modality, Scan, Units, Voxels
from pulmoscope.io.ct.content import check_hu, strangers
from pulmoscope.io.ct.facts import series_facts
from pulmoscope.io.ct.header import SliceHeader
from pulmoscope.io.ct.limits import FEWEST, MOST_BAD
from pulmoscope.io.ct.orient import orient
from pulmoscope.io.ct.pictures import bad_flags
from pulmoscope.io.ct.pixels import decode_file, has_whole_hu
from pulmoscope.io.ct.stack import (
    Stack,
    geometry,
    spacing_flags,
    stack,
    tilt_flags,
    without,
)
from pulmoscope.io.inputs import Sources, content_name


def read_series(name: str, headers: Sequence[SliceHeader], remarks: Sequence[Flag] = ()) -> Scan:
    """Read one series.

    Args:
        name: the study as the user named it, for messages.
        headers: of all its slices, in any order.
        remarks: what was noticed before.

    Raises:
        UnsuitableError: too few slices, slices of several patients, or no CT numbers in them.
        UnreadableError: no slice has the tags that are needed, or too many can't be decoded.
    """
    stacked = stack(name, headers)
    volume, sums, bad = _decode(stacked)
    odd, breaks = strangers(volume, set(bad))
    flags = [
        *remarks,
        *stacked.flags,
        *bad_flags([bad[index] for index in sorted(bad)]),
        *_foreign_flags(len(odd), breaks),
    ]
    dropped = {*bad, *odd}
    count = len(stacked.headers)
    if len(dropped) > MOST_BAD * count or count - len(dropped) < FEWEST:
        first = f"; the first: {bad[min(bad)].finding}" if bad else ""
        finding = f"{len(dropped)} of {count} slices are damaged or foreign{first}"
        rule = f"at least {FEWEST} must be sound, and at most {100 * MOST_BAD:.0f} % bad"
        raise UnreadableError(name, "too-many-bad-slices", finding, rule)
    if dropped:
        kept = [index for index in range(count) if index not in dropped]
        volume, sums, stacked = volume[kept], [sums[index] for index in kept], without(stacked, dropped)
    check_hu(name, volume)
    flags += spacing_flags(stacked.heights_mm, stacked.step_mm)
    return _scan(stacked, volume, sums, flags)


def series_sources(name: str, headers: Sequence[SliceHeader], remarks: Sequence[Flag] = ()) -> Sources:
    """What makes up the scan that :func:`read_series` gives, where every slice is sound; no pixel is decoded.

    Raises:
        InputError: a file can't be read, or the headers tell that the series is refused.
    """
    stacked = stack(name, headers)
    read = {header.entry.name: header.entry for header in stacked.headers}
    sums = {file: sha256_of(entry.read_bytes()) for file, entry in read.items()}
    files = [header.entry.file(sums[header.entry.name], header.frame) for header in stacked.headers]
    _, _, reverse = orient(np.empty((len(files), 1, 1), dtype=np.float32), geometry(stacked))
    return Sources(tuple(reversed(files)) if reverse else tuple(files), (*remarks, *stacked.flags))


def _decode(stacked: Stack) -> tuple[Voxels, list[str], dict[int, InputError]]:
    """All slices' HU, their files' checksums, and what could not be decoded: place → why (its slice is 0).

    As int16 where they are whole numbers that fit, in half the memory; else as float32.
    """
    first = stacked.headers[0]
    assert first.storage is not None
    shape = (len(stacked.headers), first.storage.rows, first.storage.columns)
    if has_whole_hu(first):
        try:
            return _decoded(np.zeros(shape, dtype=np.int16), stacked)
        except OverflowError:  # what does not fit is no HU, and is said of the values as they are
            pass
    return _decoded(np.zeros(shape, dtype=np.float32), stacked)


def _decoded(volume: Voxels, stacked: Stack) -> tuple[Voxels, list[str], dict[int, InputError]]:
    """The same, decoded into ``volume`` (raises OverflowError: values do not fit into it)."""
    files: dict[str, list[int]] = {}
    for index, header in enumerate(stacked.headers):
        files.setdefault(header.entry.name, []).append(index)
    sums = [""] * len(stacked.headers)
    bad: dict[int, InputError] = {}
    with ThreadPoolExecutor(cores()) as pool:
        for indices, (checksum, errors) in zip(
            files.values(),
            pool.map(partial(_decode_file, volume, stacked.headers), files.values()),
            strict=True,
        ):
            for index in indices:
                sums[index] = checksum
            bad |= errors
    return volume, sums, bad


def _decode_file(
    volume: Voxels, headers: Sequence[SliceHeader], indices: Sequence[int]
) -> tuple[str, dict[int, InputError]]:
    """Decode the slices that one file holds (of a multi-frame file, several); its checksum, and the errors by place."""
    try:
        data = headers[indices[0]].entry.read_bytes()
    except InputError as error:
        return "", dict.fromkeys(indices, error)
    results = decode_file(data, [(volume[index], headers[index]) for index in indices])
    errors: dict[int, InputError] = {
        index: error for index, error in zip(indices, results, strict=True) if error is not None
    }
    for index in errors:
        volume[index] = 0
    return sha256_of(data), errors


def _foreign_flags(odd: int, breaks: int) -> list[Flag]:
    flags = []
    if odd:
        finding = f"{odd} slice{' was' if odd == 1 else 's were'} left out, unlike the neighbours"
        flags.append(Flag("foreign-slice", FlagLevel.WARN, finding))
    if breaks:
        finding = f"at {breaks} place{'s' * (breaks > 1)} the next slice shows another body"
        flags.append(Flag("several-bodies", FlagLevel.REFUSE, finding, "the slices of a study show one"))
    return flags


def _scan(
    stacked: Stack,
    volume: Voxels,
    sums: Sequence[str],
    flags: Sequence[Flag],
) -> Scan:
    """Put together what was read, turned as all scans are."""
    pixels, turned, reverse = orient(volume, geometry(stacked))
    files = [
        header.entry.file(checksum, header.frame)
        for header, checksum in zip(stacked.headers, sums, strict=True)
    ]
    z_mm = [header.position_mm[2] for header in stacked.headers if header.position_mm]
    if reverse:
        files.reverse()
        z_mm.reverse()
    # Rows and columns may have been turned too: their first voxel lies elsewhere, by as much for every slice.
    shift = turned.origin_mm[2] - z_mm[0]
    return Scan(
        name=content_name(Modality.CT, [file.sha256 for file in files]),
        modality=Modality.CT,
        pixels=pixels,
        files=tuple(files),
        spacing_mm=turned.spacing_mm,
        units=Units.HU,
        geometry=turned,
        z_mm=tuple(height + shift for height in z_mm),
        remarks=(*flags, *tilt_flags(turned)),
        facts=series_facts(stacked.headers[::-1] if reverse else stacked.headers),
    )
