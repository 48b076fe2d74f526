"""The data-set check as one HTML page that needs nothing outside itself."""

from __future__ import annotations

from collections import Counter, defaultdict
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from pulmoscope.core.errors import InputError
from pulmoscope.datasets.check.findings import CheckReport, Count, FileKind, Pair
from pulmoscope.datasets.studies import is_study
from pulmoscope.datasets.table import Sample, SampleTable
from pulmoscope.io import read_pixels
from pulmoscope.report.html import data_uri, render

SAMPLES = 8
PAIRS = 24
LINES = 50
THUMBNAIL = 176
"""Longest side of a sample picture, px."""


def to_html(report: CheckReport, table: SampleTable) -> str:
    """The page ``check.html``: verdicts first, then what stands behind each.

    Args:
        table: the checked data set; a few of its images are read again for the sample pictures.
    """
    return render(
        "dataset_check.html",
        report=report,
        name=Path(report.data).resolve().name,
        badges={"ok": "ok", "warn": "warn", "fail": "bad"},
        splits=report.splits,
        counts=_count_rows(report.counts, report.splits),
        statistics_of={(part.split, part.label): part for part in report.pixels},
        labels=sorted({count.label for count in report.counts}),
        kinds=_kind_rows(report.files),
        samples=_sample_pictures(table),
        histograms=[(held.label, _histogram_path(held.shares)) for held in report.histograms],
        pairs=[_pair_pictures(table, pair) for pair in report.pairs[:PAIRS]],
        lines=LINES,
        source_names=sorted({source.source for source in report.sources}),
        source_share={(source.label, source.source): source for source in report.sources},
    )


def _count_rows(counts: tuple[Count, ...], splits: tuple[str, ...]) -> list[dict[str, Any]]:
    images: Counter[tuple[str, str, str]] = Counter()
    for count in counts:
        images[count.label, count.source, count.split] += count.images
    return [
        {
            "label": label,
            "source": source,
            "images": [images[label, source, split] for split in splits],
        }
        for label, source in sorted({(count.label, count.source) for count in counts})
    ]


def _kind_rows(files: tuple[FileKind, ...]) -> list[dict[str, Any]]:
    """Per class: formats with counts, the range of sizes, and the commonest one."""
    by_label: dict[str, list[FileKind]] = defaultdict(list)
    for kind in files:
        by_label[kind.label].append(kind)
    rows = []
    for label, kinds in sorted(by_label.items()):
        formats: Counter[str] = Counter()
        for kind in kinds:
            formats[kind.format] += kind.images
        common = max(kinds, key=lambda kind: kind.images)
        rows.append(
            {
                "label": label,
                "formats": ", ".join(f"{name} {images}" for name, images in formats.most_common()),
                "common": f"{common.columns} × {common.rows} ({common.images})",
                "widths": _range([kind.columns for kind in kinds]),
                "heights": _range([kind.rows for kind in kinds]),
            }
        )
    return rows


def _range(values: list[int]) -> str:
    low, high = min(values), max(values)
    return f"{low}–{high}" if low < high else str(low)


def _sample_pictures(table: SampleTable) -> list[tuple[str, list[tuple[str, str]]]]:
    """Per class a few pictures, evenly spread over its files: (file, data URI)."""
    by_label: dict[str, list[Sample]] = defaultdict(list)
    for sample in table:
        by_label[sample.label].append(sample)
    shown = []
    for label, members in sorted(by_label.items()):
        indices = np.linspace(0, len(members) - 1, min(SAMPLES, len(members))).round().astype(int)
        pictures = [(members[index].file, _thumbnail(table.path(members[index]))) for index in indices]
        shown.append((label, [(file, picture) for file, picture in pictures if picture]))
    return shown


def _pair_pictures(table: SampleTable, pair: Pair) -> dict[str, Any]:
    return {
        "pair": pair,
        "pictures": [_thumbnail(table.root / pair.first), _thumbnail(table.root / pair.second)],
    }


def _thumbnail(path: Path) -> str:
    """A small JPEG as a data URI; empty of a CT study, and where the file can't be read (a problem)."""
    if is_study(path):
        return ""
    try:
        pixels = read_pixels(path)
    except InputError:
        return ""
    scale = min(1.0, THUMBNAIL / max(pixels.shape))
    small = cv2.resize(pixels, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
    grey = np.rint(np.clip(small, 0, 1) * 255).astype(np.uint8)
    _, encoded = cv2.imencode(".jpg", grey, [cv2.IMWRITE_JPEG_QUALITY, 82])
    return data_uri(encoded.tobytes(), "image/jpeg")


def _histogram_path(fractions: tuple[float, ...]) -> str:
    """The outline of a histogram as an SVG path in a box of 320 x 96; full height is four times the even fraction."""
    width = 320 / len(fractions)
    heights = [min(96.0, 24 * fraction * len(fractions)) for fraction in fractions]
    steps = " ".join(
        f"L{index * width:.1f} {96 - height:.1f} L{(index + 1) * width:.1f} {96 - height:.1f}"
        for index, height in enumerate(heights)
    )
    return f"M0 96 {steps} L320 96 Z"
