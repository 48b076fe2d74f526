from __future__ import annotations

import hashlib
import shutil
import struct
import subprocess
import sys
import zipfile
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk  # noqa: N813
from PIL import Image

from pulmoscope.core.errors import UnreadableError, UnsuitableError
from pulmoscope.core.types import Modality, Scan
from pulmoscope.io import ReadResult, entries, read, read_pixels, read_study, read_xray, studies
from radiographs import chest, compressed, dicom_file, encoded, ramp
from refusals import refused


def test_a_scan_carries_pixels_name_source_and_spacing(tmp_path: Path) -> None:
    path = dicom_file(tmp_path / "a b.dcm", ramp(), PixelSpacing=[0.2, 0.201], ViewPosition="AP")
    scan = read_xray(path)
    checksum = hashlib.sha256(path.read_bytes()).hexdigest()
    assert (scan.name, scan.modality, scan.view) == (f"xray-{checksum[:12]}", Modality.XRAY, "AP")
    assert scan.pixels.shape == (1, 80, 100)
    np.testing.assert_allclose(scan.pixels[0], ramp() / 255, atol=1e-6)
    assert scan.spacing_mm == (0.0, 0.2, 0.201)
    (file,) = scan.files
    assert (file.name, file.sha256, file.path) == (f"{checksum[:12]}.dcm", checksum, str(path))


