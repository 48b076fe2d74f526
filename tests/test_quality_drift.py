"""Is a place like any hospital that is known? On points whose distribution is known."""

from __future__ import annotations

import io

import cv2
import numpy as np
import pytest
from scipy.spatial.distance import cdist

from pulmoscope.core.errors import BundleError
from pulmoscope.quality.drift import CHANCE, LEAST_IMAGES, LEAST_MARGIN, MOST_REFERENCE, KnownHospitals
from pulmoscope.quality.image_statistics import STATISTICS, image_statistics
from pulmoscope.quality.seen_images import Outcomes, SeenImages
from pulmoscope.quality.two_sample import TwoSampleTest
from stations import radiograph

CLASSES = ("COVID", "Normal")
MAPS = 24


def drawn(
    count: int, seed: int, hospital: str = "", *, shift: float = 0.0, sick: float = 0.5, spread: float = 1.0
) -> SeenImages:
    """Images of a hospital: classes are 3 apart in the first feature map; hospitals differ by ``shift`` in all."""
    rng = np.random.default_rng(seed)
    predicted = (rng.random(count) >= sick).astype(np.int64)
    pooled = rng.normal(shift, spread, (count, MAPS))
    pooled[:, 0] += 3 * predicted
    statistics = rng.normal(shift, spread, (count, len(STATISTICS)))
    return SeenImages(
        pooled.astype(np.float32),
        statistics.astype(np.float32),
        predicted,
        rng.random(count) < 0.25,
        (hospital,) * count,
    )


@pytest.fixture(scope="module")
def known() -> KnownHospitals:
    hospitals = [drawn(250, 1, "north"), drawn(90, 2, "south", shift=2.0), drawn(200, 3, shift=-2.0)]
    fitted = KnownHospitals.fit(SeenImages.joined(hospitals), CLASSES)
    assert fitted is not None
    return fitted.with_held_out(SeenImages.joined([drawn(60, 4, "north"), drawn(40, 5, shift=-2.0)]))


def test_a_hospital_is_known_with_enough_images_and_by_a_name(known: KnownHospitals) -> None:
    assert known.names == ("north", "south")
    assert np.bincount(known.hospitals).tolist() == [MOST_REFERENCE, 90]
    assert KnownHospitals.fit(drawn(59, 1, "north"), CLASSES) is None
    assert KnownHospitals.fit(drawn(500, 1), CLASSES) is None


@pytest.mark.parametrize(("shift", "nearest"), [(0.0, "north"), (2.0, "south")])
def test_other_images_of_a_known_hospital_are_not_strange(
    known: KnownHospitals, shift: float, nearest: str
) -> None:
    found = [known.compare(drawn(30, seed, shift=shift)) for seed in range(100, 140)]
    assert [one.strange for one in found] == [False] * 40
    assert {one.nearest for one in found} == {nearest}
    assert np.mean([one.distance for one in found]) == pytest.approx(0, abs=0.03)


def test_a_hospital_apart_from_all_is_strange(known: KnownHospitals) -> None:
    between = [known.compare(drawn(30, seed, shift=1.0)) for seed in range(20)]
    wider = [known.compare(drawn(30, seed, spread=1.6)) for seed in range(20)]
    assert all(one.strange for one in (*between, *wider))
    assert min(one.distance for one in between) > known.margin


@pytest.mark.parametrize("sick", [0.05, 0.95])
def test_another_prevalence_alone_is_no_drift(known: KnownHospitals, sick: float) -> None:
    found = [known.compare(drawn(40, seed, sick=sick)) for seed in range(40)]
    assert [one.strange for one in found] == [False] * 40
    assert np.mean([one.distance for one in found]) == pytest.approx(0, abs=0.03)


def test_of_classes_that_no_hospital_has_only_the_nearest_is_told() -> None:
    fitted = KnownHospitals.fit(
        SeenImages.joined([drawn(100, 1, "north", sick=0), drawn(100, 2, "south", shift=2, sick=0)]), CLASSES
    )
    assert fitted is not None
    found = fitted.compare(drawn(30, 9, shift=2.0, sick=1.0))
    assert (found.strange, found.nearest) == (True, "south")
    # A third of such images is left out of the comparison.
    mixed = SeenImages.joined([drawn(10, 9, shift=2.0, sick=1.0), drawn(25, 10, shift=2.0, sick=0)])
    assert not fitted.compare(mixed).strange


