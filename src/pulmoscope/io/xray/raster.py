"""PNG, JPEG, TIFF, WebP and BMP → picture.

Grey values: 1 and 8 bits a channel are divided by the largest value. 16 bits are divided by 2^b − 1, where b, at
least 8, is the smallest number of bits that holds the largest pixel, because scanners store 10 or 12 bits in 16.
Colour becomes luminance; what is transparent becomes black; EXIF's orientation is obeyed; pixels become square.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Callable
from io import BytesIO

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageOps
from PIL.BmpImagePlugin import BmpImageFile
from PIL.ImageFile import ImageFile
from PIL.JpegImagePlugin import JpegImageFile
from PIL.PngImagePlugin import PngImageFile
from PIL.TiffImagePlugin import TiffImageFile
from PIL.WebPImagePlugin import WebPImageFile

from pulmoscope.core.errors import UnreadableError, UnsuitableError
from pulmoscope.core.results import RESULT, RESULT_KEY
from pulmoscope.core.synthetic import XRAY_DESCRIPTION
from pulmoscope.core.types import Bytes, Flag, FlagLevel, FloatArray
from pulmoscope.io.quiet import decoding, quieten_decoders, refuse_truncated, silence_libtiff
from pulmoscope.io.xray.picture import Picture, check_content, check_size, colour_flag, grey_of_colour
from pulmoscope.io.xray.square import squared

# Pillow's own classes instead of Image.open: the format is already known from the content, and Image.open would apply
# its own limit on the number of pixels, which is a process-wide setting.
_OPENERS: dict[str, Callable[[BytesIO], ImageFile]] = {
    "PNG": PngImageFile,
    "JPEG": JpegImageFile,
    "TIFF": TiffImageFile,
    "WebP": WebPImageFile,
    "BMP": BmpImageFile,
}
_X_RESOLUTION, _Y_RESOLUTION = 282, 283
_BITS_PER_SAMPLE, _COMPRESSION, _PHOTOMETRIC, _ORIENTATION = 258, 259, 262, 274
_DEFLATE = (8, 32946)
_DATA_OFFSETS = ((273, 279), (324, 325))  # strips and tiles: where they begin, how many bytes they have
_PNG_CHANNELS = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}  # by colour type
_ALPHA = Flag("alpha", FlagLevel.WARN, "transparent parts were laid over black", "an X-ray has none")

Grey = tuple[Bytes | npt.NDArray[np.uint16], tuple[Flag, ...]]


def decode(data: bytes, name: str, kind: str) -> Picture:
    """Decode one image.

    Args:
        data: the whole file.
        name: the file, for messages.
        kind: ``PNG``, ``JPEG``, ``TIFF``, ``WebP`` or ``BMP``, as its content says.

    Raises:
        UnreadableError: damaged, truncated, or pixels of a kind that is not supported.
        UnsuitableError: several pages; too small, too large, too long; empty; a picture of Pulmoscope's results.
    """
    quieten_decoders()
    refuse_truncated()
    if kind == "TIFF":
        silence_libtiff()
    with decoding(name):
        image = _OPENERS[kind](BytesIO(data))
        ratio = pixel_shape(image)
        check_size(name, image.height, image.width, ratio)
        if getattr(image, "is_animated", False):
            raise UnsuitableError(name, "several-images", "several pages or frames", "an X-ray is one image")
        if image.info.get(RESULT_KEY) == RESULT:
            finding = "a picture that Pulmoscope itself has made"
            raise UnsuitableError(name, "own-result", finding, "an input shows a patient")
        decoded = check_whole(data, name, kind, image)
        orientation = int(image.getexif().get(_ORIENTATION, 1))
        remarks: tuple[Flag, ...] = ()
        if decoded is not None and image.mode == "L" and orientation == 1:
            grey: Bytes | npt.NDArray[np.uint16] = decoded[..., 0]  # as Pillow would decode it once more
        else:
            image.load()
            grey, remarks = to_grey(image, data, name, orientation)
    if orientation in range(2, 9):
        finding = f"turned upright, as EXIF's orientation {orientation} says"
        remarks = (*remarks, Flag("turned", FlagLevel.INFO, finding))
    if str(image.info.get("Description", "")).startswith(XRAY_DESCRIPTION):
        finding = "a program drew this image, by its PNG text: there is no patient"
        remarks = (*remarks, Flag("synthetic", FlagLevel.INFO, finding))
    turned = orientation in (5, 6, 7, 8)  # by a quarter
    pixels, _, resampled = squared(scale(grey), 1 / ratio if turned else ratio)
    check_content(name, pixels)
    return Picture(pixels, remarks=(*remarks, *resampled))


def pixel_shape(image: ImageFile) -> float:
    """A pixel's height / its width by an image's two resolutions; 1 where it has none, or they are not to be believed.

    Which are, and why, is in :mod:`pulmoscope.io.xray.square`. A resolution is pixels a length, the reverse of a
    distance.
    """
    density: tuple[object, ...] = ()
    if isinstance(image, PngImageFile):
        density = image.info.get("dpi") or image.info.get("aspect") or ()
    elif isinstance(image, JpegImageFile):
        density = image.info.get("jfif_density") or ()
    elif isinstance(image, TiffImageFile):
        density = (image.tag_v2.get(_X_RESOLUTION), image.tag_v2.get(_Y_RESOLUTION))
    try:
        across, down = (float(value) for value in density)  # type: ignore[arg-type]
    except (TypeError, ValueError, ZeroDivisionError):
        return 1.0
    return across / down if 0 < across < 1e9 and 0 < down < 1e9 else 1.0


def size_of(data: bytes, kind: str) -> tuple[int, int]:
    """(rows, columns) by an image's header; (0, 0) where that can't be read."""
    quieten_decoders()
    try:
        image = _OPENERS[kind](BytesIO(data))
    except Exception:  # damaged headers end in errors of any class
        return 0, 0
    return image.height, image.width


def scale(grey: Bytes | npt.NDArray[np.uint16]) -> FloatArray:
    """Integers to float32 in [0, 1], by the module's rule."""
    bits = 8 if grey.dtype == np.uint8 else max(8, int(grey.max()).bit_length())
    return np.divide(grey, np.float32(2**bits - 1), dtype=np.float32)


