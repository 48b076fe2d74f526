"""What each change does to an image or a CT, and what is said of the answers, by hand."""

from __future__ import annotations

from functools import partial

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter, uniform_filter1d

from pulmoscope.evaluation.audit import ct, robustness
from pulmoscope.evaluation.audit.robustness import CHANGES, Change, borne, verdicts
from pulmoscope.evaluation.bootstrap import Estimate
from pulmoscope.evaluation.metrics import Predictions


def image(rows: int = 300, columns: int = 260, seed: int = 0) -> np.ndarray:
    smooth = gaussian_filter(np.random.default_rng(seed).normal(size=(rows, columns)), 1)
    return ((smooth - smooth.min()) / np.ptp(smooth)).astype(np.float32)


@pytest.mark.parametrize("change", CHANGES, ids=lambda change: change.code)
def test_changes_keep_form_and_give_the_same_every_time(change: Change) -> None:
    before = image()
    kept = before.copy()
    after = change.apply(before)
    np.testing.assert_array_equal(before, kept)
    np.testing.assert_array_equal(change.apply(before), after)
    assert after.dtype == np.float32
    assert after.min() >= 0
    assert after.max() <= 1
    if change.kind == "crop":
        assert after.shape < before.shape
    else:
        assert after.shape == before.shape
        assert np.abs(after - before).max() > 0.001


def test_codes_are_names_of_their_own() -> None:
    for changes in (CHANGES, ct.CHANGES):
        assert len({change.code for change in changes}) == len(changes)
        for change in changes:
            assert change.code.isascii()
            assert " " not in change.code
            assert change.kind in robustness.TITLES
        assert {change.kind for change in changes} == {change.kind for change in changes if change.plausible}


def test_blur_is_gaussian_and_goes_by_the_size() -> None:
    """As scipy's, but where the border is near."""
    found = robustness.blurred(image(200, 100), 0.01)
    np.testing.assert_allclose(
        found[20:-20, 20:-20], gaussian_filter(image(200, 100), 2)[20:-20, 20:-20], atol=0.002
    )


def test_noise_has_its_deviation_and_is_another_for_every_image() -> None:
    grey = np.full((200, 200), 0.5, dtype=np.float32)
    noise = robustness.noisy(grey, 0.05) - 0.5
    assert noise.std() == pytest.approx(0.05, rel=0.02)
    other = robustness.noisy(grey + np.float32(0.01), 0.05) - 0.51
    assert abs(np.corrcoef(noise.ravel(), other.ravel())[0, 1]) < 0.02


def test_gamma_rotation_crop_by_hand() -> None:
    assert robustness.toned(np.full((2, 2), 0.25, np.float32), 0.5)[0, 0] == pytest.approx(0.5)
    point = np.zeros((101, 101), np.float32)
    point[50, 90] = 1  # to the right of the centre
    turned = robustness.rotated(point, 90)  # counterclockwise: above it
    assert np.unravel_index(turned.argmax(), turned.shape) == (10, 50)
    assert robustness.cropped(np.zeros((100, 200), np.float32), 0.06).shape == (88, 176)


def test_coarse_keeps_means_and_loses_what_is_fine() -> None:
    stripes = np.tile(np.array([0.0, 1.0], np.float32), (256, 128))
    np.testing.assert_allclose(robustness.coarse(stripes, 128), 0.5)
    np.testing.assert_array_equal(robustness.coarse(stripes, 256), stripes)


def test_letters_and_devices_are_drawn_where_they_are_said_to_be() -> None:
    black = np.zeros((512, 512), np.float32)
    one, three = (robustness.lettered(black, count) for count in (1, 3))
    assert one.max() == 1
    assert one[100:].max() == 0  # a marker in the upper corner
    assert three[450:].max() == 1
    grey = np.full((512, 512), 0.25, np.float32)
    grey[:20] = 0.75
    wired = robustness.wired(grey, 1)
    assert wired[266, 184] == pytest.approx(0.75)  # its tip: 0.36 of the columns, 0.52 of the rows
    assert np.abs(wired - grey)[:, 260:].max() == 0


def answers(predicted: str, decisions: str) -> Predictions:
    """One letter an image: what it is called, and whether it is reported (r) or not."""
    names = {"C": 0.9, "N": 0.1}
    first = np.array([names[letter] for letter in predicted])
    return Predictions(
        files=tuple(f"{number}.png" for number in range(len(predicted))),
        labels=("COVID",) * len(predicted),
        patients=("",) * len(predicted),
        sources=("",) * len(predicted),
        classes=("COVID", "Normal"),
        probabilities=np.stack([first, 1 - first], axis=1),
        decisions=tuple("report" if letter == "r" else "refer" for letter in decisions),
    )


