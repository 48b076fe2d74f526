from __future__ import annotations

import struct
import zlib

import cv2
import numpy as np
import pytest
from PIL import Image, ImageFile

from pulmoscope.core.errors import InputError, UnreadableError, UnsuitableError
from pulmoscope.io.xray.raster import decode, size_of
from radiographs import chest, encoded, ramp
from refusals import figures, refused

RAMP = ramp()
GREY = RAMP / np.float32(255)


def codes(data: bytes, kind: str) -> list[str]:
    return [flag.code for flag in decode(data, "x", kind).remarks]


def expect(data: bytes, kind: str, pixels: np.ndarray, atol: float = 1e-6) -> None:
    found = decode(data, "x", kind)
    assert found.pixels.dtype == np.float32
    np.testing.assert_allclose(found.pixels, pixels, atol=atol)


@pytest.mark.parametrize("kind", ["PNG", "TIFF", "BMP", "JPEG"])
def test_the_size_is_read_from_the_header(kind: str) -> None:
    data = encoded(RAMP, kind)
    assert size_of(data, kind) == (80, 100)
    assert size_of(data[:4], kind) == (0, 0)


@pytest.mark.parametrize("kind", ["PNG", "TIFF", "BMP"])
def test_8_bit_grey_is_divided_by_255(kind: str) -> None:
    expect(encoded(RAMP, kind), kind, GREY)
    assert decode(encoded(RAMP, kind), "x", kind).remarks == ()


@pytest.mark.parametrize("options", [{"quality": 95}, {"quality": 95, "progressive": True}])
def test_jpeg_is_read_within_its_loss(options: dict[str, object]) -> None:
    expect(encoded(RAMP, "JPEG", **options), "JPEG", GREY, atol=0.02)


def test_webp_is_read() -> None:
    expect(encoded(Image.fromarray(RAMP).convert("RGB"), "WEBP", lossless=True), "WebP", GREY)


@pytest.mark.parametrize("compression", ["raw", "tiff_lzw", "tiff_adobe_deflate", "packbits"])
def test_compressed_tiff_is_read(compression: str) -> None:
    expect(encoded(RAMP, "TIFF", compression=compression), "TIFF", GREY)


@pytest.mark.parametrize("kind", ["PNG", "TIFF"])
@pytest.mark.parametrize(
    ("top", "divisor"), [(65535, 65535), (4095, 4095), (3000, 4095), (1024, 2047), (300, 511)]
)
def test_16_bit_grey_is_divided_by_the_smallest_range_that_holds_it(
    kind: str, top: int, divisor: int
) -> None:
    deep = ramp(top=top)
    expect(encoded(deep, kind), kind, deep / np.float32(divisor))


def test_16_bit_grey_of_small_values_keeps_8_bits() -> None:
    small = RAMP.astype(np.uint16) // 2
    expect(encoded(small, "PNG"), "PNG", small / np.float32(255))


def test_big_endian_16_bit_tiff_is_read() -> None:
    deep = ramp(top=4095)
    header = b"MM\0*" + struct.pack(">I", 8)
    tags = [(256, 4, 100), (257, 4, 80), (258, 3, 16), (259, 3, 1), (262, 3, 1), (273, 4, 200), (277, 3, 1)]
    tags += [(278, 4, 80), (279, 4, 16000)]
    rows = b"".join(
        struct.pack(">HHI", tag, kind, 1)
        + (struct.pack(">I", value) if kind == 4 else struct.pack(">HH", value, 0))
        for tag, kind, value in tags
    )
    body = header + struct.pack(">H", len(tags)) + rows + struct.pack(">I", 0)
    data = body.ljust(200, b"\0") + deep.astype(">u2").tobytes()
    expect(data, "TIFF", deep / np.float32(4095))


@pytest.mark.parametrize("top", [255, 4095])
def test_white_is_zero_tiff_is_inverted(top: int) -> None:
    stored = ramp(top=top)
    data = encoded(stored, "TIFF")
    black_is_zero, white_is_zero = (struct.pack("<HHIHH", 262, 3, 1, value, 0) for value in (1, 0))
    assert black_is_zero in data
    expect(data.replace(black_is_zero, white_is_zero), "TIFF", 1 - stored / np.float32(top))


