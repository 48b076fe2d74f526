from __future__ import annotations

import numpy as np
import pytest

import drawn
from pulmoscope.core.types import FloatArray
from pulmoscope.preprocess.opacities import LEAST_LUNG, Painted, painted

SIDE = 40


def lungs(*, left: bool = True, right: bool = True) -> FloatArray:
    """Lung probability where the drawn films have lungs."""
    across, down = np.meshgrid(*2 * [(np.arange(SIDE) + 0.5) / SIDE])
    found = np.zeros((SIDE, SIDE), dtype=np.float32)
    for centre, there in ((0.3, left), (0.7, right)):
        if there:
            found[((across - centre) / 0.14) ** 2 + ((down - 0.5) / 0.34) ** 2 < 1] = 1
    return found


NORMAL = drawn.film("Normal", np.random.default_rng(0), 80)


def paint(seed: int, where: FloatArray | None = None) -> Painted:
    found = painted(NORMAL, lungs() if where is None else where, np.random.default_rng(seed))
    assert found is not None
    return found


@pytest.fixture(scope="module")
def many() -> list[Painted]:
    return [paint(seed) for seed in range(80)]


def test_opacities_are_an_image_and_a_map_drawn_from_the_generator_alone(many: list[Painted]) -> None:
    for own in many:
        assert (own.image.shape, own.image.dtype) == (NORMAL.shape, np.float32)
        assert (own.region.shape, own.region.dtype) == ((SIDE, SIDE), np.float32)
        for part in (own.image, own.region):
            assert 0 <= part.min() <= part.max() <= 1
        assert own.region.max() > 0.2
    np.testing.assert_array_equal(paint(3).image, many[3].image)
    assert not np.array_equal(many[3].image, many[4].image)


def test_typical_is_what_both_lungs_have_and_the_other_is_in_one(many: list[Painted]) -> None:
    for own in many:
        affected = [own.region[:, :20].max() > 0.05, own.region[:, 20:].max() > 0.05]
        assert sum(affected) == (2 if own.typical else 1)
    assert sum(own.typical for own in many) == pytest.approx(0.6 * 80, abs=14)  # three standard deviations
    one_sided = [own.region[:, :20].max() > 0.05 for own in many if not own.typical]
    assert 0 < sum(one_sided) < len(one_sided)


def test_the_lungs_become_brighter_where_the_map_says_and_nothing_changes_elsewhere(
    many: list[Painted],
) -> None:
    for own in many:
        cover = own.region.repeat(2, axis=0).repeat(2, axis=1)
        untouched = cover == 0
        untouched = untouched & np.roll(untouched, 2, 0) & np.roll(untouched, -2, 0)
        untouched = untouched & np.roll(untouched, 2, 1) & np.roll(untouched, -2, 1)
        np.testing.assert_allclose(own.image[untouched], NORMAL[untouched], atol=1e-6)
        opaque = cover > 0.3
        assert (own.image - NORMAL)[opaque].mean() > 0.02
        far = np.zeros_like(untouched)
        far[:4] = far[-4:] = far[:, :4] = far[:, -4:] = True  # the drawn lungs end well within
        assert own.region.repeat(2, axis=0).repeat(2, axis=1)[far].max() < 1e-3


def test_typical_ones_lie_at_the_border_and_at_the_base(many: list[Painted]) -> None:
    rows = (np.arange(SIDE) + 0.5) / SIDE
    weight = np.sum([own.region for own in many if own.typical], axis=0)
    other = np.sum([own.region for own in many if not own.typical], axis=0)

    def height(mass: FloatArray) -> float:
        return float((mass.sum(axis=1) * rows).sum() / mass.sum())

    assert height(weight) > 0.515  # the lungs' middle is at 0.5
    assert height(other) == pytest.approx(0.5, abs=0.04)  # of some thirty: s.d. 0.02
    middle = lungs() > 0.5
    core = (
        middle
        & np.roll(middle, 3, 1)
        & np.roll(middle, -3, 1)
        & np.roll(middle, 4, 0)
        & np.roll(middle, -4, 0)
    )
    assert weight[core].mean() / weight[middle].mean() < other[core].mean() / other[middle].mean()


def test_too_little_lung_is_not_painted_in() -> None:
    rng = np.random.default_rng(0)
    assert painted(NORMAL, np.zeros((SIDE, SIDE), dtype=np.float32), rng) is None
    assert painted(NORMAL, lungs(right=False), rng) is None
    few = np.zeros((SIDE, SIDE), dtype=np.float32)
    count = int(LEAST_LUNG * SIDE * SIDE)
    few.reshape(-1)[np.flatnonzero(lungs().reshape(-1))[: count - 1]] = 1
    assert painted(NORMAL, few, rng) is None
    assert painted(NORMAL, lungs() * np.float32(0.5), rng) is None  # half sure is not lung