def check_jpeg(data: bytes, name: str, mode: str) -> Bytes:
    """Decode with libjpeg's warnings taken for what they mostly are: bits that have flipped.

    A JPEG has no checksum; Pillow passes over codes that make no sense and shows whatever comes out.

    Returns:
        The pixels, uint8 (rows, columns, channels): 1 where the mode is L, else 3.

    Raises:
        UnreadableError: libjpeg warns of damaged data.
    """
    import simplejpeg

    with decoding(name):
        pixels = simplejpeg.decode_jpeg(data, colorspace="GRAY" if mode == "L" else "RGB", strict=True)
    return np.asarray(pixels)


def check_whole(data: bytes, name: str, kind: str, image: ImageFile) -> Bytes | None:
    """Find the damage that Pillow would overlook.

    Returns:
        The pixels of :func:`check_jpeg`; None of other kinds, which need not be decoded for it.

    Raises:
        UnreadableError: a PNG breaks a rule of :func:`check_png`; a JPEG has no end, or breaks
            one of :func:`check_jpeg`; a TIFF breaks one of :func:`check_tiff`; a WebP is shorter than it says.
    """
    if kind == "PNG":
        check_png(data, name)
    elif kind == "JPEG":
        if data.rfind(b"\xff\xd9") < data.rfind(b"\xff\xda"):
            finding = "the file ends before its image does: no end marker"
            raise UnreadableError(name, "truncated", finding)
        if image.mode in ("L", "RGB"):
            return check_jpeg(data, name, image.mode)
    elif isinstance(image, TiffImageFile):
        check_tiff(data, name, image)
    elif kind == "WebP" and int.from_bytes(data[4:8], "little") + 8 > len(data):
        stated = int.from_bytes(data[4:8], "little") + 8
        raise _truncated(name, len(data), stated)
    return None


def check_tiff(data: bytes, name: str, image: TiffImageFile) -> None:
    """Check that directory, strips and tiles lie within the file, and the checksums of deflated ones.

    Raises:
        UnreadableError: something lies beyond the end.
        zlib.error: a deflated strip or tile is damaged; libtiff does not always read as far as its checksum.
    """
    order = "<" if data.startswith(b"II") else ">"
    (directory,) = struct.unpack_from(f"{order}I", data, 4)
    (tags,) = struct.unpack_from(f"{order}H", data, directory)
    spans: list[tuple[int, int]] = []
    for offsets, counts in _DATA_OFFSETS:
        spans += zip(image.tag_v2.get(offsets, ()), image.tag_v2.get(counts, ()), strict=False)
    end = max([directory + 2 + 12 * tags + 4, *(start + count for start, count in spans)])
    if end > len(data):
        raise _truncated(name, len(data), end)
    if image.tag_v2.get(_COMPRESSION) in _DEFLATE:
        most = 8 * image.width * image.height + 2**20  # four channels of 16 bits, and some padding of tiles
        for start, count in spans:
            most -= inflated_size([memoryview(data)[start : start + count]], most)


