from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pulmoscope.core.severity import CONSOLIDATION, GLASS, GRADES, SeverityMasks, SeverityMeasure
from pulmoscope.core.types import FloatArray, Point
from pulmoscope.phantoms.ct.draw import draw
from pulmoscope.segment.ct_lungs import lung_mask
from pulmoscope.segment.ct_severity import NONE_PERCENT, grade, measure, region_score

MM: Point = (5.0, 2.0, 2.0)


def two_lungs() -> tuple[FloatArray, npt.NDArray[np.uint8]]:
    """Twelve slices; the right lung fills them all, the left one the upper six; 40 x 30 px each, of 2 mm."""
    labels = np.zeros((12, 60, 90), dtype=np.uint8)
    labels[:, 10:50, 10:40] = 1
    labels[6:, 10:50, 50:80] = 2
    hu = np.where(labels > 0, np.float32(-850), np.float32(40))
    return hu, labels


def measured(
    hu: FloatArray, labels: npt.NDArray[np.uint8], missing: npt.NDArray[np.bool_] | None = None
) -> tuple[SeverityMeasure, SeverityMasks]:
    found = measure(hu, labels, MM, missing)
    assert found is not None
    return found


def test_volumes_are_those_of_the_labels() -> None:
    found, masks = measured(*two_lungs())
    voxel_ml = 5.0 * 2.0 * 2.0 / 1000
    assert found.volumes_ml["right"] == pytest.approx(12 * 40 * 30 * voxel_ml)
    assert found.volumes_ml["left"] == pytest.approx(6 * 40 * 30 * voxel_ml)
    assert found.volumes_ml["both"] == pytest.approx(18 * 40 * 30 * voxel_ml)
    np.testing.assert_array_equal(masks.lungs, two_lungs()[1])


def test_healthy_lungs_are_ct_0_without_points() -> None:
    found, masks = measured(*two_lungs())
    assert (found.percent_affected, found.right, found.left) == (0, 0, 0)
    assert (found.grade, found.score) == ("CT-0", 0)
    assert not masks.lesions.any()
    assert found.bands["both"]["well_aerated"] == pytest.approx(100)
    assert found.limits == ()


def test_ground_glass_in_a_region_counts_there_and_nowhere_else() -> None:
    hu, labels = two_lungs()
    hu[0:4, 10:50, 10:40] = -500  # the right lung's lower third
    found, masks = measured(hu, labels)
    assert found.regions["right-lower"].affected == pytest.approx(100, abs=1)
    assert found.regions["right-lower"].score == 5
    assert [
        found.regions[name].score for name in ("right-middle", "right-upper", "left-upper", "left-lower")
    ] == [
        0,
        0,
        0,
        0,
    ]
    assert found.right == pytest.approx(100 / 3, abs=1)
    assert found.left == 0
    assert found.percent_affected == pytest.approx(100 * 4 / 18, abs=1)
    assert (found.grade, found.score) == ("CT-1", 5)
    assert set(np.unique(masks.lesions)) == {0, GLASS}
    assert found.bands["right-lower"]["ground_glass"] == pytest.approx(100, abs=1)
    assert found.bands["left"]["well_aerated"] == pytest.approx(100)
    np.testing.assert_allclose(found.slice_fractions[:4], 1, atol=0.02)
    np.testing.assert_allclose(found.slice_fractions[4:], 0, atol=0.02)


def test_the_left_lungs_halves_go_by_its_own_height() -> None:
    hu, labels = two_lungs()
    hu[9:, 10:50, 50:80] = 20
    found, masks = measured(hu, labels)
    assert found.regions["left-upper"].affected == pytest.approx(100, abs=1)
    assert found.regions["left-lower"].affected == pytest.approx(0, abs=1)
    assert set(np.unique(masks.lesions)) == {0, CONSOLIDATION}


def test_what_is_missing_is_neither_lung_nor_lesion() -> None:
    hu, labels = two_lungs()
    hu[0:4, 10:50, 10:40] = -500
    missing = np.zeros(hu.shape, dtype=bool)
    missing[0:2] = True
    found, masks = measured(hu, labels, missing)
    assert found.volumes_ml["right"] == pytest.approx(10 * 40 * 30 * 0.02)
    assert found.right == pytest.approx(20, abs=1)
    assert not masks.lungs[0:2].any()
    assert not masks.lesions[0:2].any()
    assert np.isnan(found.slice_fractions[:2]).all()  # nothing was measured there
    np.testing.assert_allclose(found.slice_fractions[2:4], 1, atol=0.02)
    np.testing.assert_allclose(found.slice_fractions[4:], 0, atol=0.02)


def test_a_lung_that_is_not_there_has_no_percentage() -> None:
    hu, labels = two_lungs()
    labels[labels == 2] = 0
    found, _ = measured(hu, labels)
    assert found.left is None
    assert found.right == 0
    assert found.regions["left-upper"].affected is None
    assert "left" not in found.bands


def test_no_lung_no_measure() -> None:
    hu, labels = two_lungs()
    assert measure(hu, np.zeros_like(labels), MM) is None
    assert measure(hu, labels, MM, np.ones(hu.shape, dtype=bool)) is None


@pytest.mark.parametrize(
    ("percent", "expected"),
    [
        (0, "CT-0"),
        (NONE_PERCENT, "CT-1"),
        (25, "CT-1"),
        (25.1, "CT-2"),
        (50, "CT-2"),
        (75, "CT-3"),
        (75.1, "CT-4"),
        (100, "CT-4"),
    ],
)
def test_grades(percent: float, expected: str) -> None:
    assert grade(percent) == expected


@pytest.mark.parametrize(
    ("percent", "points"),
    [
        (0, 0),
        (NONE_PERCENT, 1),
        (4.9, 1),
        (5, 2),
        (25, 2),
        (26, 3),
        (49, 3),
        (50, 4),
        (75, 4),
        (75.1, 5),
        (100, 5),
    ],
)
def test_points(percent: float, points: int) -> None:
    assert region_score(percent) == points


@given(st.floats(0, 100), st.floats(0, 100))
def test_more_is_never_less(one: float, other: float) -> None:
    low, high = sorted((one, other))
    assert GRADES.index(grade(low)) <= GRADES.index(grade(high))
    assert region_score(low) <= region_score(high)


@pytest.mark.parametrize("hu", [-1000.0, -32768.0, 0.0, 32767.0, -200.0])
def test_no_values_bring_it_down(hu: float) -> None:
    volume, labels = two_lungs()
    volume[:] = hu
    found, _ = measured(volume, labels)
    assert 0 <= found.percent_affected <= 100
    assert found.percent_affected == pytest.approx(100 if hu > -700 else 0)


def test_a_drawn_patient_is_measured_as_it_was_drawn() -> None:
    drawn = draw("COVID", (40, 3), slices=40, size=192)
    hu = drawn.hu.astype(np.float32)
    truth = 100 * drawn.lesions.sum() / (drawn.lungs > 0).sum()
    assert truth > 3
    found = measure(hu, lung_mask(hu, drawn.spacing_mm).labels, drawn.spacing_mm)
    assert found is not None
    assert found[0].percent_affected == pytest.approx(truth, abs=4)


def test_a_drawn_healthy_person_is_ct_0() -> None:
    drawn = draw("Normal", 1, slices=40, size=256)
    found = measure(drawn.hu.astype(np.float32), drawn.lungs, drawn.spacing_mm)
    assert found is not None
    assert found[0].grade == "CT-0"
