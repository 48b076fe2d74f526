"""DICOM → picture: a CR or DX image's stored values become grey in [0, 1], air dark, upright.

The grey scale of one channel goes stored value → modality LUT or rescale → VOI LUT, or else the first window, or else
the range of the values: the whole stored range where at most 8 bits are stored (the image has been rendered before),
the 0.5th to 99.5th percentile otherwise. MONOCHROME1, or PresentationLUTShape INVERSE, inverts it once: the standard
has both say the same of one image (PS3.3 C.8.11.3.1.2). Padding becomes black.
"""

from __future__ import annotations

import functools
from dataclasses import replace
from io import BytesIO

import gdcm
import numpy as np
import numpy.typing as npt
import pydicom
from PIL import Image
from pydicom.dataset import Dataset
from pydicom.encaps import generate_frames
from pydicom.pixels import apply_modality_lut, apply_voi, pixel_array
from pydicom.uid import (
    UID,
    ImplicitVRLittleEndian,
    JPEG2000TransferSyntaxes,
    JPEGBaseline8Bit,
    JPEGExtended12Bit,
    JPEGLossless,
    JPEGLosslessSV1,
    JPEGLSTransferSyntaxes,
    RLELossless,
)

from pulmoscope.core.errors import UnreadableError, UnsuitableError
from pulmoscope.core.facts import Facts, patient_sum
from pulmoscope.core.types import BoolArray, Flag, FlagLevel, FloatArray
from pulmoscope.io import dicom_rules as rules
from pulmoscope.io.deflated import check_deflated
from pulmoscope.io.patient_age import child_flags, iso_date
from pulmoscope.io.quiet import decoding, quieten_decoders, with_complaints
from pulmoscope.io.xray.grey import robust_range, stretch, window
from pulmoscope.io.xray.picture import Picture, check_content, check_size, grey_of_colour
from pulmoscope.io.xray.square import squared

_JPEGS = (JPEGBaseline8Bit, JPEGExtended12Bit, JPEGLossless, JPEGLosslessSV1)
_WITH_END_MARKER = (*_JPEGS, *JPEGLSTransferSyntaxes, *JPEG2000TransferSyntaxes)
_NATIVE = (
    "1.2.840.10008.1.2",  # little endian, implicit and explicit; deflated; big endian
    "1.2.840.10008.1.2.1",
    "1.2.840.10008.1.2.1.99",
    "1.2.840.10008.1.2.2",
)
_PLUGINS = {
    **dict.fromkeys((JPEGBaseline8Bit, JPEGExtended12Bit, *JPEG2000TransferSyntaxes), "pillow"),
    **dict.fromkeys(JPEGLSTransferSyntaxes, "gdcm"),
    RLELossless: "pydicom",
}
_LAST_DELIMITER = b"\xfe\xff\xdd\xe0\x00\x00\x00\x00"
_LARGEST_VALUE = 1e12  # far beyond any sensible rescale, and far from floating point's limits
_FEWEST_STEPS = 16  # stored grey steps that must lie in a range that is taken from the pixels

Stored = npt.NDArray[np.integer]


def decode(data: bytes, name: str) -> Picture:
    """Decode one DICOM file.

    Args:
        data: the whole file.
        name: the file, for messages.

    Raises:
        UnreadableError: damaged, truncated, or coded in a way that is not supported.
        UnsuitableError: not a chest X-ray by its tags; too small, too large, too long; empty.
    """
    _prepare_libraries()
    quieten_decoders()
    with decoding(name):  # pydicom's own messages quote elements
        check_deflated(data, name)
        dataset = pydicom.dcmread(BytesIO(data), force=True)
        rules.check_kind(dataset, name)
        remarks = rules.check_body_part(dataset, name)
        view, sideways = rules.check_view(dataset)
        check_size(name, int(dataset.Rows), int(dataset.Columns), rules.pixel_shape(dataset))
        pixels, noticed = grey_pixels(dataset, stored_values(dataset, data, name), name)
        remarks = (*remarks, *child_flags(dataset), *sideways, *noticed)
        return replace(upright(dataset, pixels, view, remarks, name), facts=facts_of(dataset))


def facts_of(dataset: Dataset) -> Facts:
    """When the radiograph was made and whose it is, for comparing."""
    date, patient = iso_date(rules.code(dataset, "StudyDate")), str(dataset.get("PatientID") or "")
    return Facts(study_date=date, patient=patient_sum(patient))


@functools.cache
def _prepare_libraries() -> None:
    """Have pydicom and GDCM read tolerantly and keep silent: what they say quotes elements of the file."""
    pydicom.config.settings.reading_validation_mode = pydicom.config.IGNORE
    for channel in ("Debug", "Warning", "Error"):
        getattr(gdcm.Trace, f"{channel}Off")()


