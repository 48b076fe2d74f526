from __future__ import annotations

from collections import Counter, defaultdict
from pathlib import Path

import pytest

from ct_trees import blotches
from ct_trees import sars_cov2_ct as tree
from films import save
from pulmoscope.core.errors import DatasetError
from pulmoscope.datasets import Sample, load
from pulmoscope.datasets.layouts import sars_cov2_ct


def test_labels_in_the_order_of_the_numbers(tmp_path: Path) -> None:
    table = sars_cov2_ct.read(tree(tmp_path, 11))
    files = [sample.file for sample in table if sample.label == "COVID"]
    assert files == [f"COVID/Covid ({number}).png" for number in range(1, 12)]
    assert Counter(table.samples[0].label for _ in files) == {"COVID": 11}
    assert {(sample.label, sample.source) for sample in table} == {
        ("COVID", "SARS-CoV-2 CT"),
        ("non-COVID", "SARS-CoV-2 CT"),
    }


def test_runs_are_equal_ranges_of_a_class_s_numbers() -> None:
    samples = [Sample(f"COVID/Covid ({number}).png", "COVID") for number in range(1, 101)]
    members: dict[str, list[int]] = defaultdict(list)
    for number, run in enumerate(sars_cov2_ct.runs(samples), start=1):
        members[run].append(number)
    assert list(members.values()) == [list(range(first, first + 5)) for first in range(1, 101, 5)]
    assert sars_cov2_ct.runs([Sample("COVID/other.png", "COVID")]) == [""]


def test_drawn_splits_keep_neighbouring_numbers_and_near_duplicates_together(tmp_path: Path) -> None:
    tree(tmp_path, 40)
    save(tmp_path / "COVID" / "Covid (40).png", blotches(1) * 0.9)  # looks like number 1
    table = load(tmp_path)
    assert table.layout == "sars-cov-2-ct"
    number_of = {sample.file: int(sample.file.split("(")[1].split(")")[0]) for sample in table}
    split_of = {(sample.label, number_of[sample.file]): sample.split for sample in table}
    # 40 numbers in 20 runs: 1 and 2, 3 and 4, …
    assert all(
        split_of[label, number] == split_of[label, number + 1] for label, number in split_of if number % 2
    )
    assert len({split_of["COVID", number] for number in (1, 2, 39, 40)}) == 1
    counts = Counter((sample.label, sample.split) for sample in table)
    # 15 % of 40 are 6; a group goes in whole, and the largest has 4
    assert all(4 <= counts[label, split] <= 8 for label in table.classes for split in ("val", "test"))
    assert any("neighbouring numbers stay together" in line for line in table.warnings)


def test_without_a_class(tmp_path: Path) -> None:
    save(tmp_path / "COVID" / "Covid (1).png", blotches(1))
    with pytest.raises(DatasetError, match=r"must hold COVID and non-COVID \(found: covid\)"):
        load(tmp_path, "sars-cov-2-ct")
