from __future__ import annotations

import numpy as np
import pytest
from scipy import ndimage

from pulmoscope.phantoms.ct.anatomy import Chest, organs
from pulmoscope.phantoms.ct.draw import LEFT, RIGHT, CtPhantom, draw
from pulmoscope.phantoms.ct.fields import Grid
from pulmoscope.phantoms.ct.grades import BOUNDS, GRADES, SHARES, graded

SHAPE = {"slices": 14, "size": 64}
ILL = GRADES[1:]
SEEDS = range(3)
Phantoms = dict[tuple[str, int], CtPhantom]


@pytest.fixture(scope="module")
def phantoms() -> Phantoms:
    return {(grade, seed): draw(grade, (5, seed), **SHAPE) for grade in GRADES for seed in SEEDS}


def test_what_is_drawn_keeps_away_from_the_bounds() -> None:
    assert set(SHARES) == set(ILL)
    for grade, (low, high) in SHARES.items():
        assert low - BOUNDS[grade][0] >= 0.05 - 1e-9
        assert BOUNDS[grade][1] - high > 0.049


def test_counted_in_the_masks_every_study_lies_in_its_grade(phantoms: Phantoms) -> None:
    for (grade, _), phantom in phantoms.items():
        fraction = np.count_nonzero(phantom.lesions) / np.count_nonzero(phantom.lungs)
        assert phantom.affected == pytest.approx(100 * fraction)
        low, high = BOUNDS[grade]
        assert low < fraction <= high or fraction == low == high


@pytest.mark.parametrize("grade", ILL)
def test_the_share_is_met_whatever_the_chest(grade: str) -> None:
    # on the coarse grid, where a study costs little
    low, high = SHARES[grade]
    found = []
    for seed in range(20):
        rng = np.random.default_rng([seed, 9])
        chest = Chest.draw(rng)
        z_mm = np.linspace(-10, chest.height + 8, 14, dtype=np.float32)
        grid = Grid(64, 6.0, z_mm, 3.0, chest.turn, (chest.shift, 0.0), chest.lean, chest.height / 2)
        body = organs(chest, grid, rng)
        ill = graded(grade, chest, body, grid, rng)
        assert ill is not None
        lung = np.maximum(body.pleura, body.dome_mm[None] - z_mm[:, None, None]) < 0
        found.append(np.mean(ill.opacity[lung] > 0.5))
        for side in (-1, 1):  # both are ill, and neither is without air
            share = np.mean(ill.opacity[lung & (body.middle * side > 0)] > 0.5)
            assert 0.4 * low < share < 0.99
    assert low - 0.01 < min(found)
    assert max(found) < high + 0.01
    assert max(found) - min(found) > 0.3 * (high - low)


def test_ct_0_is_a_well_chest(phantoms: Phantoms) -> None:
    well = draw("Normal", (5, 0), **SHAPE)
    assert np.array_equal(phantoms["CT-0", 0].hu, well.hu)
    assert not phantoms["CT-0", 0].lesions.any()


def test_the_same_seed_is_the_same_chest_at_every_grade(phantoms: Phantoms) -> None:
    for grade in ILL:
        assert np.array_equal(phantoms[grade, 0].lungs, phantoms["CT-0", 0].lungs)
        around = ~ndimage.binary_dilation(phantoms[grade, 0].lungs > 0, iterations=4)
        assert np.array_equal(phantoms[grade, 0].hu[around], phantoms["CT-0", 0].hu[around])


def test_from_ct_2_on_the_lungs_are_affected_over_their_height_on_both_sides(phantoms: Phantoms) -> None:
    for seed in SEEDS:
        for grade in ("CT-2", "CT-3", "CT-4"):
            phantom = phantoms[grade, seed]
            with_lung = (phantom.lungs > 0).any(axis=(1, 2))
            assert np.mean(np.array(phantom.infected)[with_lung]) > 0.85
            for side in (RIGHT, LEFT):
                some = [
                    np.any(lesion[lung == side])
                    for lesion, lung in zip(phantom.lesions, phantom.lungs, strict=True)
                ]
                assert np.mean(np.array(some)[with_lung]) > 0.8  # fmt: skip
        slight = phantoms["CT-1", seed]
        with_lung = (slight.lungs > 0).any(axis=(1, 2))
        assert np.mean(np.array(slight.infected)[with_lung]) < 0.85
        lesions, lungs = (ndimage.center_of_mass(mask)[:2] for mask in (slight.lesions, slight.lungs > 0))
        assert lesions[0] < lungs[0]  # lower
        assert lesions[1] > lungs[1]  # further back


def test_the_worse_the_more_is_solid_and_air_is_always_left(phantoms: Phantoms) -> None:
    solid = []
    for grade in ILL:
        ill = [phantoms[grade, seed] for seed in SEEDS]
        solid.append(np.mean([np.mean(one.hu[one.lesions] > -150) for one in ill]))
        for one in ill:
            spared = one.hu[(one.lungs > 0) & ~one.lesions]
            assert np.median(spared) < -700
            assert np.mean(one.hu[one.lesions] < -400) > 0.3  # ground glass, not solid through and through
    assert solid[0] < solid[2] < solid[3]
    assert solid[1] < solid[3]
