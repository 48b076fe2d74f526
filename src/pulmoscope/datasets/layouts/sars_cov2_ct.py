"""The layout of the SARS-CoV-2 CT-scan data set: ``COVID/Covid (1).png``, ``non-COVID/Non-Covid (1).png``.

Soares et al., medRxiv 2020.04.24.20078584; kaggle.com/plameneduardo/sarscov2-ctscan-dataset: 1,252 and 1,230 slices of
about 60 patients a class, without splits and without a word on which slice is whose. Neighbouring numbers are mostly
neighbouring slices of one patient, so drawn splits keep whole runs of numbers together. That lessens leakage between
patients and can't rule it out: a patient may lie across the border of two runs.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from pulmoscope.core.errors import DatasetError
from pulmoscope.datasets.layouts.folders import images_in, subfolders
from pulmoscope.datasets.manifest import patient_warnings
from pulmoscope.datasets.table import Sample, SampleTable

RUNS = 20
"""Runs a class: few, so that few borders cut through a patient; enough to share them out by 70, 15 and 15 %."""

_LABELS = {"covid": "COVID", "non-covid": "non-COVID"}
_NAME = re.compile(r"(?:non-)?covid *\((\d+)\)", re.IGNORECASE)


def recognise(path: Path) -> bool:
    """``COVID`` and ``non-COVID`` with numbered pictures."""
    classes = _classes(path)
    return set(classes) == set(_LABELS) and all(
        any(_NAME.fullmatch(picture.stem) for picture in images_in(folder)) for folder in classes.values()
    )


def read(path: Path) -> SampleTable:
    """Read both classes in the order of their numbers.

    Raises:
        DatasetError: a class is not there.
    """
    classes = _classes(path)
    if set(classes) != set(_LABELS):
        raise DatasetError(
            f"{path}: must hold COVID and non-COVID (found: {', '.join(classes) or 'neither'})"
        )
    samples = tuple(
        Sample(file=picture.relative_to(path).as_posix(), label=_LABELS[name], source="SARS-CoV-2 CT")
        for name, folder in classes.items()
        for picture in sorted(images_in(folder), key=lambda picture: (_number(picture.stem), picture.name))
    )
    return SampleTable(path, "sars-cov-2-ct", samples, tuple(patient_warnings(samples)))


def runs(samples: Sequence[Sample]) -> list[str]:
    """For each sample the name of its run: one of :data:`RUNS` equal ranges of its class's numbers."""
    numbers = [_number(Path(sample.file).stem) for sample in samples]
    last: Counter[str] = Counter()
    for sample, number in zip(samples, numbers, strict=True):
        last[sample.label] = max(last[sample.label], number)
    return [
        f"run {sample.label} {(number - 1) * RUNS // last[sample.label]}" if number else ""
        for sample, number in zip(samples, numbers, strict=True)
    ]


def _classes(path: Path) -> dict[str, Path]:
    return {folder.name.lower(): folder for folder in subfolders(path) if folder.name.lower() in _LABELS}


def _number(stem: str) -> int:
    """The number in a picture's name, from 1; 0 where there is none."""
    match = _NAME.fullmatch(stem)
    return int(match[1]) if match else 0
