from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pulmoscope.phantoms.xray.draw import FINDINGS, Finding, XrayPhantom, draw_xray, xray_phantom

SIZE = 128
SEEDS = range(12)


def drawn(finding: Finding) -> list[XrayPhantom]:
    return [draw_xray(seed, finding, SIZE) for seed in SEEDS]


@pytest.mark.parametrize("finding", FINDINGS)
@pytest.mark.parametrize("size", [64, 200])
def test_shape_type_and_range(finding: Finding, size: int) -> None:
    found = draw_xray(3, finding, size)
    assert found.image.shape == found.lungs.shape == found.lesions.shape == (size, size)
    assert (found.image.dtype, found.lungs.dtype, found.lesions.dtype) == (np.float32, np.bool_, np.float32)
    assert found.image.min() >= 0
    assert found.image.max() <= 1


@settings(max_examples=15, deadline=None)
@given(seed=st.integers(0, 2**63 - 1), finding=st.sampled_from(FINDINGS))
def test_every_seed_gives_a_plausible_chest(seed: int, finding: Finding) -> None:
    found = draw_xray(seed, "Normal", SIZE)
    assert 0.15 < found.lungs.mean() < 0.45
    left, right = found.lungs[:, : SIZE // 2].sum(), found.lungs[:, SIZE // 2 :].sum()
    assert 0.5 < left / right < 2
    ill = draw_xray(seed, finding, SIZE)
    assert np.array_equal(ill.lungs, found.lungs)
    assert np.isfinite(ill.image).all()


def test_equal_seeds_give_equal_pictures_and_others_do_not() -> None:
    assert np.array_equal(xray_phantom(5, size=SIZE), xray_phantom(5, size=SIZE))
    assert not np.array_equal(xray_phantom(5, size=SIZE), xray_phantom(6, size=SIZE))
    assert np.array_equal(xray_phantom(np.random.default_rng(5), size=SIZE), xray_phantom(5, size=SIZE))


def test_lungs_are_darker_than_what_lies_between_them_and_air_is_dark() -> None:
    for phantom in drawn("Normal"):
        rows = np.flatnonzero(phantom.lungs.any(axis=1))
        middle = phantom.image[rows[len(rows) // 2]]
        inside = phantom.lungs[rows[len(rows) // 2]]
        first, last = np.flatnonzero(inside)[[0, -1]]
        between = np.flatnonzero(~inside[first:last]) + first
        assert middle[between].mean() > middle[inside].mean() + 0.2
        assert phantom.image.min() < 0.1


def test_there_are_two_separate_lungs() -> None:
    for phantom in drawn("Normal"):
        row = phantom.lungs[SIZE // 3]
        assert np.count_nonzero(np.diff(row.astype(int)) == 1) == 2


def test_a_normal_chest_has_no_lesion() -> None:
    assert all(phantom.lesions.max() == 0 for phantom in drawn("Normal"))


@pytest.mark.parametrize("finding", ["COVID", "Viral Pneumonia", "Tuberculosis"])
def test_lesions_lie_in_the_lungs_and_brighten_them(finding: Finding) -> None:
    for seed, phantom in zip(SEEDS, drawn(finding), strict=True):
        assert phantom.lesions.max() > 0.3
        assert phantom.lesions[phantom.lungs].sum() > 0.9 * phantom.lesions.sum()
        dense = phantom.lesions > 0.3
        well = xray_phantom(seed, "Normal", SIZE)
        assert phantom.image[dense].mean() > well[dense].mean() + 0.03
        untouched = phantom.lesions == 0
        assert np.abs(phantom.image - well)[untouched].mean() < 0.02


def height(field: np.ndarray) -> float:
    """Mean row of a field, as a share of the image's height."""
    return float((field.sum(axis=1) * np.arange(len(field))).sum() / field.sum() / len(field))


def test_covid_is_low_on_both_sides_and_at_the_border() -> None:
    for phantom in drawn("COVID"):
        assert height(phantom.lesions) > height(phantom.lungs.astype(float))
        sides = phantom.lesions[:, : SIZE // 2].sum(), phantom.lesions[:, SIZE // 2 :].sum()
        assert min(sides) > 0.1 * sum(sides)
        assert outward(phantom.lesions) > outward(phantom.lungs.astype(float))


def test_viral_pneumonia_is_around_the_hila() -> None:
    for phantom in drawn("Viral Pneumonia"):
        assert outward(phantom.lesions) < outward(phantom.lungs.astype(float))


def test_tuberculosis_is_high() -> None:
    for phantom in drawn("Tuberculosis"):
        assert height(phantom.lesions) < height(phantom.lungs.astype(float)) - 0.1


def outward(field: np.ndarray) -> float:
    """Mean distance of a field from the image's middle column, as a share of the width."""
    distance = np.abs(np.arange(field.shape[1]) - field.shape[1] / 2) / field.shape[1]
    return float((field.sum(axis=0) * distance).sum() / field.sum())


def test_the_scale_of_a_picture_does_not_change_what_is_drawn() -> None:
    small, large = draw_xray(4, "Normal", 96).lungs, draw_xray(4, "Normal", 192).lungs
    coarse = large.reshape(96, 2, 96, 2).mean(axis=(1, 3)) > 0.5
    dice = 2 * (coarse & small).sum() / (coarse.sum() + small.sum())
    assert dice > 0.95  # an outline is about a pixel wide at either size


def test_what_can_not_be_drawn_is_refused() -> None:
    with pytest.raises(ValueError, match=r"finding must be one of .* \(found: Flu\)"):
        xray_phantom(0, "Flu")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="at least 64 px"):
        xray_phantom(0, size=32)