def stored_values(dataset: Dataset, data: bytes, name: str) -> Stored:
    """The stored values (rows, columns), or (rows, columns, 3) RGB, decompressed.

    Raises:
        UnreadableError: a transfer syntax or pixel format that is not supported, or a stream that is cut off.
    """
    bits = int(dataset.BitsAllocated)
    if bits not in (8, 16) or not 1 <= int(dataset.BitsStored) <= bits:
        finding = f"{int(dataset.BitsStored)} bits stored in {bits}"
        raise UnreadableError(
            name, "unsupported-pixels", finding, "BitsAllocated is 8 or 16, BitsStored no more"
        )
    syntax = UID(dataset.file_meta.get("TransferSyntaxUID", ImplicitVRLittleEndian))
    dataset.file_meta.TransferSyntaxUID = syntax
    if syntax not in (*_NATIVE, RLELossless, *_WITH_END_MARKER):
        finding = f"its transfer syntax can't be decoded: {rules.shown(syntax.name)}"
        raise UnreadableError(name, "unsupported-coding", finding)
    if syntax not in _NATIVE:
        check_stream(dataset, data, name, ends_with_marker=syntax != RLELossless)
    if syntax == JPEGExtended12Bit and bits > 8:
        values, complaint = with_complaints(lambda: extended_jpeg(dataset))
    elif syntax in (JPEGLossless, JPEGLosslessSV1):
        values, complaint = with_complaints(lambda: pixel_array(dataset, decoding_plugin="gdcm"))
    else:
        values, complaint = pixel_array(dataset, decoding_plugin=_PLUGINS.get(syntax, "")), ""
    if complaint:
        raise UnreadableError(name, "damaged", "damaged: its compressed image has errors")
    return np.asarray(values)


def check_stream(dataset: Dataset, data: bytes, name: str, *, ends_with_marker: bool) -> None:
    """Refuse a compressed stream that is cut off, which decoders may pad.

    Raises:
        UnreadableError: the sequence of fragments does not end (PS3.5 A.4), or a JPEG of any kind lacks its marker.
    """
    if data.rfind(_LAST_DELIMITER) < (dataset["PixelData"].file_tell or 0):
        finding = "the file ends before its image does: PixelData has no end"
        raise UnreadableError(name, "truncated", finding)
    stream = b"".join(generate_frames(dataset.PixelData, number_of_frames=1))
    if ends_with_marker and not stream.rstrip(b"\0").endswith(b"\xff\xd9"):
        finding = "the file ends before its image does: no end marker"
        raise UnreadableError(name, "truncated", finding)


def extended_jpeg(dataset: Dataset) -> Stored:
    """Decode JPEG Extended of 12 bits, which GDCM can and pydicom's use of it leaves out."""
    fragment = gdcm.Fragment()
    fragment.SetByteStringValue(b"".join(generate_frames(dataset.PixelData, number_of_frames=1)))
    fragments = gdcm.SequenceOfFragments.New()
    fragments.AddFragment(fragment)
    element = gdcm.DataElement(gdcm.Tag(0x7FE0, 0x0010))
    element.SetValue(fragments.__ref__())
    image = gdcm.Image()
    image.SetNumberOfDimensions(2)
    image.SetDimensions((dataset.Columns, dataset.Rows, 1))
    image.SetDataElement(element)
    image.SetPhotometricInterpretation(
        gdcm.PhotometricInterpretation(gdcm.PhotometricInterpretation.MONOCHROME2)
    )
    image.SetTransferSyntax(gdcm.TransferSyntax(gdcm.TransferSyntax.JPEGExtendedProcess2_4))
    signed = int(dataset.PixelRepresentation)
    image.SetPixelFormat(gdcm.PixelFormat(1, 16, dataset.BitsStored, dataset.BitsStored - 1, signed))
    buffer = image.GetBuffer().encode("utf-8", "surrogateescape")  # GDCM hands bytes over as text
    return np.frombuffer(buffer, "<i2" if signed else "<u2").reshape(dataset.Rows, dataset.Columns)


def grey_pixels(dataset: Dataset, stored: Stored, name: str) -> tuple[FloatArray, tuple[Flag, ...]]:
    """Stored values to float32 (rows, columns) in [0, 1], air dark, and what was noticed.

    Raises:
        UnreadableError: PhotometricInterpretation is not supported.
        UnsuitableError: without a window, too few grey steps are used.
    """
    photometric = rules.code(dataset, "PhotometricInterpretation")
    if stored.ndim == 3 and stored.shape[2] == 3 and stored.dtype == np.uint8:
        grey, flags = grey_of_colour(Image.fromarray(stored))
        return np.divide(grey, np.float32(255), dtype=np.float32), flags
    if stored.ndim != 2 or photometric not in ("MONOCHROME1", "MONOCHROME2"):
        finding = f"PhotometricInterpretation is {rules.shown(photometric)}"
        rule = "MONOCHROME1, MONOCHROME2 and 8-bit colour are read"
        raise UnreadableError(name, "unsupported-pixels", finding, rule)
    bits, signed = int(dataset.BitsStored), int(dataset.PixelRepresentation)
    lowest = -(2 ** (bits - 1)) if signed else 0
    # One table entry for each value that can be stored: exact, and quicker than formulas on every pixel.
    index = np.clip(stored.astype(np.int32) - lowest, 0, 2**bits - 1)
    table, flags = grey_table(dataset, index, lowest, name)
    return table[index], flags


