from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pulmoscope.phantoms.ct.damage import KINDS, SIDES, SIZES, apply, damage, draw_defects

VALUES = {"block": {-1024}, "zero": {0}, "saturated": {3071}, "rows": {-1024, 0}, "slice": {-1024, 0, 3071}}


def volume(shape: tuple[int, int, int], seed: int = 0) -> np.ndarray:
    """HU that occur in no defect."""
    return np.random.default_rng(seed).integers(-900, -1, shape).astype(np.int16)


@settings(max_examples=60, deadline=None)
@given(
    shape=st.tuples(st.integers(1, 12), st.integers(8, 40), st.integers(8, 40)),
    fraction=st.floats(0, 1),
    seed=st.integers(0, 2**32 - 1),
    kinds=st.lists(st.sampled_from(KINDS), min_size=1, unique=True),
    sizes=st.lists(st.sampled_from(SIZES), min_size=1, unique=True),
)
def test_what_is_not_missing_is_untouched_and_the_share_is_kept(
    shape: tuple[int, int, int], fraction: float, seed: int, kinds: list, sizes: list
) -> None:
    hu = volume(shape)
    before = hu.copy()
    damaged, missing = damage(hu, np.random.default_rng(seed), fraction, kinds=kinds, sizes=sizes)
    assert np.array_equal(hu, before)
    assert (damaged.dtype, missing.dtype) == (np.int16, np.bool_)
    assert damaged.shape == missing.shape == shape
    assert np.array_equal(damaged[~missing], hu[~missing])
    assert np.array_equal(missing, damaged != hu)
    hit = missing.any(axis=(1, 2))
    assert hit.sum() == int(fraction * shape[0] + 0.5)
    allowed = set().union(*(VALUES[kind] for kind in kinds))
    for index in np.flatnonzero(hit):
        values = set(damaged[index][missing[index]].tolist())
        assert len(values) == 1
        assert values <= allowed


def test_a_voxel_that_has_the_value_by_chance_is_missing_all_the_same() -> None:
    hu = np.full((2, 16, 16), -1024, dtype=np.int16)
    damaged, missing = damage(hu, np.random.default_rng(0), 1.0, kinds=("block",))
    assert np.array_equal(damaged, hu)
    assert missing.any(axis=(1, 2)).all()


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("kind", ["block", "saturated"])
def test_a_rectangle_has_its_size_and_lies_in_the_middle(kind: str, size: str) -> None:
    hu = volume((40, 128, 128))
    _, missing = damage(hu, np.random.default_rng(1), 1.0, kinds=(kind,), sizes=(size,))
    corners = set()
    for one in missing:
        rows, columns = np.flatnonzero(one.any(axis=1)), np.flatnonzero(one.any(axis=0))
        assert one.sum() == len(rows) * len(columns)  # a rectangle
        assert one.sum() == pytest.approx((SIDES[size] * 128) ** 2, rel=0.08)
        assert 1 / 1.7 < len(rows) / len(columns) < 1.7
        assert rows[0] > 0.21 * 128
        assert rows[-1] < 0.79 * 128
        assert columns[0] > 0.11 * 128
        assert columns[-1] < 0.89 * 128
        corners.add((rows[0], columns[0]))
    assert len(corners) > 20


def test_zeros_are_rectangles_or_bands_across() -> None:
    _, missing = damage(
        volume((60, 64, 64)), np.random.default_rng(2), 1.0, kinds=("zero",), sizes=("medium",)
    )
    across = np.array([one.any(axis=0).all() for one in missing])
    assert 15 < across.sum() < 45
    assert {int(one.sum()) for one in missing[across]} == {64 * 16}  # as high as a square would be


def test_rows_are_every_second_to_fourth_of_a_stretch() -> None:
    _, missing = damage(volume((60, 64, 48)), np.random.default_rng(3), 1.0, kinds=("rows",))
    steps = set()
    for one in missing:
        assert np.array_equal(one.any(axis=1), one.all(axis=1))  # whole rows
        gaps = set(np.diff(np.flatnonzero(one.any(axis=1))).tolist())
        assert len(gaps) == 1
        steps |= gaps
    assert steps == {2, 3, 4}


def test_a_slice_can_be_missing_whole() -> None:
    damaged, missing = damage(volume((12, 16, 16)), np.random.default_rng(4), 1.0, kinds=("slice",))
    assert missing.all()
    assert {len(np.unique(one)) for one in damaged} == {1}


def test_every_kind_and_size_occurs_and_equal_draws_are_equal() -> None:
    defects = draw_defects((200, 64, 64), np.random.default_rng(5), 0.5)
    assert len(defects) == 100
    assert [one.index for one in defects] == sorted({one.index for one in defects})
    assert {one.kind for one in defects} == set(KINDS)
    assert {one.size for one in defects} == {*SIZES, None}
    assert draw_defects((200, 64, 64), np.random.default_rng(5), 0.5) == defects


def test_float_volumes_stay_float() -> None:
    hu = volume((4, 16, 16)).astype(np.float32)
    damaged, missing = apply(hu, draw_defects((4, 16, 16), np.random.default_rng(6), 0.5))
    assert damaged.dtype == np.float32
    assert np.array_equal(damaged[~missing], hu[~missing])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"fraction": 1.2}, r"fraction of damaged slices lies in 0 to 1 \(found: 1.2\)"),
        ({"kinds": ("scratch",)}, r"one of block, zero, saturated, rows, slice \(found: scratch\)"),
        ({"sizes": ()}, r"one of small, medium, large \(found: none\)"),
    ],
)
def test_what_is_no_damage_is_refused(arguments: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        damage(volume((4, 16, 16)), np.random.default_rng(0), **arguments)
    with pytest.raises(ValueError, match=r"at least 8 x 8 pixels \(found: 4 x 16\)"):
        damage(volume((4, 4, 16)), np.random.default_rng(0))
