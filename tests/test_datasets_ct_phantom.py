from __future__ import annotations

import numpy as np
import pytest

from pulmoscope.datasets.ct_phantom import CtPhantom, draw

SIZE, SLICES = 96, 24
PLAIN = {
    "dose": 2.0,
    "kernel": "soft",
    "fov_mm": 400.0,
    "thickness_mm": 3.0,
    "scanner": "Cedar 128",
    "height_mm": 0.0,
}


@pytest.fixture(scope="module")
def phantoms() -> dict[tuple[str, int], CtPhantom]:
    return {
        (label, seed): draw(label, seed, slices=SLICES, size=SIZE, nuisances=PLAIN)
        for label in ("Normal", "COVID", "CAP")
        for seed in range(3)
    }


def test_equal_arguments_give_equal_voxels_and_other_seeds_do_not(
    phantoms: dict[tuple[str, int], CtPhantom],
) -> None:
    again = draw("COVID", 1, slices=SLICES, size=SIZE, nuisances=PLAIN)
    first = phantoms["COVID", 1]
    assert np.array_equal(again.hu, first.hu)
    assert np.array_equal(again.lesions, first.lesions)
    assert not np.array_equal(phantoms["COVID", 2].hu, first.hu)
