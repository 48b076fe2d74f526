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
