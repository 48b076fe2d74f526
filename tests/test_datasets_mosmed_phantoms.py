from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import SimpleITK
from hypothesis import given
from hypothesis import strategies as st
from openpyxl import load_workbook

from ct_trees import mosmed as real_tree
from phantoms import draw_quickly, truth
from pulmoscope.core.errors import DatasetError, OutputExistsError
from pulmoscope.datasets import load
from pulmoscope.datasets.check.check import check
from pulmoscope.datasets.infected import infected_slices
from pulmoscope.io import read_scan
from pulmoscope.phantoms.ct.damage import KINDS
from pulmoscope.phantoms.ct.draw import draw
from pulmoscope.phantoms.ct.grades import BOUNDS, GRADES
from pulmoscope.phantoms.ct.mosmed import (
    COUNTS,
    counts_of_fraction,
    counts_of_total,
    write_mosmed_phantoms,
)

SMALL = {"size": 64, "slices": 10}
FEW = {"CT-0": 1, "CT-1": 2, "CT-3": 1}


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("mosmed")
    write_mosmed_phantoms(folder, FEW, seed=1, damage=0.3, processes=1, **SMALL)
    return folder


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    draw_quickly(monkeypatch, "mosmed", draw("CT-1", 0, **SMALL))


def voxels(path: Path) -> np.ndarray:
    return SimpleITK.GetArrayFromImage(SimpleITK.ReadImage(str(path)))


def files(folder: Path) -> set[str]:
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}


def test_a_fraction_of_the_data_set() -> None:
    assert list(counts_of_fraction(0.2).values()) == [51, 137, 25, 9, 1]
    assert counts_of_fraction(1.0) == COUNTS
    assert set(counts_of_fraction(0.001).values()) == {1}
    with pytest.raises(DatasetError, match=r"above 0 and at most 1 \(found: 1.5\)"):
        counts_of_fraction(1.5)


def test_a_number_of_studies_in_the_data_set_s_proportions() -> None:
    assert counts_of_total(1110) == COUNTS
    assert list(counts_of_total(5).values()) == [1, 1, 1, 1, 1]
    # exactly 4.58, 12.32, 2.25, 0.81, 0.04
    assert list(counts_of_total(20).values()) == [4, 12, 2, 1, 1]
    with pytest.raises(DatasetError, match=r"of 5 grades .* \(found: 4 in all\)"):
        counts_of_total(4)


@given(count=st.integers(5, 3000))
def test_so_many_are_drawn_as_are_asked_for_and_the_more_frequent_are_never_fewer(count: int) -> None:
    counts = counts_of_total(count)
    assert sum(counts.values()) == count
    assert counts["CT-1"] >= counts["CT-0"] >= counts["CT-2"] >= counts["CT-3"] >= counts["CT-4"] >= 1


def test_the_layout_is_mosmeddata_s_and_says_that_it_is_drawn(data: Path) -> None:
    table = load(data)
    assert table.layout == "mosmeddata"
    assert [(sample.file, *sample.lesions) for sample in table] == [
        ("studies/CT-0/study_0001.nii.gz",),
        ("studies/CT-1/study_0002.nii.gz", "masks/study_0002_mask.nii.gz"),
        ("studies/CT-1/study_0003.nii.gz", "masks/study_0003_mask.nii.gz"),
        ("studies/CT-3/study_0004.nii.gz", "masks/study_0004_mask.nii.gz"),
    ]
    assert [sample.mask for sample in table] == [
        f"truth/study_000{number}_lungs.nii.gz" for number in (1, 2, 3, 4)
    ]
    assert {sample.source for sample in table} == {"phantom"}
    assert {sample.patient for sample in table} == {f"study_000{number}" for number in (1, 2, 3, 4)}
    assert not any("no slice labels" in warning for warning in table.warnings)
    assert check(table).problems == ()
    rows = list(load_workbook(data / "dataset_registry.xlsx").active.iter_rows(values_only=True))
    assert rows[0] == ("study_id", "category", "study_file", "mask_file")
    assert rows[1] == ("study_0001", "CT-0", "studies/CT-0/study_0001.nii.gz", None)
    assert rows[4] == (
        "study_0004",
        "CT-3",
        "studies/CT-3/study_0004.nii.gz",
        "masks/study_0004_mask.nii.gz",
    )
    assert len(rows) == 5