def check_png(data: bytes, name: str) -> None:
    """Check every chunk's CRC up to the end chunk, and that the pixels are all there (PNG specification, 5.3 and 10).

    Raises:
        UnreadableError: a checksum is wrong, the file ends before its end chunk, or there are too few pixels.
    """
    view, start, kind, packed = memoryview(data), 8, b"", []
    while kind != b"IEND":
        if start + 12 > len(data):
            raise _truncated(name, len(data), start + 12)
        length, kind = struct.unpack_from(">I4s", data, start)
        end = start + 8 + length
        if end + 4 > len(data):
            raise _truncated(name, len(data), end + 4)
        if zlib.crc32(view[start + 4 : end]) != int.from_bytes(view[end : end + 4], "big"):
            raise UnreadableError(name, "damaged", f"damaged: a checksum is wrong, at byte {start}")
        if kind == b"IDAT":
            packed.append(view[start + 8 : end])
        start = end + 4
    columns, rows, depth, colour, _, _, interlaced = struct.unpack_from(">IIBBBBB", data, 16)
    needed = 0 if interlaced else rows * (1 + (columns * depth * _PNG_CHANNELS[colour] + 7) // 8)
    inflated = inflated_size(packed, needed)
    if inflated < needed:
        finding = f"the file ends before its image does: {inflated} of {needed} bytes of pixels are there"
        raise UnreadableError(name, "truncated", finding)


def _truncated(name: str, inflated: int, needed: int) -> UnreadableError:
    """The refusal of a file of ``inflated`` bytes that needs at least ``needed``."""
    finding = f"the file ends before its image does: {inflated} bytes, of at least {needed}"
    return UnreadableError(name, "truncated", finding)


def inflated_size(packed: list[memoryview], enough: int) -> int:
    """How many bytes a zlib stream in pieces holds, counted up to ``enough`` in little memory.

    Raises:
        zlib.error: the stream is damaged.
    """
    inflating, size = zlib.decompressobj(), 0
    for piece in packed:
        rest: bytes | memoryview = piece
        while rest and size < enough:
            size += len(inflating.decompress(rest, 2**20))
            rest = inflating.unconsumed_tail
    return size


def to_grey(image: ImageFile, data: bytes, name: str, orientation: int) -> Grey:
    """The upright grey values of a loaded image, uint8 or uint16 (rows, columns), and what was noticed.

    Raises:
        UnreadableError: pixels of a kind that is not supported.
    """
    if is_deep_colour(image, data):
        if orientation != 1:
            finding = f"16-bit colour that EXIF's orientation {orientation} turns"
            raise UnreadableError(name, "unsupported-pixels", finding, "16-bit colour is read upright")
        return grey_of_deep_colour(data, name)
    upright: Image.Image = image
    if not isinstance(image, TiffImageFile):  # which Pillow turns while loading
        upright = ImageOps.exif_transpose(image)
    if upright.mode.startswith("I;16"):
        deep = np.asarray(upright).astype(np.uint16)
        # Pillow inverts TIFF's «white is zero» for 8 bits, not for 16.
        if isinstance(image, TiffImageFile) and image.tag_v2.get(_PHOTOMETRIC) == 0:
            deep = np.uint16(2 ** max(8, int(deep.max()).bit_length()) - 1) - deep
        return deep, ()
    if upright.mode in ("LA", "PA", "RGBA") or "transparency" in upright.info:
        return grey_of_alpha(upright.convert("RGBA"))
    if upright.mode in ("1", "L"):
        return np.asarray(upright if upright.mode == "L" else upright.convert("L")), ()
    if upright.mode in ("P", "RGB", "YCbCr"):
        return grey_of_colour(upright if upright.mode == "RGB" else upright.convert("RGB"))
    rule = "grey, palette or RGB of 1, 8 or 16 bits a channel is read"
    raise UnreadableError(name, "unsupported-pixels", f"pixels of Pillow's mode {upright.mode}", rule)


def grey_of_alpha(image: Image.Image) -> Grey:
    """Grey of an RGBA image laid over black."""
    alpha = image.getchannel("A")
    grey, flags = grey_of_colour(image.convert("RGB"))
    if alpha.getextrema() == (255, 255):
        return grey, flags
    covered = np.rint(grey * (np.asarray(alpha) / np.float32(255))).astype(np.uint8)
    return covered, (*flags, _ALPHA)


def is_deep_colour(image: ImageFile, data: bytes) -> bool:
    """Whether a PNG or TIFF has several channels of 16 bits, which Pillow would cut to 8."""
    if isinstance(image, PngImageFile):
        return data[24] == 16 and data[25] != 0
    if isinstance(image, TiffImageFile):
        bits = image.tag_v2.get(_BITS_PER_SAMPLE, (1,))
        return len(bits) > 1 and max(bits) > 8
    return False


def grey_of_deep_colour(data: bytes, name: str) -> Grey:
    """Luminance (ITU-R BT.601) of a 16-bit RGB or RGBA image, laid over black.

    Raises:
        UnreadableError: OpenCV can't decode it.
    """
    import cv2  # a tenth of a second, for a rare kind of file

    colour = cv2.imdecode(np.frombuffer(data, dtype=np.uint8), cv2.IMREAD_UNCHANGED)
    if colour is None or colour.ndim != 3 or colour.dtype != np.uint16:
        finding = "16-bit colour that is neither RGB nor RGBA, or can't be decoded"
        raise UnreadableError(name, "unsupported-pixels", finding)
    grey = colour[..., :3] @ np.array([0.114, 0.587, 0.299])  # OpenCV's order is blue, green, red
    flags: tuple[Flag, ...] = ()
    limit = max(1, int(colour[..., :3].max()))
    coloured = float(np.mean(np.ptp(colour[..., :3].astype(np.int32), axis=2) > limit / 10))
    if coloured > 0.01:
        flags = (colour_flag(coloured),)
    if colour.shape[2] == 4 and colour[..., 3].min() < 65535:
        grey = grey * (colour[..., 3] / 65535)
        flags = (*flags, _ALPHA)
    return np.rint(grey).astype(np.uint16), flags
