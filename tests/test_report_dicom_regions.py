"""Where the report's groups lie: a CT's lungs refer to segments, a radiograph's zones are outlined; by highdicom."""

from __future__ import annotations

from dataclasses import replace
from io import BytesIO
from pathlib import Path

import pytest

pytest.importorskip("highdicom", reason="needs the extra `results`")

import highdicom
from pydicom.dataset import Dataset

from diagnoses import an_xray_severity
from dicom_reports import complaints, measured, needs_dciodvfy, unknown
from image_objects import common_of, file_bytes, radiograph, read_back, series
from pulmoscope.core.xray_severity import ZONES, Zone
from pulmoscope.report.dicom.common import Common
from pulmoscope.report.dicom.earlier import read_report
from pulmoscope.report.dicom.segmentation import segmentations
from pulmoscope.report.dicom.structured_report import structured_report
from pulmoscope.report.dicom.words import words

Box = tuple[int, int, int, int]
OUTLINES = {  # of the scan's rows 4 to 14 and columns 10 to 40: (column, row) of the outline's two corners in the file
    # of 80 rows and 100 columns
    "L\\F": (10, 4, 40, 14),
    "R\\F": (60, 4, 90, 14),
    "L\\H": (10, 66, 40, 76),
    "R\\H": (60, 66, 90, 76),
    "F\\L": (4, 10, 14, 40),
    "H\\R": (86, 40, 96, 70),
}


def ct_objects(folder: Path) -> tuple[Common, Dataset, bytes]:
    """What the objects of a simulated CT are made of, its lungs as a Segmentation, and its report."""
    common = common_of(series(folder))
    common = Common(replace(common.diagnosis, severity=measured()), common.sources)
    made = dict(segmentations(common))
    report = structured_report(common, list(made.values()))
    return common, made["segmentation-lungs"], file_bytes(report)


def xray_report(path: Path, box: Box) -> bytes:
    """The report of a radiograph whose zone A has this box: top, left, height, width."""
    common = common_of(path)
    severity = an_xray_severity()
    zones = {**severity.zones, "A": Zone(severity.zones["A"].score, *box)}
    diagnosis = replace(common.diagnosis, xray_severity=replace(severity, zones=zones))
    return file_bytes(structured_report(Common(diagnosis, common.sources)))


def planar(report: bytes) -> list[highdicom.sr.PlanarROIMeasurementsAndQualitativeEvaluations]:
    document = highdicom.sr.srread(BytesIO(report))
    return document.content.get_planar_roi_measurement_groups()


def test_each_lung_refers_to_its_segment(tmp_path: Path) -> None:
    common, lungs, report = ct_objects(tmp_path)
    document = highdicom.sr.srread(BytesIO(report))
    found = document.content.get_volumetric_roi_measurement_groups()
    assert [group.tracking_identifier for group in found] == ["Right lung", "Left lung"]
    segments = {int(one.SegmentNumber): one for one in lungs.SegmentSequence}
    for group in found:
        item = group.referenced_segment
        segment = segments[item.referenced_segment_numbers[0]]
        assert item.referenced_sop_instance_uid == lungs.SOPInstanceUID
        assert segment.SegmentLabel == group.tracking_identifier
        assert segment.TrackingUID == group.tracking_uid
    (series_uid,) = {str(group.referenced_segment.source_series_for_segmentation.value) for group in found}
    assert series_uid == common.sources.first.SeriesInstanceUID


def test_without_masks_lungs_have_figures_alone(tmp_path: Path) -> None:
    common, _, _ = ct_objects(tmp_path)
    document = highdicom.sr.srread(BytesIO(file_bytes(structured_report(common))))
    assert document.content.get_volumetric_roi_measurement_groups() == []
    titles = [group.tracking_identifier for group in document.content.get_image_measurement_groups()]
    assert {"Right lung", "Left lung"} <= set(titles)


@pytest.mark.parametrize("orientation", OUTLINES)
def test_a_zone_is_outlined_where_it_lies(tmp_path: Path, orientation: str) -> None:
    path = radiograph(tmp_path / "cr.dcm", PatientOrientation=orientation.split("\\"))
    upright = orientation[0] in "LR"
    assert common_of(path).diagnosis.scan.pixels.shape[1:] == ((80, 100) if upright else (100, 80))
    group = planar(xray_report(path, (4, 10, 10, 30)))[0]
    left, top, right, bottom = OUTLINES[orientation]
    corners = [[left, top], [right, top], [right, bottom], [left, bottom], [left, top]]
    assert group.roi.value.tolist() == corners
    assert group.roi.graphic_type.value == "POLYLINE"


def test_a_zone_on_oblong_pixels(tmp_path: Path) -> None:
    """Pixels twice as tall as wide: two rows of the scan are one of the file."""
    path = radiograph(tmp_path / "cr.dcm", PixelSpacing=[0.4, 0.2], PatientOrientation=["L", "F"])
    outline = planar(xray_report(path, (20, 10, 40, 30)))[0].roi.value
    assert (outline.min(axis=0).tolist(), outline.max(axis=0).tolist()) == ([10, 10], [40, 30])


def test_a_zone_beyond_the_image_is_cut_or_has_no_outline(tmp_path: Path) -> None:
    path = radiograph(tmp_path / "cr.dcm", PatientOrientation=["L", "F"])
    outline = planar(xray_report(path, (-5, 90, 20, 30)))[0].roi.value
    assert (outline.min(axis=0).tolist(), outline.max(axis=0).tolist()) == ([90, 0], [100, 15])
    assert len(planar(xray_report(path, (-20, 90, 20, 30)))) == len(ZONES) - 1


def test_segments_and_outlines_are_no_further_images(tmp_path: Path) -> None:
    common, _, report = ct_objects(tmp_path / "ct")
    read = read_report(read_back(report))
    assert read is not None
    assert read.images == frozenset(common.sources.instances)
    lines = words(read_back(report), "report.dcm")
    assert f"About           {len(common.sources.instances)} images of its study" in lines
    assert "  Referenced Segment: 2" in lines
    zone = words(
        read_back(
            xray_report(radiograph(tmp_path / "cr.dcm", PatientOrientation=["L", "F"]), (4, 10, 10, 30))
        ),
        "report.dcm",
    )
    assert "About           1 image of its study" in zone
    assert sum("outlined on the image" in line for line in zone) == len(ZONES)


@needs_dciodvfy
def test_dciodvfy_finds_no_error(tmp_path: Path) -> None:
    path = radiograph(tmp_path / "cr.dcm", PatientOrientation=["L", "F"])
    for report in (ct_objects(tmp_path / "ct")[2], xray_report(path, (4, 10, 10, 30))):
        errors, warnings = complaints(report, tmp_path)
        assert errors == []
        assert unknown(warnings) == []
