"""Pixels of every transfer syntax, signed and not, and of multi-frame files, become the very HU that were drawn."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pydicom.encaps import encapsulate

from ct_series import (
    by_gdcm,
    drawn_hu,
    encoded,
    enhanced,
    file_bytes,
    rewritten,
    slice_datasets,
    stored_pixels,
    write_series,
    write_slices,
)
from pulmoscope.core.errors import UnreadableError, UnsuitableError
from pulmoscope.core.types import Scan
from pulmoscope.io import read_scan
from refusals import figures, refused

HU = drawn_hu(12)
RLE, EXTENDED, PROCESS_14, SV1 = (f"1.2.840.10008.1.2.{end}" for end in ("5", "4.51", "4.57", "4.70"))
JPEG_LS, NEAR_LS, JPEG_2000, LOSSY_2000, HTJ2K = (
    f"1.2.840.10008.1.2.4.{end}" for end in ("80", "81", "90", "91", "201")
)
IMPLICIT, BIG_ENDIAN, DEFLATED = (f"1.2.840.10008.1.2{end}" for end in ("", ".2", ".1.99"))


def codes(scan: Scan) -> list[str]:
    return [flag.code for flag in scan.remarks]


@pytest.mark.parametrize(
    ("syntax", "most"),
    [
        (RLE, 0),
        (PROCESS_14, 0),
        (SV1, 0),
        (JPEG_LS, 0),
        (NEAR_LS, 3),  # the encoder's own bound
        (JPEG_2000, 0),
        (LOSSY_2000, 40),
        (EXTENDED, 30),
        (HTJ2K, 0),
    ],
)
def test_compressed(syntax: str, most: int, tmp_path: Path) -> None:
    write_slices(tmp_path, [encoded(dataset, syntax) for dataset in slice_datasets(HU)])
    scan = read_scan(tmp_path)
    assert np.abs(scan.pixels - HU).max() <= most
    assert scan.remarks == ()


@pytest.mark.parametrize(
    "syntax",
    ["RLELossless", "JPEGLosslessProcess14", "JPEGLosslessProcess14_1", "JPEGLSLossless", "JPEG2000Lossless"],
)
@pytest.mark.parametrize("signed", [False, True])
def test_transcoded_by_gdcm(syntax: str, signed: bool, tmp_path: Path) -> None:
    bits = 16 if signed else 12  # a lossless JPEG of signed values has 16 bits
    hu = HU.clip(-1024, 2047)
    for path in write_series(tmp_path, hu, signed=signed, bits=bits):
        by_gdcm(path, syntax)
    np.testing.assert_array_equal(read_scan(tmp_path).pixels, hu)


@pytest.mark.parametrize("syntax", [IMPLICIT, BIG_ENDIAN, DEFLATED])
def test_other_encodings_of_the_elements(syntax: str, tmp_path: Path) -> None:
    for path in write_series(tmp_path, HU):
        rewritten(path, syntax)
    scan = read_scan(tmp_path)
    np.testing.assert_array_equal(scan.pixels, HU)
    assert scan.remarks == ()


def test_without_preamble(tmp_path: Path) -> None:
    for path in write_series(tmp_path, HU):
        path.write_bytes(path.read_bytes()[132:])
    np.testing.assert_array_equal(read_scan(tmp_path).pixels, HU)


@pytest.mark.parametrize("signed", [False, True])
@pytest.mark.parametrize("bits", [12, 13, 16])
@pytest.mark.parametrize("syntax", ["", RLE])
def test_signed_and_unsigned_with_rubbish_in_the_bits_that_do_not_count(
    signed: bool, bits: int, syntax: str, tmp_path: Path
) -> None:
    hu = HU.clip(-1024, 2047)
    datasets = slice_datasets(hu, signed=signed, bits=bits)
    rng = np.random.default_rng(0)
    for dataset in datasets:
        stored = np.frombuffer(dataset.PixelData, "<u2")
        rubbish = rng.integers(0, 2 ** (16 - bits), stored.shape) << bits
        dataset.PixelData = ((stored & (2**bits - 1)) | rubbish).astype("<u2").tobytes()
        if syntax:
            encoded(dataset, syntax)
    write_slices(tmp_path, datasets)
    np.testing.assert_array_equal(read_scan(tmp_path).pixels, hu)


def test_eight_bits(tmp_path: Path) -> None:
    hu = (HU.clip(-1000, 999) + 1000) // 8 * 8 - 1000
    datasets = slice_datasets(
        hu, BitsAllocated=8, BitsStored=8, HighBit=7, RescaleSlope=8, RescaleIntercept=-1000
    )
    for dataset, pixels in zip(datasets, hu, strict=True):
        dataset.PixelData = ((pixels + 1000) // 8).astype(np.uint8).tobytes()
    write_slices(tmp_path, datasets)
    np.testing.assert_array_equal(read_scan(tmp_path).pixels, hu)


ORDER = np.random.default_rng(3).permutation(12).tolist()


@pytest.mark.parametrize("syntax", ["", RLE, SV1, JPEG_LS, JPEG_2000])
@pytest.mark.parametrize("shared_rescale", [True, False])
def test_enhanced_multi_frame(syntax: str, shared_rescale: bool, tmp_path: Path) -> None:
    dataset = enhanced(HU, ORDER, shared_rescale)
    path = tmp_path / "enhanced.dcm"
    path.write_bytes(file_bytes(encoded(dataset, syntax) if syntax else dataset))
    scan = read_scan(path)
    np.testing.assert_array_equal(scan.pixels, HU)
    assert scan.spacing_mm == (4.0, 5.0, 5.0)
    assert scan.z_mm == pytest.approx([-300 + 4 * index for index in range(12)])
    assert {file.path for file in scan.files} == {str(path)}
    assert scan.remarks == ()


@pytest.mark.parametrize("syntax", [DEFLATED, IMPLICIT])
def test_enhanced_in_other_encodings(syntax: str, tmp_path: Path) -> None:
    path = tmp_path / "enhanced.dcm"
    path.write_bytes(file_bytes(enhanced(HU, ORDER)))
    rewritten(path, syntax)
    np.testing.assert_array_equal(read_scan(path).pixels, HU)


def test_enhanced_cut_short_loses_the_frames_that_are_gone(tmp_path: Path) -> None:
    data = file_bytes(enhanced(HU, range(12)))
    path = tmp_path / "enhanced.dcm"
    path.write_bytes(data[: -64 * 64 * 2])
    scan = read_scan(path)
    assert codes(scan) == ["bad-slice"]
    np.testing.assert_array_equal(scan.pixels, HU[:11])
    path.write_bytes(data[: -64 * 64 * 2 * 4])
    with refused(UnreadableError, "too-many-bad-slices") as caught:
        read_scan(path)
    assert figures(caught.value.finding) == (
        4,
        12,
        0,
        8192,
    )  # of the first, which is bytes of pixels, none is there


@pytest.mark.parametrize(
    "elements",
    [
        {"NumberOfFrames": 100_000},
        {"Rows": 60_000},
        {"SamplesPerPixel": 3},
        {"PhotometricInterpretation": "MONOCHROME1"},
        {"BitsAllocated": 32},
        {"BitsStored": 20},
        {"HighBit": 15},
    ],
)
def test_what_no_ct_is_stored_as_is_refused(elements: dict[str, Any], tmp_path: Path) -> None:
    write_series(tmp_path / "slices", HU, **elements)
    (tmp_path / "a.dcm").write_bytes(file_bytes(enhanced(HU, ORDER, **elements)))
    for path in (tmp_path / "slices", tmp_path / "a.dcm"):
        with refused(UnsuitableError, "no-chest-series"):
            read_scan(path)


def test_frames_that_are_not_described_are_refused(tmp_path: Path) -> None:
    (tmp_path / "a.dcm").write_bytes(file_bytes(enhanced(HU, ORDER, NumberOfFrames=24)))
    with refused(UnreadableError, "too-many-bad-slices") as caught:
        read_scan(tmp_path / "a.dcm")
    assert figures(caught.value.finding) == (12, 24)


def test_a_syntax_that_is_not_known_is_refused_by_its_standard_name(tmp_path: Path) -> None:
    for path in write_series(tmp_path, HU):
        path.write_bytes(path.read_bytes().replace(b"1.2.840.10008.1.2.1\0", b"1.2.840.10008.1.2.9\0"))
    with refused(UnreadableError, "too-many-bad-slices"):
        read_scan(tmp_path)


@pytest.mark.parametrize("syntax", [SV1, JPEG_LS, JPEG_2000, RLE])
@pytest.mark.parametrize("kind", ["cut", "no end marker", "no delimiter", "other size", "nothing"])
def test_a_compressed_slice_that_is_not_whole_is_left_out(syntax: str, kind: str, tmp_path: Path) -> None:
    datasets = slice_datasets(HU)
    for index, dataset in enumerate(datasets):
        if index == 5 and kind == "other size":
            dataset.PixelData = np.ascontiguousarray(stored_pixels(dataset)[0, ::2]).tobytes()
            dataset.Rows = 32
        encoded(dataset, syntax)
    if kind == "other size":
        datasets[5].Rows = 64
    stream = datasets[5].PixelData[16:]  # less the empty offset table and the fragment's header
    if kind == "no end marker":
        datasets[5].PixelData = encapsulate([stream[: len(stream) // 2]])
    if kind == "nothing":
        datasets[5].PixelData = encapsulate([b"\0\0"])
    paths = write_slices(tmp_path, datasets)
    if kind == "cut":
        paths[5].write_bytes(paths[5].read_bytes()[:-300])
    if kind == "no delimiter":
        paths[5].write_bytes(paths[5].read_bytes()[:-8])
    scan = read_scan(tmp_path)
    assert codes(scan) == ["bad-slice", "missing-slices"]
    np.testing.assert_array_equal(scan.pixels, np.delete(HU, 5, axis=0))


def test_values_beyond_the_bits_that_are_stored_are_damage(tmp_path: Path) -> None:
    datasets = slice_datasets(HU)
    stored = stored_pixels(datasets[4])[0].copy()
    stored[10, 10] = 5000
    datasets[4].PixelData = stored.tobytes()
    write_slices(tmp_path, [encoded(dataset, JPEG_LS) for dataset in datasets])
    (flag, _) = read_scan(tmp_path).remarks
    assert flag.code == "bad-slice"
    assert figures(flag.finding) == (1, 5000, 12)  # slices; the value; the bits that are stored


def test_a_deflated_bomb_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    paths = write_series(tmp_path, HU)
    for path in paths:
        rewritten(path, DEFLATED)
    monkeypatch.setattr("pulmoscope.io.deflated.LARGEST_INFLATED", 5000)
    for path in paths[1:]:
        path.unlink()
    with refused(UnreadableError, "decompression-bomb"):
        read_scan(paths[0])
