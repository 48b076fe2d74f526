from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from scipy import ndimage

from pulmoscope.phantoms.ct.draw import LEFT, MIN_INFECTED_MM2, RIGHT, CtPhantom, draw
from pulmoscope.phantoms.ct.lesions import LABELS

SIZE, SLICES = 80, 20
PLAIN = {
    "dose": 2.0,
    "kernel": "soft",
    "fov_mm": 420.0,
    "thickness_mm": 3.0,
    "scanner": "Cedar 128",
    "height_mm": 0.0,
}
SEEDS = range(1, 3)


@pytest.fixture(scope="module")
def phantoms() -> dict[tuple[str, int], CtPhantom]:
    return {
        (label, seed): draw(label, seed, slices=SLICES, size=SIZE, nuisances=PLAIN)
        for label in LABELS
        for seed in SEEDS
    }


Phantoms = dict[tuple[str, int], CtPhantom]


def test_equal_arguments_give_equal_voxels_and_another_seed_another_chest(phantoms: Phantoms) -> None:
    first, again = phantoms["COVID", 1], draw("COVID", 1, slices=SLICES, size=SIZE, nuisances=PLAIN)
    assert np.array_equal(again.hu, first.hu)
    assert np.array_equal(again.lesions, first.lesions)
    assert again.infected == first.infected
    assert not np.array_equal(phantoms["COVID", 2].lungs, first.lungs)


def test_shapes_and_types(phantoms: Phantoms) -> None:
    for phantom in phantoms.values():
        assert phantom.hu.shape == phantom.lungs.shape == phantom.lesions.shape == (SLICES, SIZE, SIZE)
        assert (phantom.hu.dtype, phantom.lungs.dtype, phantom.lesions.dtype) == (
            np.int16,
            np.uint8,
            np.bool_,
        )
        assert phantom.hu.min() >= -1024
        assert phantom.spacing_mm[1:] == (round(420 / SIZE, 4), round(420 / SIZE, 4))
        assert len(phantom.infected) == SLICES
        assert dict(phantom.nuisances) == PLAIN


def test_the_slices_reach_from_below_the_lungs_to_above_them(phantoms: Phantoms) -> None:
    for phantom in phantoms.values():
        with_lung = np.flatnonzero((phantom.lungs > 0).any(axis=(1, 2)))
        assert 0 < with_lung[0] < SLICES // 4
        assert 3 * SLICES // 4 < with_lung[-1] < SLICES - 1
        assert 150 < len(with_lung) * phantom.spacing_mm[0] < 300


def test_the_same_seed_is_the_same_chest_ill_and_well(phantoms: Phantoms) -> None:
    for seed in SEEDS:
        well = phantoms["Normal", seed]
        for label in ("COVID", "CAP"):
            ill = phantoms[label, seed]
            assert np.array_equal(ill.lungs, well.lungs)
            around = ~ndimage.binary_dilation(ill.lungs > 0, iterations=4)
            assert np.array_equal(ill.hu[around], well.hu[around])
            assert ill.hu[ill.lesions].mean() > well.hu[ill.lesions].mean() + 100


def test_affected_shares_are_counted_in_the_masks(phantoms: Phantoms) -> None:
    for phantom in phantoms.values():
        assert not phantom.lesions[phantom.lungs == 0].any()
        for side, share in ((RIGHT, phantom.affected_right), (LEFT, phantom.affected_left)):
            lung = phantom.lungs == side
            assert share == pytest.approx(100 * phantom.lesions[lung].mean())


def test_a_slice_is_infected_from_a_stated_area_on(phantoms: Phantoms) -> None:
    for (label, _), phantom in phantoms.items():
        pixel_mm2 = phantom.spacing_mm[1] * phantom.spacing_mm[2]
        areas = [np.count_nonzero(one) * pixel_mm2 for one in phantom.lesions]
        assert phantom.infected == tuple(area >= MIN_INFECTED_MM2 for area in areas)
        assert any(phantom.infected) == (label != "Normal")


def test_a_normal_chest_has_no_lesion(phantoms: Phantoms) -> None:
    for seed in SEEDS:
        phantom = phantoms["Normal", seed]
        assert (phantom.affected_left, phantom.affected_right) == (0, 0)
        assert not phantom.lesions.any()


def test_covid_is_ground_glass_on_both_sides_and_cap_dense_and_mostly_on_one(phantoms: Phantoms) -> None:
    for seed in SEEDS:
        covid, cap = phantoms["COVID", seed], phantoms["CAP", seed]
        assert min(covid.affected_left, covid.affected_right) > 1
        assert -700 < np.median(covid.hu[covid.lesions]) < -300
        assert -150 < np.median(cap.hu[cap.lesions]) < 80
        assert max(cap.affected_left, cap.affected_right) > 4
        assert min(cap.affected_left, cap.affected_right) < 5


