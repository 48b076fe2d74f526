"""NIfTI, MetaImage and NRRD: what is no CT, no whole file, or no file of its own is refused."""

from __future__ import annotations

import gzip
import shutil
import struct
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk  # noqa: N813

from ct_series import CORNER_MM, PIXEL_MM, STEP_MM, drawn_hu
from pulmoscope.core.errors import InputError, UnreadableError, UnsuitableError
from pulmoscope.io import read, read_scan
from refusals import figures, refused

HU = drawn_hu(12)


def image(values: np.ndarray = HU, spacing: tuple[float, ...] = (PIXEL_MM, PIXEL_MM, STEP_MM)) -> sitk.Image:
    made = sitk.GetImageFromArray(values)
    made.SetSpacing(spacing)
    if len(spacing) == 3:
        made.SetOrigin(CORNER_MM)
    return made


def written(path: Path, made: sitk.Image | None = None, compressed: bool = False) -> Path:
    sitk.WriteImage(image() if made is None else made, str(path), useCompression=compressed)
    return path


@pytest.mark.parametrize("kind", [np.uint8, np.int16, np.uint16, np.int32, np.float32, np.float64])
def test_every_type_of_number(kind: type, tmp_path: Path) -> None:
    # What has no sign is scaled, as NIfTI can.
    values = HU if np.issubdtype(kind, np.signedinteger) or np.issubdtype(kind, np.floating) else None
    path = written(tmp_path / "a.nii", image((HU if values is not None else (HU + 1024) // 16).astype(kind)))
    if values is None:
        data = bytearray(path.read_bytes())
        data[112:120] = struct.pack("<ff", 16, -1024)  # scl_slope, scl_inter
        path.write_bytes(data)
        values = (HU + 1024) // 16
        values = values.astype(kind).astype(np.int32) * 16 - 1024
    np.testing.assert_array_equal(read_scan(path).pixels, values)


@pytest.mark.parametrize("name", ["scan.dcm", "scan", "scan.nrrd", "scan.png", "scan.txt"])
@pytest.mark.parametrize("source", ["a.nii", "a.nii.gz", "a.mha", "a.nrrd"])
def test_the_content_decides_and_not_the_name(name: str, source: str, tmp_path: Path) -> None:
    path = shutil.move(written(tmp_path / source), tmp_path / name)
    scan = read_scan(Path(path))
    np.testing.assert_array_equal(scan.pixels, HU)
    assert scan.remarks == ()


def test_a_gzipped_volume_of_any_format(tmp_path: Path) -> None:
    for name in ("a.mha", "a.nrrd"):
        path = tmp_path / f"{name}.gz"
        path.write_bytes(gzip.compress(written(tmp_path / name).read_bytes()))
        np.testing.assert_array_equal(read_scan(path).pixels, HU)


@pytest.mark.parametrize(
    ("values", "spacing", "code"),
    [
        ((HU + 1024) * (255 / 4096), (5, 5, 4), "not-hu"),
        ((HU + 1024) / 4096, (5, 5, 4), "not-hu"),
        (HU + 1024, (5, 5, 4), "not-hu"),
        ((HU - HU.mean()) / HU.std(), (5, 5, 4), "not-hu"),
        (np.where(HU.max() == HU, np.nan, HU), (5, 5, 4), "not-hu"),
        (np.where(HU.max() == HU, np.inf, HU), (5, 5, 4), "not-hu"),
        (np.where(HU.max() == HU, 1e300, HU), (5, 5, 4), "not-hu"),
        (np.zeros_like(HU), (5, 5, 4), "not-hu"),
        (HU[:9], (5, 5, 4), "too-few-slices"),
        (HU[0], (5, 5), "not-one-volume"),
        (HU, (0.005, 0.005, 4), "field-of-view"),  # metres
        (HU, (20, 20, 4), "field-of-view"),
        (HU, (5, 5, 21), "voxel-size"),
    ],
)
def test_what_is_no_ct_is_refused(
    values: np.ndarray, spacing: tuple[float, ...], code: str, tmp_path: Path
) -> None:
    if values.dtype == np.int64:
        values = values.astype(np.int16)
    for name in ("a.nii.gz", "a.mha", "a.nrrd"):
        path = written(tmp_path / name, image(values, spacing))
        with refused(UnsuitableError, code):
            read_scan(path)


def test_several_time_points_are_refused(tmp_path: Path) -> None:
    for name in ("a.nii.gz", "a.mha", "a.nrrd"):
        path = written(tmp_path / name, sitk.JoinSeries([image(), image()]))
        with refused(UnsuitableError, "not-one-volume") as caught:
            read_scan(path)
        assert figures(caught.value.finding) == (64, 64, 12, 2, 4)  # the last: dimensions


def test_one_time_point_is_a_volume(tmp_path: Path) -> None:
    path = written(tmp_path / "a.nii", sitk.JoinSeries([image()]))
    data = bytearray(path.read_bytes())
    data[40:50] = struct.pack("<5h", 4, 64, 64, 12, 1)  # dim
    path.write_bytes(data)
    np.testing.assert_array_equal(read_scan(path).pixels, HU)


def test_colour_and_complex_voxels_are_refused(tmp_path: Path) -> None:
    colour = sitk.Compose([sitk.Cast(image(), sitk.sitkUInt8)] * 3)
    for path in (written(tmp_path / "c.nii", colour), written(tmp_path / "c.nrrd", colour)):
        with refused(UnsuitableError, "unsupported-pixels"):
            read_scan(path)
    waves = sitk.RealAndImaginaryToComplex(
        sitk.Cast(image(), sitk.sitkFloat32), sitk.Cast(image(), sitk.sitkFloat32)
    )
    with refused(UnsuitableError, "unsupported-pixels"):
        read_scan(written(tmp_path / "w.nii", waves))


def test_five_dimensions_are_refused(tmp_path: Path) -> None:
    path = written(tmp_path / "a.nii")
    data = bytearray(path.read_bytes())
    data[40:54] = struct.pack("<7h", 5, 64, 64, 12, 1, 1, 0)
    path.write_bytes(data)
    (result,) = read([path])
    assert isinstance(result.error, InputError) or result.scan is not None


@pytest.mark.parametrize("name", ["a.nii.gz", "a.nii", "a.mha", "packed.mha", "a.nrrd", "packed.nrrd"])
def test_a_file_cut_short_anywhere_is_refused(
    name: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    whole = written(tmp_path / name, compressed=name.startswith("packed")).read_bytes()
    np.testing.assert_array_equal(read_scan(tmp_path / name).pixels, HU)
    cuts = [
        1,
        8,
        20,
        100,
        340,
        348,
        360,
        600,
        2000,
        len(whole) // 2,
        len(whole) - 2000,
        len(whole) - 9,
        len(whole) - 1,
    ]
    for cut in sorted({cut for cut in cuts if 0 < cut < len(whole)}):
        (tmp_path / "cut").write_bytes(whole[:cut])
        (result,) = read([tmp_path / "cut"])
        assert isinstance(result.error, InputError), cut
        assert "\n" not in str(result.error)
    assert capfd.readouterr() == ("", "")


def test_a_gzip_with_a_flipped_byte_is_refused(tmp_path: Path) -> None:
    whole = written(tmp_path / "a.nii.gz").read_bytes()
    rng = np.random.default_rng(0)
    for place in rng.integers(12, len(whole), 40):
        data = bytearray(whole)
        data[place] ^= 1 << int(rng.integers(8))
        (tmp_path / "a.nii.gz").write_bytes(data)
        with pytest.raises(UnreadableError) as caught:
            read_scan(tmp_path / "a.nii.gz")
        assert caught.value.code in ("damaged", "truncated", "not-an-image", "unsupported-format")


def test_bombs_are_refused_before_they_unpack(tmp_path: Path) -> None:
    header = written(tmp_path / "a.nii").read_bytes()[:352]
    bomb = tmp_path / "bomb.nii.gz"
    bomb.write_bytes(gzip.compress(header + bytes(30 * 2**20)))
    with refused(UnreadableError, "decompression-bomb"):
        read_scan(bomb)
    packed = written(tmp_path / "bomb.mha", image(np.zeros((300, 64, 512), np.int16)), compressed=True)
    with refused(UnreadableError, "decompression-bomb"):
        read_scan(packed)
    # A header that promises more than its file can hold.
    huge = bytearray(written(tmp_path / "a.nii").read_bytes())
    huge[42:48] = struct.pack("<3h", 2000, 2000, 150)
    (tmp_path / "a.nii").write_bytes(huge)
    with refused(UnreadableError, "truncated") as caught:
        read_scan(tmp_path / "a.nii")
    assert figures(caught.value.finding) == (
        2 * HU.size,
        2 * 2000 * 2000 * 150,
    )  # bytes that are there, and promised
    huge[42:48] = struct.pack("<3h", 30000, 30000, 30000)
    (tmp_path / "a.nii").write_bytes(huge)
    with refused(UnsuitableError, "too-many-pixels"):
        read_scan(tmp_path / "a.nii")


def spelt(change: Callable[[bytes], bytes], path: Path) -> Path:
    path.write_bytes(change(path.read_bytes()))
    return path


@pytest.mark.parametrize(
    ("line", "local"),
    [
        (b"ElementDataFile = LOCAL", True),
        (b"ElementDataFile=LOCAL", True),
        (b"ElementDataFile  =  LOCAL", True),
        (b"ElementDataFile = Local", True),
        (b"ElementDataFile = LOCAL\r", True),
        (b"ElementDataFile: LOCAL", True),
        (b"ElementDataFile = LIST", False),
        (b"ElementDataFile = secret.raw", False),
        (b"ElementDataFile = /etc/passwd", False),
        (b"ElementDataFile = LOCAL.raw", False),
        (b"ElementDataFile = slice%03d.raw 1 12 1", False),
        (b"Comment = ElementDataFile = LOCAL\nElementDataFile = secret.raw", False),
        (b"ElementDataFile = secret.raw\nElementDataFile = LOCAL", False),
        (b"Comment = \nElementDataFile = LOCAL\nElementDataFile = secret.raw", False),
    ],
)
def test_a_metaimage_is_read_from_itself_only(line: bytes, local: bool, tmp_path: Path) -> None:
    path = spelt(lambda data: data.replace(b"ElementDataFile = LOCAL", line), written(tmp_path / "a.mha"))
    (tmp_path / "secret.raw").write_bytes(HU.tobytes())
    (result,) = read([path])
    if local:
        # ITK itself reads not all of these; none may read anything else.
        assert result.scan is None or np.array_equal(result.scan.pixels, HU)
        assert result.error is None or isinstance(result.error, UnreadableError)
    else:
        assert isinstance(result.error, UnsuitableError)
        assert result.error.code == "detached-data"
        assert "secret" not in str(result.error)


@pytest.mark.parametrize(
    "line",
    [
        b"data file: secret.raw",
        b"datafile: secret.raw",
        b"Data File: /etc/passwd",
        b"data file: LIST",
        b"data  file: x",
    ],
)
def test_an_nrrd_is_read_from_itself_only(line: bytes, tmp_path: Path) -> None:
    data = written(tmp_path / "a.nrrd").read_bytes()
    for end in (b"\n", b"\r\n"):
        path = tmp_path / "b.nrrd"
        path.write_bytes(data.replace(b"\n\n", b"\n" + line + end + end, 1))
        with refused(UnsuitableError, "detached-data") as caught:
            read_scan(path)
        assert "secret" not in str(caught.value)


def test_pairs_of_files_are_refused(tmp_path: Path) -> None:
    for name in ("a.mhd", "a.nhdr"):
        with refused(UnsuitableError, "detached-data"):
            read_scan(written(tmp_path / name))
    written(tmp_path / "a.hdr")
    (result,) = read([tmp_path / "a.hdr"])
    assert isinstance(result.error, UnreadableError)


def test_a_volume_that_does_not_say_how_it_lies_is_flagged(tmp_path: Path) -> None:
    data = bytearray(written(tmp_path / "a.nii").read_bytes())
    data[252:256] = bytes(4)  # qform_code, sform_code
    (tmp_path / "a.nii").write_bytes(data)
    plain = spelt(
        lambda data: (
            b"\n".join(
                line
                for line in data.split(b"\n\n", 1)[0].split(b"\n")
                if b"space" not in line or b"spacings" in line
            ).replace(b"sizes:", b"spacings: 5 5 4\nsizes:")
            + b"\n\n"
            + data.split(b"\n\n", 1)[1]
        ),
        written(tmp_path / "a.nrrd"),
    )
    for path in (tmp_path / "a.nii", plain):
        (flag,) = read_scan(path).remarks
        assert flag.code == "orientation-unknown"


def test_what_a_program_drew_says_so(tmp_path: Path) -> None:
    data = bytearray(written(tmp_path / "a.nii").read_bytes())
    data[148:178] = b"Synthetic chest CT SECRET".ljust(30, b"\0")  # descrip
    (tmp_path / "a.nii").write_bytes(data)
    (flag,) = read_scan(tmp_path / "a.nii").remarks
    assert flag.code == "synthetic"
    assert "SECRET" not in flag.message
