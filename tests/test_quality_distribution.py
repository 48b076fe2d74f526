from __future__ import annotations

import io

import numpy as np
import pytest
from scipy.spatial.distance import mahalanobis
from sklearn.covariance import LedoitWolf

from pulmoscope.core.errors import BundleError
from pulmoscope.quality.distribution import Reference

FEATURES = 12


def drawn(count: int, seed: int, shift: float = 0.0) -> tuple[np.ndarray, np.ndarray]:
    """Two classes, 6 apart in the first feature, with correlated features, and 100 at the mean of all."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, 2, count)
    mixing = np.random.default_rng(0).normal(0, 1, (FEATURES, FEATURES))
    pooled = rng.normal(0, 1, (count, FEATURES)) @ mixing + 100
    pooled[:, 0] += 6 * labels + shift
    return pooled.astype(np.float32), labels


@pytest.fixture(scope="module")
def reference() -> Reference:
    return Reference.fit(*drawn(600, 1), dimensions=64)


def test_with_all_dimensions_it_is_scipy_s_mahalanobis_distance_to_the_nearest_class(
    reference: Reference,
) -> None:
    pooled, labels = drawn(600, 1)
    means = [pooled[labels == label].mean(axis=0, dtype=np.float64) for label in (0, 1)]
    residuals = pooled - np.stack(means)[labels]
    precision = LedoitWolf(assume_centered=True).fit(residuals).precision_
    new, _ = drawn(20, 2, shift=3)
    expected = [min(mahalanobis(image, mean, precision) for mean in means) / FEATURES**0.5 for image in new]
    np.testing.assert_allclose(reference.distance(new), expected, rtol=1e-3)


def test_a_training_image_s_typical_distance_is_1(reference: Reference) -> None:
    assert np.sqrt((reference.distance(drawn(600, 1)[0]) ** 2).mean()) == pytest.approx(1, abs=0.1)


def test_the_limit_lets_the_quantile_of_held_out_images_pass(reference: Reference) -> None:
    held_out = reference.distance(drawn(500, 3)[0])
    limited = reference.with_limit(held_out)
    assert (held_out <= limited.limit).mean() == pytest.approx(0.99, abs=0.002)
    strange = drawn(100, 4)[0] + np.random.default_rng(5).normal(0, 15, (100, FEATURES)).astype(np.float32)
    assert (limited.distance(strange) > limited.limit).mean() > 0.9


def test_fewer_dimensions_keep_the_directions_of_most_spread() -> None:
    rng = np.random.default_rng(6)
    spread = np.array([10, 5, 0.01, 0.01], dtype=np.float32)
    pooled = rng.normal(0, 1, (400, 4)).astype(np.float32) * spread
    reference = Reference.fit(pooled, np.zeros(400), dimensions=2)
    assert reference.projection.shape == (2, 4)
    # (10, 5) is one standard deviation along both kept directions: sqrt(1 + 1) / sqrt(2) = 1
    assert reference.distance(np.array([[10, 5, 0, 0]], dtype=np.float32)) == pytest.approx(1, abs=0.15)
    assert reference.distance(np.array([[10, 5, 3, 3]], dtype=np.float32)) == pytest.approx(1, abs=0.2)


def test_fewer_images_than_dimensions() -> None:
    pooled, labels = drawn(9, 7)
    reference = Reference.fit(pooled, labels)
    assert reference.projection.shape == (8, FEATURES)
    assert np.isfinite(reference.distance(drawn(5, 8)[0])).all()


def test_a_batch_equals_its_images_one_by_one(reference: Reference) -> None:
    pooled, _ = drawn(7, 9)
    alone = [reference.distance(pooled[index : index + 1])[0] for index in range(7)]
    np.testing.assert_allclose(reference.distance(pooled), alone, rtol=1e-5)


def test_round_trip_through_bytes(reference: Reference) -> None:
    limited = reference.with_limit(np.array([1, 2, 3], dtype=np.float32))
    content = limited.to_bytes()
    again = Reference.from_bytes(content)
    assert again.to_bytes() == content
    assert again.limit == limited.limit
    pooled, _ = drawn(5, 10)
    np.testing.assert_array_equal(again.distance(pooled), limited.distance(pooled))


def test_other_content_is_refused_and_pickles_are_never_loaded(reference: Reference) -> None:
    stream = io.BytesIO()
    np.savez(stream, mean=np.array([{"a": 1}], dtype=object))
    lacking = io.BytesIO()
    np.savez(lacking, mean=reference.mean)
    for content in (b"", b"no npz at all", reference.to_bytes()[:-30], stream.getvalue(), lacking.getvalue()):
        with pytest.raises(BundleError, match=r"reference\.npz"):
            Reference.from_bytes(content)
        with pytest.raises(BundleError, match=r"^normal\.npz: is not"):
            Reference.from_bytes(content, "normal.npz")


def maps_of(count: int, seed: int) -> np.ndarray:
    """Feature maps (count, 12, 3, 4) with a level of its own at each place."""
    rng = np.random.default_rng(seed)
    levels = np.random.default_rng(50).normal(0, 3, (FEATURES, 3, 4))
    return (rng.normal(0, 1, (count, FEATURES, 3, 4)) + levels).astype(np.float32)


def test_what_is_strange_at_one_place_shows_at_that_place() -> None:
    known = maps_of(400, 51)
    reference = Reference.fit(known.mean(axis=(2, 3)), np.zeros(400)).with_cells(known.mean(axis=0))
    image = maps_of(1, 52)[0]
    image[:, 2, 1] += np.random.default_rng(53).normal(0, 30, FEATURES)
    excess = reference.excess(image)
    assert excess is not None
    assert np.unravel_index(excess.argmax(), excess.shape) == (2, 1)
    assert excess.max() == 1
    assert np.sort(excess.ravel())[-2] < 0.3
    assert (excess >= 0).all()


def test_the_parts_of_all_places_make_up_the_distance() -> None:
    """Where all places of the training images are alike, the mean over the cells is the squared distance."""
    known = np.random.default_rng(54).normal(0, 1, (400, FEATURES, 2, 2)).astype(np.float32)
    reference = Reference.fit(known.mean(axis=(2, 3)), np.zeros(400))
    alike = np.repeat(reference.mean, 4).reshape(FEATURES, 2, 2)
    image = known[0] + 5
    parts = reference.with_cells(alike).excess(image)
    offset = (image - alike).transpose(1, 2, 0) @ reference.projection.T
    expected = offset @ offset.mean(axis=(0, 1))
    assert expected.mean() == pytest.approx(
        float(reference.distance(image.mean(axis=(1, 2))[None])[0]) ** 2, rel=1e-3
    )
    assert parts is not None
    np.testing.assert_allclose(parts, np.maximum(expected, 0) / expected.max(), rtol=1e-3, atol=1e-4)


def test_without_known_places_nothing_is_said_of_them(reference: Reference) -> None:
    assert reference.excess(maps_of(1, 55)[0]) is None
    other_size = reference.with_cells(np.zeros((FEATURES, 5, 5), dtype=np.float32))
    assert other_size.excess(maps_of(1, 55)[0]) is None


def test_places_survive_the_file(reference: Reference) -> None:
    known = reference.with_cells(maps_of(1, 56)[0])
    read = Reference.from_bytes(known.to_bytes())
    np.testing.assert_array_equal(read.cells, known.cells)
    assert Reference.from_bytes(reference.to_bytes()).cells is None
