from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from pulmoscope.phantoms.xray.draw import draw_xray
from pulmoscope.training.lung_finder.radiographs import FilmMaker

SIDE = 64


@pytest.fixture(scope="module")
def films() -> tuple[Tensor, Tensor]:
    """Four drawn films with their lungs, (4, 1, SIDE, SIDE)."""
    drawn = [draw_xray(np.random.default_rng(seed), "Normal", SIDE) for seed in range(4)]
    images = np.stack([own.image for own in drawn]).astype(np.float32)
    masks = np.stack([own.lungs for own in drawn]).astype(np.float32)
    return torch.from_numpy(images)[:, None], torch.from_numpy(masks)[:, None]


def test_the_same_seed_gives_the_same_batches(films: tuple[Tensor, Tensor]) -> None:
    one, again, other = (FilmMaker(*films, seed) for seed in (1, 1, 2))
    first = one.batch(3)
    assert all(torch.equal(a, b) for a, b in zip(first, again.batch(3), strict=True))
    assert not torch.equal(first[0], other.batch(3)[0])
    assert not torch.equal(first[0], one.batch(3)[0])


def test_films_are_stretched_and_masks_are_nearly_binary(films: tuple[Tensor, Tensor]) -> None:
    kept = [own.clone() for own in films]
    images, masks = FilmMaker(*films, 3).batch(64)
    assert images.shape == masks.shape == (64, 1, SIDE, SIDE)
    for values in (images, masks):
        assert values.dtype == torch.float32
        assert 0 <= float(values.min()) <= float(values.max()) <= 1
    assert (
        float(((masks < 0.01) | (masks > 0.99)).float().mean()) > 0.9
    )  # between the two at the lungs' edges only
    assert float((masks > 0.5).float().mean()) > 0.05
    assert all(torch.equal(own, before) for own, before in zip(films, kept, strict=True))


def test_where_a_flat_patch_covers_the_chest_there_is_no_lung(films: tuple[Tensor, Tensor]) -> None:
    images, masks = FilmMaker(*films, 4).batch(400)
    covered = 0
    for image, mask in zip(images[:, 0], masks[:, 0], strict=True):
        values, counts = image.unique(return_counts=True)
        grey = values[counts.argmax()]
        # Pixels that a film has cut off are black or white; one grey over a fifth of it has been laid on top.
        if 0 < grey < 1 and counts.max() > SIDE**2 / 5:
            covered += 1
            assert not mask[image == grey].any()
    assert covered > 3