def test_what_differs_most_is_named(known: KnownHospitals) -> None:
    images = drawn(64, 9)
    images.statistics[:] -= images.statistics.mean(axis=0)
    images.statistics[:, list(STATISTICS).index("noise")] += 4
    images.statistics[:, list(STATISTICS).index("contrast")] -= 2.5
    found = known.compare(images)
    assert found.strange
    assert [one.code for one in found.differences] == ["noise", "contrast"]
    noise, contrast = found.differences
    assert noise.deviations == pytest.approx(4, abs=0.4)
    assert contrast.deviations == pytest.approx(-2.5, abs=0.4)


def test_outcomes_are_told_beside_those_of_validation(known: KnownHospitals) -> None:
    images = drawn(40, 9)
    images.predicted[:] = [0] * 10 + [1] * 30
    images.referred[:] = [True] * 4 + [False] * 36
    found = known.compare(images)
    assert found.outcomes == Outcomes({"COVID": 0.25, "Normal": 0.75}, 0.1)
    held_out = SeenImages.joined([drawn(60, 4, "north"), drawn(40, 5, shift=-2.0)])
    assert found.usual == known.outcomes(held_out)


def test_the_margin_is_what_held_out_images_reach(known: KnownHospitals) -> None:
    assert known.margin == LEAST_MARGIN
    # A network knows its training images better than others: these lie a little apart.
    apart = drawn(60, 6, "north", shift=0.5)
    wider = known.with_held_out(apart)
    assert wider.margin > 2 * LEAST_MARGIN
    assert known.compare(drawn(30, 7, shift=0.5)).strange
    assert not wider.compare(drawn(30, 7, shift=0.5)).strange
    assert known.with_held_out(drawn(60, 6, shift=0.5)).margin == LEAST_MARGIN  # of an unknown hospital


def test_a_hospital_can_be_added(known: KnownHospitals) -> None:
    assert known.compare(drawn(64, 20, shift=-2.0)).strange
    added = known.with_hospital("west", drawn(100, 21, shift=-2.0))
    found = added.compare(drawn(64, 20, shift=-2.0))
    assert (found.strange, found.nearest) == (False, "west")
    assert added.compare(drawn(64, 22)).nearest == "north"
    again = added.with_hospital("west", drawn(50, 23, shift=4.0))
    assert again.names == ("north", "south", "west")
    assert again.compare(drawn(64, 20, shift=-2.0)).strange
    with pytest.raises(ValueError, match=str(LEAST_IMAGES)):
        known.with_hospital("west", drawn(LEAST_IMAGES - 1, 24))


def test_the_same_images_get_the_same_answer_also_from_a_file(known: KnownHospitals) -> None:
    read = KnownHospitals.from_bytes(known.to_bytes())
    assert read.to_bytes() == known.to_bytes()
    for seed in range(5):
        images = drawn(40, seed, shift=seed / 4)
        assert known.compare(images) == known.compare(images)
        first, second = known.compare(images), read.compare(images)
        assert (first.strange, first.nearest) == (second.strange, second.nearest)
        assert first.distance == pytest.approx(second.distance, abs=0.02)


def test_the_file_is_small_for_a_large_network() -> None:
    rng = np.random.default_rng(1)
    parts = [drawn(250, seed, f"hospital {seed}") for seed in range(7)]
    wide = [
        SeenImages(rng.normal(size=(250, 1280)).astype(np.float32), *list(vars(part).values())[1:])
        for part in parts
    ]
    fitted = KnownHospitals.fit(SeenImages.joined(wide), CLASSES)
    assert fitted is not None
    assert len(fitted.to_bytes()) <= 200 * 1024


def stored(known: KnownHospitals, **changes: object) -> bytes:
    with np.load(io.BytesIO(known.to_bytes())) as before:
        parts = {**before, **changes}
    stream = io.BytesIO()
    np.savez(stream, **{name: part for name, part in parts.items() if part is not None})  # type: ignore[arg-type]
    return stream.getvalue()


