from __future__ import annotations

import numpy as np
import pytest
import SimpleITK

from pulmoscope.evaluation.overlap import overlap, surface_distance

SPACING_MM = (5.0, 2.0, 0.5)


def box(*sides: slice) -> np.ndarray:
    mask = np.zeros((12, 20, 24), dtype=bool)
    mask[sides] = True
    return mask


def test_dice_of_all_and_of_each_slice() -> None:
    true, measured = np.zeros((3, 2, 2), dtype=bool), np.zeros((3, 2, 2), dtype=bool)
    true[0], measured[0, 0] = True, True  # 2 of 4 shared: 2 * 2 / (4 + 2)
    true[1, 0, 0] = True  # missed
    measured[2, 0, 0] = True  # nothing is true
    found = overlap(measured, true, SPACING_MM)
    np.testing.assert_allclose(found.slice_dice, [2 / 3, 0, np.nan])
    assert found.dice == pytest.approx(2 * 2 / (5 + 3))
    assert (found.true.tolist(), found.measured.tolist(), found.both.tolist()) == (
        [4, 1, 0],
        [2, 0, 1],
        [2, 0, 0],
    )


def test_nothing_true_has_neither_dice_nor_distance() -> None:
    found = overlap(box(slice(2, 4), slice(2, 4), slice(2, 4)), box(slice(0)), SPACING_MM)
    assert np.isnan(found.dice)
    assert found.distance is None


@pytest.mark.parametrize(("axis", "apart_mm"), [(0, 15.0), (1, 6.0), (2, 1.5)])
def test_two_sheets_are_as_far_apart_as_they_lie(axis: int, apart_mm: float) -> None:
    sides = [slice(None)] * 3
    sides[axis] = slice(2, 3)
    moved = list(sides)
    moved[axis] = slice(5, 6)
    assert surface_distance(box(*sides), box(*moved), SPACING_MM) == pytest.approx((apart_mm, apart_mm))


def test_the_border_of_the_scan_is_surface() -> None:
    """A mask that fills the scan has no face to the outside, and is compared all the same."""
    assert surface_distance(box(slice(None)), box(slice(None)), SPACING_MM) == (0, 0)


def test_distances_are_those_of_another_library() -> None:
    rng = np.random.default_rng(3)
    masks = []
    for shift in (0, 2):
        blob = box(slice(3, 9), slice(4 + shift, 14), slice(5, 15 + shift))
        blob &= rng.random(blob.shape) > 0.03
        masks.append(blob)
    found = surface_distance(*masks, SPACING_MM)
    assert found is not None
    contours = []
    for mask in masks:
        image = SimpleITK.GetImageFromArray(mask.astype(np.uint8))
        image.SetSpacing(SPACING_MM[::-1])
        contours.append(SimpleITK.LabelContour(image, fullyConnected=False))
    directed = []
    for one, other in (contours, contours[::-1]):
        far = SimpleITK.Abs(
            SimpleITK.SignedMaurerDistanceMap(other, squaredDistance=False, useImageSpacing=True)
        )
        directed.append(SimpleITK.GetArrayFromImage(far)[SimpleITK.GetArrayFromImage(one) > 0])
    assert found.mean_mm == pytest.approx(np.concatenate(directed).mean(), rel=1e-5)
    assert found.hd95_mm == pytest.approx(max(np.percentile(one, 95) for one in directed), rel=1e-5)
