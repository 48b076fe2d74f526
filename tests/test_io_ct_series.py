"""A DICOM series becomes the very HU, order and geometry that SimpleITK reads; bad slices cost no study."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk  # noqa: N813

from ct_series import (
    STEP_MM,
    by_gdcm,
    by_simpleitk,
    drawn_hu,
    encoded,
    file_bytes,
    from_feet_to_head,
    slice_datasets,
    write_series,
    write_slices,
)
from pulmoscope.core.errors import UnreadableError, UnsuitableError
from pulmoscope.core.types import FlagLevel, Modality, Scan, Units
from pulmoscope.io import read, read_scan
from pulmoscope.io.ct.content import check_hu, strangers
from refusals import figures, refused
from test_io_orient import agrees


def codes(scan: Scan) -> list[str]:
    return [flag.code for flag in scan.remarks]


def test_a_drawn_series_is_what_simpleitk_reads(tmp_path: Path) -> None:
    hu = drawn_hu()
    paths = write_series(tmp_path, hu)
    scan = read_scan(tmp_path)
    agrees(scan, by_simpleitk(tmp_path))
    np.testing.assert_array_equal(scan.pixels, hu)
    assert (scan.modality, scan.units, scan.remarks) == (Modality.CT, Units.HU, ())
    assert scan.pixels.dtype == np.int16
    assert scan.pixels.flags.c_contiguous
    np.testing.assert_array_equal(scan.plane(2), hu[2])
    assert scan.plane(2).dtype == np.float32
    assert [file.path for file in scan.files] == [str(path) for path in paths]
    assert scan.files[3].sha256 == hashlib.sha256(paths[3].read_bytes()).hexdigest()


def test_a_rescale_that_is_not_whole(tmp_path: Path) -> None:
    hu = drawn_hu(12)
    datasets = slice_datasets(hu, bits=16, RescaleSlope=0.5, RescaleIntercept=-1024.25)
    for dataset in datasets:
        dataset.PixelData = (2 * (np.frombuffer(dataset.PixelData, "<u2"))).astype("<u2").tobytes()
    write_slices(tmp_path, datasets)
    scan = read_scan(tmp_path)
    np.testing.assert_array_equal(scan.pixels, hu - np.float32(0.25))
    assert scan.pixels.dtype == np.float32


@pytest.mark.parametrize(("slope", "intercept"), [(1.0, 0.0), (-1.0, 100.0), (3.0, -1024.0)])
def test_whole_numbers_that_16_bits_do_not_hold_are_told_as_they_are(
    slope: float, intercept: float, tmp_path: Path
) -> None:
    datasets = slice_datasets(drawn_hu(12), bits=16, RescaleSlope=slope, RescaleIntercept=intercept)
    stored = np.frombuffer(datasets[5].PixelData, "<u2").copy()
    stored[0] = 60_000
    datasets[5].PixelData = stored.tobytes()
    write_slices(tmp_path, datasets)
    beyond = f"{slope * 60_000 + intercept:.4g}"
    with refused(UnsuitableError, "not-hu") as caught:
        read_scan(tmp_path)
    assert beyond in caught.value.finding


REAL = ["COVID/P001", "CAP/cap001", "Normal/normal001"]


def real(shared: Path, name: str) -> Path:
    folder = shared / "data" / "ct_series" / name
    if not folder.is_dir():
        pytest.skip(f"no real series {name}")
    return folder


@pytest.mark.parametrize("name", REAL)
def test_the_real_series_and_what_simpleitk_writes_of_them(name: str, shared: Path, tmp_path: Path) -> None:
    # Every seventh slice: SimpleITK takes ten times as long as we do.
    for path in from_feet_to_head(real(shared, name))[::7]:
        (tmp_path / path.name).symlink_to(path)
    scan, image = read_scan(tmp_path), by_simpleitk(tmp_path)
    agrees(scan, image)
    assert codes(scan) == ["numbering"]
    for file in ("a.nii.gz", "a.mha", "a.nrrd"):
        sitk.WriteImage(image[::4, ::4], str(tmp_path / file))
        volume = read_scan(tmp_path / file)
        agrees(volume, image[::4, ::4])
        assert volume.remarks == ()


@pytest.mark.parametrize("name", REAL)
def test_nothing_is_said_against_the_real_series_however_thin(name: str, shared: Path) -> None:
    scan = read_scan(real(shared, name))
    assert scan.remarks == ()
    for step in (2, 5):  # 4 and 10 mm
        assert strangers(scan.pixels[::step], set()) == ([], 0)


def test_what_simpleitk_writes_of_a_drawn_series_reads_the_same(tmp_path: Path) -> None:
    write_series(tmp_path / "dicom")
    scan = read_scan(tmp_path / "dicom")
    image = by_simpleitk(tmp_path / "dicom")
    for name in ("a.nii", "a.nii.gz", "a.mha", "a.nrrd"):
        sitk.WriteImage(image, str(tmp_path / name))
        volume = read_scan(tmp_path / name)
        agrees(volume, image)
        np.testing.assert_array_equal(volume.pixels, scan.pixels)
        assert volume.z_mm == pytest.approx(scan.z_mm)
        assert volume.remarks == ()


def damaged(kind: str, dataset_bytes: bytes) -> bytes:
    data = bytearray(dataset_bytes)
    if kind == "flipped":  # some bytes in the middle; of uncompressed pixels, a band
        for place in range(len(data) // 2, len(data) // 2 + 1200, 3):
            data[place] ^= 0x55
    return {
        "truncated": bytes(data[:-600]),
        "flipped": bytes(data),
        "garbage": bytes(np.random.default_rng(0).integers(0, 256, 5000, dtype=np.uint8)),
        "empty": b"",
        "header cut": bytes(data[:500]),
        "header cut later": bytes(data[: data.find(b"\xe0\x7f\x10\x00") - 40]),
        "text": b"this is no image" * 40,
    }[kind]


@pytest.mark.parametrize(
    ("kind", "code"),
    [
        ("truncated", "bad-slice"),
        ("flipped", "foreign-slice"),
        ("garbage", "broken-files"),
        ("empty", "broken-files"),
        ("header cut", "broken-files"),
        ("header cut later", "incomplete-slices"),
        ("text", "broken-files"),
    ],
)
@pytest.mark.parametrize("syntax", ["", "1.2.840.10008.1.2.4.70"])
def test_one_bad_slice_is_left_out_and_told(kind: str, code: str, syntax: str, tmp_path: Path) -> None:
    hu = drawn_hu(20)
    datasets = slice_datasets(hu)
    paths = write_slices(tmp_path, [encoded(d, syntax) for d in datasets] if syntax else datasets)
    paths[8].write_bytes(damaged(kind, paths[8].read_bytes()))
    (result,) = read([tmp_path])
    assert result.scan is not None
    found = codes(result.scan)
    assert code in found or (kind == "flipped" and "bad-slice" in found)
    assert "missing-slices" in found
    np.testing.assert_array_equal(result.scan.pixels, np.delete(hu, 8, axis=0))
    gap = next(flag for flag in result.scan.remarks if flag.code == "missing-slices")
    assert figures(gap.finding) == (1, 1, 8)  # slices, gaps, mm
    assert str(paths[8]) not in [file.name for file in result.scan.files]
    assert len(result.scan.files) == len(result.scan.z_mm or ()) == 19


@pytest.mark.parametrize("end", [0, -1])
def test_a_bad_first_or_last_slice_moves_no_other(end: int, tmp_path: Path) -> None:
    hu = drawn_hu(16)
    paths = write_series(tmp_path, hu)
    paths[end].write_bytes(paths[end].read_bytes()[:-100])
    scan = read_scan(tmp_path)
    assert codes(scan) == ["bad-slice"]
    assert scan.geometry is not None
    kept = range(1, 16) if end == 0 else range(15)
    np.testing.assert_array_equal(scan.pixels, hu[kept])
    assert scan.geometry.origin_mm[2] == -300 + kept[0] * STEP_MM
    assert scan.z_mm == pytest.approx([-300 + index * STEP_MM for index in kept])


def test_a_quarter_of_bad_slices_passes_and_more_is_refused(tmp_path: Path) -> None:
    paths = write_series(tmp_path, drawn_hu(20))
    for path in paths[::4]:
        path.write_bytes(path.read_bytes()[:-100])
    scan = read_scan(tmp_path)
    bad, missing = scan.remarks
    assert (bad.code, figures(bad.finding)[0]) == ("bad-slice", 5)
    # 5 of 20 are missing: more than a tenth.
    assert (missing.code, missing.level) == ("missing-slices", FlagLevel.REFUSE)
    paths[1].write_bytes(paths[1].read_bytes()[:-100])
    with refused(UnreadableError, "too-many-bad-slices") as caught:
        read_scan(tmp_path)
    assert figures(caught.value.finding)[:2] == (6, 20)


def test_fewer_than_ten_sound_slices_are_refused(tmp_path: Path) -> None:
    paths = write_series(tmp_path, drawn_hu(10))
    paths[4].write_bytes(paths[4].read_bytes()[:-100])
    with refused(UnreadableError, "too-many-bad-slices"):
        read_scan(tmp_path)


@pytest.mark.parametrize("place", [0, 7, 15])
def test_another_patients_slice_is_seen_by_its_pixels(place: int, tmp_path: Path) -> None:
    hu, other = drawn_hu(seed=0), drawn_hu(seed=1)
    mixed = hu.copy()
    mixed[place] = other[place]
    write_series(tmp_path, mixed)
    scan = read_scan(tmp_path)
    assert codes(scan)[0] == "foreign-slice"
    np.testing.assert_array_equal(scan.pixels, np.delete(hu, place, axis=0))


def test_a_block_of_another_patients_slices_is_referred(tmp_path: Path) -> None:
    hu = drawn_hu(seed=0)
    hu[6:9] = drawn_hu(seed=1)[6:9]
    write_series(tmp_path, hu)
    (flag,) = read_scan(tmp_path).remarks
    assert (flag.code, flag.level) == ("several-bodies", FlagLevel.REFUSE)
    assert figures(flag.finding) == (2,)  # places


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("step_mm", [1.0, 4.0, 10.0])
def test_no_slice_of_one_body_is_foreign(seed: int, step_mm: float) -> None:
    hu = drawn_hu(16, seed=seed, step_mm=step_mm).astype(np.float32)
    assert strangers(hu, set()) == ([], 0)


def test_what_is_left_out_anyway_is_not_compared() -> None:
    hu = drawn_hu(12).astype(np.float32)
    hu[5] = 0
    assert strangers(hu, {5}) == ([], 0)
    assert strangers(hu, set()) == ([5], 0)


@pytest.mark.parametrize(
    ("what", "least"),
    [
        # The least share of air is 1 %, that of tissue 3 %; the range is told by its two ends.
        (lambda hu: (hu + 1024.0) / 4096 * 255, 1),
        (lambda hu: (hu + 1024.0) / 4096, 1),
        (lambda hu: hu + 1024.0, 1),
        (lambda hu: (hu - hu.mean()) / hu.std(), 1),
        # Raw values with padding outside the scanned circle, which must not pass for air.
        (lambda hu: np.where(np.indices(hu.shape)[1] < 20, -2000, hu + 1024.0), 1),
        (lambda hu: np.where(hu > -200, 900.0, hu), 3),
        (lambda hu: np.where(hu == hu.max(), np.nan, hu), -4096),
        (lambda hu: np.where(hu == hu.max(), np.inf, hu), -4096),
        (lambda hu: hu * 20.0, -4096),
    ],
)
def test_what_is_no_hu_is_refused(what: object, least: int) -> None:
    assert callable(what)
    check_hu("x", drawn_hu().astype(np.float32))
    with refused(UnsuitableError, "not-hu") as caught:
        check_hu("x", what(drawn_hu()).astype(np.float32))
    assert figures(caught.value.rule)[0] == least


def test_a_series_without_hu_is_refused(tmp_path: Path) -> None:
    write_series(tmp_path, RescaleIntercept=0)
    with refused(UnsuitableError, "not-hu"):
        read_scan(tmp_path)


def test_a_gdcm_written_series_is_read_the_same(tmp_path: Path) -> None:
    hu = drawn_hu(12)
    for path in write_series(tmp_path, hu):
        by_gdcm(path, "JPEGLosslessProcess14_1")
    np.testing.assert_array_equal(read_scan(tmp_path).pixels, hu)


def test_other_slices_do_not_wait_for_a_file_that_is_gone(tmp_path: Path) -> None:
    from pulmoscope.io import entries, read_study, studies

    paths = write_series(tmp_path, drawn_hu(16))
    (study,) = studies(entries([tmp_path]))
    paths[5].unlink()
    result = read_study(study)
    assert result.scan is not None
    assert codes(result.scan) == ["bad-slice", "missing-slices"]
    for path in paths:
        path.unlink(missing_ok=True)
    error = read_study(study).error
    assert error is not None
    assert error.code == "too-many-bad-slices"


def test_one_file_of_a_series_says_what_a_ct_needs(tmp_path: Path) -> None:
    (tmp_path / "a.dcm").write_bytes(file_bytes(slice_datasets(drawn_hu(12))[0]))
    with refused(UnsuitableError, "no-chest-series"):
        read_scan(tmp_path / "a.dcm")
