"""Diagnoses of images in DICOM, made without a model, and what independent programs say of objects."""

from __future__ import annotations

import re
import shutil
import subprocess
from dataclasses import replace
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest
from pydicom import dcmread
from pydicom.dataset import Dataset

from ct_series import drawn_hu, slice_datasets, write_slices
from diagnoses import a_ct_diagnosis, a_diagnosis, an_xray_severity
from pulmoscope.core.severity import RegionMeasure, SeverityMeasure
from pulmoscope.core.types import Diagnosis, Scan
from pulmoscope.io import read_scan
from pulmoscope.report.dicom.common import Common, file_bytes
from pulmoscope.report.dicom.earlier import EarlierReport
from pulmoscope.report.dicom.sources import read_sources
from pulmoscope.report.dicom.structured_report import structured_report
from radiographs import chest, dicom_bytes, dicom_dataset

needs_dciodvfy = pytest.mark.skipif(
    shutil.which("dciodvfy") is None, reason="dciodvfy (dicom3tools) is not there"
)
needs_dcmtk = pytest.mark.skipif(shutil.which("dsrdump") is None, reason="dsrdump (dcmtk) is not there")

KNOWN_WARNINGS = (
    "Unrecognized defined term <99PULMO>",
    "Retired Person Name form",
    "would be needed to build DICOMDIR",
)
"""What dciodvfy warns of, with its reasons in docs/dicom.md."""


def complaints(data: bytes, folder: Path) -> tuple[list[str], list[str]]:
    """Errors and warnings of dciodvfy; its exit code, which is not 0 for an error, is held against them."""
    path = folder / "object.dcm"
    path.write_bytes(data)
    done = subprocess.run(["dciodvfy", str(path)], capture_output=True, text=True, errors="replace")
    lines = (done.stdout + done.stderr).splitlines()
    errors = [line for line in lines if line.startswith("Error")]
    warnings = [line for line in lines if line.startswith("Warning")]
    assert errors or done.returncode == 0, lines
    return errors, warnings


def unknown(warnings: list[str]) -> list[str]:
    """Warnings that docs/dicom.md does not name."""
    return [line for line in warnings if not any(known in line for known in KNOWN_WARNINGS)]


def measured() -> SeverityMeasure:
    """1,000 ml of right lung, of which 200 are affected, and 600 ml of left lung with 40; no upper right third."""
    regions = {
        "right-upper": RegionMeasure(0.0, None, 0),
        "right-middle": RegionMeasure(400.0, 20.0, 2),
        "right-lower": RegionMeasure(600.0, 20.0, 2),
        "left-upper": RegionMeasure(300.0, 0.0, 0),
        "left-lower": RegionMeasure(300.0, 13.333, 2),
    }
    bands = {"hyperinflated": 1.0, "well_aerated": 80.0, "ground_glass": 15.0, "consolidation": 4.0}
    return SeverityMeasure(
        percent_affected=15.0,
        interval=(11.25, 19.5),
        right=20.0,
        left=6.667,
        grade="CT-1",
        score=6,
        regions=regions,
        volumes_ml={"right": 1000.0, "left": 600.0, "both": 1600.0},
        bands={"both": bands},
        slice_fractions=(),
        limits=("The lungs are not seen whole.",),
    )


def ct_scan(folder: Path, slices: int = 16, **elements: Any) -> Scan:
    """A drawn series as it is read; ``elements`` replace or add tags, None removes."""
    write_slices(folder, slice_datasets(drawn_hu(slices), **elements))
    return read_scan(folder)


def ct_diagnosis(scan: Scan, **changes: Any) -> Diagnosis:
    """Of a scan what the pipeline might say of it, with :func:`measured`."""
    return replace(a_ct_diagnosis(), scan=scan, slices=(), explanations=(), severity=measured(), **changes)


def xray_scan(folder: Path, **elements: Any) -> Scan:
    """A drawn radiograph as it is read."""
    folder.mkdir(parents=True, exist_ok=True)
    named = {"StudyInstanceUID": "1.2.3.4", "SeriesInstanceUID": "1.2.3.4.5", **elements}
    (folder / "chest.dcm").write_bytes(dicom_bytes(dicom_dataset(chest(), **named)))
    return read_scan(folder / "chest.dcm")


def xray_diagnosis(scan: Scan, **changes: Any) -> Diagnosis:
    """Of a radiograph likewise, with the severity of :func:`an_xray_severity`."""
    return replace(a_diagnosis(targets=()), scan=scan, **{"xray_severity": an_xray_severity(), **changes})


def report_bytes(diagnosis: Diagnosis, *reports: EarlierReport) -> bytes:
    """The report of a diagnosis as a file."""
    return file_bytes(structured_report(Common(diagnosis, read_sources(diagnosis.scan), reports)))


def report(diagnosis: Diagnosis, *reports: EarlierReport) -> Dataset:
    """The report of a diagnosis, as a file that is read again."""
    return dcmread(BytesIO(report_bytes(diagnosis, *reports)))


def groups(dataset: Dataset) -> dict[str, list[Dataset]]:
    """Tracking identifier of each measurement group → its content items."""
    measurements = next(item for item in dataset.ContentSequence if name(item) == "Imaging Measurements")
    return {
        next(
            str(item.TextValue) for item in group.ContentSequence if name(item) == "Tracking Identifier"
        ): list(group.ContentSequence)
        for group in measurements.ContentSequence
    }


def name(item: Dataset) -> str:
    return str(item.ConceptNameCodeSequence[0].CodeMeaning)


def code(item: Dataset) -> tuple[str, str]:
    """Value and scheme of a coded answer."""
    answer = item.ConceptCodeSequence[0]
    return str(answer.CodeValue), str(answer.CodingSchemeDesignator)


def numbers(items: list[Dataset]) -> dict[str, tuple[float, str]]:
    """Name of each figure of a group, with what it is about behind it → value and unit."""
    found = {}
    for item in items:
        if item.ValueType == "NUM":
            about = [str(one.ConceptCodeSequence[0].CodeMeaning) for one in item.get("ContentSequence", ())]
            (value,) = item.MeasuredValueSequence
            unit = str(value.MeasurementUnitsCodeSequence[0].CodeValue)
            found[" of ".join([name(item), *about])] = float(value.NumericValue), unit
    return found


def coded(items: list[Dataset]) -> dict[str, tuple[str, str]]:
    """Name of each coded answer of a group → its code."""
    return {name(item): code(item) for item in items if item.ValueType == "CODE"}


def texts(items: list[Dataset]) -> dict[str, str]:
    return {name(item): str(item.TextValue) for item in items if item.ValueType == "TEXT"}


def says_of_patient(text: str) -> bool:
    """Whether the drawn patient's name or id is in a text."""
    return bool(re.search("secret", text, re.IGNORECASE))
