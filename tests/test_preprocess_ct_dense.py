from __future__ import annotations

import cv2
import numpy as np
import pytest

from chests import SPACING_MM, chest
from pulmoscope.core.types import FloatArray
from pulmoscope.segment.ct_dense import dense_fractions

MM = (5.0, 1.5, 1.5)


def block(lung_hu: float = -850.0) -> tuple[FloatArray, np.ndarray[tuple[int, ...], np.dtype[np.uint8]]]:
    """A slice of tissue with a lung of 100 x 100 px of 1.5 mm in its middle."""
    hu = np.full((1, 140, 140), 40, dtype=np.float32)
    hu[0, 20:120, 20:120] = lung_hu
    return hu, (hu < 0).astype(np.uint8)


def test_the_share_of_dense_pixels_away_from_the_outline() -> None:
    hu, lungs = block()
    hu[0, 50:70, 50:90] = -500  # 20 x 40 px of ground glass
    inside = 96 * 96  # 3 mm, two pixels, from every side
    assert dense_fractions(hu, lungs, MM)[0] == pytest.approx(800 / inside, rel=0.03)  # less its four corners


def test_consolidation_is_dense_and_aerated_lung_is_not() -> None:
    hu, lungs = block()
    assert dense_fractions(hu, lungs, MM)[0] == 0
    hu[lungs > 0] = 30
    assert dense_fractions(hu, lungs, MM)[0] == 1


def test_vessels_and_the_outline_do_not_count() -> None:
    hu, lungs = block()
    for column in range(30, 115, 12):
        hu[0, 30:110, column : column + 3] = 40  # 4.5 mm wide
    hu[0, 20:22, 20:120] = -300  # half chest wall: two pixels along the outline
    assert dense_fractions(hu, lungs, MM)[0] == 0


def test_finer_pixels_give_the_same_share() -> None:
    hu, lungs = block()
    cv2.circle(hu[0], (70, 70), 25, -450, cv2.FILLED)
    fine = np.repeat(np.repeat(hu, 2, axis=1), 2, axis=2)
    fine_lungs = np.repeat(np.repeat(lungs, 2, axis=1), 2, axis=2)
    expected = dense_fractions(hu, lungs, MM)[0]
    assert dense_fractions(fine, fine_lungs, (5.0, 0.75, 0.75))[0] == pytest.approx(expected, rel=0.02)


def test_a_drawn_chest_is_dense_where_it_was_drawn_so() -> None:
    drawn = chest()
    shares = dense_fractions(drawn.hu, drawn.lungs.astype(np.uint8), SPACING_MM)
    ill = drawn.consolidation.any(axis=(1, 2))
    assert shares.shape == (len(drawn.hu),)
    assert (shares[ill] > 0).all()
    assert shares[ill].max() > 0.02
    assert not shares[~ill].any()
