"""More slices for training a slice network: cubic splines along the body (Garg et al., ICASSP 2021, section 2.2).

Never between an infected slice and one that is not: what lies between them has no label.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby
from typing import TypeVar

import numpy as np
import numpy.typing as npt
from scipy.interpolate import make_interp_spline

from pulmoscope.core.types import BoolArray

Pixel = TypeVar("Pixel", np.uint8, np.float32)


def interpolate_slices(
    images: npt.NDArray[Pixel], infected: Sequence[bool], factor: int
) -> tuple[npt.NDArray[Pixel], BoolArray]:
    """Put ``factor - 1`` slices between neighbours of equal label.

    Args:
        images: (slices, rows, columns), equally spaced; every slice of the result's that was given is unchanged.
        infected: of each slice.
        factor: 1 adds nothing; 2 puts one slice into every gap.

    Returns:
        The slices in order, of the same type, within the range of the values of their run of equal labels; and whether
        each shows infection.

    Raises:
        ValueError: the labels are not one a slice, or the factor is below 1.
    """
    if len(images) != len(infected) or factor < 1:
        raise ValueError(f"{len(images)} slices, {len(infected)} labels, factor {factor}")
    runs: list[npt.NDArray[Pixel]] = []
    labels: list[bool] = []
    start = 0
    for label, members in groupby(bool(one) for one in infected):
        count = len(list(members))
        run = _finer(images[start : start + count], factor)
        runs.append(run)
        labels += [label] * len(run)
        start += count
    return np.concatenate([*runs, images[:0]]), np.array(labels, dtype=bool)


def _finer(run: npt.NDArray[Pixel], factor: int) -> npt.NDArray[Pixel]:
    """One run, the spline's degree lowered where there are fewer than four slices."""
    count = len(run)
    if count == 1 or factor == 1:
        return run
    fine = np.empty(((count - 1) * factor + 1, *run.shape[1:]), dtype=run.dtype)
    spline = make_interp_spline(np.arange(count), run.astype(np.float32), k=min(3, count - 1), axis=0)
    lowest, highest = run.min(), run.max()
    for index in range(len(fine)):
        if index % factor == 0:
            fine[index] = run[index // factor]
            continue
        between = np.clip(spline(index / factor), lowest, highest)
        fine[index] = np.rint(between) if run.dtype == np.uint8 else between
    return fine
