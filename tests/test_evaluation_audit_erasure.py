"""What each perturbation takes away, and what is said of what is left."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pulmoscope.evaluation.audit.erasure import (
    CLEAN,
    PERTURBATIONS,
    assess,
    blackout,
    border_removed,
    central_box,
    centre_blurred,
    centre_grey,
    centre_noise,
    lungs_grey,
    lungs_noise,
    lungs_only,
)
from pulmoscope.evaluation.metrics import Predictions, evaluate

BY_CODE = {perturbation.code: perturbation for perturbation in PERTURBATIONS}


def image(rows: int, columns: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).uniform(0.1, 0.9, (rows, columns)).astype(np.float32)


def test_blackout_by_hand() -> None:
    # sqrt(0.6) = 0.7746: 77 of 100 rows, 155 of 200 columns; black from row 11 and column 22.
    found = blackout(np.ones((100, 200), dtype=np.float32))
    assert found.dtype == np.float32
    assert found[11:88, 22:177].max() == 0
    assert found.sum() == 100 * 200 - 77 * 155


@settings(max_examples=30, deadline=None)
@given(rows=st.integers(64, 300), columns=st.integers(64, 300), area=st.floats(0.1, 0.9))
def test_centre_is_replaced_and_nothing_else(rows: int, columns: int, area: float) -> None:
    pixels = image(rows, columns)
    before = pixels.copy()
    box = central_box(rows, columns, area)
    assert abs(box.height * box.width / (rows * columns) - area) < 0.02
    assert abs(rows - box.height - 2 * box.top) <= 1
    outside = np.ones(pixels.shape, dtype=bool)
    outside[box.top : box.top + box.height, box.left : box.left + box.width] = False
    for change in (blackout, centre_grey, centre_noise, centre_blurred):
        found = change(pixels, area)
        assert found.dtype == np.float32
        np.testing.assert_array_equal(found[outside], pixels[outside])
        assert found.min() >= 0
        assert found.max() <= 1
    np.testing.assert_array_equal(pixels, before)
    assert blackout(pixels, area)[~outside].max() == 0
    np.testing.assert_allclose(centre_grey(pixels, area)[~outside], pixels[outside].mean(), rtol=1e-3)


@pytest.mark.parametrize("change", [blackout, centre_grey, centre_noise])
def test_nothing_of_the_centre_remains(change: object) -> None:
    assert callable(change)
    one, other = image(80, 96), image(80, 96)
    other[30:50, 30:60] = image(20, 30, seed=1)
    np.testing.assert_array_equal(change(one), change(other))


def test_blur_keeps_the_coarse_and_takes_the_fine() -> None:
    stripes = np.tile(np.array([0.0, 1.0], dtype=np.float32), (128, 64))
    inner = centre_blurred(stripes)[50:78, 50:78]
    np.testing.assert_allclose(inner, 0.5, atol=0.02)


def test_border_by_hand() -> None:
    found = border_removed(np.ones((100, 50), dtype=np.float32))
    # 12 rows above and below, 6 columns left and right
    assert found[12:88, 6:44].min() == 1
    assert found.sum() == 76 * 38


def test_lungs_by_hand() -> None:
    pixels = image(40, 50)
    lungs = np.zeros((40, 50), dtype=bool)
    lungs[10:30, 5:20] = lungs[10:30, 30:45] = True
    other = pixels.copy()
    other[lungs] = 1 - other[lungs]
    np.testing.assert_allclose(lungs_grey(pixels, lungs)[lungs], pixels[~lungs].mean(), rtol=1e-5)
    for erase in (lungs_grey, lungs_noise):
        found = erase(pixels, lungs)
        assert found.dtype == np.float32
        np.testing.assert_array_equal(found[~lungs], pixels[~lungs])
        np.testing.assert_array_equal(found, erase(other, lungs))
    alone = lungs_only(pixels, lungs)
    np.testing.assert_array_equal(alone[lungs], pixels[lungs])
    assert alone[~lungs].max() == 0


def ranked(order: str) -> Predictions:
    """Images from most to least probably COVID: c is COVID, n is Normal."""
    shares = np.linspace(0.9, 0.1, len(order))
    return Predictions(
        files=tuple(str(index) for index in range(len(order))),
        labels=tuple("COVID" if letter == "c" else "Normal" for letter in order),
        patients=("",) * len(order),
        sources=("",) * len(order),
        classes=("COVID", "Normal"),
        probabilities=np.stack([shares, 1 - shares], axis=1),
        decisions=("report", "refer") * (len(order) // 2),
    )


@pytest.mark.parametrize(
    ("code", "order", "verdict"),
    [
        ("clean", "ccccnnnn", "none"),
        ("blackout", "cnncnccn", "good"),  # 8 of 16 pairs in order
        ("blackout", "ccnncncn", "doubtful"),  # 11 of 16: 0.69
        ("blackout", "cccnncnn", "bad"),  # 14 of 16: 0.875
        ("blackout", "nnnccncc", "bad"),  # the same, turned round
        ("centre_blurred", "cccnncnn", "none"),
        ("border_removed", "ccccnnnn", "good"),
        ("border_removed", "cccncnnn", "doubtful"),  # loses 1 of 16: 0.0625
        ("border_removed", "cccnncnn", "bad"),  # loses 2 of 16: 0.125
    ],
)
def test_verdicts(code: str, order: str, verdict: str) -> None:
    clean, given_predictions = ranked("ccccnnnn"), ranked(order)
    found = assess(
        BY_CODE[code], evaluate(given_predictions, 20), evaluate(clean, 20), given_predictions, clean
    )
    assert found.verdict == verdict
    assert found.plain()["verdict"] == verdict
    assert found.same_answer == 1
    assert found.referred == 0.5


def test_gaining_by_the_loss_of_the_border_is_no_praise() -> None:
    clean, without = ranked("cccncnnn"), ranked("ccccnnnn")
    found = assess(BY_CODE["border_removed"], evaluate(without, 0), evaluate(clean, 0), without, clean)
    assert (found.verdict, found.says) == ("doubtful", "is misled by the border: better without it")


def test_same_answer_is_compared_by_file() -> None:
    clean = ranked("cccnnn")
    turned = clean.select([True, False, True, False, False, False])
    found = assess(CLEAN, evaluate(turned, 0), evaluate(clean, 0), turned, clean)
    assert found.same_answer == 1
    assert found.auroc.value is None
    flipped = Predictions(
        turned.files,
        turned.labels,
        turned.patients,
        turned.sources,
        turned.classes,
        turned.probabilities[:, ::-1],
        decisions=turned.decisions,
    )
    assert assess(CLEAN, evaluate(flipped, 0), evaluate(clean, 0), flipped, clean).same_answer == 0


def test_a_model_that_knows_nothing_gets_no_praise() -> None:
    own = ranked("cnncnccn")
    for code in ("blackout", "border_removed"):
        found = assess(BY_CODE[code], evaluate(own, 0), evaluate(own, 0), own, own)
        assert found.verdict == "none"
        assert "in the first place" in found.says


def test_one_class_gives_no_verdict() -> None:
    own = ranked("cc")
    found = assess(BY_CODE["blackout"], evaluate(own, 0), evaluate(own, 0), own, own)
    assert found.verdict == "none"
    assert "too few classes" in found.says
