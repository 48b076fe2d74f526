from __future__ import annotations

import struct
import zlib
from io import BytesIO

import numpy as np
import pytest
from PIL import Image

from pulmoscope.core.errors import UnsuitableError
from pulmoscope.core.types import FlagLevel
from pulmoscope.io.xray import picture
from pulmoscope.io.xray.dicom import decode as decode_dicom
from pulmoscope.io.xray.picture import Picture
from pulmoscope.io.xray.raster import decode
from pulmoscope.io.xray.square import squared, squared_size
from radiographs import dicom_bytes, dicom_dataset, encoded, ramp
from refusals import figures, refused

TALL = ramp(80, 100)


def dicom(pixels: np.ndarray = TALL, **elements: object) -> Picture:
    return decode_dicom(dicom_bytes(dicom_dataset(pixels, **elements)), "x.dcm")


def codes(found: Picture) -> list[str]:
    return [flag.code for flag in found.remarks]


def png(pixels: np.ndarray, across: int, down: int, unit: int) -> bytes:
    """A PNG with pHYs: pixels a unit along x and y (PNG specification, 11.3.4.3)."""
    data = encoded(pixels, "PNG")
    body = b"pHYs" + struct.pack(">IIB", across, down, unit)
    end_of_header = 8 + 25
    chunk = struct.pack(">I", 9) + body + struct.pack(">I", zlib.crc32(body))
    return data[:end_of_header] + chunk + data[end_of_header:]


def jpeg(pixels: np.ndarray, across: int, down: int, unit: int) -> bytes:
    """A JPEG whose JFIF header has these densities: after marker, length, «JFIF\\0» and version."""
    data = bytearray(encoded(pixels, "JPEG", quality=95))
    assert data[6:11] == b"JFIF\0"
    data[13:18] = struct.pack(">BHH", unit, across, down)
    return bytes(data)


def tiff(pixels: np.ndarray, across: float, down: float) -> bytes:
    stream = BytesIO()
    Image.fromarray(pixels).save(stream, "TIFF", x_resolution=across, y_resolution=down, resolution_unit=1)
    return stream.getvalue()


def test_a_pixel_twice_as_tall_as_wide_becomes_two_rows() -> None:
    found = dicom(PixelSpacing=[0.2, 0.1])
    assert found.pixels.shape == (160, 100)
    assert found.spacing_mm == pytest.approx((0.1, 0.1))
    (flag,) = found.remarks
    assert (flag.code, flag.level) == ("resampled", FlagLevel.INFO)
    assert figures(flag.finding) == (
        2,
        80,
        100,
        160,
        100,
    )  # times as tall as wide; rows and columns, as stored and now
    # Linear, at the centres of the new rows: the rows 1 and 2 lie at 0.25 and 0.75 between the old 0 and 1.
    grey = TALL / np.float32(255)
    np.testing.assert_allclose(found.pixels[1], 0.75 * grey[0] + 0.25 * grey[1], atol=1e-6)
    np.testing.assert_allclose(found.pixels[2], 0.25 * grey[0] + 0.75 * grey[1], atol=1e-6)


def test_a_pixel_wider_than_tall_becomes_several_columns() -> None:
    found = dicom(ImagerPixelSpacing=[0.1, 0.15])
    assert found.pixels.shape == (80, 150)
    assert found.spacing_mm == pytest.approx((0.1, 0.1))
    assert codes(found) == ["resampled"]


def test_a_disc_stays_a_disc() -> None:
    rows, columns = np.mgrid[:100, :200]
    disc = np.where(((rows - 49.5) * 2) ** 2 + (columns - 99.5) ** 2 < 60**2, 200, 20).astype(np.uint8)
    found = dicom(disc, PixelSpacing=[0.4, 0.2]).pixels > 0.5
    height, width = np.ptp(np.flatnonzero(found.any(axis=1))), np.ptp(np.flatnonzero(found.any(axis=0)))
    assert found.shape == (200, 200)
    assert abs(int(height) - int(width)) <= 2


def test_pixel_aspect_ratio_counts_where_there_is_no_spacing() -> None:
    assert dicom(PixelAspectRatio=[3, 2]).pixels.shape == (120, 100)  # vertical, horizontal
    assert dicom(PixelAspectRatio=[3, 2]).spacing_mm is None
    assert dicom(PixelAspectRatio=[1, 1]).remarks == ()
    with_both = dicom(PixelAspectRatio=[3, 2], PixelSpacing=[0.1, 0.1])
    assert (with_both.pixels.shape, with_both.remarks) == ((80, 100), ())


@pytest.mark.parametrize("value", [[0, 1], [1, 0], [5], []])
def test_what_is_no_ratio_says_nothing(value: list[int]) -> None:
    assert dicom(PixelAspectRatio=value).remarks == ()


def test_square_and_nearly_square_pixels_stay() -> None:
    for spacing in ([0.1, 0.1], [0.102, 0.1], [0.1, 0.102]):
        found = dicom(PixelSpacing=spacing)
        np.testing.assert_allclose(found.pixels, TALL / np.float32(255), atol=1e-6)
        assert (found.spacing_mm, found.remarks) == (tuple(spacing), ())
    assert codes(dicom(PixelSpacing=[0.103, 0.1])) == ["resampled"]


