"""The pixels of CT slices, from a DICOM file's bytes to HU.

imagecodecs decodes: in threads (it gives up Python's lock), and several times as fast as GDCM or SimpleITK.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from io import BytesIO

import imagecodecs
import numpy as np
import numpy.typing as npt
import pydicom
from pydicom.encaps import generate_frames
from pydicom.pixels import pixel_array
from pydicom.uid import (
    UID,
    HTJ2KLossless,
    HTJ2KLosslessRPCL,
    JPEG2000TransferSyntaxes,
    JPEGBaseline8Bit,
    JPEGExtended12Bit,
    JPEGLossless,
    JPEGLosslessSV1,
    JPEGLSTransferSyntaxes,
    RLELossless,
)

from pulmoscope.core.errors import UnreadableError
from pulmoscope.core.types import Voxels
from pulmoscope.io.ct.header import SliceHeader, Storage
from pulmoscope.io.deflated import check_deflated
from pulmoscope.io.dicom_rules import shown
from pulmoscope.io.quiet import decoding

Stored = npt.NDArray[np.integer]
Frames = Callable[[int], Stored]
"""From a frame's number to its stored values (rows, columns), as they come from the decoder."""

_NATIVE = ("1.2.840.10008.1.2", "1.2.840.10008.1.2.1", "1.2.840.10008.1.2.1.98")
_IMPLICIT = "1.2.840.10008.1.2"
_DECODERS: dict[UID, Callable[[bytes], Stored]] = {
    **dict.fromkeys(
        (JPEGBaseline8Bit, JPEGExtended12Bit, JPEGLossless, JPEGLosslessSV1), imagecodecs.jpeg8_decode
    ),
    **dict.fromkeys(JPEGLSTransferSyntaxes, imagecodecs.jpegls_decode),
    **dict.fromkeys((*JPEG2000TransferSyntaxes, HTJ2KLossless, HTJ2KLosslessRPCL), imagecodecs.jpeg2k_decode),
}
_LAST_DELIMITER = b"\xfe\xff\xdd\xe0\x00\x00\x00\x00"
_UNDEFINED = 0xFFFFFFFF
_LEAST, _MOST = -(2**15), 2**15 - 1
"""That int16 holds."""


def decode_file(data: bytes, slices: Sequence[tuple[Voxels, SliceHeader]]) -> list[UnreadableError | None]:
    """Decode slices of one file, and put the HU of each into its target, float32 or int16 (rows, columns).

    HU = stored value x RescaleSlope + RescaleIntercept (PS3.3 C.11.1.1.2).

    Returns:
        For each slice None, or why it can't be decoded: pixels that are damaged, truncated, of another size than the
        tags say, or coded in a way that is not supported. The message names the file, and no element of it.

    Raises:
        OverflowError: HU do not fit into an int16 target.
    """
    first = slices[0][1]
    try:
        with decoding(first.entry.name):
            frames = open_frames(data, first)
    except UnreadableError as error:
        return [error] * len(slices)
    errors: list[UnreadableError | None] = []
    for target, header in slices:
        try:
            with decoding(header.entry.name):
                stored = _stored(frames, header)
            _to_hu(stored, header, target)
            errors.append(None)
        except UnreadableError as error:
            errors.append(error)
    return errors


def has_whole_hu(header: SliceHeader) -> bool:
    """Whether a slice's rescale gives whole numbers, which may fit into int16."""
    numbers = header.slope, header.intercept
    return all(number is not None and number.is_integer() for number in numbers)


def _stored(frames: Frames, header: SliceHeader) -> Stored:
    """A slice's stored values, of the size that its header says."""
    storage = header.storage
    assert storage is not None
    stored = signed(frames(header.frame), header)
    size = (storage.rows, storage.columns)
    if stored.shape != size:
        shape = " x ".join(map(str, stored.shape))
        finding = f"damaged: {shape} pixels, and {size[0]} x {size[1]} by its header"
        raise UnreadableError(header.entry.name, "damaged", finding)
    return stored


def _to_hu(stored: Stored, header: SliceHeader, target: Voxels) -> None:
    """Stored values as HU, put into the target."""
    assert header.slope is not None
    assert header.intercept is not None
    if target.dtype == np.float32:
        np.multiply(stored, np.float32(header.slope), out=target, casting="unsafe")
        np.add(target, np.float32(header.intercept), out=target)
        return
    slope, intercept = int(header.slope), int(header.intercept)
    ends = [int(end) * slope + intercept for end in (stored.min(), stored.max())]
    if min(ends) < _LEAST or max(ends) > _MOST:
        raise OverflowError
    # Whatever wraps on the way wraps back: the sum fits.
    np.multiply(stored.astype(np.int16), np.int16(slope), out=target)
    np.add(target, np.int16(intercept), out=target)


