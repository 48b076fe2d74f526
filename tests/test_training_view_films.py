from __future__ import annotations

import numpy as np
import pytest

from pulmoscope.preprocess.views import VIEW_SIZE, VIEWS
from pulmoscope.recipes.published.xray_view import RECIPE
from pulmoscope.training.view.radiographs import STORED, ViewFilms, stored

FILMS = [np.full((90, 120), grey, np.uint8) for grey in (40, 90)]
FILMS[0][20:60, 20:50] = FILMS[1][30:70, 70:110] = 200


def films(seed: int = 1, **pictures: list[np.ndarray]) -> ViewFilms:
    return ViewFilms({"frontal": FILMS, **pictures}, RECIPE.shares, seed)


@pytest.mark.parametrize("view", ["frontal", "two-films", "part", "turned", "negative", "heat-map", "other"])
def test_every_view_that_can_be_made_of_films_is(view: str) -> None:
    maker = films()
    for _ in range(40):
        picture = maker.picture(view)
        assert picture.dtype == np.float32
        assert picture.ndim == 2
        assert picture.min() >= 0
        assert picture.max() <= 1


def test_a_batch_holds_the_network_s_input_and_the_views_in_their_shares() -> None:
    images, views = films().batch(600)
    assert images.shape == (600, 1, VIEW_SIZE, VIEW_SIZE)
    assert images.dtype == np.float32
    names = [VIEWS[number] for number in views]
    assert set(names) == {"frontal", "two-films", "part", "turned", "negative", "heat-map", "other"}
    whole = sum(RECIPE.shares[name] for name in set(names))
    assert names.count("frontal") / 600 == pytest.approx(RECIPE.shares["frontal"] / whole, abs=0.07)


def test_views_that_only_real_pictures_show_are_drawn_where_there_are_some() -> None:
    _, views = films(ct=[FILMS[0]], lateral=[FILMS[1]]).batch(300)
    assert {"ct", "lateral"} <= {VIEWS[number] for number in views}
    assert "body-part" not in {VIEWS[number] for number in views}


def test_the_same_seed_gives_the_same_batches_and_another_does_not() -> None:
    one, again, other = films(5).batch(8), films(5).batch(8), films(6).batch(8)
    np.testing.assert_array_equal(one[0], again[0])
    np.testing.assert_array_equal(one[1], again[1])
    assert not np.array_equal(one[0], other[0])


@pytest.mark.parametrize(("shape", "kept"), [((400, 200), (STORED, STORED // 2)), ((50, 70), (50, 70))])
def test_pictures_are_kept_small_at_their_own_aspect(shape: tuple[int, int], kept: tuple[int, int]) -> None:
    picture = stored(np.full(shape, 0.5, dtype=np.float32))
    assert picture.shape == kept
    assert picture.dtype == np.uint8
    assert np.unique(picture).tolist() == [128]
