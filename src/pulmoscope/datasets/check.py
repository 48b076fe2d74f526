"""The data-set check: what is in it, what leaks, and what could be learned instead of disease."""

from __future__ import annotations

import dataclasses
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from pulmoscope.core.errors import InputError
from pulmoscope.datasets.confounding import Probe, SourceShare, cramers_v, shortcut_probe, source_shares
from pulmoscope.datasets.fingerprint import BITS, connected, near_duplicates
from pulmoscope.datasets.measure import HISTOGRAM_BINS, Measured, measure_all
from pulmoscope.datasets.table import SPLITS, Sample, SampleTable
from pulmoscope.datasets.verdicts import Verdict, judge

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
    """Share of a class's pixels in each of 32 equal bins of [0, 1]."""

    label: str
    shares: tuple[float, ...]


@dataclass(frozen=True)
class Pair:
    """Two files that show the same picture, or nearly.

    Attributes:
        bits: how many of the 256 bits of their hashes differ.
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
class CheckReport:
    """All that the check found; :meth:`to_json` is ``check.json`` (see ``docs/schemas``).

    Attributes:
        data: the data set's folder, as given.
        problems: a line for every missing or unreadable file.
        pairs: all near-duplicates (identical files among them), leaks and conflicts first.
        source_v: Cramér's V between class and source; None where it can't be measured.
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

    @property
    def splits(self) -> tuple[str, ...]:
        """Every split that occurs, in the order of use."""
        return tuple(sorted({count.split for count in self.counts}, key=SPLITS.index))

    @property
    def verdict(self) -> Literal["ok", "warn", "fail"]:
        """The worst of all verdicts."""
        found = {one.verdict for one in self.verdicts}
        return "fail" if "fail" in found else "warn" if "warn" in found else "ok"

    def to_json(self) -> dict[str, Any]:
        """Plain data for ``check.json``."""
        return {
            "schema_version": SCHEMA_VERSION,
            "verdict": self.verdict,
            **dataclasses.asdict(self),
        }


def check(table: SampleTable, progress: Callable[[int, int], None] | None = None) -> CheckReport:
    """Check a data set. Reads every image once; a bad file costs a line in the report, no more.

    Args:
        progress: called with (images done, images in all).
    """
    results = measure_all(table, progress)
    problems = [str(result) for result in results if isinstance(result, InputError)]
    problems += [
        str(InputError(table.root / sample.mask, "the mask is missing"))
        for sample in table
        if sample.mask and not (table.root / sample.mask).is_file()
    ]
    readable = [
        (sample, result)
        for sample, result in zip(table, results, strict=True)
        if not isinstance(result, InputError)
    ]
    samples, measured = [sample for sample, _ in readable], [found for _, found in readable]
    pairs = near_duplicates(np.array([found.hash for found in measured]).reshape(-1, BITS))
    groups = connected(len(measured), [(one, other) for one, other, _ in pairs])
    labelled = [index for index, sample in enumerate(samples) if sample.label]
    sourced = [sample for sample in table if sample.label and sample.source]
    labels, sources = [sample.label for sample in sourced], [sample.source for sample in sourced]
    report = CheckReport(
        data=str(table.root),
        layout=table.layout,
        images=len(table),
        readable=len(readable),
        unknown_patients=sum(not sample.patient for sample in table),
        counts=_counts(table),
        files=_file_kinds(samples, measured),
        pixels=_pixel_statistics(samples, measured),
        histograms=_histograms(samples, measured),
        problems=tuple(problems),
        pairs=_pairs(samples, measured, pairs),
        patient_leaks=_patient_leaks(table),
        source_v=cramers_v(labels, sources),
        sources=source_shares(labels, sources),
        probe=shortcut_probe(
            [samples[index].label for index in labelled],
            [measured[index] for index in labelled],
            [groups[index] for index in labelled],
        ),
        warnings=table.warnings,
    )
    return dataclasses.replace(report, verdicts=judge(report))


def _counts(table: Iterable[Sample]) -> tuple[Count, ...]:
    counts = Counter((sample.label, sample.split, sample.source) for sample in table)
    ordered = sorted(counts.items(), key=lambda item: (item[0][0], SPLITS.index(item[0][1]), item[0][2]))
    return tuple(Count(*key, images) for key, images in ordered)


def _file_kinds(samples: Sequence[Sample], measured: Sequence[Measured]) -> tuple[FileKind, ...]:
    counts = Counter(
        (sample.label, found.format, found.columns, found.rows)
        for sample, found in zip(samples, measured, strict=True)
    )
    ordered = sorted(counts.items(), key=lambda item: (item[0][0], -item[1], item[0]))
    return tuple(FileKind(*key, images) for key, images in ordered)


def _pixel_statistics(samples: Sequence[Sample], measured: Sequence[Measured]) -> tuple[PixelStatistics, ...]:
    by_part: dict[tuple[str, str], list[Measured]] = defaultdict(list)
    for sample, found in zip(samples, measured, strict=True):
        by_part[sample.split, ""].append(found)
        if sample.label:
            by_part[sample.split, sample.label].append(found)
    statistics = []
    for (split, label), members in sorted(
        by_part.items(), key=lambda item: (SPLITS.index(item[0][0]), item[0][1])
    ):
        mean = float(np.mean([found.mean for found in members]))
        square = float(np.mean([found.square for found in members]))
        sd = float(np.sqrt(max(0.0, square - mean**2)))
        statistics.append(PixelStatistics(split, label, len(members), mean, sd))
    return tuple(statistics)


def _histograms(samples: Sequence[Sample], measured: Sequence[Measured]) -> tuple[Histogram, ...]:
    sums: dict[str, Any] = defaultdict(lambda: np.zeros(HISTOGRAM_BINS))
    for sample, found in zip(samples, measured, strict=True):
        sums[sample.label] += found.histogram
    return tuple(
        Histogram(label, tuple(float(share) for share in total / total.sum()))
        for label, total in sorted(sums.items())
    )


def _pairs(
    samples: Sequence[Sample], measured: Sequence[Measured], found: Sequence[tuple[int, int, int]]
) -> tuple[Pair, ...]:
    pairs = [
        Pair(
            first=samples[one].file,
            second=samples[other].file,
            bits=bits,
            identical=measured[one].sha256 == measured[other].sha256,
            splits=(samples[one].split, samples[other].split),
            labels=(samples[one].label, samples[other].label),
        )
        for one, other, bits in found
    ]
    return tuple(sorted(pairs, key=lambda pair: (not pair.leaks, not pair.conflicts, pair.bits, pair.first)))


def _patient_leaks(table: SampleTable) -> tuple[PatientLeak, ...]:
    example: dict[str, dict[str, str]] = defaultdict(dict)
    for sample in table:
        if sample.patient:
            example[sample.patient].setdefault(sample.split, sample.file)
    return tuple(
        PatientLeak(splits, tuple(files[split] for split in splits))
        for files in example.values()
        if len(splits := tuple(sorted(files, key=SPLITS.index))) > 1
    )
