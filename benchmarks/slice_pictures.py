"""How many folders of CT slices are recognised by a look at their pictures, and how many of films are taken for one.

    python benchmarks/slice_pictures.py --slices FOLDER … --series FOLDER … --films FOLDER …

``--slices``: folders of slice pictures; ``--series``: DICOM series, which are written as pictures in three windows;
``--films``: folders of radiographs. Each is looked at as a whole; then runs of 5, 10 and 20 slices, every one to third,
50 of each length; then folders of 5, 20 and 200 films, neighbours and drawn at random by turns, from each folder and
from all; then folders of just those films that look like a slice by themselves.
"""

from __future__ import annotations

import argparse
import random
import tempfile
from collections.abc import Sequence
from functools import cache
from pathlib import Path

import cv2
import numpy as np

from pulmoscope.core.types import FloatArray
from pulmoscope.io import Entry, entries, read_scan, slice_pictures

WINDOWS = {"lung": (-600, 1500), "soft": (40, 400), "wide": (-300, 1400)}
"""Centre and width, HU."""

_read, _judge = slice_pictures._pixels, slice_pictures.is_slice


@cache
def pixels(entry: Entry) -> FloatArray | None:
    """A picture, read once."""
    return _read(entry)


def written(series: Path, out: Path) -> list[Path]:
    """A series' slices as pictures, head first, in each window."""
    scan = read_scan(series)
    folders = []
    for name, (centre, width) in WINDOWS.items():
        folder = out / f"{series.name}-{name}"
        folder.mkdir()
        for number, hu in enumerate(scan.pixels[::-1]):
            grey = np.rint(np.clip((hu - centre) / width + 0.5, 0, 1) * 255).astype(np.uint8)
            cv2.imwrite(str(folder / f"{number:03}.png"), grey)
        folders.append(folder)
    return folders


def hits(folders: Sequence[Path], rng: random.Random) -> None:
    """Print how many folders of slices are recognised, and how many runs of their slices."""
    whole, runs, count = 0, 0, 0
    for folder in folders:
        slices = list(entries([folder]))
        whole += slice_pictures.slice_flag(slices) is not None
        for size in (5, 10, 20):
            for _ in range(50):
                step = rng.choice((1, 2, 3))
                length = min(len(slices), size * step)
                first = rng.randrange(len(slices) - length + 1)
                runs += slice_pictures.slice_flag(slices[first : first + length : step]) is not None
                count += 1
    print(f"folders of slices: {whole} of {len(folders)} recognised; runs of slices: {runs} of {count}")


def alarms(collections: Sequence[Sequence[Entry]], rng: random.Random) -> None:
    """Print how many folders of films are taken for slices."""
    everything = [film for films in collections for film in films]
    found = sum(slice_pictures.slice_flag(films) is not None for films in collections)
    count = len(collections)
    for films in (*collections, everything):
        for size, times in ((5, 2000), (20, 2000), (200, 500)):
            few = min(size, len(films))
            for turn in range(times):
                first = rng.randrange(len(films) - few + 1)
                drawn = films[first : first + few] if turn % 2 else rng.sample(films, few)
                found += slice_pictures.slice_flag(drawn) is not None
                count += 1
    print(f"folders of films: {found} of {count} taken for slices, drawn from {len(everything)}")
    alike = [film for film in everything if (own := pixels(film)) is not None and _judge(own)]
    sizes = [size for size in (5, 10, 20, 40) if size <= len(alike)]
    found = sum(
        slice_pictures.slice_flag(rng.sample(alike, size)) is not None for size in sizes for _ in range(500)
    )
    print(f"films that look like a slice: {len(alike)}; folders of just these: {found} of {500 * len(sizes)}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    for name in ("slices", "series", "films"):
        parser.add_argument(f"--{name}", nargs="*", type=Path, default=[])
    given = parser.parse_args()
    slice_pictures._pixels = pixels
    rng = random.Random(1)
    with tempfile.TemporaryDirectory() as scratch:
        hits(
            [*given.slices, *(folder for one in given.series for folder in written(one, Path(scratch)))], rng
        )
    alarms([list(entries([folder])) for folder in given.films], rng)


if __name__ == "__main__":
    main()