def test_flips_by_hand() -> None:
    change = Change("blur", "1", True, partial(robustness.blurred, sigma=0.01))
    before, after = answers("CCCCNNNNNN", "rrrr-rrrr-"), answers("CNNCCNNNNC", "rr-rrrrrr-")
    found = borne(change, Estimate(0.7), Estimate(0.9), after, before)
    # Images 1, 2, 4 and 9 change; 8 were reported, of which image 1 is reported as another and image 2 is referred.
    assert found.flipped == pytest.approx(0.4)
    assert found.flipped_reported == pytest.approx(1 / 8)
    assert found.referred == pytest.approx(1 / 8)
    assert found.lost == pytest.approx(0.2)
    none = borne(change, Estimate(None), Estimate(None), answers("C", "-"), answers("N", "-"))
    assert (none.lost, none.flipped_reported, none.referred) == (None, None, None)
    with pytest.raises(ValueError, match="same images"):
        borne(change, Estimate(0.7), Estimate(0.9), answers("C", "r"), answers("CC", "rr"))


@pytest.mark.parametrize(
    ("lost", "flips", "referred", "level"),
    [
        (0.02, 0.02, 0.25, "good"),
        (-0.3, 0.0, 0.0, "good"),
        (0.021, 0.0, 0.0, "doubtful"),
        (0.0, 0.05, 0.0, "doubtful"),
        (0.0, 0.0, 0.26, "doubtful"),
        (0.11, 0.0, 1.0, "bad"),
        (0.0, 0.11, 0.0, "bad"),
        (None, 0.0, 0.0, "good"),
        (None, None, None, "none"),
    ],
)
def test_verdicts_go_by_what_is_plausible(
    lost: float | None, flips: float | None, referred: float | None, level: str
) -> None:
    def row(
        plausible: bool, lost: float | None, flips: float | None, referred: float | None
    ) -> robustness.Borne:
        change = Change("noise", str(plausible), plausible, partial(robustness.noisy, sd=0.1))
        return robustness.Borne(change, Estimate(None), lost, 0.5, flips, referred)

    rows = [row(True, lost, flips, referred), row(False, 0.4, 0.4, 0.4)]
    (found,) = verdicts(rows, 20)
    assert (found.code, found.level) == ("robust-noise", level)
    assert [verdict.level for verdict in verdicts(rows, 19)] == ["none"]


SPACING = (2.0, 0.5, 1.0)


def volume(seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(-500, 200, (12, 40, 30)).astype(np.float32)


@pytest.mark.parametrize("change", ct.CHANGES, ids=lambda change: change.code)
def test_changes_of_a_ct_keep_form(change: Change) -> None:
    before = volume()
    kept = before.copy()
    after = change.apply(before, SPACING)
    np.testing.assert_array_equal(before, kept)
    np.testing.assert_array_equal(change.apply(before, SPACING), after)
    assert after.dtype == np.float32
    assert after.shape == before.shape
    assert np.abs(after - before).max() > 1


def test_changes_of_a_ct_by_an_independent_library() -> None:
    blurred = ct.blurred(volume(), SPACING, 2.0)
    expected = gaussian_filter(volume(), (0, 4, 2))
    np.testing.assert_allclose(blurred[:, 18:22, 10:20], expected[:, 18:22, 10:20], atol=2)
    thick = ct.thick(volume(), SPACING, 6.0)
    np.testing.assert_allclose(thick, uniform_filter1d(volume(), 3, axis=0, mode="nearest"), atol=0.01)
    np.testing.assert_array_equal(ct.thick(volume(), SPACING, 1.0), volume())
    np.testing.assert_allclose(ct.shifted(volume(), SPACING, 20) - volume(), 20, atol=1e-3)
    assert np.std(ct.noisy(volume(), SPACING, 25) - volume()) == pytest.approx(25, rel=0.03)


def test_lungs_erased_and_alone_by_hand() -> None:
    hu = np.array([[[-700.0, 40.0]]], dtype=np.float32)
    lungs = np.array([[[True, False]]])
    assert ct.lungs_erased(hu, lungs=lungs).tolist() == [[[-850.0, 40.0]]]
    assert ct.lungs_only(hu, lungs=lungs).tolist() == [[[-700.0, -1000.0]]]
