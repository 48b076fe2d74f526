"""The studies of a data set as the severity system sees them, prepared once and kept on disk."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cache as once
from functools import partial
from pathlib import Path

import numpy as np
import numpy.typing as npt

from pulmoscope.core.errors import UnsuitableError
from pulmoscope.core.types import BoolArray, FloatArray, Units
from pulmoscope.datasets.studies import study_checksum
from pulmoscope.datasets.table import Sample, SampleTable
from pulmoscope.io import read_scan
from pulmoscope.preprocess.ct_standard import VERSION, Standardisation, StandardStudy
from pulmoscope.quality.filled import standard_study
from pulmoscope.quality.imputation import Imputer, impute
from pulmoscope.training.progress import Reporter
from pulmoscope.training.three_level.studies import Cache

AHEAD = 2
"""Studies that are prepared at a time."""


@dataclass(frozen=True)
class StandardSlices:
    """One study's standardised slices, from the feet to the head, mapped from disk.

    Attributes:
        sample: the table's row.
        label: the number of its class.
        images: uint8 (slices, size, size).
        shown, missing: bool alike, as :class:`pulmoscope.preprocess.ct_standard.StandardStudy` has them.
        enough_lung: bool (slices,), which show enough lung to be learnt from and predicted.
        key: equal for studies of equal content, prepared alike.
    """

    sample: Sample
    label: int
    images: npt.NDArray[np.uint8]
    shown: BoolArray
    missing: BoolArray
    enough_lung: BoolArray
    key: str

    @property
    def slice_labels(self) -> tuple[str, ...]:
        """None: every slice has its study's grade."""
        return ()

    @property
    def grey(self) -> FloatArray:
        """All slices, float32 (slices, size, size) in [0, 1]."""
        return np.asarray(self.images, dtype=np.float32) / np.float32(255)


def prepare(
    table: SampleTable,
    preprocess: Standardisation,
    classes: Sequence[str],
    cache: Cache,
    reporter: Reporter,
    *,
    search: bool,
) -> tuple[StandardSlices, ...]:
    """Read and standardise every study of a table.

    Args:
        classes: the labels, in order; studies of others are left out.
        search: whether missing regions are looked for.

    Raises:
        InputError: a study can't be read, or no lungs are found in it.
    """
    chosen = [sample for sample in table if sample.label in classes]
    make = partial(_prepared, table, preprocess=preprocess, classes=classes, cache=cache, search=search)
    with ThreadPoolExecutor(AHEAD) as threads:
        return tuple(reporter.track(threads.map(make, chosen), "Preparing studies", len(chosen)))


def _prepared(
    table: SampleTable,
    sample: Sample,
    preprocess: Standardisation,
    classes: Sequence[str],
    cache: Cache,
    search: bool,
) -> StandardSlices:
    path = table.path(sample)
    settings = dataclasses.asdict(preprocess)
    content = json.dumps([VERSION, study_checksum(path), settings, search], sort_keys=True)
    key = hashlib.sha256(content.encode()).hexdigest()
    study = once(partial(_study, path, preprocess, search))
    images = cache.array(key, lambda: study().images)
    shown = cache.array(f"{key}-shown", lambda: study().shown)
    missing = cache.array(f"{key}-missing", lambda: study().missing)
    wanted = np.array(cache.array(f"{key}-enough-lung", lambda: study().enough_lung))
    return StandardSlices(sample, list(classes).index(sample.label), images, shown, missing, wanted, key)


def _study(path: Path, preprocess: Standardisation, search: bool) -> StandardStudy:
    scan = read_scan(path, "ct")
    if scan.units is not Units.HU or scan.spacing_mm is None:
        rule = "severity is learnt from CT in HU with known spacing"
        raise UnsuitableError(path, "without-hu", "its values are grey levels, not HU", rule)
    standard = standard_study(scan, preprocess, search=search)
    if not standard.enough_lung.any():
        raise UnsuitableError(path, "no-lungs", "no slice shows lungs")
    return standard


def repaired(
    studies: Sequence[StandardSlices], imputer: Imputer | None, cache: Cache, name: str, reporter: Reporter
) -> tuple[StandardSlices, ...]:
    """The studies with their missing regions filled; kept on disk under ``name``, which tells imputers apart.

    Args:
        imputer: None leaves everything as it is.
    """
    if imputer is None:
        return tuple(studies)

    def fill(study: StandardSlices) -> StandardSlices:
        if not study.missing.any() or not (study.shown & ~study.missing).any():
            return study
        images = cache.array(f"{study.key}-{name}", lambda: _filled(study, imputer))
        return dataclasses.replace(study, images=images)

    return tuple(fill(study) for study in reporter.track(studies, "Repairing slices", len(studies)))


def _filled(study: StandardSlices, imputer: Imputer) -> npt.NDArray[np.uint8]:
    filled = impute(study.grey, np.asarray(study.missing), imputer, np.asarray(study.shown))
    # A byte that was observed comes back as it was: 255 times its 255th is itself to far less than a half.
    return np.asarray(np.rint(filled * 255), dtype=np.uint8)