def grey_table(
    dataset: Dataset, index: npt.NDArray[np.int32], lowest: int, name: str
) -> tuple[FloatArray, tuple[Flag, ...]]:
    """The grey of every stored value from ``lowest`` upwards, float32 (2 ** BitsStored,), and what was noticed."""
    bits = int(dataset.BitsStored)
    stored = np.arange(lowest, lowest + 2**bits)
    values = np.asarray(apply_modality_lut(stored, dataset), dtype=np.float64)
    if not np.abs(values).max() < _LARGEST_VALUE:  # nor is it NaN
        finding = f"damaged: its rescaled values reach {_LARGEST_VALUE:.0e} and more"
        raise UnreadableError(name, "damaged", finding)
    padding = padding_of(dataset, stored)
    flags: tuple[Flag, ...] = ()
    table = voi(dataset, values)
    if table is None and bits <= 8:
        table = stretch(values, float(values.min()), float(values.max()))
    if table is None:
        counts = np.bincount(index.ravel(), minlength=stored.size)
        counts[padding] = 0
        if np.count_nonzero(counts) < _FEWEST_STEPS:
            finding = f"the image has {np.count_nonzero(counts)} different grey values"
            raise UnsuitableError(name, "blank", finding, f"at least {_FEWEST_STEPS}")
        low, high = robust_range(values, counts)
        table = stretch(values, low, high)
        flags = (
            Flag(
                "no-window",
                FlagLevel.INFO,
                "no window is given: grey runs from the 0.5th to the 99.5th percentile",
            ),
        )
    if rules.code(dataset, "PhotometricInterpretation") == "MONOCHROME1" or (
        rules.code(dataset, "PresentationLUTShape") == "INVERSE"
    ):
        table = 1 - table
        flags = (*flags, Flag("inverted", FlagLevel.INFO, "stored as a negative, read with air dark"))
    table[padding] = 0
    return table, flags


def voi(dataset: Dataset, values: npt.NDArray[np.float64]) -> FloatArray | None:
    """The first VOI LUT, or else the first window, applied to all values; None where the file has neither."""
    if dataset.get("VOILUTSequence"):
        bits = int(dataset.VOILUTSequence[0].LUTDescriptor[2])
        mapped = apply_voi(np.rint(values).astype(np.int32), dataset)
        return np.asarray(np.clip(mapped / (2**bits - 1), 0, 1), dtype=np.float32)
    centres, widths = rules.values(dataset, "WindowCenter"), rules.values(dataset, "WindowWidth")
    if not centres or not widths:
        return None
    function = rules.code(dataset, "VOILUTFunction") or "LINEAR"
    return window(values, float(centres[0]), float(widths[0]), function)


def padding_of(dataset: Dataset, stored: npt.NDArray[np.int64]) -> BoolArray:
    """Which stored values are padding (PS3.3 C.7.5.1.1.2): PixelPaddingValue, or from there to its range limit."""
    value = dataset.get("PixelPaddingValue")
    if value is None:
        return np.zeros(stored.shape, dtype=bool)
    limit = dataset.get("PixelPaddingRangeLimit", value)
    return np.asarray((stored >= min(value, limit)) & (stored <= max(value, limit)))


def upright(
    dataset: Dataset, pixels: FloatArray, view: str | None, remarks: tuple[Flag, ...], name: str
) -> Picture:
    """Turn the image as PatientOrientation says, make its pixels square, check it, and add spacing and view."""
    check_content(name, pixels)
    pixels, spacing_mm, resampled = squared(pixels, rules.pixel_shape(dataset), rules.spacing(dataset))
    remarks = (*remarks, *resampled)
    transpose, flip_rows, flip_columns = rules.turns(dataset) or (False, False, False)
    if transpose or flip_rows or flip_columns:
        if transpose:
            pixels = pixels.T
            spacing_mm = spacing_mm and (spacing_mm[1], spacing_mm[0])
        pixels = pixels[:: -1 if flip_rows else 1, :: -1 if flip_columns else 1]
        orientation = "\\".join(str(part)[:1] for part in rules.values(dataset, "PatientOrientation"))
        finding = f"turned upright, as PatientOrientation {orientation} says"
        remarks = (*remarks, Flag("turned", FlagLevel.INFO, finding))
    return Picture(np.ascontiguousarray(pixels), spacing_mm, view, remarks)
