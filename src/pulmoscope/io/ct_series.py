"""One DICOM series → scan: slices decoded in threads, each into its place; a bad one is left out and flagged."""

from __future__ import annotations

import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial

import numpy as np

from pulmoscope.core.errors import InputError, UnreadableError
from pulmoscope.core.files import sha256_of
from pulmoscope.core.types import Flag, FloatArray, Geometry, Modality, Scan, Severity, SourceFile, Units
from pulmoscope.io.ct_content import check_hu, strangers
from pulmoscope.io.ct_header import SliceHeader
from pulmoscope.io.ct_pixels import decode_into
from pulmoscope.io.ct_stack import FEWEST, Stack, geometry, stack, without
from pulmoscope.io.orient import orient

MOST_BAD = 0.25
"""Share of slices that can't be decoded or don't belong; of more the study is refused."""
TILTED_DEG = 1.0
"""Degrees; a tilt below it is rounding."""


def read_series(name: str, slug: str, headers: Sequence[SliceHeader], remarks: Sequence[Flag] = ()) -> Scan:
    """Read one series.

    Args:
        name: the study as the user named it, for messages.
        slug: the scan's name.
        headers: of all its slices, in any order.
        remarks: what was noticed before.

    Raises:
        UnsuitableError: too few slices, slices of several patients, or no CT numbers in them.
        UnreadableError: no slice has the tags that are needed, or too many can't be decoded.
    """
    stacked = stack(name, headers)
    placed = geometry(stacked)
    volume, sums, bad = _decode(stacked)
    left_out: dict[int, str] = {place: str(error.rule) for place, error in bad.items()}
    flags = [*remarks, *stacked.flags, *_bad_flags(bad)]
    odd = strangers(volume, set(bad))
    if odd:
        verb = "does" if len(odd) == 1 else "do"
        verb = "does" if len(odd) == 1 else "do"
        detail = f"each slice resembles its neighbours (found: {len(odd)} that {verb} not, left out)"
        flags.append(Flag("foreign-slice", Severity.WARN, detail))
    dropped = {*left_out, *odd}
    count = len(stacked.headers)
    if len(dropped) > MOST_BAD * count or count - len(dropped) < FEWEST:
        first = next(iter(bad.values()), None)
        reason = f"{len(dropped)} of {count}" + (f"; the first: {first.rule}" if first else "")
        raise UnreadableError(
            name, f"at most {100 * MOST_BAD:.0f} % of the slices are damaged or foreign", reason
        )
    if dropped:
        kept = [place for place in range(count) if place not in dropped]
        volume, sums, stacked = volume[kept], [sums[place] for place in kept], without(stacked, dropped)
    check_hu(name, volume)
    return _scan(slug, stacked, placed, volume, sums, flags)


def _decode(stacked: Stack) -> tuple[FloatArray, list[str], dict[int, InputError]]:
    """All slices' HU, their files' checksums, and what could not be decoded: place → why (its slice is 0)."""
    storage = stacked.headers[0].storage
    assert storage is not None
    volume = np.zeros((len(stacked.headers), storage.rows, storage.columns), dtype=np.float32)
    threads = os.cpu_count() or 1
    jobs = _jobs(stacked.headers)
    with ThreadPoolExecutor(threads) as pool:
        found = list(pool.map(partial(_decode_file, volume), jobs))
    sums = [""] * len(stacked.headers)
    bad: dict[int, InputError] = {}
    for checksum, places, errors in found:
        for place in places:
            sums[place] = checksum
        bad |= errors
    return volume, sums, bad


@dataclass(frozen=True)
class _Job:
    """A file, and the slices that it holds: place in the stack → header."""

    slices: tuple[tuple[int, SliceHeader], ...]


def _jobs(headers: Sequence[SliceHeader]) -> list[_Job]:
    """One job a file, so that a multi-frame file is read once."""
    files: dict[str, list[tuple[int, SliceHeader]]] = {}
    for place, header in enumerate(headers):
        files.setdefault(header.entry.name, []).append((place, header))
    return [_Job(tuple(slices)) for slices in files.values()]


def _decode_file(volume: FloatArray, job: _Job) -> tuple[str, list[int], dict[int, InputError]]:
    """Decode what one file holds; its checksum, its places, and the errors by place."""
    places = [place for place, _ in job.slices]
    try:
        data = job.slices[0][1].entry.read_bytes()
    except InputError as error:
        return "", places, dict.fromkeys(places, error)
    errors: dict[int, InputError] = {}
    for place, header in job.slices:
        try:
            decode_into(volume[place], data, header)
        except InputError as error:
            volume[place] = 0
            errors[place] = error
    return sha256_of(data), places, errors


def _bad_flags(bad: dict[int, InputError]) -> list[Flag]:
    if not bad:
        return []
    first = bad[min(bad)]
    detail = f"every slice can be decoded (found: {len(bad)} that can't, left out; the first: {first})"
    return [Flag("bad-slice", Severity.WARN, detail)]


def _scan(
    slug: str,
    stacked: Stack,
    placed: Geometry,
    volume: FloatArray,
    sums: Sequence[str],
    flags: Sequence[Flag],
) -> Scan:
    """Put together what was read, turned as all scans are."""
    pixels, turned, reverse = orient(volume, placed)
    files = [SourceFile(header.entry.name, own) for header, own in zip(stacked.headers, sums, strict=True)]
    z_mm = [header.position_mm[2] for header in stacked.headers if header.position_mm]
    if reverse:
        files.reverse()
        z_mm.reverse()
    # Rows and columns may have been turned too: their first voxel lies elsewhere, by as much for every slice.
    shift = turned.origin_mm[2] - z_mm[0]
    if turned.tilt_deg > TILTED_DEG:
        detail = f"the gantry was not tilted (found: {turned.tilt_deg:.1f} degrees between slices' step and normal)"
        flags = [*flags, Flag("gantry-tilt", Severity.INFO, detail)]
    return Scan(
        name=slug,
        modality=Modality.CT,
        pixels=pixels,
        files=tuple(files),
        spacing_mm=turned.spacing_mm,
        units=Units.HU,
        geometry=turned,
        z_mm=tuple(height + shift for height in z_mm),
        remarks=tuple(flags),
    )
