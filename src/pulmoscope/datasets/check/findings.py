"""What the data-set check finds, as data; :meth:`CheckReport.to_json` is ``check.json``."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any, Literal

from pulmoscope.datasets.check.confounding import Probe, SourceShare
from pulmoscope.datasets.table import SPLITS

SCHEMA_VERSION = "1.0"


@dataclass(frozen=True)
class Count:
    """How many images of a class are in a split from a source."""

    label: str
    split: str
    source: str
    images: int


@dataclass(frozen=True)
class FileKind:
    """How many images of a class have this format and size (pixels)."""

    label: str
    format: str
    columns: int
    rows: int
    images: int


@dataclass(frozen=True)
class PixelStatistics:
    """Mean and standard deviation of the pixels, in [0, 1]; every image counts the same, whatever its size.

    ``label`` is empty where all classes of the split are meant.
    """

    split: str
    label: str
    images: int
    mean: float
    sd: float


@dataclass(frozen=True)
class Histogram:
    """Fraction of a class's pixels in each of 32 equal bins of [0, 1]."""

    label: str
    shares: tuple[float, ...]


@dataclass(frozen=True)
class Pair:
    """Two files that show the same picture, or nearly; or two CT studies that are the same.

    Attributes:
        bits: how many of the 256 bits of their hashes differ; 0 of studies.
        identical: the files are equal byte by byte.
    """

    first: str
    second: str
    bits: int
    identical: bool
    splits: tuple[str, str]
    labels: tuple[str, str]

    @property
    def leaks(self) -> bool:
        """The two are in different splits."""
        return self.splits[0] != self.splits[1]

    @property
    def conflicts(self) -> bool:
        """The two have different labels."""
        return self.labels[0] != self.labels[1]


@dataclass(frozen=True)
class PatientLeak:
    """A patient with images in several splits; no id, but one file of each split to find them by."""

    splits: tuple[str, ...]
    files: tuple[str, ...]


@dataclass(frozen=True)
class Verdict:
    """One rule's outcome.

    Attributes:
        rule: a stable name, e.g. ``near-duplicates``.
        verdict: ``ok``; ``warn``: know this when reading results; ``fail``: results will be wrong.
        sentence: what was found, for a person.
    """

    rule: str
    verdict: Literal["ok", "warn", "fail"]
    sentence: str


@dataclass(frozen=True)
class CheckReport:
    """All that the check found; :meth:`to_json` is ``check.json`` (see ``docs/schemas``).

    Attributes:
        data: the data set's folder, as given.
        problems: a line for every missing or unreadable file.
        pairs: all near-duplicates (identical files among them), leaks and conflicts first.
        source_v: Cramér's V between class and source; None where it can't be measured.
        studies: how many of the images are CT studies (folders, volumes). Of these only files are compared: no pixels
            are read, so ``files``, ``pixels``, ``histograms``, near-duplicates and ``probe`` are without them.
    """

    data: str
    layout: str
    images: int
    readable: int
    unknown_patients: int
    counts: tuple[Count, ...]
    files: tuple[FileKind, ...]
    pixels: tuple[PixelStatistics, ...]
    histograms: tuple[Histogram, ...]
    problems: tuple[str, ...]
    pairs: tuple[Pair, ...]
    patient_leaks: tuple[PatientLeak, ...]
    source_v: float | None
    sources: tuple[SourceShare, ...]
    probe: Probe | None
    warnings: tuple[str, ...]
    verdicts: tuple[Verdict, ...] = ()
    studies: int = 0

    @property
    def splits(self) -> tuple[str, ...]:
        """Every split that occurs, in the order of use."""
        return tuple(sorted({count.split for count in self.counts}, key=SPLITS.index))

    @property
    def verdict(self) -> Literal["ok", "warn", "fail"]:
        """The worst of all verdicts."""
        levels = {one.verdict for one in self.verdicts}
        return "fail" if "fail" in levels else "warn" if "warn" in levels else "ok"

    def to_json(self) -> dict[str, Any]:
        """Plain data for ``check.json``."""
        return {
            "schema_version": SCHEMA_VERSION,
            "verdict": self.verdict,
            **dataclasses.asdict(self),
        }
