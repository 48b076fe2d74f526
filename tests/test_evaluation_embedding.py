from __future__ import annotations

import numpy as np
import pytest

from pulmoscope.evaluation.embedding import LEAST, map_of, side_by_side
from pulmoscope.evaluation.plots import scatter


def clusters() -> np.ndarray:
    """Twelve points far from twelve others, in five dimensions."""
    noise = np.random.default_rng(1).normal(0, 0.1, (24, 5))
    noise[12:, 0] += 20
    return noise


def test_near_points_stay_together() -> None:
    places = map_of(clusters())
    centres = places[:12].mean(axis=0), places[12:].mean(axis=0)
    for index, place in enumerate(places):
        own, other = centres if index < 12 else centres[::-1]
        assert np.linalg.norm(place - own) < np.linalg.norm(place - other)


def test_equal_vectors_and_seeds_give_equal_maps() -> None:
    assert np.array_equal(map_of(clusters(), 3), map_of(clusters(), 3))


@pytest.mark.parametrize("count", [LEAST, LEAST + 3])
def test_few_points_make_a_map(count: int) -> None:
    assert map_of(clusters()[:count]).shape == (count, 2)


def test_fewer_make_none() -> None:
    with pytest.raises(ValueError, match="at least 5 points"):
        map_of(clusters()[: LEAST - 1])


def test_no_vector_outweighs_another_by_its_length() -> None:
    found = side_by_side([np.array([30.0, 40.0]), np.array([0.0, 0.1]), np.zeros(2)])
    np.testing.assert_allclose(found, [0.6, 0.8, 0, 1, 0, 0], atol=1e-6)


def test_a_map_is_drawn_with_unlabelled_points() -> None:
    assert scatter(map_of(clusters()), ["COVID"] * 20 + [""] * 4).startswith(b"\x89PNG")
