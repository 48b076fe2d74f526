"""Labelled slices that come as pictures, such as COVIDx-CT's: what the slice network may be pretrained on."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from functools import partial

import numpy as np

from pulmoscope.core.types import Bytes, Units
from pulmoscope.datasets.table import Sample, SampleTable
from pulmoscope.io import read_pixels
from pulmoscope.preprocess.ct import CtPreprocess
from pulmoscope.training.progress import Reporter
from pulmoscope.training.three_level.slice_data import SliceSet, check_classes, slice_set
from pulmoscope.training.three_level.studies import Cache

CHUNK = 4096
"""Pictures that are kept in one file: what is lost when a run is killed while it prepares them."""


def pretraining(
    table: SampleTable, preprocess: CtPreprocess, classes: tuple[str, ...], cache: Cache, reporter: Reporter
) -> tuple[SliceSet, SliceSet]:
    """What is learnt from, and what is validated on: the splits train and val; or val is test, where there is none.

    Raises:
        DatasetError: a split has no slice, or none of a class.
        InputError: a picture can't be read.
    """
    held_out = "val" if "val" in table.splits else "test"
    sets = []
    for split in ("train", held_out):
        samples = [sample for sample in table.split(split) if sample.label in classes]
        slices = _prepared(table, samples, preprocess, classes, cache, reporter)
        check_classes(slices, classes, f"{split} of slices.pretrain")
        sets.append(slices)
    return sets[0], sets[1]


def _prepared(
    table: SampleTable,
    samples: list[Sample],
    preprocess: CtPreprocess,
    classes: tuple[str, ...],
    cache: Cache,
    reporter: Reporter,
) -> SliceSet:
    chunks = [samples[start : start + CHUNK] for start in range(0, len(samples), CHUNK)]
    parts: list[tuple[Bytes, list[int], int]] = []
    for chunk in reporter.track(chunks, "Preparing pictures", len(chunks)):
        stack = cache.array(_key(table, chunk, preprocess), partial(_read, table, chunk, preprocess))
        for label, name in enumerate(classes):
            chosen = [index for index, sample in enumerate(chunk) if sample.label == name]
            parts.append((stack, chosen, label))
    return slice_set(parts)


def _read(table: SampleTable, chunk: list[Sample], preprocess: CtPreprocess) -> Bytes:
    return np.concatenate(
        [preprocess.slices(read_pixels(table.path(sample))[None], Units.GREY) for sample in chunk]
    )


def _key(table: SampleTable, chunk: list[Sample], preprocess: CtPreprocess) -> str:
    """By the files' names, sizes and times: there are too many to read them all before every start."""
    paths = [table.path(sample).resolve() for sample in chunk]
    stats = [(str(path), path.stat().st_size, path.stat().st_mtime_ns) for path in paths]
    content = json.dumps([stats, dataclasses.asdict(preprocess)], sort_keys=True)
    return hashlib.sha256(content.encode()).hexdigest()
