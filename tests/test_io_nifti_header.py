from __future__ import annotations

import gzip
from pathlib import Path

import numpy as np
import pytest
import SimpleITK

from pulmoscope.io.ct.nifti import description, is_phantom


def written(path: Path, notes: str) -> Path:
    image = SimpleITK.GetImageFromArray(np.random.default_rng(0).integers(0, 9, (9, 9, 9)).astype(np.int16))
    image.SetMetaData("ITK_FileNotes", notes)
    SimpleITK.WriteImage(image, str(path))
    return path


@pytest.mark.parametrize("name", ["one.nii", "one.nii.gz"])
def test_the_description_is_what_another_library_wrote(tmp_path: Path, name: str) -> None:
    path = written(tmp_path / name, "Synthetic chest CT, no patient")
    assert description(path) == "Synthetic chest CT, no patient"
    assert is_phantom(path)
    assert not is_phantom(written(tmp_path / f"other-{name}", "a chest"))


def test_nifti_2_has_it_elsewhere(tmp_path: Path) -> None:
    # nifti2.h: magic at byte 4, descrip at byte 240
    head = bytearray(540)
    head[:12] = (540).to_bytes(4, "little") + b"n+2\0\r\n\x1a\n"
    head[240:258] = b"Synthetic chest CT"
    path = tmp_path / "two.nii"
    path.write_bytes(bytes(head))
    assert description(path) == "Synthetic chest CT"


def test_damaged_voxels_do_not_matter_and_what_is_no_nifti_has_none(tmp_path: Path) -> None:
    whole = written(tmp_path / "one.nii.gz", "Synthetic chest CT").read_bytes()
    cut = tmp_path / "cut.nii.gz"
    cut.write_bytes(whole[:-40])
    assert is_phantom(cut)
    cut.write_bytes(whole[:20])
    assert description(cut) == ""
    cut.write_bytes(whole[:12] + b"\xff" * 40)
    assert description(cut) == ""
    cut.write_bytes(b"Synthetic chest CT")
    assert description(cut) == ""
    assert description(tmp_path / "absent.nii") == ""
    other = gzip.compress(b"Synthetic chest CT" * 40)
    cut.write_bytes(other)
    assert description(cut) == ""