def open_frames(data: bytes, header: SliceHeader) -> Frames:
    """Find the frames of a file.

    Raises:
        UnreadableError: a transfer syntax that is not supported, or pixels that are cut off.
        Exception: of any class, where the data are damaged.
    """
    storage, name = header.storage, header.entry.name
    assert storage is not None
    if not storage.offset:
        check_deflated(data, name)
        parsed = np.asarray(pixel_array(pydicom.dcmread(BytesIO(data), force=True), raw=True))
        return lambda frame: parsed[frame] if storage.frames > 1 else parsed
    start, length = _value(data, storage)
    if storage.syntax in _NATIVE:
        return lambda frame: _native(data, start, length, frame, header)
    if storage.syntax not in (*_DECODERS, RLELossless):
        finding = f"its transfer syntax can't be decoded: {shown(storage.syntax.name)}"
        raise UnreadableError(name, "unsupported-coding", finding)
    if length != _UNDEFINED or data.rfind(_LAST_DELIMITER) < start:
        finding = "the file ends before its image does: PixelData has no end"
        raise UnreadableError(name, "truncated", finding)
    streams = list(generate_frames(data[start:], number_of_frames=storage.frames))
    return lambda frame: _decompressed(bytes(streams[frame]), header)


def _value(data: bytes, storage: Storage) -> tuple[int, int]:
    """Where PixelData's value begins, and its length in bytes (PS3.5 7.1)."""
    offset = storage.offset
    if data[offset : offset + 4] != b"\xe0\x7f\x10\x00":
        raise ValueError("no PixelData")
    if storage.syntax == _IMPLICIT:
        return offset + 8, int.from_bytes(data[offset + 4 : offset + 8], "little")
    return offset + 12, int.from_bytes(data[offset + 8 : offset + 12], "little")


def _native(data: bytes, start: int, length: int, frame: int, header: SliceHeader) -> Stored:
    """Uncompressed values."""
    storage = header.storage
    assert storage is not None
    size = storage.rows * storage.columns * storage.bits_allocated // 8
    begin = start + frame * size
    if begin + size > len(data) or (frame + 1) * size > length:
        there = f"{max(0, min(len(data) - begin, length - frame * size))} of {size} bytes of pixels are there"
        finding = f"the file ends before its image does: {there}"
        raise UnreadableError(header.entry.name, "truncated", finding)
    flat = np.frombuffer(data, f"<u{storage.bits_allocated // 8}", storage.rows * storage.columns, begin)
    return flat.reshape(storage.rows, storage.columns)


def _decompressed(stream: bytes, header: SliceHeader) -> Stored:
    """One frame's compressed stream decoded."""
    storage, name = header.storage, header.entry.name
    assert storage is not None
    if storage.syntax == RLELossless:
        kind = f"<u{storage.bits_allocated // 8}"
        flat = np.frombuffer(imagecodecs.dicomrle_decode(stream, dtype=kind), kind)
        return flat.reshape(storage.rows, storage.columns)
    if not stream.rstrip(b"\0").endswith(b"\xff\xd9"):
        finding = "the file ends before its image does: no end marker"
        raise UnreadableError(name, "truncated", finding)
    values: Stored = np.asarray(_DECODERS[storage.syntax](stream))
    if not storage.signed and int(values.max()) >= 2**storage.bits_stored:
        # Nothing else shows that a lossless JPEG is damaged: its decoder goes on with any differences.
        finding = f"damaged: a value of {int(values.max())}, where {storage.bits_stored} bits are stored"
        raise UnreadableError(name, "damaged", finding)
    return values


def signed(values: Stored, header: SliceHeader) -> Stored:
    """Values of the bits that are stored, with the sign that PixelRepresentation gives to the highest of them."""
    storage = header.storage
    assert storage is not None
    bits = 8 * values.dtype.itemsize
    if storage.bits_stored < bits and not storage.signed:
        return values & values.dtype.type(2**storage.bits_stored - 1)
    if not storage.signed or (values.dtype.kind == "i" and storage.bits_stored == bits):
        return values
    whole = values.astype(f"<i{values.dtype.itemsize}")
    return (whole << (bits - storage.bits_stored)) >> (bits - storage.bits_stored)
