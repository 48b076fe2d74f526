"""A volume's file as bytes: unpacked, whole, and all there is, before SimpleITK sees it.

ITK takes a file that is cut short for whole (what is missing becomes 0 HU, as does NaN in NIfTI), unpacks without a
limit, and reads any file on the machine that a header names. So the packing is undone here, where lengths and checksums
are compared.
"""

from __future__ import annotations

import gzip
import re
import struct
import zlib
from dataclasses import dataclass
from io import BytesIO

import numpy as np

from pulmoscope.core.errors import UnreadableError, UnsuitableError
from pulmoscope.io.formats import HEAD, VOLUMES, format_of
from pulmoscope.io.inputs import LARGEST_FILE, LARGEST_RATIO

_LOCAL = re.compile(rb"\n[ \t]*ElementDataFile[ \t]*[=:][ \t]*(\w+)[ \t]*\r?\n")
_PACKED = re.compile(rb"(\n[ \t]*CompressedData[ \t]*[=:][ \t]*)True\b", re.IGNORECASE)
_ENCODING = re.compile(rb"(\nencoding:[ \t]*)([\w-]+)", re.IGNORECASE)
_FLOATS = {16: "f4", 64: "f8"}  # NIfTI's numbers for its types


@dataclass(frozen=True)
class Container:
    """What a volume's file holds, not packed in any way.

    Attributes:
        kind: its format.
        data: header and voxels.
        start: where the voxels begin.
        voxel_bytes: of one voxel, where the header was asked for it; else 0.
    """

    kind: str
    data: bytes
    start: int
    voxel_bytes: int = 0


def open_container(name: str, data: bytes, most: int | None = None) -> Container:
    """Unpack a volume's file.

    Args:
        most: to how many bytes it may unpack; default: to so many times its own as an image does.

    Raises:
        UnreadableError: no volume; cut short or damaged; packed in a way that is not supported, or a bomb.
        UnsuitableError: its voxels lie in another file.
        Exception: of any class, where its header is damaged.
    """
    most = most or min(4 * LARGEST_FILE, max(2**20, LARGEST_RATIO * len(data)))
    plain = _unpacked(name, data, most) if data.startswith(b"\x1f\x8b") else data
    kind = format_of(plain[:HEAD])
    if kind == "NIfTI":
        return _nifti(name, plain)
    if kind == "MetaImage":
        return _metaimage(name, plain, most)
    if kind == "NRRD":
        return _nrrd(name, plain, most)
    raise UnreadableError(
        name, "not-an-image", "what is packed is no volume", f"{', '.join(VOLUMES)} are read"
    )


def check_whole(name: str, container: Container, voxels: int, voxel_bytes: int) -> None:
    """Refuse a file that has fewer bytes than its header says.

    Raises:
        UnreadableError: it has.
    """
    expected = voxels * (container.voxel_bytes or voxel_bytes)
    length = len(container.data) - container.start
    if length < expected:
        finding = f"{max(0, length)} of {expected} bytes of voxels are there"
        raise UnreadableError(name, "truncated", f"the file ends before its image does: {finding}")


def _nifti(name: str, data: bytes) -> Container:
    """NIfTI-1 and -2 by their headers' own fields."""
    second = data[4:8] == b"n+2\0"
    order = "<" if struct.unpack("<i", data[:4])[0] in (348, 540) else ">"
    kind, bits = struct.unpack(f"{order}2h", data[12:16] if second else data[70:74])
    offset = (
        struct.unpack(f"{order}q", data[168:176])[0]
        if second
        else struct.unpack(f"{order}f", data[108:112])[0]
    )
    start = max(544 if second else 352, int(offset))
    if kind in _FLOATS:
        count = (len(data) - start) // (bits // 8)
        if not np.isfinite(
            np.frombuffer(data, order + _FLOATS[kind], max(0, count), min(start, len(data)))
        ).all():
            raise UnsuitableError(name, "not-hu", "some voxels are no numbers: NaN or infinity")
    return Container("NIfTI", data, start, bits // 8)


def _metaimage(name: str, data: bytes, most: int) -> Container:
    """MetaImage; voxels may be packed by zlib."""
    match = _LOCAL.search(data[: 2**16])
    # A second one, before or after it, could be the one that counts.
    if match is None or match[1].lower() != b"local" or data.count(b"ElementDataFile") != 1:
        raise _elsewhere(name)
    header, voxels = data[: match.end()], data[match.end() :]
    if _PACKED.search(header):
        header, voxels = _PACKED.sub(rb"\1False", header), _unpacked(name, voxels, most)
    return Container("MetaImage", header + voxels, len(header))


def _nrrd(name: str, data: bytes, most: int) -> Container:
    """NRRD; voxels may be packed by gzip."""
    match = re.match(rb".*?\n\r?\n", data, re.DOTALL)
    if match is None or re.search(rb"data[ \t]*file[ \t]*:", match[0], re.IGNORECASE):
        raise _elsewhere(name)
    header, voxels = match[0], data[match.end() :]
    encoding = _ENCODING.search(header)
    if encoding is None or encoding[2].lower() not in (b"raw", b"gzip", b"gz"):
        finding = "the NRRD file is packed in a way that can't be unpacked"
        raise UnreadableError(name, "unsupported-coding", finding, "encoding raw or gzip is read")
    if encoding[2].lower() != b"raw":
        header, voxels = _ENCODING.sub(rb"\1raw", header), _unpacked(name, voxels, most)
    return Container("NRRD", header + voxels, len(header))


def _elsewhere(name: str) -> UnsuitableError:
    finding = "its voxels lie in another file"
    return UnsuitableError(
        name, "detached-data", finding, "a volume's header and voxels are read from one file"
    )


def _unpacked(name: str, data: bytes, most: int) -> bytes:
    """Gzipped or zlib's bytes unpacked, their checksum compared.

    Raises:
        UnreadableError: they unpack to more than ``most``.
        OSError, EOFError, zlib.error: they are damaged or cut short.
    """
    if data.startswith(b"\x1f\x8b"):
        with gzip.GzipFile(fileobj=BytesIO(data)) as stream:
            plain = stream.read(most + 1)  # up to the end, where the checksum is compared
    else:
        inflating = zlib.decompressobj()
        plain = inflating.decompress(data, most + 1)
        if not inflating.eof and len(plain) <= most:
            raise EOFError
    if len(plain) > most:
        finding = f"it unpacks to more than {most // 2**20} MiB, from {len(data) / 2**20:.2g} MiB"
        raise UnreadableError(name, "decompression-bomb", finding)
    return plain
