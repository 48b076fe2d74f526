from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import SimpleITK as sitk  # noqa: N813

from ct_series import drawn_hu, enhanced, file_bytes, item, slice_datasets, write_series, write_slices
from pulmoscope.core.facts import Facts
from pulmoscope.io import read_scan


def test_what_a_series_says_of_itself(tmp_path: Path) -> None:
    write_series(tmp_path / "in", ConvolutionKernel="B70f", SliceThickness="1.5", StudyDate="20200305")
    facts = read_scan(tmp_path / "in").facts
    # The drawn series is scanned from the head: its lowest slice has the highest number.
    assert facts is not None
    assert len(facts.patient) == 64  # a checksum
    assert replace(facts, patient="") == Facts("lung", "B70F", 1.5, tuple(range(16, 0, -1)), "2020-03-05")
    assert "2020" not in repr(facts)


@pytest.mark.parametrize(
    ("written", "kind", "shown"),
    [
        ("LUNG", "lung", "LUNG"),
        ("STANDARD", "soft", "STANDARD"),
        ("Br40d", "soft", "BR40D"),
        ("FC51", "lung", "FC51"),
        ("B", "soft", "B"),
        ("BONEPLUS", "", "BONEPLUS"),
        ("MUELLER", "", ""),
        ("LUNG MUELLER", "lung", ""),
        ("B70f MUELLER", "lung", ""),
        ("4711", "", ""),
        ("", "", ""),
    ],
)
def test_a_kernel_is_shown_by_name_only_where_a_vendor_calls_one_so(
    written: str, kind: str, shown: str, tmp_path: Path
) -> None:
    write_series(tmp_path / "in", ConvolutionKernel=written)
    facts = read_scan(tmp_path / "in").facts
    assert facts is not None
    assert (facts.kernel, facts.kernel_name) == (kind, shown)


@pytest.mark.parametrize("thickness", ["0", "-2", "1000", None])
def test_an_impossible_thickness_is_none(thickness: str | None, tmp_path: Path) -> None:
    write_series(tmp_path / "in", SliceThickness=thickness, StudyDate="20201399")
    facts = read_scan(tmp_path / "in").facts
    assert facts is not None
    assert (facts.thickness_mm, facts.study_date) == (None, "")


def test_instances_are_told_only_where_every_slice_has_one_of_its_own(tmp_path: Path) -> None:
    for number in (None, 0, 3):  # missing, none, and another slice's
        datasets = slice_datasets(drawn_hu())
        if number is None:
            del datasets[5].InstanceNumber
        else:
            datasets[5].InstanceNumber = number
        write_slices(tmp_path / str(number), datasets)
        facts = read_scan(tmp_path / str(number)).facts
        assert facts is not None
        assert facts.instances == ()


def test_frames_of_one_file_have_thickness_and_kernel_and_no_numbers(tmp_path: Path) -> None:
    kernel = [item(ConvolutionKernel="FC51")]
    dataset = enhanced(drawn_hu(12), range(12))
    dataset.SharedFunctionalGroupsSequence[0].CTReconstructionSequence = kernel
    (tmp_path / "enhanced").write_bytes(file_bytes(dataset))
    facts = read_scan(tmp_path / "enhanced").facts
    assert facts is not None
    assert replace(facts, patient="") == Facts("lung", "FC51", 4.0)


def test_a_volume_without_dicom_has_no_facts(tmp_path: Path) -> None:
    image = sitk.GetImageFromArray(drawn_hu(12))
    image.SetSpacing((5, 5, 4))
    sitk.WriteImage(image, str(tmp_path / "a.nii.gz"))
    assert read_scan(tmp_path / "a.nii.gz").facts is None