@pytest.mark.parametrize("kind", ["PNG", "TIFF", "BMP"])
def test_rgb_of_equal_channels_is_grey(kind: str) -> None:
    expect(encoded(Image.fromarray(RAMP).convert("RGB"), kind), kind, GREY)
    assert codes(encoded(Image.fromarray(RAMP).convert("RGB"), kind), kind) == []


def test_colour_is_flagged() -> None:
    image = np.stack([RAMP, RAMP // 2, RAMP // 4], axis=2)
    luminance = image @ np.array([0.299, 0.587, 0.114]) / 255
    expect(encoded(image, "PNG"), "PNG", luminance, atol=0.003)
    assert codes(encoded(image, "PNG"), "PNG") == ["colour"]


@pytest.mark.parametrize("kind", ["PNG", "TIFF"])
def test_palette_and_1_bit_images_are_read(kind: str) -> None:
    palette = Image.fromarray(RAMP).convert("P")
    inverted = [255 - value for value in range(256) for _ in range(3)]
    palette.putpalette(inverted)
    shown = np.asarray(palette.convert("L")) / np.float32(255)
    expect(encoded(palette, kind), kind, shown)
    expect(encoded(Image.fromarray(RAMP > 127), kind), kind, (RAMP > 127).astype(np.float32))


def test_opaque_alpha_is_ignored_and_transparency_laid_over_black() -> None:
    opaque = Image.fromarray(RAMP).convert("RGBA")
    expect(encoded(opaque, "PNG"), "PNG", GREY)
    assert codes(encoded(opaque, "PNG"), "PNG") == []
    half = np.array(opaque)
    half[:40, :, 3] = 0
    half[40:, :, 3] = 51  # one fifth
    black = np.concatenate([np.zeros((40, 100)), GREY[40:] / 5])
    expect(encoded(half, "PNG"), "PNG", black, atol=0.003)
    assert codes(encoded(half, "PNG"), "PNG") == ["alpha"]
    assert codes(encoded(Image.fromarray(RAMP), "PNG", transparency=0), "PNG") == ["alpha"]


def test_16_bit_colour_keeps_its_depth() -> None:
    deep = ramp(top=4095)
    as_read = np.stack([deep, deep, deep], axis=2)
    for extension, kind in ((".png", "PNG"), (".tiff", "TIFF")):
        data = cv2.imencode(extension, as_read)[1].tobytes()
        expect(data, kind, deep / np.float32(4095))
        assert codes(data, kind) == []
    blue_green_red = np.stack([deep // 8, deep // 2, deep], axis=2)
    data = cv2.imencode(".png", blue_green_red)[1].tobytes()
    assert codes(data, "PNG") == ["colour"]
    alpha = np.full((80, 100, 1), 65535, dtype=np.uint16)
    alpha[:40] = 0
    data = cv2.imencode(".png", np.concatenate([as_read, alpha], axis=2))[1].tobytes()
    assert codes(data, "PNG") == ["alpha"]
    assert not decode(data, "x", "PNG").pixels[:40].any()


# What has to be stored so that it is upright after the reader has obeyed the tag (EXIF 2.3, 4.6.4).
STORED = {
    1: RAMP,
    2: RAMP[:, ::-1],
    3: RAMP[::-1, ::-1],
    4: RAMP[::-1],
    5: RAMP.T,
    6: np.rot90(RAMP, 1),
    7: RAMP[::-1, ::-1].T,
    8: np.rot90(RAMP, -1),
}


@pytest.mark.parametrize("kind", ["PNG", "TIFF", "JPEG"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation_is_obeyed(kind: str, orientation: int) -> None:
    exif = Image.Exif()
    exif[274] = orientation
    stored = Image.fromarray(np.ascontiguousarray(STORED[orientation]))
    data = encoded(stored, kind, exif=exif.tobytes() if kind != "TIFF" else exif)
    expect(data, kind, GREY, atol=0.04 if kind == "JPEG" else 1e-6)
    assert codes(data, kind) == ([] if orientation == 1 else ["turned"])


def test_several_pages_are_refused() -> None:
    pages = [Image.fromarray(RAMP), Image.fromarray(RAMP)]
    for kind, read_as in (("TIFF", "TIFF"), ("PNG", "PNG"), ("WEBP", "WebP")):
        second = Image.fromarray(255 - RAMP)
        data = encoded(pages[0], kind, save_all=True, append_images=[second])
        with refused(UnsuitableError, "several-images"):
            decode(data, "x", read_as)


def test_unsupported_pixels_are_refused() -> None:
    for image in (Image.fromarray(RAMP).convert("F"), Image.fromarray(RAMP).convert("CMYK")):
        with refused(UnreadableError, "unsupported-pixels") as caught:
            decode(encoded(image, "TIFF"), "x", "TIFF")
        assert image.mode in caught.value.finding.split()


def png_chunk(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def test_a_huge_png_header_is_refused_before_decoding() -> None:
    header = png_chunk(b"IHDR", struct.pack(">IIBBBBB", 60_000, 60_000, 8, 0, 0, 0, 0))
    data = (
        b"\x89PNG\r\n\x1a\n"
        + header
        + png_chunk(b"IDAT", zlib.compress(b"\0" * 100))
        + png_chunk(b"IEND", b"")
    )
    with refused(UnsuitableError, "too-many-pixels") as caught:
        decode(data, "x", "PNG")
    assert figures(caught.value.finding) == (60_000, 60_000)


def test_a_png_of_too_few_rows_is_refused() -> None:
    header = png_chunk(b"IHDR", struct.pack(">IIBBBBB", 100, 80, 8, 0, 0, 0, 0))
    rows = zlib.compress(b"".join(b"\0" + row.tobytes() for row in RAMP[:70]))
    data = b"\x89PNG\r\n\x1a\n" + header + png_chunk(b"IDAT", rows) + png_chunk(b"IEND", b"")
    with refused(UnreadableError, "truncated") as caught:
        decode(data, "x", "PNG")
    assert figures(caught.value.finding) == (7070, 8080)  # bytes: 70 and 80 rows of 1 + 100


def test_a_flipped_bit_in_a_png_is_found_by_its_checksum() -> None:
    data = bytearray(encoded(chest(), "PNG"))
    data[len(data) // 2] ^= 1
    with refused(UnreadableError, "damaged"):
        decode(bytes(data), "x", "PNG")


@pytest.mark.parametrize("place", [100, 3000, -400])
def test_a_flipped_bit_in_a_deflated_tiff_is_found_by_its_checksum(place: int) -> None:
    data = bytearray(encoded(chest(), "TIFF", compression="tiff_adobe_deflate"))
    data[place] ^= 16
    with refused(UnreadableError, "damaged"):
        decode(bytes(data), "x", "TIFF")


VALID = {
    "PNG": encoded(chest(), "PNG"),
    "JPEG": encoded(chest(), "JPEG"),
    "TIFF": encoded(chest(), "TIFF", compression="tiff_lzw"),
    "WebP": encoded(Image.fromarray(chest()).convert("RGB"), "WEBP"),
    "BMP": encoded(chest(), "BMP"),
}


@pytest.mark.parametrize("tolerant", [False, True])
@pytest.mark.parametrize("kind", VALID)
def test_every_truncation_is_refused(kind: str, tolerant: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    # Importing WeasyPrint makes Pillow tolerant, for the whole process.
    monkeypatch.setattr(ImageFile, "LOAD_TRUNCATED_IMAGES", tolerant)
    data = VALID[kind]
    decode(data, "x", kind)
    for length in [*range(30, len(data), max(1, len(data) // 60)), *range(len(data) - 20, len(data))]:
        with pytest.raises(InputError):
            decode(data[:length], "x", kind)


@pytest.mark.parametrize("progressive", [False, True])
def test_a_jpeg_cut_off_and_padded_is_refused(progressive: bool) -> None:
    data = encoded(chest(), "JPEG", progressive=progressive)
    for length in range(700, len(data) - 2, 150):
        with pytest.raises(UnreadableError):
            decode(data[:length] + b"\0" * 4096, "x", "JPEG")