def test_masks_and_truth_belong_to_the_voxels(data: Path) -> None:
    table = load(data)
    for sample, row in zip(table, truth(data), strict=True):
        assert (row["file"], row["grade"]) == (sample.file, sample.label)
        hu, lungs = voxels(table.path(sample)), voxels(data / sample.mask)
        lesions = voxels(data / sample.lesions[0]) if sample.lesions else np.zeros_like(lungs)
        assert hu.dtype == np.int16
        assert hu.shape == lungs.shape == lesions.shape == (10, 64, 64)
        assert (set(np.unique(lungs)), set(np.unique(lesions))) <= ({0, 1, 2}, {0, 1})
        for side, name in (((1, 2), "affected"), ((1,), "affected_right"), ((2,), "affected_left")):
            assert float(row[name]) == pytest.approx(100 * lesions[np.isin(lungs, side)].mean(), abs=1e-3)
        low, high = BOUNDS[sample.label]
        assert low < float(row["affected"]) / 100 <= high or float(row["affected"]) == high == 0
        told = infected_slices(row["infected"], 10)
        area = SimpleITK.ReadImage(str(table.path(sample))).GetSpacing()[0] ** 2
        assert told == tuple(lesions.sum(axis=(1, 2)) * area >= 100)


def test_damage_is_where_the_truth_says_and_the_rest_is_what_was_drawn(data: Path, tmp_path: Path) -> None:
    write_mosmed_phantoms(tmp_path, FEW, seed=1, processes=1, **SMALL)
    kinds = set()
    for row in truth(data):
        name = Path(row["file"]).name.split(".")[0]
        damaged, whole = voxels(data / row["file"]), voxels(tmp_path / row["file"])
        missing = voxels(data / "truth" / f"{name}_missing.nii.gz").astype(bool)
        assert np.array_equal(damaged[~missing], whole[~missing])
        told = infected_slices(row["damaged"], 10)
        assert told == tuple(missing.any(axis=(1, 2)))
        assert sum(told) == 3
        kinds |= {part.split()[1] for part in row["damage"].split("; ")}
    assert kinds <= set(KINDS)
    assert {row["damaged"] for row in truth(tmp_path)} == {"none"}
    assert files(data) - files(tmp_path) == {
        f"truth/study_000{number}_missing.nii.gz" for number in range(1, 5)
    }


def test_by_default_slices_lie_8_mm_apart_and_a_reader_is_told_that_there_is_no_patient(
    tmp_path: Path,
) -> None:
    table = write_mosmed_phantoms(tmp_path, {"CT-0": 1}, size=64, damage=0.15)
    scan = read_scan(table.path(table.samples[0]), "ct")
    assert "synthetic" in [flag.code for flag in scan.remarks]
    image = SimpleITK.ReadImage(str(table.path(table.samples[0])))
    assert image.GetSpacing()[2] == 8
    assert 28 <= image.GetSize()[2] <= 44
    assert int(truth(tmp_path)[0]["slices"]) == image.GetSize()[2]


@pytest.mark.usefixtures("quick")
def test_neither_scan_nor_damage_goes_with_the_grade(tmp_path: Path) -> None:
    write_mosmed_phantoms(tmp_path, counts_of_total(60), seed=2, damage=0.15, processes=1, **SMALL)
    rows = truth(tmp_path)
    assert Counter(row["grade"] for row in rows) == counts_of_total(60)
    doses = {grade: [float(row["dose"]) for row in rows if row["grade"] == grade] for grade in GRADES}
    assert max(doses["CT-0"]) > np.median(doses["CT-1"]) > min(doses["CT-0"])
    assert {len(row["damage"].split("; ")) for row in rows} == {2}
    kinds = {grade: {part.split()[1] for row in rows if row["grade"] == grade for part in row["damage"].split("; ")}
             for grade in ("CT-0", "CT-1")}  # fmt: skip
    assert kinds["CT-0"] == kinds["CT-1"] == set(KINDS)


