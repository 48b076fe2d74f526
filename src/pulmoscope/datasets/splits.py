"""Drawing train, validation and test so that nothing of one patient, or one picture, is on both sides."""

from __future__ import annotations

import dataclasses
import math
from collections import Counter, defaultdict
from collections.abc import Hashable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import MappingProxyType

import numpy as np

from pulmoscope.core.errors import DatasetError, InputError
from pulmoscope.datasets.fingerprint import BITS, BoolArray, connected, dhash, near_duplicates
from pulmoscope.datasets.table import Sample
from pulmoscope.io import read_pixels

FRACTIONS: Mapping[str, float] = MappingProxyType({"train": 0.7, "val": 0.15, "test": 0.15})


def assign_splits(
    samples: Sequence[Sample],
    fractions: Mapping[str, float] = FRACTIONS,
    seed: int = 0,
    groups: Sequence[Hashable] | None = None,
) -> tuple[Sample, ...]:
    """Give every sample a split: groups stay whole, and each class is shared out by the fractions.

    Groups are taken largest first, in seeded order among equals, each into the split that lacks its classes most.
    The result depends on the samples and the seed, not on the samples' order.

    Args:
        samples: the samples, in any order; their present splits are ignored.
        fractions: split → share; the shares sum to 1.
        groups: for each sample what must stay together; default: its patient, or the sample alone where unknown.

    Raises:
        DatasetError: the fractions are not positive or do not sum to 1.
    """
    if not math.isclose(sum(fractions.values()), 1, abs_tol=1e-6) or min(fractions.values()) <= 0:
        raise DatasetError(f"split fractions must be positive and sum to 1 (found: {dict(fractions)})")
    members: dict[Hashable, list[int]] = defaultdict(list)
    for index, sample in enumerate(samples):
        own = ("patient", sample.patient) if sample.patient else ("file", sample.file)
        members[own if groups is None else groups[index]].append(index)
    ordered = sorted(members.values(), key=lambda found: min(samples[index].file for index in found))
    shuffled = [ordered[index] for index in np.random.default_rng(seed).permutation(len(ordered))]
    shuffled.sort(key=len, reverse=True)

    total = Counter(sample.label for sample in samples)
    lacking = {(split, label): share for split, share in fractions.items() for label in total}
    chosen: dict[int, str] = {}
    for together in shuffled:
        shares = {label: n / total[label] for label, n in Counter(samples[i].label for i in together).items()}
        split = max(
            fractions, key=lambda name: sum(share * lacking[name, label] for label, share in shares.items())
        )
        for label, share in shares.items():
            lacking[split, label] -= share
        chosen.update(dict.fromkeys(together, split))
    return tuple(dataclasses.replace(sample, split=chosen[index]) for index, sample in enumerate(samples))


def image_groups(root: Path, samples: Sequence[Sample]) -> list[int]:
    """What must stay together, from the images: a number per sample, equal for one patient or near-duplicates.

    Reads every image. A file that can't be read stands alone; the data-set check names it.
    """
    with ThreadPoolExecutor() as pool:
        hashes = list(pool.map(lambda sample: _hash(root / sample.file), samples))
    readable = [index for index, found in enumerate(hashes) if found is not None]
    pairs = [
        (readable[one], readable[other])
        for one, other, _ in near_duplicates(
            np.array([found for found in hashes if found is not None]).reshape(-1, BITS)
        )
    ]
    first_of: dict[str, int] = {}
    for index, sample in enumerate(samples):
        if sample.patient:
            pairs.append((first_of.setdefault(sample.patient, index), index))
    return connected(len(samples), pairs)


def _hash(path: Path) -> BoolArray | None:
    try:
        return dhash(read_pixels(path))
    except InputError:
        return None
