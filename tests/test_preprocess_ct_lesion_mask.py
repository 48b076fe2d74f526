from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest

from pulmoscope.core.types import FloatArray, Point
from pulmoscope.segment.ct_density import densities
from pulmoscope.segment.ct_lesions import lesions

MM: Point = (4.0, 1.5, 1.5)
Labels = npt.NDArray[np.uint8]


def box(lung_hu: float = -850.0) -> tuple[FloatArray, Labels]:
    """Ten slices of tissue with one lung of 100 x 100 px of 1.5 mm."""
    hu = np.full((10, 140, 140), 40, dtype=np.float32)
    hu[:, 20:120, 20:120] = lung_hu
    return hu, (hu < 0).astype(np.uint8)


def found(hu: FloatArray, labels: Labels, spacing_mm: Point = MM) -> tuple[npt.NDArray[np.bool_], float]:
    smooth = densities(hu, labels, spacing_mm)
    kept = lesions(smooth).mask
    return kept, 100 * kept.sum() / (smooth.labels > 0).sum()


def test_healthy_lung_has_no_lesion() -> None:
    assert found(*box())[1] == 0


def test_a_lung_that_is_all_ill_is_found_whole() -> None:
    for hu in (-500.0, -100.0, 30.0):
        lung, labels = box()
        lung[labels > 0] = hu
        assert found(lung, labels)[1] == 100


def test_a_lesion_ends_where_it_ends_also_at_the_outline() -> None:
    hu, labels = box()
    hu[2:8, 90:120, 20:60] = -500  # 30 x 40 px in 6 of 10 slices, in a corner of the lung
    assert found(hu, labels)[1] == pytest.approx(100 * 6 * 30 * 40 / (10 * 100 * 100), rel=0.08)


def test_vessels_fissures_the_outline_and_a_thin_layer_at_the_back_are_no_lesions() -> None:
    hu, labels = box()
    hu[:, 30:110:12, 30:110] = 40  # lines of 1.5 mm
    hu[:, 60:66, 60:66] = 40  # a vessel of 9 mm along the body, deep in the lung
    hu[:, 118:120, 20:120] = -350  # the outline, half chest wall
    hu[:, 115:118, 20:120] = -600  # 4.5 mm of dependent density
    assert found(hu, labels)[1] == 0


def test_noise_makes_no_lesion_and_hides_none() -> None:
    hu, labels = box()
    hu[2:8, 40:80, 40:80] = -500
    clean = found(hu, labels)[1]
    noise = np.random.default_rng(0).normal(0, 60, hu.shape).astype(np.float32)
    assert found(hu + noise, labels)[1] == pytest.approx(clean, abs=0.5)
    hu, labels = box()
    assert found(hu + noise, labels)[1] < 0.1


def test_finer_voxels_give_the_same_share() -> None:
    hu, labels = box()
    hu[2:8, 40:80, 40:80] = -500
    fine = [np.repeat(np.repeat(np.repeat(one, 2, axis=0), 2, axis=1), 2, axis=2) for one in (hu, labels)]
    finer = found(fine[0].astype(np.float32), fine[1].astype(np.uint8), (2.0, 0.75, 0.75))[1]
    assert finer == pytest.approx(found(hu, labels)[1], abs=0.5)


def test_a_speck_is_no_lesion() -> None:
    hu, labels = box()
    hu[5, 60:66, 30:36] = -500  # 0.3 ml
    assert found(hu, labels)[1] == 0


def test_the_border_lies_between_this_lung_and_ground_glass() -> None:
    for aerated, border in ((-900.0, -750.0), (-840.0, -720.0), (-760.0, -680.0)):
        assert lesions(densities(*box(aerated), MM)).border_hu == pytest.approx(border, abs=5)


def test_a_dome_that_is_half_lung_is_no_lesion_but_disease_above_it_is() -> None:
    hu, labels = box()
    hu[:3, 20:70, 20:70] = 40  # the dome
    labels[:3, 20:70, 20:70] = 0
    hu[3:5, 20:70, 20:70] = -400  # 8 mm of the dome, moved while it was scanned
    assert found(hu, labels)[1] == 0
    hu[3:9, 20:70, 20:70] = -500  # 24 mm of ground glass on it
    assert found(hu, labels)[1] > 100 * 3 * 50 * 50 / (10 * 100 * 100 - 3 * 50 * 50)


def test_the_hilums_vessels_are_no_lesion_unless_the_slice_is_ill() -> None:
    hu, labels = box()
    hu[:, 62:76, 62:76] = 40  # 21 mm of vessels, 63 mm deep
    assert found(hu, labels)[1] == 0
    hu[:, 20:120, 20:120] = np.where(hu[:, 20:120, 20:120] < 0, -500, 40)
    assert found(hu, labels)[1] == 100