@pytest.mark.usefixtures("quick")
def test_an_interrupted_call_is_gone_on_with(tmp_path: Path) -> None:
    def stop(done: int, _: int) -> None:
        if done == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_mosmed_phantoms(tmp_path, FEW, seed=4, processes=1, progress=stop, **SMALL)
    assert not (tmp_path / "dataset_registry.xlsx").exists()
    kept = {path: path.stat().st_mtime_ns for path in tmp_path.glob("studies/*/*")}
    assert len(kept) == 2
    write_mosmed_phantoms(tmp_path, FEW, seed=4, processes=1, **SMALL)
    assert {path: path.stat().st_mtime_ns for path in kept} == kept
    assert len(truth(tmp_path)) == 4
    assert not (tmp_path / ".drawn").exists()


@pytest.mark.usefixtures("quick")
def test_nothing_is_overwritten_without_force_and_nothing_is_left_over_with_it(tmp_path: Path) -> None:
    write_mosmed_phantoms(tmp_path, FEW, damage=0.3, **SMALL)
    (tmp_path / "manifest.csv").write_text("file,label,split,patient,source\n")
    before = {name: (tmp_path / name).read_bytes() for name in files(tmp_path)}
    for counts in (FEW, {"CT-0": 1}):
        with pytest.raises(OutputExistsError):
            write_mosmed_phantoms(tmp_path, counts, seed=1, **SMALL)
    (tmp_path / "dataset_registry.xlsx").unlink()
    with pytest.raises(OutputExistsError):
        write_mosmed_phantoms(tmp_path, FEW, seed=1, damage=0.3, **SMALL)
    (tmp_path / "dataset_registry.xlsx").write_bytes(before["dataset_registry.xlsx"])
    assert {name: (tmp_path / name).read_bytes() for name in files(tmp_path)} == before
    table = write_mosmed_phantoms(tmp_path, {"CT-1": 1}, force=True, **SMALL)
    assert [sample.file for sample in table] == ["studies/CT-1/study_0001.nii.gz"]
    assert files(tmp_path) == {
        "dataset_registry.xlsx",
        "masks/study_0001_mask.nii.gz",
        "studies/CT-1/study_0001.nii.gz",
        "truth.csv",
        "truth/study_0001_lungs.nii.gz",
    }


@pytest.mark.usefixtures("quick")
def test_patients_studies_are_never_replaced(tmp_path: Path) -> None:
    before = {name: (tmp_path / name).read_bytes() for name in files(real_tree(tmp_path))}
    with pytest.raises(OutputExistsError):
        write_mosmed_phantoms(tmp_path, FEW, **SMALL)
    with pytest.raises(
        DatasetError, match=r"phantoms replace phantoms only \(found: a file that does not say"
    ):
        write_mosmed_phantoms(tmp_path, FEW, force=True, **SMALL)
    assert {name: (tmp_path / name).read_bytes() for name in files(tmp_path)} == before


def test_several_processes_draw_the_same(data: Path, tmp_path: Path) -> None:
    write_mosmed_phantoms(tmp_path, FEW, seed=1, damage=0.3, processes=2, **SMALL)
    assert files(tmp_path) == files(data)
    for name in files(data) - {"dataset_registry.xlsx"}:  # a spreadsheet says when it was made
        assert (tmp_path / name).read_bytes() == (data / name).read_bytes()


@pytest.mark.parametrize(
    ("counts", "arguments", "message"),
    [
        ({}, {}, "at least 1"),
        ({"CT-5": 1}, {}, r"a grade is one of CT-0, .* \(found: CT-5\)"),
        ({"CT-1": -1}, {}, r"at least 0 \(found: -1 of CT-1\)"),
        (FEW, {"size": 32}, r"at least 8 slices of 64 px \(found: 32 px\)"),
        (FEW, {"slices": 4}, r"at least 8 slices of 64 px \(found: 4 of 256\)"),
        (FEW, {"damage": -0.1}, r"fraction of damaged slices lies in 0 to 1 \(found: -0.1\)"),
    ],
)
def test_what_can_not_be_drawn_leaves_nothing_behind(
    tmp_path: Path, counts: dict, arguments: dict, message: str
) -> None:
    with pytest.raises(DatasetError, match=message):
        write_mosmed_phantoms(tmp_path / "out", counts, **arguments)
    assert not (tmp_path / "out").exists()
