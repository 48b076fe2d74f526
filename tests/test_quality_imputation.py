from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper

from pulmoscope.core.types import BoolArray, FloatArray
from pulmoscope.quality.imputation import (
    BATCH,
    IMPUTERS,
    Filler,
    Imputer,
    NetworkImputer,
    impute,
    imputer,
    linear,
    stack_at,
)
from pulmoscope.runtime.network import open_network

SIDE = 8


def write_imputer(path: Path) -> None:
    """A network that says of each pixel: half of this slice's own, a quarter of each neighbour's observed ones.

    Its answer: 0.25 b·ob + 0.5 s + 0.25 a·oa for the slices below, at, above and where they are observed. What it reads
    of `s` at missing pixels is noise.
    """
    weights = numpy_helper.from_array(np.array([0.25, 0.5, 0.25], np.float32).reshape(1, 3, 1, 1), "weights")
    middle = numpy_helper.from_array(np.array([0, 1, 0], np.float32).reshape(1, 3, 1, 1), "middle")
    nodes = [
        helper.make_node("Max", ["observed", "middle"], ["taken"]),
        helper.make_node("Mul", ["slices", "taken"], ["known"]),
        helper.make_node("Conv", ["known", "weights"], ["filled"]),
    ]
    graph = helper.make_graph(
        nodes,
        "imputer",
        [
            helper.make_tensor_value_info(name, TensorProto.FLOAT, ["batch", 3, SIDE, SIDE])
            for name in ("slices", "observed")
        ],
        [helper.make_tensor_value_info("filled", TensorProto.FLOAT, ["batch", 1, SIDE, SIDE])],
        [weights, middle],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    onnx.checker.check_model(model, full_check=True)
    onnx.save(model, path)


@pytest.fixture(scope="module")
def network(tmp_path_factory: pytest.TempPathFactory) -> Imputer:
    path = tmp_path_factory.mktemp("imputer") / "imputer.onnx"
    write_imputer(path)
    return NetworkImputer("half-and-half", open_network(path))


def holed(seed: int, share: float, slices: int = 5) -> tuple[FloatArray, BoolArray]:
    """Noise in [0, 1] with a missing rectangle in some slices, and a whole slice where the share is above a half."""
    rng = np.random.default_rng(seed)
    images = rng.random((slices, SIDE, SIDE), dtype=np.float32)
    missing = np.zeros(images.shape, dtype=np.bool_)
    for index in np.flatnonzero(rng.random(slices) < share):
        top, left = rng.integers(0, SIDE - 2, 2)
        missing[index, top : top + rng.integers(1, SIDE), left : left + rng.integers(1, SIDE)] = True
    if share > 0.5:
        missing[rng.integers(slices)] = True
    return images, missing


@given(
    seed=st.integers(0, 10_000),
    share=st.floats(0, 1),
    spoilt=st.sampled_from([0.0, -1024.0, 3071.0, np.nan, np.inf]),
    name=st.sampled_from([*IMPUTERS, "network"]),
)
def test_no_imputer_touches_an_observed_pixel(
    seed: int, share: float, spoilt: float, name: str, network: Imputer
) -> None:
    images, missing = holed(seed, share)
    if missing.all():
        return
    images[missing] = spoilt
    before = images.copy()
    filled = impute(images, missing, network if name == "network" else imputer(name))
    np.testing.assert_array_equal(images, before)
    assert filled.dtype == np.float32
    assert filled[~missing].tobytes() == images[~missing].tobytes()
    assert np.isfinite(filled).all()
    seen = images[~missing]
    assert filled.min() >= seen.min()
    assert filled.max() <= seen.max()


@pytest.mark.parametrize("name", [*IMPUTERS, "network"])
def test_what_stands_at_missing_pixels_does_not_matter(name: str, network: Imputer) -> None:
    images, missing = holed(3, 0.9)
    own = network if name == "network" else imputer(name)
    one = impute(np.where(missing, np.float32(0), images), missing, own)
    np.testing.assert_array_equal(one, impute(np.where(missing, np.float32(9), images), missing, own))


@pytest.mark.parametrize("name", [*IMPUTERS, "network"])
def test_nothing_is_filled_from_what_is_black_on_purpose(name: str, network: Imputer) -> None:
    images, missing = holed(5, 0.4)
    shown = np.random.default_rng(6).random(images.shape) < 0.7
    missing &= shown
    own = network if name == "network" else imputer(name)
    one, other = (
        impute(np.where(shown, images, np.float32(value)), missing, own, shown) for value in (0, 0.5)
    )
    np.testing.assert_array_equal(one[missing], other[missing])
    assert (other[~shown] == np.float32(0.5)).all()


def test_lungs_lost_whole_are_filled_from_lungs() -> None:
    # The second slice's lung, columns 0 to 2, is lost; its neighbours' is narrower, and black beyond.
    images = np.array([[[4, 6, 0, 0]], [[0, 0, 0, 0]], [[8, 10, 0, 0]]], np.float32)
    shown = np.array([[[1, 1, 0, 0]], [[1, 1, 1, 0]], [[1, 1, 0, 0]]], np.bool_)
    missing = np.zeros(images.shape, np.bool_)
    missing[1, 0, :3] = True
    filled = {name: impute(images, missing, imputer(name), shown)[1, 0].tolist() for name in IMPUTERS}
    assert filled == {"mean": [7, 7, 7, 0], "linear": [6, 8, 7, 0], "navier-stokes": [6, 8, 7, 0]}


def test_mean_is_that_of_the_slice_and_else_of_all() -> None:
    images = np.zeros((2, 1, 4), dtype=np.float32)
    images[0] = [1, 2, 3, 100]
    missing = np.zeros(images.shape, dtype=np.bool_)
    missing[0, 0, 3] = missing[1] = True
    filled = impute(images, missing, imputer("mean"))
    np.testing.assert_array_equal(filled, [[[1, 2, 3, 2]], [[2, 2, 2, 2]]])


def test_linear_goes_by_distance_between_the_nearest_observed() -> None:
    images = np.zeros((5, 1, 4), dtype=np.float32)
    images[:, 0, 0] = [10, -1, -1, 40, 7]  # two missing: 20 and 30
    images[:, 0, 1] = [-1, -1, 6, 5, 4]  # none below: 6
    images[:, 0, 2] = [8, 9, 12, -1, -1]  # none above: 12
    images[:, 0, 3] = -1  # nowhere: the slice's mean
    filled = impute(images, images == -1, imputer("linear"))
    np.testing.assert_allclose(filled[:, 0, 0], [10, 20, 30, 40, 7])
    np.testing.assert_allclose(filled[:, 0, 1], [6, 6, 6, 5, 4])
    np.testing.assert_allclose(filled[:, 0, 2], [8, 9, 12, 12, 12])
    np.testing.assert_allclose(filled[:, 0, 3], [9, 9, 9, 22.5, 5.5])


def test_navier_stokes_continues_a_slope_in_hu() -> None:
    slope = np.tile(np.linspace(-900, 100, 41, dtype=np.float32), (1, 41, 1))
    missing = np.zeros(slope.shape, dtype=np.bool_)
    missing[0, 17:24, 17:24] = True
    filled = impute(np.where(missing, np.float32(-1024), slope), missing, imputer("navier-stokes"))
    by_mean = impute(slope, missing, imputer("mean"))
    error, of_mean = (np.sqrt(np.mean((one - slope)[missing] ** 2)) for one in (filled, by_mean))
    assert error < 30  # the slice's mean is 50 off
    assert error < of_mean


def test_navier_stokes_fills_a_slice_without_a_pixel_from_its_neighbours() -> None:
    images = np.stack([np.full((SIDE, SIDE), value, dtype=np.float32) for value in (1, 0, 3)])
    missing = np.zeros(images.shape, dtype=np.bool_)
    missing[1] = True
    np.testing.assert_array_equal(impute(images, missing, imputer("navier-stokes"))[1], 2)


def test_a_network_sees_the_neighbours_and_where_they_are_observed(network: Imputer) -> None:
    images = np.stack([np.full((SIDE, SIDE), value, dtype=np.float32) for value in (0.2, 0.9, 0.6, 1.0)])
    missing = np.zeros(images.shape, dtype=np.bool_)
    missing[1, 2:5, 2:5] = missing[2, 3, 3] = missing[3, 0, 0] = True
    guess = network(images, missing, ~missing)
    # Observed pixels of the slice itself are no noise: 0.25 · 0.2 + 0.5 · 0.9 + 0.25 · 0.6.
    assert guess[1, 0, 0] == pytest.approx(0.65, abs=1e-5)
    noise = guess[1, 2:5, 2:5] - 0.25 * 0.2 - 0.25 * 0.6
    noise[1, 1] -= 0.25 * (
        0.5 * 1.0 - 0.6
    )  # the neighbour above lacks the pixel, too: the slice after has it
    assert (noise >= -1e-6).all()
    assert (noise <= 0.5 + 1e-6).all()
    assert noise.std() > 0.05
    # The last slice is its own neighbour above: 0.25 · 0.6 + 0.75 · 1.
    assert guess[3, 5, 5] == pytest.approx(0.9, abs=1e-5)
    np.testing.assert_array_equal(guess[0], images[0])


def test_a_stack_holds_the_nearest_observed_pixels_and_how_near_they_are() -> None:
    images = np.stack([np.full((2, 2), value, dtype=np.float32) for value in (1, 2, 3, 4, 5)])
    missing = np.zeros(images.shape, dtype=np.bool_)
    missing[2, 0, 0] = missing[1, 0, 0] = missing[3:, 0, 1] = missing[:2, 1, 0] = True
    values, weights = stack_at(images, ~missing, 2)
    np.testing.assert_array_equal(values, [[[1, 2], [0, 2]], [[0, 3], [3, 3]], [[4, 0], [4, 4]]])
    np.testing.assert_array_equal(weights, [[[0.5, 1], [0, 1]], [[0, 1], [1, 1]], [[1, 0], [1, 1]]])
    # (1 · 0.5 + 4 · 1) / 1.5 = 3 is what linear interpolation puts there.
    assert linear(images, missing, ~missing)[2, 0, 0] == pytest.approx(3)
    first, counts = stack_at(images, ~missing, 0)
    np.testing.assert_array_equal(first[0], first[1])
    np.testing.assert_array_equal(counts[0], [[1, 1], [0, 1]])


def test_a_network_fills_equal_slices_equally_in_any_batch(network: Imputer) -> None:
    images, missing = holed(5, 0.95, slices=2 * BATCH + 3)
    missing[[18, 20]] = False  # what a slice is filled from lies nowhere beyond
    whole = network(images, missing, ~missing)
    np.testing.assert_array_equal(whole, network(images, missing, ~missing))
    alone = network(images[18:21], missing[18:21], ~missing[18:21])
    np.testing.assert_array_equal(alone[1], whole[19])


def test_a_network_takes_standardised_slices_only(network: Imputer) -> None:
    images, missing = holed(1, 0.9)
    with pytest.raises(ValueError, match=r"half-and-half fills slices in \[0, 1\] \(found: "):
        impute(images * 1000, missing, network)


def test_nothing_missing_is_nothing_done() -> None:
    images, _ = holed(1, 0.0)
    assert impute(images, np.zeros(images.shape, np.bool_), imputer("linear")) is images


def test_what_cannot_be_filled_is_refused() -> None:
    images, missing = holed(1, 0.9)
    with pytest.raises(ValueError, match=r"one shape \(found: \(5, 8, 8\) and \(4, 8, 8\)\)"):
        impute(images, missing[1:], imputer("mean"))
    with pytest.raises(ValueError, match=r"at least one pixel is observed"):
        impute(images, np.ones(images.shape, np.bool_), imputer("mean"))
    broken = Filler("broken", lambda images, *_: np.full_like(images, np.nan))
    with pytest.raises(ValueError, match=rf"broken gives numbers \(found: {missing.sum()} others\)"):
        impute(images, missing, broken)
    with pytest.raises(ValueError, match=r"one of mean, linear, navier-stokes \(found: biharmonic\)"):
        imputer("biharmonic")
