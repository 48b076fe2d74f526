"""From files to studies: folders, lists, zips and DICOMDIR; each study as soon as its files are found."""

from __future__ import annotations

import zipfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian, generate_uid

from ct_series import change, drawn_hu, enhanced, file_bytes, item, slice_datasets, write_series, write_slices
from pulmoscope.core.errors import InputError, UnsuitableError
from pulmoscope.core.types import Modality
from pulmoscope.io import Entry, entries, read, read_scan, read_study, sources, studies
from radiographs import chest, dicom_file, encoded
from refusals import figures, refused

HU = drawn_hu(12)


def study(number: int, **elements: object) -> list[Dataset]:
    hu = drawn_hu(12, seed=number)
    return slice_datasets(
        hu, StudyInstanceUID=f"1.2.{number}", SeriesInstanceUID=f"1.2.{number}.1", **elements
    )


def seeds(paths: list[Path]) -> list[int]:
    """Which drawn patients are read, in this order."""
    scans = [result.scan for result in read(paths)]
    return [
        next(s for s in range(9) if scan and np.array_equal(scan.pixels, drawn_hu(12, seed=s)))
        for scan in scans
    ]


def test_each_study_is_ready_before_the_next_folder_is_looked_at(tmp_path: Path) -> None:
    for number in range(3):
        write_slices(tmp_path / f"{number}", study(number))
    asked: list[str] = []

    def watched() -> Iterator[Entry]:
        for entry in entries([tmp_path]):
            asked.append(Path(entry.name).parent.name)
            yield entry

    found = studies(watched())
    assert next(found).slug == "0"
    # A study ends where its successor's folder has been read: of the third nothing but its first name is known.
    assert asked.count("2") <= 1
    assert len(list(found)) == 2


