"""Hundreds of damaged series: each ends in a scan with the flag that tells, or in a refusal on one line.

The series is a real one, thinned and shrunk, with all its tags; where it is absent, and for half of the variants
anyway, a drawn one.
"""

from __future__ import annotations

import gzip
from collections.abc import Callable
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import SimpleITK as sitk  # noqa: N813
from pydicom import dcmread
from pydicom.dataset import Dataset
from pydicom.encaps import encapsulate

from ct_series import CORNER_MM, drawn_hu, encoded, file_bytes, from_feet_to_head, slice_datasets
from pulmoscope.core.errors import InputError
from pulmoscope.core.types import Units
from pulmoscope.io import ReadResult, read, read_scan

SV1 = "1.2.840.10008.1.2.4.70"
VARIANTS = 5
"""Of each kind of damage, and of each of the two series."""

Files = list[bytes]
Rng = np.random.Generator


@dataclass(frozen=True)
class Series:
    """A whole series, and one of another patient: a file's bytes per slice, from feet to head."""

    files: tuple[bytes, ...]
    others: tuple[bytes, ...]


def shrunk(folder: Path) -> tuple[bytes, ...]:
    """Every eighth slice of a real series at 128 x 128, compressed anew; all its other tags."""
    files = []
    for number, path in enumerate(from_feet_to_head(folder)[::8]):
        dataset = dcmread(path)
        stored = dataset.pixel_array.reshape(128, 4, 128, 4).mean(axis=(1, 3)).astype("<u2")
        dataset.Rows = dataset.Columns = 128
        dataset.PixelSpacing = [4 * float(step) for step in dataset.PixelSpacing]
        dataset.PixelData = stored.tobytes()
        dataset["PixelData"].VR = "OW"
        dataset.InstanceNumber = 100 - number
        files.append(file_bytes(encoded(dataset, SV1)))
    return tuple(files)


@pytest.fixture(scope="module")
def drawn() -> Series:
    own, other = (
        tuple(map(file_bytes, slice_datasets(drawn_hu(19, seed=seed), StudyInstanceUID=f"1.2.{seed}")))
        for seed in (0, 1)
    )
    return Series(own, other)


@pytest.fixture(scope="module", params=["drawn", "real"])
def series(request: pytest.FixtureRequest, drawn: Series) -> Series:
    if request.param == "drawn":
        return drawn
    folder = request.getfixturevalue("shared") / "data" / "ct_series"
    if not folder.is_dir():
        pytest.skip("no real series")
    return Series(shrunk(folder / "COVID/P001"), shrunk(folder / "Normal/normal001"))


def tags(data: bytes) -> Dataset:
    return dcmread(BytesIO(data))


def rewritten(data: bytes, **elements: Any) -> bytes:
    """A file with other tags; None removes."""
    dataset = tags(data)
    for keyword, value in elements.items():
        if value is None:
            del dataset[keyword]
        elif keyword == "TransferSyntaxUID":
            dataset.file_meta.TransferSyntaxUID = value
            if not dataset["PixelData"].is_undefined_length:
                dataset.PixelData = encapsulate([dataset.PixelData])
                dataset["PixelData"].is_undefined_length = True
        else:
            setattr(dataset, keyword, value)
    stream = BytesIO()
    dataset.save_as(stream)
    return stream.getvalue()


def read_files(folder: Path, files: Files, rng: Rng) -> list[ReadResult]:
    """What becomes of files whose names tell no order; each result checked for what must hold of all."""
    for number, data in zip(rng.permutation(len(files)), files, strict=True):
        (folder / f"IM{number:03}").write_bytes(data)
    results = list(read([folder]))
    for result in results:
        assert (result.scan is None) != (result.error is None)
        if result.scan is not None:
            scan = result.scan
            assert scan.units is Units.HU
            assert np.isfinite(scan.pixels).all()
            assert scan.z_mm is not None
            assert len(scan.pixels) == len(scan.files) == len(scan.z_mm) >= 10
            assert (np.diff(scan.z_mm) > 0).all()
            assert all("\n" not in flag.message for flag in scan.remarks)
        else:
            assert isinstance(result.error, InputError)
            assert "\n" not in str(result.error)
    return results


def inner(files: Files, rng: Rng) -> int:
    """A slice with two neighbours on either side."""
    return int(rng.integers(2, len(files) - 2))


def changed(**elements: Any) -> Callable[[Files, Series, Rng], Files]:
    """One slice has other tags."""

    def damage(files: Files, _: Series, rng: Rng) -> Files:
        place = inner(files, rng)
        files[place] = rewritten(files[place], **elements)
        return files

    return damage


def missing(files: Files, _: Series, rng: Rng) -> Files:
    del files[inner(files, rng)]
    return files


