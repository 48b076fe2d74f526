"""Reports of real series and radiographs, and of a tilted gantry: what dciodvfy, dcmtk and highdicom say of them."""

from __future__ import annotations

import math
import subprocess
from io import BytesIO
from pathlib import Path

import pytest

pytest.importorskip("highdicom", reason="needs the extra `results`")

import highdicom

from dicom_reports import (
    complaints,
    ct_diagnosis,
    ct_scan,
    needs_dciodvfy,
    needs_dcmtk,
    report_bytes,
    unknown,
    xray_diagnosis,
)
from pulmoscope.core.types import Diagnosis
from pulmoscope.io import read_scan

TILT_DEG = 12.0
SERIES = ("COVID/P001", "CAP/cap001", "Normal/normal001")
RADIOGRAPHS = (
    "pydicom_data/RG1_J2KI.dcm",
    "torchxrayvision/Fake_MONOHR1.dcm",
    "torchxrayvision/1.2.276.0.7230010.3.1.4.8323329.6904.1517875201.850819.dcm",
    "xarpai/02099738-7465-4786-b71c-de8cdac477c3.dcm",
    "xarpai/h_00a85be6-6eb0-421d-8acf-ff2dc0007e8a.dcm",
)
"""The first two are MONOCHROME1."""


def check(diagnosis: Diagnosis, folder: Path) -> None:
    """All three accept the report of a diagnosis."""
    content = report_bytes(diagnosis)
    errors, warnings = complaints(content, folder)
    assert (errors, unknown(warnings)) == ([], [])
    path = folder / "report.dcm"
    path.write_bytes(content)
    assert subprocess.run(["dsrdump", str(path)], capture_output=True).returncode == 0
    assert highdicom.sr.srread(BytesIO(content)).content.get_image_measurement_groups()


@needs_dciodvfy
@needs_dcmtk
@pytest.mark.parametrize("name", SERIES)
def test_a_real_series(name: str, shared: Path, tmp_path: Path) -> None:
    check(ct_diagnosis(read_scan(shared / "data" / "ct_series" / name)), tmp_path)


@needs_dciodvfy
@needs_dcmtk
@pytest.mark.parametrize("name", RADIOGRAPHS)
def test_a_real_radiograph(name: str, shared: Path, tmp_path: Path) -> None:
    check(xray_diagnosis(read_scan(shared / "data" / "xray_dicom" / name)), tmp_path)


@needs_dciodvfy
@needs_dcmtk
def test_a_tilted_gantry(tmp_path: Path) -> None:
    tilt = math.radians(TILT_DEG)
    leaning = [1, 0, 0, 0, round(math.cos(tilt), 6), round(math.sin(tilt), 6)]
    scan = ct_scan(tmp_path / "ct", ImageOrientationPatient=leaning)
    assert [flag.code for flag in scan.remarks] == ["gantry-tilt"]
    check(ct_diagnosis(scan), tmp_path)