def test_a_lying_image_is_turned_after_it() -> None:
    # Rows run to the feet, columns to the left: upright is the transposed image.
    found = dicom(PixelSpacing=[0.2, 0.1], PatientOrientation=["F", "L"])
    assert found.pixels.shape == (100, 160)
    assert found.spacing_mm == pytest.approx((0.1, 0.1))
    assert codes(found) == ["resampled", "turned"]


@pytest.mark.parametrize("spacing", [[0.5, 0.1], [0.1, 0.5]])
def test_pixels_beyond_sense_are_refused_in_one_line(spacing: list[float]) -> None:
    with refused(UnsuitableError, "pixel-shape") as caught:
        dicom(PixelSpacing=spacing)
    assert figures(caught.value.finding) == (spacing[0] / spacing[1],)
    assert dicom(PixelSpacing=[0.25, 0.1]).pixels.shape == (200, 100)


def test_the_size_rules_are_those_of_the_square_image() -> None:
    long = ramp(400, 100)  # four times as long as wide as stored, twice with square pixels
    assert dicom(long, PixelSpacing=[0.1, 0.2]).pixels.shape == (400, 200)
    with refused(UnsuitableError, "too-long"):
        dicom(ramp(200, 100), PixelSpacing=[0.2, 0.1])
    with refused(UnsuitableError, "too-small"):
        dicom(ramp(40, 100), PixelSpacing=[0.2, 0.1])


def test_an_image_that_would_become_too_large_gets_smaller(monkeypatch: pytest.MonkeyPatch) -> None:
    assert squared_size(8000, 10000, 1.25) == (10000, 10000)
    assert squared_size(9000, 10000, 1.25) == (9000, 8000)  # 11250 x 10000 is more than 100 million
    assert squared_size(10000, 9000, 0.8) == (8000, 9000)
    monkeypatch.setattr("pulmoscope.io.xray.square.MOST_PIXELS", 10_000)
    found, spacing, flags = squared(TALL / np.float32(255), 2.0, (0.2, 0.1))
    assert found.shape == (80, 50)
    assert spacing == pytest.approx((0.2, 0.2))
    # Averaged: each new column is the mean of two.
    grey = TALL / np.float32(255)
    np.testing.assert_allclose(found, (grey[:, ::2] + grey[:, 1::2]) / 2, atol=1e-6)
    assert [flag.code for flag in flags] == ["resampled"]
    assert picture.MOST_PIXELS == 100_000_000


@pytest.mark.parametrize(
    ("data", "kind"),
    [
        (png(TALL, 2000, 1000, 0), "PNG"),
        (png(TALL, 8000, 4000, 1), "PNG"),
        (jpeg(TALL, 2, 1, 0), "JPEG"),
        (jpeg(TALL, 200, 100, 1), "JPEG"),
        (tiff(TALL, 200, 100), "TIFF"),
    ],
)
def test_a_pictures_two_resolutions_are_believed(data: bytes, kind: str) -> None:
    found = decode(data, "x", kind)
    # Twice as many pixels a length along x: each is half as wide as tall.
    assert found.pixels.shape == (160, 100)
    assert (found.spacing_mm, codes(found)) == (None, ["resampled"])


@pytest.mark.parametrize(
    ("data", "kind"),
    [
        (png(TALL, 4000, 4000, 1), "PNG"),
        (png(TALL, 0, 4000, 1), "PNG"),
        (jpeg(TALL, 0, 0, 0), "JPEG"),
        (jpeg(TALL, 300, 300, 1), "JPEG"),
        (tiff(TALL, 72, 72), "TIFF"),
        (tiff(TALL, 0, 72), "TIFF"),
        (encoded(TALL, "BMP", dpi=(300, 100)), "BMP"),
        (encoded(TALL, "WEBP"), "WebP"),
    ],
)
def test_one_resolution_or_none_changes_nothing(data: bytes, kind: str) -> None:
    found = decode(data, "x", kind)
    assert (found.pixels.shape, found.remarks) == ((80, 100), ())


def test_exifs_resolutions_are_not_believed() -> None:
    exif = Image.Exif()
    exif[282], exif[283], exif[296] = 200.0, 100.0, 2
    found = decode(encoded(TALL, "JPEG", exif=exif), "x", "JPEG")
    assert found.pixels.shape == (80, 100)


def test_a_picture_turned_by_exif_is_squared_as_it_was_stored() -> None:
    exif = Image.Exif()
    exif[274] = 6
    data = encoded(TALL, "TIFF", exif=exif)
    assert decode(data, "x", "TIFF").pixels.shape == (100, 80)
    wide = BytesIO()
    image = Image.fromarray(TALL)
    image.save(wide, "JPEG", exif=exif, dpi=(200, 100), quality=95)
    found = decode(wide.getvalue(), "x", "JPEG")
    # Stored 80 x 100 with pixels twice as tall as wide is 160 x 100, turned by a quarter 100 x 160.
    assert found.pixels.shape == (100, 160)
    assert codes(found) == ["turned", "resampled"]


def test_a_picture_with_pixels_beyond_sense_is_refused() -> None:
    with refused(UnsuitableError, "pixel-shape") as caught:
        decode(jpeg(TALL, 1000, 100, 1), "x", "JPEG")
    assert figures(caught.value.finding) == (10,)
