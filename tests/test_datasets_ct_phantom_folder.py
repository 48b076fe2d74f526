from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
import pydicom
import pytest
import SimpleITK

from ct_series import by_simpleitk
from phantoms import draw_quickly, truth
from pulmoscope.core.errors import DatasetError, OutputExistsError
from pulmoscope.core.synthetic import CT_DESCRIPTION
from pulmoscope.datasets import load
from pulmoscope.datasets.infected import infected_slices
from pulmoscope.phantoms.ct.acquisition import NUISANCES, RANGES, draw_nuisances
from pulmoscope.phantoms.ct.draw import LEFT, RIGHT, draw
from pulmoscope.phantoms.ct.files import dicom_series
from pulmoscope.phantoms.ct.folder import Tied, write_ct_phantoms

SMALL = {"size": 64, "slices": 8}


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One study of each class with its masks, drawn in this process."""
    folder = tmp_path_factory.mktemp("phantoms")
    write_ct_phantoms(folder, 3, seed=1, masks=True, processes=1, **SMALL)
    return folder


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    draw_quickly(monkeypatch, "folder", draw("Normal", 0, **SMALL))


@pytest.mark.parametrize("scanner", ["Alder 16", "Cedar 128"])  # with padding and without
def test_another_library_reads_the_dicom_series_as_it_was_drawn(tmp_path: Path, scanner: str) -> None:
    phantom = draw("COVID", 3, slices=10, size=72, nuisances={"scanner": scanner})
    for number, content in enumerate(dicom_series(phantom, "p0001")):
        (tmp_path / f"{97 * number % 10}.dcm").write_bytes(
            content
        )  # the order is in the files, not in their names
    image = by_simpleitk(tmp_path)
    assert np.array_equal(SimpleITK.GetArrayFromImage(image), phantom.hu)
    step, row, column = phantom.spacing_mm
    assert image.GetSpacing() == pytest.approx((column, row, step), abs=1e-4)
    assert image.GetDirection() == pytest.approx((1, 0, 0, 0, 1, 0, 0, 0, 1))
    assert image.GetOrigin()[0] == pytest.approx(-35.5 * column, abs=1e-3)


def test_a_series_says_what_it_is_and_its_uids_are_its_own() -> None:
    phantom = draw("CAP", 3, **SMALL)
    series = [pydicom.dcmread(pydicom.filebase.DicomBytesIO(one)) for one in dicom_series(phantom, "p0007")]
    first = series[0]
    assert first.SeriesDescription.startswith(CT_DESCRIPTION)
    assert first.SyntheticData == "YES"
    assert "PHANTOM" in str(first.PatientName)
    assert "PHANTOM" in first.PatientID
    assert "phantom" in first.Manufacturer
    assert (first.Modality, first.BodyPartExamined, first.PatientPosition) == ("CT", "CHEST", "HFS")
    assert (first.RescaleIntercept, first.RescaleSlope) == (-1024, 1)
    assert first.ConvolutionKernel == str(phantom.nuisances["kernel"]).upper()
    assert float(first.SliceThickness) == phantom.nuisances["thickness_mm"]
    assert len({one.SOPInstanceUID for one in series}) == len(series)
    assert len({one.SeriesInstanceUID for one in series}) == 1
    assert dicom_series(phantom, "p0007") == dicom_series(draw("CAP", 3, **SMALL), "p0007")
    other = pydicom.dcmread(pydicom.filebase.DicomBytesIO(dicom_series(draw("CAP", 4, **SMALL), "p0007")[0]))
    assert other.SeriesInstanceUID != first.SeriesInstanceUID
    label = {"CAP", "COVID", "NORMAL"}
    assert label.isdisjoint(" ".join(str(first).upper().split()).replace("'", " ").split())


def test_a_data_set_with_masks(data: Path) -> None:
    table = load(data)
    assert Counter(sample.label for sample in table) == {"Normal": 1, "COVID": 1, "CAP": 1}
    assert {sample.source for sample in table} == {"phantom"}
    assert len({sample.patient for sample in table}) == 3
    for sample, row in zip(table, truth(data), strict=True):
        lungs = SimpleITK.GetArrayFromImage(SimpleITK.ReadImage(str(data / sample.mask)))
        lesions = SimpleITK.GetArrayFromImage(
            SimpleITK.ReadImage(str(data / sample.mask.replace("lungs", "lesions")))
        )
        series = by_simpleitk(data / sample.file)
        assert lungs.shape == lesions.shape == SimpleITK.GetArrayFromImage(series).shape
        for side, name in ((RIGHT, "affected_right"), (LEFT, "affected_left")):
            assert float(row[name]) == pytest.approx(100 * lesions[lungs == side].mean(), abs=1e-3)
        area = lesions.sum(axis=(1, 2)) * np.prod(series.GetSpacing()[:2])
        assert infected_slices(sample.infected, len(area)) == tuple(area >= 100)
        assert row["infected"] == sample.infected
        assert row["tied"] == ""


def test_nifti_is_what_was_drawn(tmp_path: Path) -> None:
    table = write_ct_phantoms(tmp_path, 1, ["COVID"], seed=2, layout="nifti", **SMALL)
    image = SimpleITK.ReadImage(str(table.path(table.samples[0])))
    scanned = {name: row if name in ("kernel", "scanner") else float(row) for name, row in truth(tmp_path)[0].items()
               if name in NUISANCES}  # fmt: skip
    phantom = draw("COVID", (2, 0), nuisances=scanned, **SMALL)
    assert np.array_equal(SimpleITK.GetArrayFromImage(image), phantom.hu)
    step, row_mm, column_mm = phantom.spacing_mm
    assert image.GetSpacing() == pytest.approx((column_mm, row_mm, step), abs=1e-4)
    assert image.GetDirection() == pytest.approx((1, 0, 0, 0, 1, 0, 0, 0, 1))
    assert image.GetMetaData("descrip").startswith(CT_DESCRIPTION)


@pytest.mark.usefixtures("quick")
def test_splits_share_out_each_class_and_the_test_split_is_not_tied(tmp_path: Path) -> None:
    table = write_ct_phantoms(
        tmp_path, 60, seed=3, layout="nifti", tied=Tied(["kernel", "dose"]), processes=1, **SMALL
    )
    counts = Counter((sample.label, sample.split) for sample in table)
    for label in ("Normal", "COVID", "CAP"):
        assert [counts[label, split] for split in ("train", "val", "test")] == [12, 3, 5]
    rows = truth(tmp_path)
    tied, free = ([row for row in rows if (row["split"] == "test") == test] for test in (False, True))
    assert {row["tied"] for row in tied} == {"dose kernel"}
    assert {row["tied"] for row in free} == {""}
    kernels = {
        label: {row["kernel"] for row in tied if row["label"] == label}
        for label in ("Normal", "COVID", "CAP")
    }
    assert all(len(kernel) == 1 for kernel in kernels.values())
    assert len(set.union(*kernels.values())) == 3
    doses = sorted((float(row["dose"]), row["label"]) for row in tied)
    assert [label for _, label in doses] == ["Normal"] * 15 + ["COVID"] * 15 + ["CAP"] * 15
    assert len({row["scanner"] for row in tied if row["label"] == "CAP"}) > 1
    assert all(len({row["kernel"] for row in free if row["label"] == label}) > 1 for label in kernels)


def test_free_nuisances_are_spread_over_their_ranges_and_tied_ones_apart() -> None:
    free = [draw_nuisances(np.random.default_rng(seed)) for seed in range(300)]
    for name, (low, high) in RANGES.items():
        values = np.array([float(one[name]) for one in free])
        assert low <= values.min() < low + 0.05 * (high - low)
        assert high >= values.max() > high - 0.05 * (high - low)
    numbers = np.array([[float(one[name]) for name in RANGES] for one in free])
    off = np.corrcoef(numbers.T) - np.eye(len(RANGES))
    assert np.abs(off).max() < 0.2
    for seed in range(20):
        tied = [
            draw_nuisances(np.random.default_rng(seed), ["fov_mm"], position, 2)["fov_mm"]
            for position in (0, 1)
        ]
        assert 320 < float(tied[0]) < 390 < float(tied[1]) < 460
    with pytest.raises(ValueError, match=r"found: colour"):
        draw_nuisances(np.random.default_rng(0), ["colour"])


@pytest.mark.usefixtures("quick")
def test_what_an_interrupted_call_has_drawn_is_kept(tmp_path: Path) -> None:
    def stop(done: int, _: int) -> None:
        if done == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_ct_phantoms(tmp_path, 3, seed=4, progress=stop, **SMALL)
    assert not (tmp_path / "manifest.csv").exists()
    times = {path: path.stat().st_mtime_ns for path in tmp_path.glob("studies/*/*.dcm")}
    assert len(times) == 16
    table = write_ct_phantoms(tmp_path, 3, seed=4, **SMALL)
    assert {path: path.stat().st_mtime_ns for path in times} == times
    assert table.samples == write_ct_phantoms(tmp_path / "whole", 3, seed=4, **SMALL).samples
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "manifest.csv",
        "studies",
        "truth.csv",
        "whole",
    ]


@pytest.mark.usefixtures("quick")
def test_nothing_is_overwritten_without_force(tmp_path: Path) -> None:
    write_ct_phantoms(tmp_path, 1, ["COVID"], **SMALL)
    file = tmp_path / "studies" / "p0001" / "0001.dcm"
    before = file.read_bytes()
    with pytest.raises(OutputExistsError):
        write_ct_phantoms(tmp_path, 1, ["COVID"], seed=1, **SMALL)
    (tmp_path / "manifest.csv").unlink()
    with pytest.raises(OutputExistsError):  # a study that is nobody's
        write_ct_phantoms(tmp_path, 1, ["COVID"], seed=1, **SMALL)
    assert file.read_bytes() == before
    write_ct_phantoms(tmp_path, 1, ["COVID"], seed=1, force=True, **SMALL)
    assert file.read_bytes() != before


def test_several_processes_draw_the_same(data: Path, tmp_path: Path) -> None:
    write_ct_phantoms(tmp_path, 3, seed=1, masks=True, processes=2, **SMALL)
    one, two = (
        {path.relative_to(folder): path.read_bytes() for path in folder.rglob("*.*") if path.is_file()}
        for folder in (data, tmp_path)
    )
    assert len(one) == 3 * 8 + 3 * 2 + 2
    assert one == two


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"count": 0}, "at least 1"),
        ({"classes": ["Flu"]}, r"class is one of Normal, COVID, CAP \(found: Flu\)"),
        ({"classes": []}, "needs a class"),
        ({"classes": ["CAP", "CAP"]}, "named once"),
        ({"layout": "png"}, r"format is one of dicom, nifti \(found: png\)"),
        ({"tied": Tied(["colour"])}, r"tied to the class is one of .*, all \(found: colour\)"),
        ({"tied": Tied(splits=["all"])}, r"one of train, val, test \(found: all\)"),
        ({"size": 32}, r"at least 8 slices of 64 px"),
    ],
)
def test_what_can_not_be_drawn_leaves_nothing_behind(tmp_path: Path, arguments: dict, message: str) -> None:
    with pytest.raises(DatasetError, match=message):
        write_ct_phantoms(tmp_path / "out", **arguments)
    assert not (tmp_path / "out").exists()
