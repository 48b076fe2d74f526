"""The data-set check: what is in it, what leaks, and what could be learned instead of disease."""

from __future__ import annotations

import dataclasses
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import combinations
from typing import Any

import numpy as np

from pulmoscope.core.errors import InputError
from pulmoscope.datasets.check.confounding import cramers_v, shortcut_probe, source_shares
from pulmoscope.datasets.check.findings import (
    CheckReport,
    Count,
    FileKind,
    Histogram,
    Pair,
    PatientLeak,
    PixelStatistics,
)
from pulmoscope.datasets.check.measure import HISTOGRAM_BINS, Measured, Progress, measure_all
from pulmoscope.datasets.check.verdicts import verdicts_of
from pulmoscope.datasets.fingerprint import BITS, connected, near_duplicates
from pulmoscope.datasets.studies import is_study, size_of, study_checksum
from pulmoscope.datasets.table import SPLITS, Sample, SampleTable
from pulmoscope.io.ct.masks import mask_file

Measure = Callable[[SampleTable, Progress | None], list[Measured | InputError]]
"""Measures every image of a table, in its order."""


def check(
    table: SampleTable, progress: Progress | None = None, measured_by: Measure = measure_all
) -> CheckReport:
    """Check a data set. Reads every image once, CT studies not at all; a bad file costs a line in the report, no more.

    Args:
        progress: called with (images done, images in all).
        measured_by: reads the images; by default here, in threads.
    """
    studies = [sample for sample in table if is_study(table.path(sample))]
    others = set(table.samples) - set(studies)
    pictures = dataclasses.replace(table, samples=tuple(sample for sample in table if sample in others))
    results = measured_by(pictures, progress)
    there = {sample: size for sample in studies if (size := size_of(table.path(sample)))}
    readable = [
        (sample, result)
        for sample, result in zip(pictures, results, strict=True)
        if not isinstance(result, InputError)
    ]
    samples, measured = [sample for sample, _ in readable], [values for _, values in readable]
    pairs = near_duplicates(np.array([image.hash for image in measured]).reshape(-1, BITS))
    groups = connected(len(measured), [(one, other) for one, other, _ in pairs])
    labelled = [index for index, sample in enumerate(samples) if sample.label]
    sourced = [sample for sample in table if sample.label and sample.source]
    labels, sources = [sample.label for sample in sourced], [sample.source for sample in sourced]
    report = CheckReport(
        data=str(table.root),
        layout=table.layout,
        images=len(table),
        readable=len(readable) + len(there),
        studies=len(studies),
        unknown_patients=sum(not sample.patient for sample in table),
        counts=_counts(table),
        files=_file_kinds(samples, measured),
        pixels=_pixel_statistics(samples, measured),
        histograms=_histograms(samples, measured),
        problems=_problems(table, results, [sample for sample in studies if sample not in there]),
        pairs=_in_order([*_pairs(samples, measured, pairs), *_same_studies(table, there)]),
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
    return dataclasses.replace(report, verdicts=verdicts_of(report))


def near_pairs(table: SampleTable) -> tuple[Pair, ...]:
    """All pairs that :func:`check` names: near-duplicates, and studies that are equal.

    What can't be read is in none.
    """
    studies = [sample for sample in table if is_study(table.path(sample))]
    pictures = table.with_samples(sample for sample in table if not is_study(table.path(sample)))
    readable = [
        (sample, result)
        for sample, result in zip(pictures, measure_all(pictures), strict=True)
        if not isinstance(result, InputError)
    ]
    samples, measured = [sample for sample, _ in readable], [values for _, values in readable]
    pairs = near_duplicates(np.array([image.hash for image in measured]).reshape(-1, BITS))
    sizes = {sample: size for sample in studies if (size := size_of(table.path(sample)))}
    return _in_order([*_pairs(samples, measured, pairs), *_same_studies(table, sizes)])


def _problems(
    table: SampleTable, results: Iterable[Measured | InputError], missing: Iterable[Sample]
) -> tuple[str, ...]:
    """A line for every image that can't be read, study that is not there, and mask that is not there."""
    masks = [
        sample.mask
        for sample in table
        if sample.mask and not mask_file(table.root / sample.mask)[0].is_file()
    ]
    return (
        *(str(result) for result in results if isinstance(result, InputError)),
        *(
            str(InputError(table.path(sample), "not-found", "there is no such study, or it is empty"))
            for sample in missing
        ),
        *(str(InputError(table.root / mask, "not-found", "there is no such mask")) for mask in masks),
    )


def _counts(table: Iterable[Sample]) -> tuple[Count, ...]:
    counts = Counter((sample.label, sample.split, sample.source) for sample in table)
    ordered = sorted(counts.items(), key=lambda item: (item[0][0], SPLITS.index(item[0][1]), item[0][2]))
    return tuple(Count(*key, images) for key, images in ordered)


def _file_kinds(samples: Sequence[Sample], measured: Sequence[Measured]) -> tuple[FileKind, ...]:
    counts = Counter(
        (sample.label, one.format, one.columns, one.rows)
        for sample, one in zip(samples, measured, strict=True)
    )
    ordered = sorted(counts.items(), key=lambda item: (item[0][0], -item[1], item[0]))
    return tuple(FileKind(*key, images) for key, images in ordered)


def _pixel_statistics(samples: Sequence[Sample], measured: Sequence[Measured]) -> tuple[PixelStatistics, ...]:
    by_part: dict[tuple[str, str], list[Measured]] = defaultdict(list)
    for sample, one in zip(samples, measured, strict=True):
        by_part[sample.split, ""].append(one)
        if sample.label:
            by_part[sample.split, sample.label].append(one)
    statistics = []
    for (split, label), members in sorted(
        by_part.items(), key=lambda item: (SPLITS.index(item[0][0]), item[0][1])
    ):
        mean = float(np.mean([one.mean for one in members]))
        square = float(np.mean([one.square for one in members]))
        sd = float(np.sqrt(max(0.0, square - mean**2)))
        statistics.append(PixelStatistics(split, label, len(members), mean, sd))
    return tuple(statistics)


def _histograms(samples: Sequence[Sample], measured: Sequence[Measured]) -> tuple[Histogram, ...]:
    sums: dict[str, Any] = defaultdict(lambda: np.zeros(HISTOGRAM_BINS))
    for sample, one in zip(samples, measured, strict=True):
        sums[sample.label] += one.histogram
    return tuple(
        Histogram(label, tuple(float(fraction) for fraction in total / total.sum()))
        for label, total in sorted(sums.items())
    )


def _pairs(
    samples: Sequence[Sample], measured: Sequence[Measured], pairs: Sequence[tuple[int, int, int]]
) -> list[Pair]:
    return [
        Pair(
            first=samples[one].file,
            second=samples[other].file,
            bits=bits,
            identical=measured[one].sha256 == measured[other].sha256,
            splits=(samples[one].split, samples[other].split),
            labels=(samples[one].label, samples[other].label),
        )
        for one, other, bits in pairs
    ]


def _same_studies(table: SampleTable, studies: Mapping[Sample, tuple[int, ...]]) -> list[Pair]:
    """Studies that are equal file by file. Only those with files of equal sizes are read: most are not."""
    by_size: dict[tuple[int, ...], list[Sample]] = defaultdict(list)
    for sample, size in studies.items():
        by_size[size].append(sample)
    by_content: dict[str, list[Sample]] = defaultdict(list)
    for members in by_size.values():
        for sample in members if len(members) > 1 else ():
            by_content[study_checksum(table.path(sample))].append(sample)
    return [
        Pair(one.file, other.file, 0, True, (one.split, other.split), (one.label, other.label))
        for members in by_content.values()
        for one, other in combinations(members, 2)
    ]


def _in_order(pairs: Iterable[Pair]) -> tuple[Pair, ...]:
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