def test_covid_lies_lower_and_further_back_than_the_lungs(phantoms: Phantoms) -> None:
    lesions, lungs = (
        np.mean([ndimage.center_of_mass(mask)[:2] for mask in masks], axis=0)
        for masks in zip(
            *((phantoms["COVID", s].lesions, phantoms["COVID", s].lungs > 0) for s in SEEDS), strict=True
        )
    )
    assert lesions[0] < lungs[0]
    assert lesions[1] > lungs[1]


def test_densities_are_those_of_a_chest(phantoms: Phantoms) -> None:
    for seed in SEEDS:
        phantom = phantoms["Normal", seed]
        assert -900 < np.median(phantom.hu[phantom.lungs > 0]) < -760
        assert np.median(phantom.hu[:, 0]) < -980  # in front of the patient
        body = phantom.hu[(phantom.hu > -300) & (phantom.lungs == 0)]
        assert -140 < np.median(body[body < -50]) < -60  # fat
        assert 25 < np.median(body[(body > 0) & (body < 110)]) < 75  # muscle, blood, liver
        assert (body > 300).mean() > 0.01  # bone


def test_the_right_lung_is_on_the_image_s_left_and_they_do_not_touch(phantoms: Phantoms) -> None:
    for phantom in phantoms.values():
        columns = np.arange(SIZE)
        right, left = (
            np.average(columns, weights=(phantom.lungs == side).sum(axis=(0, 1))) for side in (RIGHT, LEFT)
        )
        assert right < left - SIZE / 8
        volume = np.prod(phantom.spacing_mm) * np.count_nonzero(phantom.lungs) / 1e6
        assert 2 < volume < 7  # litres


def test_what_is_given_is_used_and_the_rest_is_drawn() -> None:
    phantom = draw("Normal", 4, slices=8, size=64, nuisances={"fov_mm": 400.0, "scanner": "Alder 16"})
    assert phantom.nuisances["fov_mm"] == 400.0
    assert phantom.spacing_mm[1] == 6.25
    assert set(phantom.nuisances) == set(PLAIN)
    corner = phantom.hu[:, 0, 0]
    assert (corner == -2000).all()  # this scanner pads what it doesn't reconstruct


def test_less_dose_and_a_sharper_kernel_are_noisier() -> None:
    def noise(**changed: float | str) -> float:
        phantom = draw("Normal", 5, slices=8, size=96, nuisances=PLAIN | changed)
        return float(phantom.hu[:, :4, 30:66].astype(float).clip(-1024).std())

    steps = [noise(), noise(kernel="standard"), noise(kernel="lung"), noise(kernel="lung", dose=0.3)]
    assert all(after > 1.1 * before for before, after in pairwise(steps))


def test_the_field_of_view_changes_the_pixels_not_the_person() -> None:
    near, far = (
        draw("COVID", 6, slices=16, size=96, nuisances=PLAIN | {"fov_mm": fov}) for fov in (400.0, 460.0)
    )
    volumes = [np.count_nonzero(one.lungs) * np.prod(one.spacing_mm) for one in (near, far)]
    assert volumes[0] == pytest.approx(volumes[1], rel=0.02)
    assert near.affected_left == pytest.approx(far.affected_left, abs=3)


def test_a_step_says_how_many_slices_there_are() -> None:
    near, far = (draw("Normal", 7, step_mm=step, size=64, nuisances=PLAIN) for step in (12.0, 16.0))
    assert (near.spacing_mm[0], far.spacing_mm[0]) == (12.0, 16.0)
    assert 0 <= len(near.hu) * 12 - len(far.hu) * 16 + 16 <= 28  # the same stretch, up to a step
    for phantom in (near, far):
        with_lung = np.flatnonzero((phantom.lungs > 0).any(axis=(1, 2)))
        assert with_lung[0] > 0
        assert with_lung[-1] < len(phantom.hu) - 1


def test_what_can_not_be_drawn_is_refused() -> None:
    with pytest.raises(
        ValueError, match=r"one of Normal, COVID, CAP, CT-0, CT-1, CT-2, CT-3, CT-4, .* \(found: Flu\)"
    ):
        draw("Flu", 0)
    with pytest.raises(ValueError, match=r"at least 8 slices of 64 px \(found: 4 of 64\)"):
        draw("CAP", 0, slices=4, size=64)
    with pytest.raises(ValueError, match=r"slices follow from its step \(found: 20 slices and 8 mm\)"):
        draw("CAP", 0, slices=20, step_mm=8)
    with pytest.raises(ValueError, match=r"0.5 to 20 mm apart \(found: 40\)"):
        draw("CAP", 0, step_mm=40)
    with pytest.raises(ValueError, match=r"nuisances are .* \(found: colour\)"):
        draw("CAP", 0, nuisances={"colour": 1.0})
    with pytest.raises(ValueError, match=r"kernel is one of soft, standard, lung \(found: hard\)"):
        draw("CAP", 0, nuisances={"kernel": "hard"})
    with pytest.raises(ValueError, match=r"dose lies in 0.3 to 2 \(found: 9\)"):
        draw("CAP", 0, nuisances={"dose": 9})