def copied(files: Files, _: Series, rng: Rng) -> Files:
    return [*files, files[inner(files, rng)]]


def truncated(files: Files, _: Series, rng: Rng) -> Files:
    place = inner(files, rng)
    files[place] = files[place][: rng.integers(0, len(files[place]) - 20)]
    return files


def garbled(files: Files, _: Series, rng: Rng) -> Files:
    """A tenth of a slice's bytes, from its middle on, are others."""
    place = inner(files, rng)
    data = bytearray(files[place])
    begin = len(data) // 2
    data[begin : begin + len(data) // 10] = rng.integers(0, 256, len(data) // 10, dtype=np.uint8).tobytes()
    files[place] = bytes(data)
    return files


def flipped(files: Files, _: Series, rng: Rng) -> Files:
    """Some bits of some files, half of them in headers."""
    for place in rng.integers(0, len(files), 3):
        data = bytearray(files[place])
        reach = len(data) if rng.random() < 0.5 else min(len(data), 2500)
        for at in rng.integers(132, reach, 4):
            data[at] ^= 1 << int(rng.integers(8))
        files[place] = bytes(data)
    return files


def other_study(files: Files, series: Series, rng: Rng) -> Files:
    files[inner(files, rng)] = series.others[inner(files, rng)]
    return files


def in_place_of(files: Files, series: Series, place: int, **elements: Any) -> Files:
    """A slice of the other patient, with the tags of the one that it replaces."""
    own = tags(files[place])
    keywords = (
        "StudyInstanceUID",
        "SeriesInstanceUID",
        "ImagePositionPatient",
        "PixelSpacing",
        "InstanceNumber",
    )
    same = {keyword: own.get(keyword) for keyword in (*keywords, "PatientID")}
    files[place] = rewritten(series.others[place], **(same | elements))
    return files


def other_patient(files: Files, series: Series, rng: Rng) -> Files:
    return in_place_of(files, series, inner(files, rng), PatientID="ANOTHER")


def other_pixels(files: Files, series: Series, rng: Rng) -> Files:
    return in_place_of(files, series, inner(files, rng))


def moved(share: float, axis: int) -> Callable[[Files, Series, Rng], Files]:
    """One slice lies elsewhere: by a share of the step along z, or by 20 mm across."""

    def damage(files: Files, _: Series, rng: Rng) -> Files:
        place = inner(files, rng)
        here, above = (list(map(float, tags(files[at]).ImagePositionPatient)) for at in (place, place + 1))
        here[axis] += share * (above[2] - here[2]) if axis == 2 else 20
        files[place] = rewritten(files[place], ImagePositionPatient=[round(value, 4) for value in here])
        return files

    return damage


def swapped(files: Files, _: Series, rng: Rng) -> Files:
    """Two slices have each other's position."""
    one = inner(files, rng)
    other = one + 2 if one + 2 < len(files) else one - 2
    places = [tags(files[at]).ImagePositionPatient for at in (one, other)]
    for at, position in zip((one, other), reversed(places), strict=True):
        files[at] = rewritten(files[at], ImagePositionPatient=list(position))
    return files


NEEDED = {"incomplete-slices"}
LEFT_OUT = {"bad-slice", "broken-files", "incomplete-slices", "other-series"}
# What is done, and of which codes one must be told.
SEEN: dict[str, tuple[Callable[[Files, Series, Rng], Files], set[str]]] = {
    "missing": (missing, {"missing-slices"}),
    "copied": (copied, {"duplicate-positions"}),
    "truncated": (truncated, LEFT_OUT),
    "other pixels": (other_pixels, {"foreign-slice"}),
    "half a step": (moved(0.5, 2), {"uneven-spacing"}),
    "a whole step": (moved(1, 2), {"duplicate-positions"}),
    "across": (moved(0, 0), {"shifted-slices"}),
    "swapped": (swapped, {"numbering"}),
    "no position": (changed(ImagePositionPatient=None), NEEDED),
    "absurd position": (changed(ImagePositionPatient=[1e30, 0, 0]), NEEDED),
    "no orientation": (changed(ImageOrientationPatient=None), NEEDED),
    "skewed": (changed(ImageOrientationPatient=[1, 0, 0, 0.7, 0.7, 0]), NEEDED),
    "turned": (changed(ImageOrientationPatient=[0, 1, 0, -1, 0, 0]), {"mixed-series"}),
    "spacing": (changed(PixelSpacing=[0.7, 0.7]), {"mixed-series"}),
    "no spacing": (changed(PixelSpacing=[0, 0]), NEEDED),
    "slope": (changed(RescaleSlope=2), {"mixed-series"}),
    "no slope": (changed(RescaleSlope=None), NEEDED),
    "intercept": (changed(RescaleIntercept=0), {"mixed-series"}),
    "rows": (changed(Rows=63), {"mixed-series"}),
    "many rows": (changed(Rows=65535, Columns=65535), NEEDED),
    "bits stored": (changed(BitsStored=10), NEEDED),
    "other bits": (changed(BitsStored=10, HighBit=9), {"mixed-series"}),
    "bits allocated": (changed(BitsAllocated=32), NEEDED),
    "sign": (changed(PixelRepresentation=1), {"mixed-series"}),
    "samples": (changed(SamplesPerPixel=3), NEEDED),
    "photometric": (changed(PhotometricInterpretation="RGB"), NEEDED),
    "syntax": (changed(TransferSyntaxUID="1.2.840.10008.1.2.4.80"), LEFT_OUT),
    "unknown syntax": (changed(TransferSyntaxUID="1.2.3.4"), LEFT_OUT),
    "frames": (changed(NumberOfFrames=7), {*LEFT_OUT, "duplicate-positions"}),
    "many frames": (changed(NumberOfFrames=2**31 - 1), NEEDED),
    "modality": (changed(Modality="MR"), {"other-series"}),
    "no modality": (changed(Modality=None), {"other-series", "missing-slices"}),
    "class": (changed(SOPClassUID="1.2.840.10008.5.1.4.1.1.4"), {"other-series"}),
    "localizer": (changed(ImageType=["ORIGINAL", "PRIMARY", "LOCALIZER"]), {"missing-slices"}),
    "series": (changed(SeriesInstanceUID="1.2.3"), {"other-series"}),
    "no series": (changed(SeriesInstanceUID=None), {"other-series"}),
    "no study": (changed(StudyInstanceUID=None), {"broken-files"}),
}


@pytest.mark.parametrize("kind", SEEN)
def test_damage_that_must_be_seen_is(kind: str, series: Series, tmp_path: Path) -> None:
    damage, codes = SEEN[kind]
    for variant in range(VARIANTS):
        rng = np.random.default_rng([variant, len(kind)])
        (tmp_path / str(variant)).mkdir()
        (result,) = read_files(tmp_path / str(variant), damage(list(series.files), series, rng), rng)
        assert result.scan is not None, result.error
        assert codes & {flag.code for flag in result.scan.remarks}, variant


def test_nothing_is_said_of_the_whole_series(series: Series, tmp_path: Path) -> None:
    (result,) = read_files(tmp_path, list(series.files), np.random.default_rng(0))
    assert result.scan is not None
    assert result.scan.remarks == ()


def test_another_study_is_a_result_of_its_own(series: Series, tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    results = read_files(tmp_path, other_study(list(series.files), series, rng), rng)
    assert sorted(result.scan is None for result in results) == [False, True]
    (scan,) = [result.scan for result in results if result.scan]
    assert "missing-slices" in {flag.code for flag in scan.remarks}


def test_another_patient_in_the_series_refuses_it(series: Series, tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    (result,) = read_files(tmp_path, other_patient(list(series.files), series, rng), rng)
    assert result.error is not None
    assert result.error.code == "several-patients"


@pytest.mark.parametrize("damage", [flipped, garbled], ids=["flipped", "garbled"])
@pytest.mark.parametrize("block", range(2))
def test_any_other_damage_ends_in_a_scan_or_a_refusal(
    damage: Callable[[Files, Series, Rng], Files], block: int, series: Series, tmp_path: Path
) -> None:
    for variant in range(12):
        rng = np.random.default_rng([block, variant])
        folder = tmp_path / str(variant)
        folder.mkdir()
        results = read_files(folder, damage(list(series.files), series, rng), rng)
        assert results
        if damage is garbled:
            (result,) = results
            assert result.scan is not None
            assert {"bad-slice", "foreign-slice"} & {flag.code for flag in result.scan.remarks}, variant


def test_a_gzipped_volume_cut_short_is_refused_wherever(series: Series, tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (result,) = read_files(tmp_path / "a", list(series.files), np.random.default_rng(0))
    assert result.scan is not None
    image = sitk.GetImageFromArray(result.scan.pixels.astype(np.int16))
    image.SetSpacing((4, 4, 4))
    image.SetOrigin(CORNER_MM)
    sitk.WriteImage(image, str(tmp_path / "whole.nii"))
    whole = gzip.compress((tmp_path / "whole.nii").read_bytes(), 1)
    rng = np.random.default_rng(0)
    path = tmp_path / "cut.nii.gz"
    for cut in rng.integers(0, len(whole), 30):
        path.write_bytes(whole[:cut])
        with pytest.raises(InputError):
            read_scan(path)
