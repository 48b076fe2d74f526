"""Drawing train, validation and test so that nothing of one patient, or one picture, is on both sides."""

from __future__ import annotations

import dataclasses
import hashlib
import math
from collections import Counter, defaultdict
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import MappingProxyType

import numpy as np

from pulmoscope.core.errors import DatasetError, InputError
from pulmoscope.core.types import BoolArray
from pulmoscope.datasets.fingerprint import BITS, connected, dhash, near_duplicates
from pulmoscope.datasets.studies import is_study
from pulmoscope.datasets.table import Sample
from pulmoscope.io import read_pixels

FRACTIONS: Mapping[str, float] = MappingProxyType({"train": 0.7, "val": 0.15, "test": 0.15})
VAL_FROM_TRAIN: Mapping[str, float] = MappingProxyType({"train": 0.85, "val": 0.15})
"""For a data set that has train and test only."""


def assign_splits(
    samples: Sequence[Sample],
    fractions: Mapping[str, float] = FRACTIONS,
    seed: int = 0,
    groups: Sequence[str] | None = None,
) -> tuple[Sample, ...]:
    """Give every sample a split: groups stay whole, and each class is shared out by the fractions.

    The groups queue by a hash of their name. Each goes into the first of the smaller splits that has room for its
    classes; the largest split takes the rest. So the order of the samples does not matter, and a sample more or less
    moves few others: of samples that stand alone, at most one at each end of a split of its class.

    Args:
        samples: the samples, in any order; their present splits are ignored.
        fractions: split → fraction; they sum to 1.
        groups: for each sample the name of what must stay together; default: its patient, or the sample alone where
            unknown.

    Raises:
        DatasetError: the fractions are not positive or do not sum to 1.
    """
    if not math.isclose(sum(fractions.values()), 1, abs_tol=1e-6) or min(fractions.values()) <= 0:
        raise DatasetError(f"split fractions must be positive and sum to 1 (found: {dict(fractions)})")
    members: dict[str, list[int]] = defaultdict(list)
    for index, sample in enumerate(samples):
        members[_unique_name(sample) if groups is None else groups[index]].append(index)

    total = Counter(sample.label for sample in samples)
    *smaller, largest = sorted(fractions, key=lambda name: fractions[name])
    wanted = _wanted(total, {name: fractions[name] for name in smaller})
    taken: Counter[tuple[str, str]] = Counter()

    def has_room(split: str, labels: Counter[str]) -> bool:
        """The group brings the split nearer to what it wants of each class, or is the first and not too much."""
        return all(
            count <= 2 * (wanted[split, label] - taken[split, label])
            or (not taken[split, label] and count * len(fractions) <= total[label])
            for label, count in labels.items()
        )

    chosen: dict[int, str] = {}
    for name in sorted(members, key=lambda name: hashlib.sha256(f"{seed} {name}".encode()).digest()):
        labels = Counter(samples[index].label for index in members[name])
        split = next((split for split in smaller if has_room(split, labels)), largest)
        taken.update({(split, label): count for label, count in labels.items()})
        chosen.update(dict.fromkeys(members[name], split))
    return tuple(dataclasses.replace(sample, split=chosen[index]) for index, sample in enumerate(samples))


def _unique_name(sample: Sample) -> str:
    return f"patient {sample.patient}" if sample.patient else f"file {sample.file}"


def _wanted(total: Mapping[str, int], fractions: Mapping[str, float]) -> dict[tuple[str, str], int]:
    """(split, label) → images. Rounded where splits meet, so that all splits together are right to one image."""
    wanted = {}
    for label, count in total.items():
        cumulative, before = 0.0, 0
        for split, fraction in fractions.items():
            cumulative += fraction
            wanted[split, label] = round(cumulative * count) - before
            before = round(cumulative * count)
    return wanted


def image_groups(
    root: Path,
    samples: Sequence[Sample],
    progress: Callable[[int, int], None] | None = None,
    together: Sequence[str] | None = None,
) -> list[str]:
    """What must stay together, from the images: a name per sample, equal for one patient or near-duplicates.

    The name comes from the patient or the picture, not from the file's name. Reads every image but not CT studies,
    which go by their patient. A file that can't be read stands alone; the data-set check names it.

    Args:
        progress: called with (images done, images in all).
        together: for each sample the name of what else stays together, or an empty name.
    """
    hashes: list[BoolArray | None] = []
    with ThreadPoolExecutor() as pool:
        for code in pool.map(lambda sample: _hash(root / sample.file), samples):
            hashes.append(code)
            if progress is not None:
                progress(len(hashes), len(samples))
    readable = [index for index, code in enumerate(hashes) if code is not None]
    pairs = [
        (readable[one], readable[other])
        for one, other, _ in near_duplicates(
            np.array([code for code in hashes if code is not None]).reshape(-1, BITS)
        )
    ]
    first_of: dict[str, int] = {}
    for index, sample in enumerate(samples):
        if sample.patient:
            pairs.append((first_of.setdefault(_unique_name(sample), index), index))
        if together is not None and together[index]:
            pairs.append((first_of.setdefault(f"together {together[index]}", index), index))
    numbers = connected(len(samples), pairs)
    names: dict[int, str] = {}
    for number, sample, code in zip(numbers, samples, hashes, strict=True):
        name = _unique_name(sample)
        if code is not None and not sample.patient:
            name = f"picture {np.packbits(code).tobytes().hex()}"
        names[number] = min(name, names.get(number, name))
    return [names[number] for number in numbers]


def _hash(path: Path) -> BoolArray | None:
    if is_study(path):
        return None
    try:
        return dhash(read_pixels(path))
    except InputError:
        return None
