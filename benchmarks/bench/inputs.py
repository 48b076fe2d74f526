"""What is measured on: simulated radiographs and CTs, which are nobody's, or images of one's own."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from multiprocessing import get_context
from pathlib import Path

SIDES = (256, 299, 384, 512)
"""Of simulated radiographs, by turns, px."""
SUFFIXES = (".jpg", ".jpeg", ".png")


def listed(folder: Path) -> list[Path]:
    """The pictures in a folder and below."""
    return sorted(path for path in folder.rglob("*") if path.suffix.lower() in SUFFIXES)


def linked(files: list[Path], folder: Path) -> Path:
    """The same files under one folder, by numbers."""
    folder.mkdir(parents=True)
    for number, path in enumerate(files):
        (folder / f"{number:05d}{path.suffix.lower()}").symlink_to(path.resolve())
    return folder


def repeated(files: list[Path], count: int, folder: Path) -> Path:
    """So many JPEG files under one folder: each picture again and again, each time with a comment of its own.

    Files with equal content would be known by their checksum as one and the same input.
    """
    folder.mkdir(parents=True)
    for number in range(count):
        text = f"copy {number // len(files)}".encode()
        comment = b"\xff\xfe" + (len(text) + 2).to_bytes(2, "big") + text
        content = files[number % len(files)].read_bytes()
        (folder / f"{number:05d}.jpg").write_bytes(content[:2] + comment + content[2:])
    return folder


def drawn(folder: Path, count: int) -> list[Path]:
    """Simulated radiographs as JPEG, the findings and sizes by turns; one per number, whatever the count is."""
    folder.mkdir(parents=True)
    numbers = [list(range(start, count, 50)) for start in range(min(50, count))]
    # A forked copy of a process that has run OpenCV may hang in its thread pool: spawn.
    with ProcessPoolExecutor(mp_context=get_context("spawn")) as pool:
        list(pool.map(partial(_draw, folder), numbers))
    return sorted(folder.iterdir())


def _draw(folder: Path, numbers: list[int]) -> None:
    import cv2
    import numpy as np

    from pulmoscope.phantoms.xray.draw import FINDINGS, draw_xray

    cv2.setNumThreads(1)
    for number in numbers:
        pixels = draw_xray(number, FINDINGS[number % len(FINDINGS)], SIDES[number % len(SIDES)]).image
        cv2.imwrite(str(folder / f"{number:05d}.jpg"), np.rint(pixels * 255).astype(np.uint8))


def drawn_studies(folder: Path, count: int, slices: int, side: int) -> list[Path]:
    """Simulated CTs as DICOM series, a folder each."""
    from pulmoscope.phantoms.ct.folder import write_ct_phantoms

    write_ct_phantoms(folder, count, ["COVID"], slices=slices, size=side)
    return sorted(path for path in (folder / "studies").iterdir())


def kept(folder: Path, draw: Callable[[Path], object]) -> Path:
    """What an earlier run made, or what is made now, whole or not at all."""
    if not folder.exists():
        unfinished = folder.with_name(f".{folder.name}")
        shutil.rmtree(unfinished, ignore_errors=True)
        draw(unfinished)
        unfinished.replace(folder)
    return folder
