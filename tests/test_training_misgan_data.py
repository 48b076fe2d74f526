from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest

from pulmoscope.core.errors import DatasetError
from pulmoscope.core.types import FloatArray
from pulmoscope.training.misgan.data import Pool, neighbours

SIDE = 32
STUDY = [7, 7, 7, 2, 5, 5]


def slices() -> tuple[FloatArray, npt.NDArray[np.bool_]]:
    """Six slices of their own value each, the second and the last with a hole."""
    images = np.stack([np.full((SIDE, SIDE), value, dtype=np.float32) for value in np.arange(1, 7) / 10])
    missing = np.zeros(images.shape, dtype=np.bool_)
    missing[1, 3:9, 5:8] = missing[5, 20:] = True
    return images, missing


def test_neighbours_stay_within_the_study() -> None:
    expected = [[0, 0, 1], [0, 1, 2], [1, 2, 2], [3, 3, 3], [4, 4, 5], [4, 5, 5]]
    np.testing.assert_array_equal(neighbours(STUDY), expected)


def test_half_of_a_batch_is_damaged_at_least() -> None:
    pool = Pool.of(*slices(), STUDY)
    np.testing.assert_array_equal(pool.damaged, [0, 1, 2, 4, 5])
    np.testing.assert_array_equal(pool.holed, [1, 5])
    whole = 0
    for seed in range(20):
        batch = pool.draw(7, np.random.default_rng(seed))
        gone = (batch.m.flatten(1) == 0).any(dim=1)
        assert gone[:4].all()
        whole += int((~gone).sum())
        assert ((batch.x == 0) == (batch.m == 0)).all()
        assert (batch.other[:, 1].flatten(1) == 0).any(dim=1).all()
    assert whole > 0


def test_stacks_are_turned_as_a_whole() -> None:
    pool = Pool.of(*slices(), STUDY)
    seen = set()
    for seed in range(30):
        batch = pool.draw(8, np.random.default_rng(seed))
        for x, m in zip(batch.x.numpy(), batch.m.numpy(), strict=True):
            values = tuple(round(float(one.max()), 1) for one in x)
            if 0.2 not in values or values[1] != 0.2:
                continue
            columns = np.flatnonzero((m[1] == 0).any(axis=0))
            seen.add((values, int(columns[0])))
    turned = SIDE - 8
    assert seen == {(order, first) for order in ((0.1, 0.2, 0.3), (0.3, 0.2, 0.1)) for first in (5, turned)}


def test_the_imputers_view_is_that_of_diagnosis() -> None:
    """Nearest observed pixels; how near they are."""
    images, missing = slices()
    missing[0, 3:9, 5:8] = True
    pool = Pool.of(images, missing, STUDY)
    for seed in range(20):
        batch = pool.draw(8, np.random.default_rng(seed))
        for values, weights in zip(batch.slices.numpy(), batch.observed.numpy(), strict=True):
            if round(float(values[1].max()), 1) == 0.3:  # the third slice: its neighbours lack a place
                assert set(np.unique(weights)) & {0.0, 0.5}
                assert values[weights > 0].min() > 0
                assert (values[weights == 0] == 0).all()


def test_what_is_hidden_of_a_first_slice_is_hidden_of_its_neighbour() -> None:
    images, missing = slices()
    pool = Pool.of(images[3:], missing[3:], [0, 1, 1])
    for seed in range(20):
        batch = pool.draw(8, np.random.default_rng(seed))
        for x, other in zip(batch.x.numpy(), batch.other.numpy(), strict=True):
            for side in (0, 2):
                if x[side].max() == x[1].max():  # the slice itself: every slice has a value of its own
                    assert not (other[side] > other[1]).any()


def test_what_is_black_on_purpose_is_neither_seen_nor_hidden_again() -> None:
    images, missing = slices()
    shown = np.ones(images.shape, dtype=np.bool_)
    shown[:, :, :12] = False
    images[~shown] = 0
    missing &= shown
    missing[2, 5:9, 14:20] = True
    pool = Pool.of(images, missing, STUDY, shown)
    hidden = 0
    for seed in range(20):
        batch = pool.draw(8, np.random.default_rng(seed))
        seen = batch.observed.numpy() > 0
        black = (batch.x.numpy() == 0) & (
            batch.m.numpy() == 1
        )  # observed, and black: every slice's value is above 0
        assert black.any(axis=(1, 2, 3)).all()
        assert not (seen[:, 1] & black[:, 1]).any()
        assert (batch.other.numpy()[black] == 1).all()
        hidden += int((batch.other.numpy() == 0).sum())
    assert hidden > 0


def broken(**changes: object) -> tuple[FloatArray, npt.NDArray[np.bool_], object]:
    images, missing = slices()
    given = {"images": images, "missing": missing, "study": STUDY} | changes
    return given["images"], given["missing"], given["study"]  # type: ignore[return-value]


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"images": np.zeros((6, 32, 48), np.float32)}, r"side of 32, 64, 128 px \(found: \(6, 32, 48\)\)"),
        ({"images": np.zeros((6, 48, 48), np.float32)}, r"found: \(6, 48, 48\)"),
        ({"study": STUDY[1:]}, r"fit together \(found: \(6, 32, 32\), \(6, 32, 32\) and \(5,\)\)"),
        ({"study": [1, 1, 2, 2, 1, 1]}, "a study must lie together"),
        ({"images": slices()[0] + 0.5}, r"must lie in \[0, 1\]"),
        ({"images": slices()[0] * np.nan}, r"must lie in \[0, 1\]"),
        ({"missing": np.zeros((6, 32, 32), bool)}, "none in 6 slices.; take another imputer, such as linear"),
    ],
)
def test_what_cannot_be_learnt_from_is_refused(changes: dict[str, object], said: str) -> None:
    with pytest.raises(DatasetError, match=said):
        Pool.of(*broken(**changes))  # type: ignore[arg-type]


def test_missing_pixels_may_hold_anything() -> None:
    images, missing = slices()
    images[missing] = np.nan
    batch = Pool.of(images, missing, STUDY).draw(4, np.random.default_rng(0))
    assert (batch.x >= 0).all()
    assert (batch.slices >= 0).all()
