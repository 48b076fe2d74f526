"""The vote by logistic regression on the mean of the slices' vectors: against scikit-learn's answer, and its file."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import StandardScaler

import grades
from pulmoscope.core.types import FloatArray
from pulmoscope.models.patient import MeanPooling
from pulmoscope.runtime.network import open_network
from pulmoscope.runtime.votes import DENSITIES
from pulmoscope.training.onnx.file import write_onnx
from pulmoscope.training.severity.regression import fit_regression

MAPS = 5
UNITS = np.array([0.1, 1, 10, 5, 1], dtype=np.float32)


def studies(classes: int) -> tuple[list[FloatArray], list[int]]:
    """3 to 9 slices of five features in units of any size: the first grows with the grade, the last never varies.

    And eleven densities, of which the fourth grows with the grade.
    """
    rng = np.random.default_rng(3)
    vectors, labels = [], []
    for label in [0] * 8 + [1] * 5 + [2] * 4 + [3] * 3:
        if label < classes:
            own = rng.normal(0, 1, (int(rng.integers(3, 10)), 5))
            own[:, 0] += label
            own[:, 4] = 7
            densities = rng.uniform(0, 0.4, (len(own), DENSITIES))
            densities[:, 3] += label / 10
            vectors.append(np.hstack([own * UNITS, densities]).astype(np.float32))
            labels.append(label)
    return vectors, labels


def asked(network: torch.nn.Module, vectors: list[FloatArray]) -> FloatArray:
    with torch.no_grad():
        said = [torch.softmax(network(torch.from_numpy(own)[None]), dim=1)[0] for own in vectors]
    return torch.stack(said).numpy()


@pytest.mark.parametrize("classes", [2, 4])
@pytest.mark.parametrize("beta", [0.0, 0.999])
def test_it_says_what_the_library_says_of_the_means(classes: int, beta: float) -> None:
    vectors, labels = studies(classes)
    recipe = grades.recipe(f"classes={','.join(grades.CLASSES[:classes])}", f"loss.beta={beta}")
    found = asked(fit_regression(recipe, vectors, labels), vectors)
    means = StandardScaler().fit_transform(np.stack([own.mean(axis=0, dtype=np.float64) for own in vectors]))
    means[:, MAPS:] *= (MAPS / 11) ** 0.5  # five features and eleven densities count the same
    # The effective numbers of Cui et al., equation 6, from the counts; they sum to the number of classes.
    counts = np.bincount(labels)
    weights = (1 - beta) / (1 - beta**counts)
    weights *= classes / weights.sum()
    library = LogisticRegression(max_iter=10_000).fit(means, labels, sample_weight=weights[labels])
    assert found == pytest.approx(library.predict_proba(means), abs=2e-3)


def test_what_hardly_varied_in_training_does_not_decide_alone() -> None:
    vectors, labels = studies(4)
    rng = np.random.default_rng(5)
    for own, label in zip(vectors, labels, strict=True):
        own[:, 4] = 1e-6 * (label + rng.random(len(own)))  # a dead feature, and a density that is never seen:
        own[:, -1] = 1e-5 * (label + rng.random(len(own)))  # both tell the grade, by next to nothing
    network = fit_regression(grades.recipe(), vectors, labels)
    other = [own.copy() for own in vectors]
    for own in other:
        own[:, 4] += 0.01
        own[:, -1] += 0.01
    assert asked(network, other) == pytest.approx(asked(network, vectors), abs=0.05)


def test_its_file_says_the_same_of_studies_of_any_length(tmp_path: Path) -> None:
    vectors, labels = studies(4)
    network = fit_regression(grades.recipe(), vectors, labels)
    write_onnx(network, tmp_path / "regression.onnx", np.stack([own[:3] for own in vectors]))
    opened = open_network(tmp_path / "regression.onnx", "onnx", "cpu")
    for own in vectors:
        said = opened(own[None])
        with torch.no_grad():
            logits = network(torch.from_numpy(own)[None]).numpy()
        assert said["logits"] == pytest.approx(logits, abs=0.02)
        assert said["vector"][0] == pytest.approx(own.mean(axis=0), rel=1e-4, abs=1e-4)


def test_what_fills_a_batch_up_does_not_count() -> None:
    slices = torch.tensor([[[1.0], [5.0], [99.0]], [[2.0], [4.0], [9.0]]])
    assert MeanPooling(1)(slices, torch.tensor([2, 3])).flatten().tolist() == [3.0, 5.0]
