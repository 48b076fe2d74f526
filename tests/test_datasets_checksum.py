from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from pulmoscope.datasets.checksum import table_checksum
from pulmoscope.datasets.table import Sample, SampleTable


def table(root: Path, **files: str) -> SampleTable:
    root.mkdir()
    for name, content in files.items():
        (root / name).write_text(content, encoding="utf-8")
    return SampleTable(root, "test", tuple(Sample(name, f"label {files[name]}", "test") for name in files))


def test_content_and_labels_count_and_nothing_else(tmp_path: Path) -> None:
    first = table(tmp_path / "here", a="one", b="two")
    other = table(tmp_path / "there", y="two", x="one")
    assert table_checksum(first) == table_checksum(other)
    assert table_checksum(first) != table_checksum(table(tmp_path / "changed", a="one", b="two!"))
    relabelled = replace(first, samples=(replace(first.samples[0], label="other"), first.samples[1]))
    assert table_checksum(first) != table_checksum(relabelled)
    moved = replace(first, samples=(replace(first.samples[0], split="train"), first.samples[1]))
    assert table_checksum(first) != table_checksum(moved)


def test_absent_files_are_left_out(tmp_path: Path) -> None:
    there = table(tmp_path / "here", a="one")
    more = replace(there, samples=(*there.samples, Sample("absent", "x")))
    assert table_checksum(more) == table_checksum(there)


@pytest.mark.skipif(
    not Path("/proc/self/mem").is_file(), reason="needs a file that is there and can't be read"
)
def test_files_that_can_not_be_read_are_left_out(tmp_path: Path) -> None:
    there = table(tmp_path / "here", a="one")
    more = replace(there, samples=(*there.samples, Sample("/proc/self/mem", "x")))
    assert table_checksum(more) == table_checksum(there)
