"""Spacing that a volume's header states and that can't be is refused, not taken as 1 mm."""

from __future__ import annotations

import re
import struct
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk  # noqa: N813
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ct_series import PIXEL_MM, STEP_MM, drawn_hu
from pulmoscope.core.errors import UnsuitableError
from pulmoscope.io import read_scan
from refusals import figures, refused

HU = drawn_hu(12)
IMPOSSIBLE = ["0", "-1", "-0.7", "nan", "inf"]


def written(path: Path) -> bytes:
    made = sitk.GetImageFromArray(HU)
    made.SetSpacing((PIXEL_MM, PIXEL_MM, STEP_MM))
    sitk.WriteImage(made, str(path))
    return path.read_bytes()


def nifti(path: Path, axis: int, value: float) -> Path:
    """A file whose pixdim of this axis, 0 to 2, is another: in NIfTI-1 floats from byte 76 on, the first is qfac."""
    data = bytearray(written(path))
    start = 80 + 4 * axis
    assert struct.unpack("<f", data[start : start + 4])[0] == pytest.approx(
        (PIXEL_MM, PIXEL_MM, STEP_MM)[axis]
    )
    data[start : start + 4] = struct.pack("<f", value)
    path.write_bytes(data)
    return path


def rewritten(path: Path, pattern: bytes, by: bytes) -> Path:
    data, count = re.subn(pattern, by, written(path), count=1)
    assert count == 1
    path.write_bytes(data)
    return path


@pytest.mark.parametrize("axis", [0, 1, 2])
@pytest.mark.parametrize("value", IMPOSSIBLE)
def test_nifti(axis: int, value: str, tmp_path: Path) -> None:
    path = nifti(tmp_path / "a.nii", axis, float(value))
    with refused(UnsuitableError, "voxel-size") as caught:
        read_scan(path)
    assert f"{float(value):.4g}" in caught.value.finding


@given(step=st.floats(max_value=0, width=32) | st.just(float("nan")))
@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_no_nifti_of_a_step_that_is_none_is_read(step: float, tmp_path: Path) -> None:
    with pytest.raises(UnsuitableError) as caught:
        read_scan(nifti(tmp_path / "a.nii", 2, step))
    assert caught.value.code == "voxel-size"


def test_nifti_2_states_doubles_from_byte_104_on(tmp_path: Path) -> None:
    first = written(tmp_path / "a.nii")
    header = bytearray(544)
    header[:12] = struct.pack("<i8s", 540, b"n+2\0\r\n\x1a\n")
    header[12:16] = first[70:74]  # datatype, bitpix
    header[16:80] = struct.pack("<8q", 3, 64, 64, 12, 1, 1, 1, 1)
    header[104:168] = struct.pack("<8d", 1, PIXEL_MM, PIXEL_MM, 0, 0, 0, 0, 0)
    header[168:192] = struct.pack("<qdd", 544, 1, 0)
    (tmp_path / "a.nii").write_bytes(bytes(header) + first[352:])
    with refused(UnsuitableError, "voxel-size") as caught:
        read_scan(tmp_path / "a.nii")
    assert figures(caught.value.finding) == (PIXEL_MM, PIXEL_MM, 0)


@pytest.mark.parametrize("value", [*IMPOSSIBLE, "none"])
def test_metaimage(value: str, tmp_path: Path) -> None:
    path = rewritten(
        tmp_path / "a.mha", rb"ElementSpacing = \S+ \S+ \S+", f"ElementSpacing = 5 {value} 4".encode()
    )
    with refused(UnsuitableError, "voxel-size"):
        read_scan(path)


@pytest.mark.parametrize("value", ["0", "nan", "inf"])
def test_nrrd_directions(value: str, tmp_path: Path) -> None:
    directions = f"space directions: (5,0,0) (0,5,0) (0,0,{value})".encode()
    path = rewritten(tmp_path / "a.nrrd", rb"space directions: [^\n]*", directions)
    with refused(UnsuitableError, "voxel-size"):
        read_scan(path)


@pytest.mark.parametrize("value", IMPOSSIBLE)
def test_nrrd_spacings(value: str, tmp_path: Path) -> None:
    path = rewritten(tmp_path / "a.nrrd", rb"space: [^\n]*\n", b"")
    data = re.sub(rb"space directions: [^\n]*", f"spacings: 5 5 {value}".encode(), path.read_bytes())
    path.write_bytes(re.sub(rb"space origin: [^\n]*\n", b"", data))
    with refused(UnsuitableError, "voxel-size"):
        read_scan(path)


@pytest.mark.parametrize(
    ("name", "line"), [("a.mha", rb"ElementSpacing = [^\n]*\n"), ("a.nrrd", rb"space directions: [^\n]*\n")]
)
def test_a_file_that_states_no_distance_is_refused(name: str, line: bytes, tmp_path: Path) -> None:
    with refused(UnsuitableError, "voxel-size") as caught:
        read_scan(rewritten(tmp_path / name, line, b""))
    assert figures(caught.value.finding) == ()


@pytest.mark.parametrize("name", ["a.nii", "a.nii.gz", "a.mha", "a.nrrd"])
def test_distances_that_can_be_are_read(name: str, tmp_path: Path) -> None:
    written(tmp_path / name)
    scan = read_scan(tmp_path / name)
    assert scan.spacing_mm == pytest.approx((STEP_MM, PIXEL_MM, PIXEL_MM))
    np.testing.assert_array_equal(scan.pixels, HU)
