"""Can the class be predicted without looking at the lungs: by the source, or by the file's outward features?"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from pulmoscope.datasets.check.measure import Measured

FEATURES = (
    "file format",
    "width",
    "height",
    "file bytes per pixel",
    "mean brightness",
    "s.d. of brightness",
    "dark border",
)
FOLDS = 5


@dataclass(frozen=True)
class SourceShare:
    """How many images of a class come from a source, and what fraction of the class that is."""

    label: str
    source: str
    images: int
    share: float


@dataclass(frozen=True)
class Probe:
    """How well a shallow decision tree predicts the class from outward features, cross-validated.

    Attributes:
        balanced_accuracy: from all features together.
        chance: what guessing gives, one over the number of classes.
        by_feature: balanced accuracy from one feature alone: (feature, value), best first.
        images, folds: how it was measured.
    """

    balanced_accuracy: float
    chance: float
    by_feature: tuple[tuple[str, float], ...]
    images: int
    folds: int

    @property
    def excess(self) -> float:
        """0: no better than guessing; 1: the class is known without looking at the lungs. The best tree counts."""
        best = max(self.balanced_accuracy, self.by_feature[0][1])
        return max(0.0, (best - self.chance) / (1 - self.chance))


def cramers_v(first: Sequence[str], second: Sequence[str]) -> float | None:
    """Cramér's V between two labellings of the same items: 0 independent, 1 one determines the other.

    V = sqrt(chi² / (n · (min(rows, columns) - 1))), H. Cramér, Mathematical Methods of Statistics (1946), §21.9.
    None where either has fewer than two values: then it can't be measured.
    """
    rows, columns = sorted(set(first)), sorted(set(second))
    if min(len(rows), len(columns)) < 2:
        return None
    pairs = Counter(zip(first, second, strict=True))
    observed = np.array([[pairs[row, column] for column in columns] for row in rows], dtype=np.float64)
    total = observed.sum()
    expected = observed.sum(axis=1, keepdims=True) * observed.sum(axis=0, keepdims=True) / total
    chi_squared = float(((observed - expected) ** 2 / expected).sum())
    return min(1.0, float(np.sqrt(chi_squared / (total * (min(observed.shape) - 1)))))


def source_shares(labels: Sequence[str], sources: Sequence[str]) -> tuple[SourceShare, ...]:
    """Each class's images by source, largest fraction first."""
    total = Counter(labels)
    counts = Counter(zip(labels, sources, strict=True))
    return tuple(
        SourceShare(label, source, images, images / total[label])
        for (label, source), images in sorted(counts.items(), key=lambda item: (item[0][0], -item[1]))
    )


def shortcut_probe(
    labels: Sequence[str], measured: Sequence[Measured], groups: Sequence[int]
) -> Probe | None:
    """Try to tell the class with a decision tree of depth 2 from what a file looks like from outside.

    Depth 2 keeps it honest: four boxes can't learn anatomy. Cross-validated with near-duplicates in one fold.
    None where there are fewer than two classes with at least two groups of images each.

    Args:
        labels: the class of every image.
        measured: the measurement of every image.
        groups: a number per image, equal for near-duplicates.
    """
    group_count = Counter(label for label, _ in set(zip(labels, groups, strict=True)))
    chosen = [index for index, label in enumerate(labels) if group_count[label] >= 2]
    classes = sorted({labels[index] for index in chosen})
    if len(classes) < 2:
        return None
    folds = min(FOLDS, *(group_count[name] for name in classes))
    features = np.array([_features(measured[index]) for index in chosen])
    target = np.array([labels[index] for index in chosen])
    kept = np.array([groups[index] for index in chosen])
    alone = [
        (name, _tree_accuracy(features[:, [column]], target, kept, folds))
        for column, name in enumerate(FEATURES)
    ]
    return Probe(
        balanced_accuracy=_tree_accuracy(features, target, kept, folds),
        chance=1 / len(classes),
        by_feature=tuple(sorted(alone, key=lambda item: -item[1])),
        images=len(chosen),
        folds=folds,
    )


def _features(measured: Measured) -> list[float]:
    known = ("PNG", "JPEG", "TIFF", "DICOM")
    code = known.index(measured.format) if measured.format in known else len(known)
    return [
        code,
        measured.columns,
        measured.rows,
        measured.bytes_per_pixel,
        measured.mean,
        measured.sd,
        measured.dark_border,
    ]


def _tree_accuracy(features: np.ndarray, target: np.ndarray, groups: np.ndarray, folds: int) -> float:
    from sklearn.metrics import recall_score
    from sklearn.model_selection import StratifiedGroupKFold, cross_val_predict
    from sklearn.tree import DecisionTreeClassifier

    tree = DecisionTreeClassifier(max_depth=2, class_weight="balanced", random_state=0)
    splitter = StratifiedGroupKFold(n_splits=folds, shuffle=True, random_state=0)
    predicted = cross_val_predict(tree, features, target, groups=groups, cv=splitter)
    return float(recall_score(target, predicted, average="macro", zero_division=0))
