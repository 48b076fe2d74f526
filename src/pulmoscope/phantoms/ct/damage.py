"""Damage to a chest CT whose place is known: what missing or spoilt data look like in stored studies.

For tests of what finds and fills missing regions. arXiv 2507.04252 asks for a stress test with 10, 20 and 30 % of the
slices corrupted and masks of several sizes, and does not say what missing regions look like: these kinds are ours.
Which slices are damaged, and how, is drawn without a look at the study or its class.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Literal, TypeVar, get_args

import numpy as np
import numpy.typing as npt

from pulmoscope.core.types import BoolArray

Kind = Literal["block", "zero", "saturated", "rows", "slice"]
KINDS: tuple[Kind, ...] = get_args(Kind)
"""What happens to a slice: a rectangle at -1024; a rectangle, or a band across it, at 0; a rectangle at 3071; of a
stretch every second to fourth row; or the whole slice."""
Size = Literal["small", "medium", "large"]
SIZES: tuple[Size, ...] = get_args(Size)
SIDES = MappingProxyType({"small": 1 / 8, "medium": 1 / 4, "large": 3 / 8})
"""A rectangle's side as a fraction of the image's: that of a square of the same area. A band is as high."""
LOWEST, ZERO, HIGHEST = -1024, 0, 3071
_BOX = ((0.22, 0.78), (0.12, 0.88))  # rows and columns of the image's middle, where the lungs lie
_LONGEST = 1.5  # a rectangle's sides differ by this factor at most
_STRETCH = (0.3, 0.9)  # how much of the image's height rows are dropped from

Voxels = TypeVar("Voxels", npt.NDArray[np.int16], npt.NDArray[np.float32])


@dataclass(frozen=True)
class Defect:
    """What is wrong with one slice.

    Attributes:
        index: the slice. kind, size: see :data:`KINDS` and :data:`SIZES`; no size where the kind has none.
        value: what stands there, HU.
        rows, columns: first, after the last, step.
    """

    index: int
    kind: Kind
    size: Size | None
    value: int
    rows: tuple[int, int, int]
    columns: tuple[int, int, int]

    @property
    def place(self) -> tuple[int, slice, slice]:
        """The voxels, as an index into (slices, rows, columns)."""
        return self.index, slice(*self.rows), slice(*self.columns)


def draw_defects(
    shape: tuple[int, int, int],
    rng: np.random.Generator,
    fraction: float = 0.15,
    *,
    kinds: Sequence[Kind] = KINDS,
    sizes: Sequence[Size] = SIZES,
) -> tuple[Defect, ...]:
    """Draw one defect each for a fraction of the slices, in the slices' order.

    Args:
        shape: of the volume: slices, rows, columns.
        fraction: of the slices, rounded to whole ones.

    Raises:
        ValueError: the fraction is not within 0 … 1, no kind or size or an unknown one is named, or a slice is smaller
            than 8 pixels.
    """
    if not 0 <= fraction <= 1:
        raise ValueError(f"the fraction of damaged slices lies in 0 to 1 (found: {fraction:g})")
    for asked, known in ((kinds, KINDS), (sizes, SIZES)):
        unknown = [name for name in asked if name not in known]
        if unknown or not asked:
            raise ValueError(
                f"damage is one of {', '.join(known)} (found: {unknown[0] if unknown else 'none'})"
            )
    if min(shape[1:]) < 8:
        raise ValueError(f"a slice to damage has at least 8 x 8 pixels (found: {shape[1]} x {shape[2]})")
    count = int(fraction * shape[0] + 0.5)
    chosen = sorted(int(index) for index in rng.choice(shape[0], count, replace=False))
    return tuple(
        _defect(
            index, shape[1:], kinds[int(rng.integers(len(kinds)))], sizes[int(rng.integers(len(sizes)))], rng
        )
        for index in chosen
    )


def apply(hu: Voxels, defects: Sequence[Defect]) -> tuple[Voxels, BoolArray]:
    """Lay defects over a volume (slices, rows, columns).

    Returns:
        a damaged copy, and which voxels are missing: all in a defect's place, whatever stood there before.
    """
    damaged, missing = hu.copy(), np.zeros(hu.shape, dtype=np.bool_)
    for defect in defects:
        damaged[defect.place] = defect.value
        missing[defect.place] = True
    return damaged, missing


def damage(
    hu: Voxels,
    rng: np.random.Generator,
    fraction: float = 0.15,
    *,
    kinds: Sequence[Kind] = KINDS,
    sizes: Sequence[Size] = SIZES,
) -> tuple[Voxels, BoolArray]:
    """Damage a fraction of a study's slices: :func:`draw_defects`, then :func:`apply`.

    Args:
        hu: (slices, rows, columns), HU.

    Raises:
        ValueError: see :func:`draw_defects`.
    """
    slices, rows, columns = hu.shape
    return apply(hu, draw_defects((slices, rows, columns), rng, fraction, kinds=kinds, sizes=sizes))


def _defect(index: int, shape: tuple[int, ...], kind: Kind, size: Size, rng: np.random.Generator) -> Defect:
    height, width = shape
    across = (0, width, 1)
    if kind == "slice":
        value = (LOWEST, ZERO, HIGHEST)[int(rng.integers(3))]
        return Defect(index, kind, None, value, (0, height, 1), across)
    if kind == "rows":
        length = max(4, int(height * rng.uniform(*_STRETCH)))
        first = int(rng.integers(0, height - length + 1))
        step, value = int(rng.integers(2, 5)), (LOWEST, ZERO)[int(rng.integers(2))]
        return Defect(index, kind, None, value, (first, first + length, step), across)
    value = {"block": LOWEST, "zero": ZERO, "saturated": HIGHEST}[kind]
    longer = float(np.exp(rng.uniform(-0.5, 0.5) * np.log(_LONGEST)))
    if kind == "zero" and rng.random() < 0.5:  # a band
        return Defect(index, kind, size, value, _placed(SIDES[size], height, _BOX[0], rng), across)
    rows = _placed(SIDES[size] * longer, height, _BOX[0], rng)
    return Defect(index, kind, size, value, rows, _placed(SIDES[size] / longer, width, _BOX[1], rng))


def _placed(
    fraction: float, length: int, box: tuple[float, float], rng: np.random.Generator
) -> tuple[int, int, int]:
    """A stretch of an axis, anywhere within the box."""
    wide = max(1, round(fraction * length))
    low, high = int(box[0] * length), int(np.ceil(box[1] * length))
    first = int(rng.integers(low, max(low + 1, high - wide + 1)))
    return first, first + wide, 1
