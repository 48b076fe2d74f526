from __future__ import annotations

import logging
import os
import struct
import warnings
from pathlib import Path

import pytest

from pulmoscope.core.errors import UnreadableError
from pulmoscope.io import read
from pulmoscope.io.quiet import with_complaints
from pulmoscope.io.xray.raster import decode
from radiographs import chest, dicom_file, encoded


def test_warnings_of_decoders_are_kept_back_and_others_are_not(tmp_path: Path) -> None:
    exif = encoded(chest(), "TIFF")
    # An entry of an unknown type in the directory: Pillow warns, and the picture is fine.
    broken = exif.replace(struct.pack("<HHI", 284, 3, 1), struct.pack("<HHI", 284, 99, 1))
    assert broken != exif
    (tmp_path / "a.tif").write_bytes(broken)
    elements = {"SpecificCharacterSet": "ISO_IR 100", "ViewPosition": "", "SeriesDescription": "PA"}
    path = dicom_file(tmp_path / "b.dcm", chest(), **elements)
    path.write_bytes(path.read_bytes().replace(b"ISO_IR 100", b"NO_SUCH_IR"))
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        results = list(read([tmp_path]))
        warnings.warn("ours", UserWarning, stacklevel=1)
    assert [str(item.message) for item in caught] == ["ours"]
    assert all(result.scan for result in results)


def test_logs_of_decoders_are_kept_back(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    data = encoded(chest(), "TIFF")
    deep = data.replace(struct.pack("<HHIHH", 258, 3, 1, 8, 0), struct.pack("<HHIHH", 277, 3, 1, 99, 0))
    assert deep != data
    with caplog.at_level(logging.WARNING), pytest.raises(UnreadableError):
        decode(deep, "x", "TIFF")
    assert caplog.records == []


def test_libtiff_prints_nothing_about_a_damaged_file(capfd: pytest.CaptureFixture[str]) -> None:
    data = bytearray(encoded(chest(), "TIFF", compression="tiff_lzw"))
    data[3000:3010] = b"\xff" * 10
    with pytest.raises(UnreadableError):
        decode(bytes(data), "x", "TIFF")
    assert capfd.readouterr() == ("", "")


def test_complaints_of_libjpeg_come_with_the_result_and_nothing_else_does(
    capfd: pytest.CaptureFixture[str],
) -> None:
    assert with_complaints(lambda: os.write(2, b"one\nCorrupt JPEG data: two\n")) == (
        27,
        "Corrupt JPEG data: two",
    )
    assert with_complaints(lambda: os.write(2, b"progress")) == (8, "")
    assert capfd.readouterr() == ("", "")
    os.write(2, b"after")
    assert capfd.readouterr().err == "after"
