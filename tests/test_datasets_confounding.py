from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats.contingency import association

from pulmoscope.datasets.check.confounding import FEATURES, cramers_v, shortcut_probe, source_shares
from pulmoscope.datasets.check.measure import Measured


def measured(mean: float = 0.5, columns: int = 256, file_format: str = "PNG") -> Measured:
    return Measured(
        sha256="0",
        format=file_format,
        rows=256,
        columns=columns,
        bytes_per_pixel=0.5,
        mean=mean,
        square=mean**2 + 0.01,
        dark_border=0.0,
        histogram=np.zeros(32, dtype=np.float32),
        hash=np.zeros(256, dtype=np.bool_),
    )


def test_cramers_v_by_hand() -> None:
    # [[30, 10], [10, 30]]: every expected count is 20, chi² = 4 · 10² / 20 = 20, V = sqrt(20 / 80) = 1/2
    labels = ["a"] * 40 + ["b"] * 40
    sources = ["x"] * 30 + ["y"] * 10 + ["x"] * 10 + ["y"] * 30
    assert cramers_v(labels, sources) == pytest.approx(0.5)
    assert cramers_v(labels, labels) == 1
    assert cramers_v(["a", "a", "b", "b"], ["x", "y", "x", "y"]) == 0


def test_cramers_v_needs_two_of_each() -> None:
    assert cramers_v(["a", "b"], ["x", "x"]) is None
    assert cramers_v([], []) is None


@given(pairs=st.lists(st.tuples(st.sampled_from("abc"), st.sampled_from("wxyz")), min_size=2, max_size=80))
def test_cramers_v_agrees_with_scipy(pairs: list[tuple[str, str]]) -> None:
    labels, sources = [one for one, _ in pairs], [other for _, other in pairs]
    rows, columns = sorted(set(labels)), sorted(set(sources))
    found = cramers_v(labels, sources)
    if min(len(rows), len(columns)) < 2:
        assert found is None
        return
    table = np.array([[pairs.count((row, column)) for column in columns] for row in rows])
    assert found == pytest.approx(association(table, method="cramer"), abs=1e-9)


def test_source_shares() -> None:
    shares = source_shares(["a", "a", "a", "a", "b"], ["x", "y", "x", "x", "y"])
    assert [(s.label, s.source, s.images, s.share) for s in shares] == [
        ("a", "x", 3, 0.75),
        ("a", "y", 1, 0.25),
        ("b", "y", 1, 1.0),
    ]


def test_the_probe_finds_a_feature_that_gives_the_class_away() -> None:
    labels = ["COVID"] * 30 + ["Normal"] * 30
    items = [measured(columns=300) for _ in range(30)] + [measured(columns=299) for _ in range(30)]
    probe = shortcut_probe(labels, items, range(60))
    assert probe is not None
    assert (probe.balanced_accuracy, probe.excess, probe.chance) == (1, 1, 0.5)
    assert probe.by_feature[0] == ("width", 1.0)
    assert dict(probe.by_feature)["mean brightness"] == 0.5
    assert {name for name, _ in probe.by_feature} == set(FEATURES)


def test_the_probe_finds_the_format() -> None:
    items = [measured(file_format=name) for name in ["JPEG"] * 12 + ["PNG"] * 12]
    probe = shortcut_probe(["COVID"] * 12 + ["Normal"] * 12, items, range(24))
    assert probe is not None
    assert probe.by_feature[0] == ("file format", 1.0)


def test_the_probe_finds_nothing_where_nothing_is() -> None:
    rng = np.random.default_rng(0)
    items = [measured(mean=float(value)) for value in rng.uniform(0.4, 0.6, 400)]
    probe = shortcut_probe(["a", "b"] * 200, items, range(400))
    assert probe is not None
    assert probe.balanced_accuracy == pytest.approx(0.5, abs=0.08)


def test_near_duplicates_do_not_help_the_probe() -> None:
    # brightness names the group, not the class: only a split through groups could profit from it
    rng = np.random.default_rng(0)
    levels = rng.uniform(0.1, 0.9, 8)
    items = [measured(mean=float(level)) for level in levels for _ in range(20)]
    labels = [label for group in range(8) for label in ["a", "b"][group % 2 :][:1] * 20]
    groups = [group for group in range(8) for _ in range(20)]
    grouped = shortcut_probe(labels, items, groups)
    leaking = shortcut_probe(labels, items, range(160))
    assert grouped is not None
    assert leaking is not None
    assert grouped.balanced_accuracy < leaking.balanced_accuracy


@pytest.mark.parametrize("labels", [["a"] * 10, ["a"] * 9 + ["b"], []])
def test_the_probe_needs_two_classes_with_two_images(labels: list[str]) -> None:
    assert shortcut_probe(labels, [measured() for _ in labels], range(len(labels))) is None