def test_folders_lists_and_zips_hold_the_same(tmp_path: Path) -> None:
    paths = write_series(tmp_path / "a", HU)
    with zipfile.ZipFile(tmp_path / "a.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        for path in paths:
            archive.write(path, f"disc/images/{path.name}")
    shuffled = [paths[place] for place in np.random.default_rng(0).permutation(len(paths))]
    for given in ([tmp_path / "a"], shuffled, [tmp_path / "a.zip"]):
        (result,) = read(given)
        assert result.scan is not None
        np.testing.assert_array_equal(result.scan.pixels, HU)
    assert result.name == f"{tmp_path}/a.zip/disc/images"
    assert [study.slug for study in studies(entries([tmp_path / "a.zip"]))] == ["disc_images"]
    (again,) = read([tmp_path / "a"])
    assert again.content == result.content


def test_two_studies_in_one_folder_are_two(tmp_path: Path) -> None:
    write_slices(tmp_path, study(1), prefix="a", seed=1)
    write_slices(tmp_path, study(2), prefix="b", seed=2)
    assert seeds([tmp_path]) == [1, 2]
    found = studies(entries([tmp_path]))
    assert [study.slug for study in found] == [tmp_path.name, f"{tmp_path.name}-2"]
    with refused(UnsuitableError, "several-scans") as caught:
        read_scan(tmp_path)
    assert figures(caught.value.finding) == (2,)


def test_a_study_of_several_folders_is_one(tmp_path: Path) -> None:
    write_slices(tmp_path / "p" / "s1", slice_datasets(HU, SeriesInstanceUID="1.1")[:4])
    write_slices(tmp_path / "p" / "s2", slice_datasets(HU, SeriesInstanceUID="1.2"))
    write_slices(tmp_path / "q", study(2))
    first, second = read([tmp_path])
    assert first.scan is not None
    np.testing.assert_array_equal(first.scan.pixels, HU)
    assert first.name == f"{tmp_path}/p"
    assert [study.slug for study in studies(entries([tmp_path]))] == ["p", "q"]
    assert [flag.code for flag in first.scan.remarks] == ["other-series"]
    assert second.name == f"{tmp_path}/q"


def test_one_series_in_several_folders_is_one(tmp_path: Path) -> None:
    datasets = slice_datasets(HU)
    write_slices(tmp_path / "1", datasets[:5])
    write_slices(tmp_path / "2", datasets[5:])
    np.testing.assert_array_equal(read_scan(tmp_path).pixels, HU)


def test_paths_from_the_root_and_from_here_together(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    datasets = slice_datasets(HU)
    write_slices(tmp_path / "1", datasets[:6])
    write_slices(tmp_path / "2", datasets[6:])
    monkeypatch.chdir(tmp_path)
    (result,) = read([Path("1"), tmp_path / "2"])
    assert result.scan is not None
    np.testing.assert_array_equal(result.scan.pixels, HU)


def test_files_without_a_study_uid_belong_to_their_folder(tmp_path: Path) -> None:
    for name in ("a", "b"):
        write_series(tmp_path / name, HU, StudyInstanceUID=None, SeriesInstanceUID=None, PatientID=None)
    assert [len(result.scan.pixels) for result in read([tmp_path]) if result.scan] == [12, 12]


def test_what_lies_beside_one_study_is_counted_to_it(tmp_path: Path) -> None:
    write_slices(tmp_path, study(1))
    (tmp_path / "report.png").write_bytes(encoded(chest(), "PNG"))
    (tmp_path / "noise").write_bytes(b"noise")
    (tmp_path / "noise2").write_bytes(b"")
    (tmp_path / "list.csv").write_text("x")
    for wanted in ("auto", "ct", "xray"):
        (result,) = read([tmp_path], wanted=wanted)  # type: ignore[arg-type]
        assert result.scan is not None
        told = {flag.code: figures(flag.finding) for flag in result.scan.remarks}
        assert told == {"other-series": (1,), "broken-files": (2,)}


def test_radiographs_volumes_and_series_in_one_folder(tmp_path: Path) -> None:
    import SimpleITK as sitk  # noqa: N813

    write_slices(tmp_path / "ct", study(1))
    dicom_file(tmp_path / "ct" / "x.dcm", chest())
    (tmp_path / "p.png").write_bytes(encoded(chest(), "PNG"))
    volume = sitk.GetImageFromArray(HU)
    volume.SetSpacing((5, 5, 4))
    sitk.WriteImage(volume, str(tmp_path / "v.nii.gz"))
    scans = [(result.name, result.scan) for result in read([tmp_path])]
    found = {Path(name).name: scan and (scan.modality, len(scan.pixels)) for name, scan in scans}
    assert found == {
        "ct": (Modality.CT, 12),
        "x.dcm": (Modality.XRAY, 1),
        "p.png": (Modality.XRAY, 1),
        "v.nii.gz": (Modality.CT, 12),
    }


def test_the_files_of_a_scan_are_known_without_decoding_it(tmp_path: Path) -> None:
    import SimpleITK as sitk  # noqa: N813

    write_slices(tmp_path / "plain", study(1))
    # Rows to the front: the normal points to the feet, so that the scan is turned.
    write_slices(tmp_path / "turned", study(2, ImageOrientationPatient=[1, 0, 0, 0, -1, 0]))
    few = slice_datasets(HU[:5], StudyInstanceUID="1.2.3", SeriesInstanceUID="1.2.3.2")
    write_slices(tmp_path / "two", study(3))
    write_slices(tmp_path / "two", few, prefix="FEW")
    (tmp_path / "frames").mkdir()
    (tmp_path / "frames" / "all.dcm").write_bytes(file_bytes(enhanced(HU, range(12))))
    volume = sitk.GetImageFromArray(HU)
    volume.SetSpacing((5, 5, 4))
    sitk.WriteImage(volume, str(tmp_path / "v.nii.gz"))
    (tmp_path / "pictures").mkdir()
    for number in range(12):
        (tmp_path / "pictures" / f"slice{number}.png").write_bytes(encoded(chest(), "PNG"))
    found = list(studies(entries([tmp_path]), "ct"))
    assert {own.kind for own in found} == {"series", "volume", "pictures"}
    assert len(found) == 6
    for own in found:
        scan = read_study(own).scan
        assert scan is not None, own.name
        found_before = sources(own)
        assert found_before.files == scan.files
        assert set(found_before.remarks) <= set(scan.remarks)


def test_slices_whose_header_is_cut_are_broken_files_of_their_study(tmp_path: Path) -> None:
    paths = write_slices(tmp_path, study(1))
    for path in paths[:2]:
        data = path.read_bytes()
        path.write_bytes(data[: data.find(b"\x20\x00\x0d\x00UI")])  # before StudyInstanceUID
    (result,) = read([tmp_path])
    assert result.scan is not None
    assert [flag.code for flag in result.scan.remarks] == ["broken-files"]


def test_dose_reports_alone_are_refused_each(tmp_path: Path) -> None:
    datasets = study(1, SOPClassUID="1.2.840.10008.5.1.4.1.1.88.67", Modality="SR")[:2]
    write_slices(tmp_path, datasets)
    results = list(read([tmp_path]))
    assert len(results) == 2
    assert [result.error and result.error.code for result in results] == ["unsupported-modality"] * 2


def dicomdir(folder: Path, files: list[list[str] | str | None], **elements: object) -> Path:
    """A DICOMDIR whose records name these files, by the parts of their paths."""
    dataset = Dataset()
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    dataset.file_meta.MediaStorageSOPClassUID = "1.2.840.10008.1.3.10"
    dataset.file_meta.MediaStorageSOPInstanceUID = generate_uid()
    dataset.SOPClassUID, dataset.SOPInstanceUID = "1.2.840.10008.1.3.10", generate_uid()
    dataset.FileSetID = "SECRET"
    patient = item(DirectoryRecordType="PATIENT", PatientName="SECRET^NAME", PatientID="SECRET-ID")
    images = [item(DirectoryRecordType="IMAGE", ReferencedFileID=parts) for parts in files]
    dataset.DirectoryRecordSequence = [patient, *images]
    change(dataset, **elements)
    path = folder / "DICOMDIR"
    path.write_bytes(file_bytes(dataset))
    return path


def listed(paths: list[Path], folder: Path) -> list[list[str] | str | None]:
    return [list(path.relative_to(folder).parts) for path in paths]


def test_a_dicomdir_stands_for_the_files_that_it_lists(tmp_path: Path) -> None:
    first = write_slices(tmp_path / "DISC" / "A", study(1))
    second = write_slices(tmp_path / "DISC" / "B", study(2))
    write_slices(tmp_path / "C", study(3))
    path = dicomdir(tmp_path, listed(first + second, tmp_path) + listed(first[:1], tmp_path))
    assert seeds([path]) == [1, 2]  # the third is not listed
    assert seeds([path.rename(tmp_path / "index.dat")]) == [1, 2]  # whatever its name


def test_a_dicomdir_in_a_folder_is_passed_over(tmp_path: Path) -> None:
    dicomdir(tmp_path, listed(write_slices(tmp_path / "A", study(1)), tmp_path))
    assert seeds([tmp_path]) == [1]


def test_a_disc_whose_names_are_shown_in_small_letters(tmp_path: Path) -> None:
    paths = write_slices(tmp_path / "a", study(1), prefix="im")
    path = dicomdir(tmp_path, [["A", path.name.upper()] for path in paths])
    assert seeds([path]) == [1]


def test_a_dicomdir_never_leads_out_of_its_folder(tmp_path: Path) -> None:
    outside = write_slices(tmp_path / "outside", study(1))
    inside = tmp_path / "disc"
    paths = write_slices(inside / "A", study(2))
    (inside / "LINK").symlink_to(outside[0])
    (inside / "FOLDER").symlink_to(tmp_path / "outside")
    path = dicomdir(
        inside,
        [
            *listed(paths, inside),
            ["..", "outside", outside[0].name],
            [f"../outside/{outside[0].name}"],
            [str(outside[0])],
            ["LINK"],
            ["FOLDER", outside[1].name],
            ["."],
            ["SECRETNAME"],
            ["A\0B"],
        ],
    )
    results = list(read([path]))
    assert [result.scan is not None for result in results] == [True, False]
    error = results[1].error
    assert error is not None
    assert (error.file, error.code) == (str(path), "files-missing")
    assert figures(error.finding) == (8, 20)
    assert "SECRET" not in str(error)


def test_a_dicomdir_without_files_or_damaged_is_refused(tmp_path: Path) -> None:
    path = dicomdir(tmp_path, [])
    whole = path.read_bytes()
    for data in (whole, whole[:-40], whole[: len(whole) // 2], whole.replace(b"SQ", b"XX")):
        path.write_bytes(data)
        results = list(read([path]))
        assert len(results) == 1
        assert isinstance(results[0].error, InputError)
        assert "SECRET" not in str(results[0].error)