@pytest.mark.parametrize(
    "changes",
    [
        {"points": None},
        {"points": np.zeros((3, 3), np.float16)},
        {"statistics": np.array(["brightness-p01"])},
        {"names": np.array(["north"])},
        {"predicted": np.full(290, 2, np.uint16)},
        {"margin": np.array(["wide"])},
        {"usual": np.array([{}], dtype=object)},
    ],
    ids=lambda changes: next(iter(changes)),
)
def test_a_damaged_file_is_refused(known: KnownHospitals, changes: dict[str, object]) -> None:
    with pytest.raises(BundleError, match=r"hospitals\.npz"):
        KnownHospitals.from_bytes(stored(known, **changes))


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04 cut off", b"no npz"])
def test_something_else_is_refused(content: bytes) -> None:
    with pytest.raises(BundleError):
        KnownHospitals.from_bytes(content)


def test_the_distance_is_the_energy_distance_of_the_classes_together() -> None:
    """Beside loops over pairs, the hospital's classes weighted by hand: 20 and 40 of 60 count 1/4 and 3/4."""
    rng = np.random.default_rng(1)
    place, hospital = rng.normal(0, 1, (16, 3)), rng.normal(0.5, 2, (60, 3))
    classes, known_classes = np.repeat([0, 1], [4, 12]), np.repeat([0, 1], [20, 40])
    test = TwoSampleTest.of(place, classes, hospital, known_classes)
    assert test is not None
    weights = np.repeat([0.25 / 20, 0.75 / 40], [20, 40])
    np.testing.assert_allclose(test.weights, weights)
    between = cdist(place, hospital).mean(axis=0) @ weights
    ours = cdist(place, place).sum() / (16 * 15)
    theirs = weights @ cdist(hospital, hospital) @ weights / (1 - (weights**2).sum())
    assert test.distance == pytest.approx(2 * between - ours - theirs)


def test_chance_is_uniform_where_both_are_of_one_distribution() -> None:
    rng, chances = np.random.default_rng(2), []
    for _ in range(300):
        points, classes = rng.normal(0, 1, (70, 4)), rng.integers(0, 2, 70)
        test = TwoSampleTest.of(points[:20], classes[:20], points[20:], classes[20:])
        assert test is not None
        chances.append(test.chance(rng))
    for level in (CHANCE, 0.1, 0.5):
        error = 4 * np.sqrt(level * (1 - level) / 300)
        assert np.mean(np.array(chances) <= level) == pytest.approx(level, abs=error)


def test_statistics_of_a_picture_by_hand() -> None:
    """Left half black, right half white: every figure that can be told by hand."""
    image = np.zeros((64, 64), dtype=np.float32)
    image[:, 32:] = 1
    values = dict(zip(STATISTICS, image_statistics(image).tolist(), strict=True))
    expected = {
        "brightness-p01": 0,
        "brightness-p99": 1,
        "brightness-mean": 0.5,
        "contrast": 0.5,
        "grey-levels": np.log(2),
        "white": np.sqrt(0.5),
        "black": np.sqrt(0.5),
        "border-top": 0.5,
        "border-left": 0,
        "border-right": 1,
        "border-centre": 0,
        "layout-top": 0,
        "layout-middle": 0.5,
        "layout-sides": 1,
    }
    assert {name: values[name] for name in expected} == pytest.approx(expected, abs=1e-5)


def test_neither_size_nor_compression_weighs_much() -> None:
    """Beside what radiographs of one station differ by."""
    images = [cv2.resize(radiograph(seed, sick=True), (512, 512)) for seed in range(20)]
    spread = np.stack([image_statistics(image) for image in images]).std(axis=0) + 0.01
    for image in images[:5]:
        plain = image_statistics(image)
        half = image_statistics(cv2.resize(image, (256, 256), interpolation=cv2.INTER_AREA))
        packed = cv2.imencode(".jpg", np.rint(image * 255).astype(np.uint8), [cv2.IMWRITE_JPEG_QUALITY, 75])[
            1
        ]
        jpeg = image_statistics(cv2.imdecode(packed, cv2.IMREAD_GRAYSCALE).astype(np.float32) / 255)
        assert np.median(np.abs(half - plain) / spread) < 0.1
        assert np.median(np.abs(jpeg - plain) / spread) < 0.1
