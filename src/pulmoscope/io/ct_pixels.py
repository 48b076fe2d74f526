"""The pixels of CT slices, from a DICOM file's bytes to HU.

imagecodecs decodes: in threads (it gives up Python's lock), and several times as fast as GDCM or SimpleITK.
"""

from __future__ import annotations

from collections.abc import Callable
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

from pulmoscope.core.errors import InputError, UnreadableError
from pulmoscope.core.types import FloatArray
from pulmoscope.io.ct_header import SliceHeader, Storage
from pulmoscope.io.dicom_rules import shown

Stored = npt.NDArray[np.integer]

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


def decode_into(target: FloatArray, data: bytes, header: SliceHeader) -> None:
    """Decode one slice and put its HU into ``target``, float32 (rows, columns).

    HU = stored value x RescaleSlope + RescaleIntercept (PS3.3 C.11.1.1.2).

    Raises:
        UnreadableError: the pixels are damaged, truncated, of another size than the tags say, or coded in a way
            that is not supported; the message names the file, and no element of it.
    """
    name = header.entry.name
    try:
        stored = stored_values(data, header)
        assert header.storage is not None
        assert header.slope is not None
        assert header.intercept is not None
        size = (header.storage.rows, header.storage.columns)
        if stored.shape != size:
            raise UnreadableError(
                name, f"the pixels are {size[0]} x {size[1]}, as the tags say", f"{stored.shape}"
            )
        np.multiply(stored, np.float32(header.slope), out=target, casting="unsafe")
        np.add(target, np.float32(header.intercept), out=target)
    except InputError:
        raise
    except Exception as error:  # decoders meet damaged bytes with errors of any class
        raise UnreadableError(name, "a DICOM file is whole and undamaged", type(error).__name__) from None


def stored_values(data: bytes, header: SliceHeader) -> Stored:
    """The stored values (rows, columns) of one slice, with sign.

    Raises:
        UnreadableError: a transfer syntax that is not supported, or pixels that are cut off.
        Exception: of any class, where the data are damaged.
    """
    storage, name = header.storage, header.entry.name
    assert storage is not None
    if not storage.offset:
        frames = np.asarray(pixel_array(pydicom.dcmread(BytesIO(data), force=True)))
        return _signed(frames[header.frame] if storage.frames > 1 else frames, storage)
    start, length = _value(data, storage)
    if storage.syntax in _NATIVE:
        return _native(data, start, length, header)
    if storage.syntax not in (*_DECODERS, RLELossless):
        raise UnreadableError(
            name, "the transfer syntax is one that can be decoded", shown(storage.syntax.name)
        )
    if length != _UNDEFINED or data.rfind(_LAST_DELIMITER) < start:
        raise UnreadableError(name, "PixelData ends with a sequence delimiter", "none: truncated")
    stream = _frame(data[start:], header.frame, storage.frames)
    if storage.syntax == RLELossless:
        flat = imagecodecs.dicomrle_decode(stream, dtype=f"<u{storage.bits_allocated // 8}")
        return _signed(
            np.frombuffer(flat, f"<u{storage.bits_allocated // 8}").reshape(storage.rows, -1), storage
        )
    if not stream.rstrip(b"\0").endswith(b"\xff\xd9"):
        raise UnreadableError(name, "a compressed image ends with its end marker", "none: truncated")
    return _signed(np.asarray(_DECODERS[storage.syntax](stream)), storage)


def _value(data: bytes, storage: Storage) -> tuple[int, int]:
    """Where PixelData's value begins, and its length in bytes (PS3.5 7.1)."""
    offset = storage.offset
    if data[offset : offset + 4] != b"\xe0\x7f\x10\x00":
        raise ValueError("no PixelData")
    if storage.syntax == _IMPLICIT:
        return offset + 8, int.from_bytes(data[offset + 4 : offset + 8], "little")
    return offset + 12, int.from_bytes(data[offset + 8 : offset + 12], "little")


def _native(data: bytes, start: int, length: int, header: SliceHeader) -> Stored:
    """Uncompressed values; bits above BitsStored do not count."""
    storage = header.storage
    assert storage is not None
    size = storage.rows * storage.columns * storage.bits_allocated // 8
    begin = start + header.frame * size
    if begin + size > len(data) or (header.frame + 1) * size > length:
        found = f"{max(0, len(data) - begin)} bytes: truncated"
        raise UnreadableError(header.entry.name, f"a slice has {size} bytes of pixels", found)
    flat = np.frombuffer(data, f"<u{storage.bits_allocated // 8}", storage.rows * storage.columns, begin)
    values = flat.reshape(storage.rows, storage.columns)
    if storage.bits_stored < storage.bits_allocated and not storage.signed:
        values = values & values.dtype.type(2**storage.bits_stored - 1)
    return _signed(values, storage)


def _frame(fragments: bytes, frame: int, frames: int) -> bytes:
    """One frame's compressed stream."""
    for place, stream in enumerate(generate_frames(fragments, number_of_frames=frames)):
        if place == frame:
            return bytes(stream)
    raise ValueError("fewer frames than NumberOfFrames says")


def _signed(values: Stored, storage: Storage) -> Stored:
    """Values with the sign that PixelRepresentation gives to their highest stored bit."""
    if not storage.signed or (values.dtype.kind == "i" and storage.bits_stored == 8 * values.dtype.itemsize):
        return values
    bits = 8 * values.dtype.itemsize
    whole = values.astype(f"<i{values.dtype.itemsize}") if values.dtype.kind == "u" else values
    return (whole << (bits - storage.bits_stored)) >> (bits - storage.bits_stored)
