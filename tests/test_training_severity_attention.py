"""The vote by attention on vectors made by hand: what decides is in one slice of many, in units of any size."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

import grades
from pulmoscope.core.types import FloatArray
from pulmoscope.runtime.votes import DENSITIES
from pulmoscope.training.progress import Reporter
from pulmoscope.training.severity.attention import fit_attention

GRADES = 4


def studies(seed: int, each: int) -> tuple[list[FloatArray], list[int]]:
    """Noise of 10 to 20 slices; in a third of them one feature, the grade's, stands out, and no density."""
    rng = np.random.default_rng(seed)
    vectors, labels = [], []
    for label in np.repeat(np.arange(GRADES), each):
        own = rng.normal(0, 0.3, (int(rng.integers(10, 21)), 2 * GRADES)).astype(np.float32)
        own[rng.permutation(len(own))[: len(own) // 3], label] += 3
        vectors.append(np.hstack([own, np.full((len(own), DENSITIES), 0.1, np.float32)]))
        labels.append(int(label))
    return vectors, labels


def answers(
    vectors: list[FloatArray], labels: list[int], asked: list[FloatArray], folder: Path
) -> FloatArray:
    network, state = fit_attention(grades.recipe(), vectors, labels, folder, Reporter.of(False))
    assert state.finished
    with torch.no_grad():
        said = [torch.softmax(network(torch.from_numpy(own)[None]), dim=1)[0] for own in asked]
    return torch.stack(said).numpy()


def test_it_finds_the_slices_that_tell_whatever_the_units_of_the_features(tmp_path: Path) -> None:
    vectors, labels = studies(1, 6)
    asked, truth = studies(2, 4)
    units = np.ones(2 * GRADES + DENSITIES, np.float32)
    units[: 2 * GRADES] = np.logspace(-1, 1, 2 * GRADES)

    plain = answers(vectors, labels, asked, tmp_path / "plain")
    other = answers([own * units + 5 * units for own in vectors], labels, [own * units + 5 * units for own in asked],
                    tmp_path / "other")  # fmt: skip

    assert (plain.argmax(axis=1) == truth).all()
    np.testing.assert_allclose(other, plain, atol=0.01)


class StoppedError(Exception):
    pass


class Stopping(Reporter):
    """Ends the training as a kill would, when it tells of an epoch."""

    def line(self, text: str) -> None:
        raise StoppedError(text)


def test_it_goes_on_to_the_same_weights(tmp_path: Path) -> None:
    vectors, labels = studies(1, 2)
    whole, _ = fit_attention(grades.recipe(), vectors, labels, tmp_path / "whole", Reporter())
    with pytest.raises(StoppedError, match="attention 20/60"):
        fit_attention(grades.recipe(), vectors, labels, tmp_path / "parts", Stopping())
    parts, state = fit_attention(grades.recipe(), vectors, labels, tmp_path / "parts", Reporter())
    assert [row["epoch"] for row in state.rows] == list(range(1, 61))
    for name, weight in whole.state_dict().items():
        assert torch.equal(weight, parts.state_dict()[name]), name