def test_a_picture_has_no_spacing(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(encoded(ramp(), "PNG", dpi=(300, 300)))
    assert read_xray(tmp_path / "a.png").spacing_mm is None
    np.testing.assert_array_equal(read_pixels(tmp_path / "a.png"), read_xray(tmp_path / "a.png").pixels[0])


def test_the_content_decides_and_not_the_name(tmp_path: Path) -> None:
    (tmp_path / "jpeg.png").write_bytes(encoded(chest(), "JPEG"))
    (tmp_path / "png.dcm").write_bytes(encoded(chest(), "PNG"))
    shutil.move(dicom_file(tmp_path / "x.dcm", chest()), tmp_path / "dicom.jpg")
    assert all(result.scan for result in read([tmp_path]))


@pytest.mark.parametrize(
    ("content", "code", "shown"),
    [
        (b"", "empty-file", ""),
        (b"not an image", "not-an-image", ""),
        (b"%PDF-1.7", "unsupported-format", "PDF"),
        (b"GIF89a", "unsupported-format", "GIF"),
        (b"\x1f\x8b\x08", "unsupported-format", "gzip"),
        (b"PK\x03\x04", "nested-zip", ""),
    ],
)
def test_what_is_no_image_is_refused_on_one_line(
    content: bytes, code: str, shown: str, tmp_path: Path
) -> None:
    path = tmp_path / "text.dcm"
    path.write_bytes(content)
    (result,) = read([path])
    assert result.scan is None
    assert isinstance(result.error, UnreadableError)
    assert result.error.code == code
    assert shown in result.error.finding
    assert str(result.error).startswith(f"{path}: ")
    with refused(UnreadableError, code):
        read_xray(path)
    with refused(UnreadableError, code):
        read_pixels(path)


def test_a_volume_is_no_radiograph(tmp_path: Path) -> None:
    path = tmp_path / "chest.mha"
    path.write_bytes(b"ObjectType = Image\nNDims = 3\n")
    with refused(UnsuitableError, "other-modality"):
        read_xray(path)


def test_one_bad_file_costs_no_other(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "films.zip", "w") as archive:
        archive.writestr("good.png", encoded(chest(), "PNG"))
        archive.writestr("bad.png", encoded(chest(), "PNG")[:500])
        archive.writestr("inner.zip", b"PK\x03\x04")
    results = {Path(result.name).name: result for result in read([tmp_path, tmp_path / "gone"])}
    assert {name for name, result in results.items() if result.scan} == {"good.png"}
    assert {name for name, result in results.items() if result.error} == {"bad.png", "inner.zip", "gone"}
    cut = hashlib.sha256(encoded(chest(), "PNG")[:500]).hexdigest()
    assert [results[name].content for name in ("bad.png", "gone")] == [f"xray-{cut[:12]}", ""]


def test_entries_are_read_the_same_from_threads(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "films.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        for seed in range(24):
            archive.writestr(f"{seed:02}.png", encoded(chest(seed=seed), "PNG"))
            archive.write(dicom_file(tmp_path / "x", chest(seed=seed)), f"{seed:02}.dcm")
    listed = list(studies(entries([tmp_path / "films.zip"])))
    with ThreadPoolExecutor(8) as pool:
        for entry, result in zip(listed, pool.map(read_study, listed), strict=True):
            assert result.scan is not None
            seed = int(entry.name.rsplit("/")[-1][:2])
            np.testing.assert_allclose(result.scan.pixels[0], chest(seed=seed) / 255, atol=1e-6)


def test_importing_the_room_brings_no_dicom_library() -> None:
    code = "import sys, pulmoscope.io; print([m for m in ('pydicom', 'gdcm', 'cv2', 'torch') if m in sys.modules])"
    found = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert found.stdout.strip() == "[]"


def satisfies_contract(scan: Scan) -> bool:
    _, rows, columns = scan.pixels.shape
    return bool(
        scan.pixels.dtype == np.float32
        and scan.pixels.shape[0] == 1
        and min(rows, columns) >= 64
        and np.isfinite(scan.pixels).all()
        and scan.pixels.min() >= 0
        and scan.pixels.max() <= 1
        and scan.pixels.std() > 0
    )


def drawn_files(folder: Path) -> list[bytes]:
    """One small valid file of every kind."""
    grey, deep = chest(), chest().astype(np.uint16) * 16
    colour = Image.fromarray(grey).convert("RGB")
    plain = dicom_file(folder / "plain.dcm", grey)
    twelve = dicom_file(folder / "twelve.dcm", deep, 12, WindowCenter=2048, WindowWidth=4096)
    files = [encoded(grey, kind) for kind in ("PNG", "JPEG", "TIFF", "BMP")]
    files += [encoded(deep, "PNG"), encoded(deep, "TIFF"), encoded(colour, "JPEG", progressive=True)]
    files += [encoded(grey, "TIFF", compression=name) for name in ("tiff_lzw", "tiff_adobe_deflate", "jpeg")]
    files += [encoded(colour, "WEBP"), encoded(Image.fromarray(grey).convert("P"), "PNG")]
    files += [plain.read_bytes(), twelve.read_bytes()]
    for syntax in ("JPEGLosslessProcess14_1", "JPEGLSLossless", "JPEG2000Lossless", "RLELossless"):
        files.append(compressed(twelve, syntax).read_bytes())
    for syntax in ("JPEGBaselineProcess1", "JPEG2000", "DeflatedExplicitVRLittleEndian"):
        files.append(compressed(plain, syntax).read_bytes())
    return files


def flipped(data: bytes, rng: np.random.Generator) -> bytes:
    """Up to eight bits flipped, half of the time near the start, where headers are."""
    damaged = bytearray(data)
    reach = len(data) if rng.random() < 0.5 else min(len(data), 600)
    for place in rng.integers(0, reach, rng.integers(1, 9)):
        damaged[place] ^= 1 << int(rng.integers(8))
    return bytes(damaged)


def truncated(data: bytes, rng: np.random.Generator) -> bytes:
    """The file's first part; at least 16 bytes are missing."""
    return data[: rng.integers(1, len(data) - 16)]


def huge(data: bytes, rng: np.random.Generator) -> bytes:
    """Rows and columns in the header set to 65,535 (a JPEG's, PNG's, BMP's or DICOM's own fields)."""
    damaged = bytearray(data)
    if data.startswith(b"\x89PNG"):
        struct.pack_into(">II", damaged, 16, 65535, 65535)
    elif data.startswith(b"\xff\xd8"):
        frame = max(data.find(b"\xff\xc0"), data.find(b"\xff\xc2"))
        struct.pack_into(">HH", damaged, frame + 5, 65535, 65535)
    elif data.startswith(b"BM"):
        struct.pack_into("<ii", damaged, 18, 65535, 65535)
    elif data[128:132] == b"DICM" and b"\x28\0\x10\0US\x02\0" in data:
        for element in (b"\x28\0\x10\0US\x02\0", b"\x28\0\x11\0US\x02\0"):
            struct.pack_into("<H", damaged, data.find(element) + 8, 65535)
    else:
        return truncated(data, rng)
    return bytes(damaged)


def emptied(data: bytes, rng: np.random.Generator) -> bytes:
    """Nothing, or as many zeros."""
    return b"\0" * (len(data) * int(rng.integers(2)))


Damage = Callable[[bytes, np.random.Generator], bytes]
ALWAYS_REFUSED: tuple[Damage, ...] = (truncated, huge, emptied)
NAMES = ("png", "jpg", "tif", "dcm", "bmp", "webp", "zip", "bin")


def check_damaged(files: list[bytes], count: int, folder: Path) -> None:
    """Damage the files in `count` ways with a fixed seed, under any extension, and read them."""
    rng = np.random.default_rng(20261121)
    for number in range(count):
        data = files[number % len(files)]
        damage: Damage = (truncated, flipped, huge, flipped, truncated, flipped, emptied)[number % 7]
        path = folder / f"{number}.{NAMES[int(rng.integers(len(NAMES)))]}"
        path.write_bytes(damage(data, rng))
        (entry,) = studies(entries([path]))
        result = read_study(entry)
        path.unlink()
        check_result(result, must_refuse=damage in ALWAYS_REFUSED)


def check_result(result: ReadResult, *, must_refuse: bool) -> None:
    if result.error is None:
        assert result.scan is not None
        assert not must_refuse, result.name
        assert satisfies_contract(result.scan)
    else:
        assert result.scan is None
        assert "\n" not in str(result.error)
        assert len(str(result.error)) < 600
        assert "secret" not in str(result.error).lower()


def test_200_damaged_files_give_a_scan_or_one_line(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    files = drawn_files(tmp_path)
    capfd.readouterr()
    check_damaged(files, 200, tmp_path)
    assert capfd.readouterr() == ("", "")


def test_200_damaged_real_files_give_a_scan_or_one_line(
    shared: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    paths = [
        *sorted((shared / "data/xray4/COVID/images").iterdir())[:8],
        *sorted(path for path in (shared / "data/xray_external").rglob("*.jpg"))[:8],
        *sorted((shared / "data/xray_dicom").rglob("*.dcm")),
    ]
    check_damaged([path.read_bytes() for path in paths], 200, tmp_path)
    assert capfd.readouterr() == ("", "")


def shown_by_dcmtk(path: Path, folder: Path) -> np.ndarray:
    """The image as dcmtk renders it; uint8."""
    subprocess.run(["dcmj2pnm", "+op", path, folder / "x.pgm"], check=True, capture_output=True)
    return np.asarray(Image.open(folder / "x.pgm"))


def dicom_names() -> list[str]:
    return [
        "pydicom_data/RG1_J2KI.dcm",
        "torchxrayvision/1.2.276.0.7230010.3.1.4.8323329.6904.1517875201.850819.dcm",
        "torchxrayvision/Fake_MONOHR1.dcm",
        "xarpai/02099738-7465-4786-b71c-de8cdac477c3.dcm",
        "xarpai/h_00a85be6-6eb0-421d-8acf-ff2dc0007e8a.dcm",
    ]


@pytest.mark.parametrize("name", dicom_names())
def test_real_dicom_agrees_with_simpleitk(name: str, shared: Path) -> None:
    path = shared / "data/xray_dicom" / name
    shown = sitk.GetArrayFromImage(sitk.ReadImage(str(path)))[0]  # SimpleITK inverts MONOCHROME1 too
    pixels = read_xray(path).pixels
    assert pixels.shape[1:] == shown.shape
    assert np.corrcoef(pixels.ravel(), shown.ravel())[0, 1] > 0.99


@pytest.mark.skipif(not shutil.which("dcmj2pnm"), reason="dcmtk is not installed")
@pytest.mark.parametrize("name", dicom_names()[1:])  # the first is JPEG 2000, which dcmtk does not decode
def test_real_dicom_agrees_with_dcmtk(name: str, shared: Path, tmp_path: Path) -> None:
    path = shared / "data/xray_dicom" / name
    shown = shown_by_dcmtk(path, tmp_path) / 255
    np.testing.assert_allclose(read_xray(path).pixels[0], shown, atol=3 / 255)


def test_the_faked_negative_shows_as_a_negative_and_the_true_one_as_a_film(shared: Path) -> None:
    folder = shared / "data/xray_dicom"
    true, fake = (read_xray(folder / name).pixels for name in dicom_names()[1:3])
    np.testing.assert_allclose(fake, 1 - true, atol=1e-6)
    scan = read_xray(folder / dicom_names()[0])
    # PatientOrientation L\F; in a film with air dark the outer corners are darker than the middle (mediastinum).
    _, rows, columns = scan.pixels.shape
    middle = scan.pixels[0, rows // 2 - 100 : rows // 2 + 100, columns // 2 - 50 : columns // 2 + 50].mean()
    corners = np.mean([scan.pixels[0, :60, :60].mean(), scan.pixels[0, :60, -60:].mean()])
    assert middle > corners
    assert scan.view == "PA"
    assert scan.spacing_mm is None  # PixelSpacing is 0 in this file


def test_every_odd_file_is_refused_on_one_line(shared: Path) -> None:
    results = list(read([shared / "data/dicom_odd"]))
    assert len(results) == 6
    volumes = [result for result in results if result.scan is not None]
    (volume,) = volumes  # HU, and without lungs: quality refuses it
    assert Path(volume.name).name.startswith("abdomen_ct_3mm")
    for result in results:
        if result in volumes:
            continue
        assert result.scan is None
        assert "\n" not in str(result.error)
    unsuitable = {result.name for result in results if isinstance(result.error, UnsuitableError)}
    assert len(unsuitable) == 5
