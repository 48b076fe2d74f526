"""What every CT must keep, whatever files it comes from."""

from __future__ import annotations

from pulmoscope.core.errors import UnsuitableError

FEWEST = 10
"""Slices; from fewer nothing can be predicted for a patient."""
MOST_VOXELS = 700_000_000
"""Checked by the headers: 2,600 slices of 512 x 512, 2.6 GiB in memory."""
LARGEST_STEP_MM = 20
"""Slices further apart than this show too little of the lung."""
NARROWEST_MM, WIDEST_MM = 80, 1000
"""Rows x spacing, and columns: an infant's chest, and more than any scanner's opening."""
MOST_BAD = 0.25
"""Fraction of slices that are damaged, foreign, or without what is needed; of more the study is refused."""


def check_size(name: str, size: tuple[int, int, int], spacing_mm: tuple[float, float]) -> None:
    """Refuse, by the headers, what no machine could hold, and what can't be a chest.

    Args:
        name: the study, for messages.
        size: slices, rows, columns.
        spacing_mm: of rows and columns.

    Raises:
        UnsuitableError: more than :data:`MOST_VOXELS`; fewer slices than :data:`FEWEST`; a field of view that no
            chest CT has.
    """
    slices, rows, columns = size
    shown = " x ".join(map(str, size))
    if slices < FEWEST:
        finding = f"{slices} slice{'s' * (slices != 1)}"
        raise UnsuitableError(name, "too-few-slices", finding, f"a CT has at least {FEWEST}")
    if float(slices) * rows * columns > MOST_VOXELS:
        raise UnsuitableError(
            name, "too-many-pixels", f"{shown} voxels", f"at most {MOST_VOXELS // 10**6} million"
        )
    field = rows * spacing_mm[0], columns * spacing_mm[1]
    if not (min(field) >= NARROWEST_MM and max(field) <= WIDEST_MM):
        finding = f"a field of view of {field[0]:.4g} x {field[1]:.4g} mm"
        rule = f"a chest CT's is {NARROWEST_MM} to {WIDEST_MM} mm a side"
        raise UnsuitableError(name, "field-of-view", finding, rule)
