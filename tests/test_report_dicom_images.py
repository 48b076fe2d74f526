"""Image objects lie where their sources lie, voxel for voxel, and say what they are; read back by other libraries."""

from __future__ import annotations

import shutil
import subprocess
from io import BytesIO
from pathlib import Path

import highdicom
import numpy as np
import pytest
import SimpleITK as sitk  # noqa: N813
from highdicom.pm.sop import pmread
from pydicom.dataset import Dataset

from ct_series import CORNER_MM, STEP_MM, drawn_hu, enhanced, file_bytes
from image_objects import (
    HOT,
    SHAPE,
    TILT,
    WAYS,
    common_of,
    objects,
    position_mm,
    radiograph,
    read_back,
    series,
)
from pulmoscope.core.severity import CONSOLIDATION, GLASS

needs_dciodvfy = pytest.mark.skipif(
    not shutil.which("dciodvfy"), reason="dciodvfy (dicom3tools) is not installed"
)


def frames_mm(dataset: Dataset) -> list[tuple[int, set[tuple[float, ...]]]]:
    """Of each frame the number of its segment, and where its pixels above 0 lie in mm, by its own functional groups."""
    shared = dataset.SharedFunctionalGroupsSequence[0]
    axes = np.array(shared.PlaneOrientationSequence[0].ImageOrientationPatient, dtype=float).reshape(2, 3)
    row_mm, column_mm = shared.PixelMeasuresSequence[0].PixelSpacing
    found = []
    pixels = dataset.pixel_array.reshape(-1, dataset.Rows, dataset.Columns)
    for frame, plane in zip(dataset.PerFrameFunctionalGroupsSequence, pixels, strict=True):
        corner = np.array(frame.PlanePositionSequence[0].ImagePositionPatient, dtype=float)
        rows, columns = np.nonzero(plane)
        places = corner + np.outer(columns * column_mm, axes[0]) + np.outer(rows * row_mm, axes[1])
        holder = frame if "SegmentIdentificationSequence" in frame else shared
        identified = holder.get("SegmentIdentificationSequence")
        number = identified[0].ReferencedSegmentNumber if identified else 0
        found.append((int(number), {tuple(place) for place in places.round(2) + 0.0}))
    return found


def segment_mm(dataset: Dataset, number: int) -> set[tuple[float, ...]]:
    """Where a segment lies, mm."""
    return set().union(*(places for segment, places in frames_mm(dataset) if segment == number))


def drawn_mm(mask: np.ndarray, tilt: float = 0.0) -> set[tuple[float, ...]]:
    """Where the voxels of a mask on the drawn chest lie, by the chest's own corner and steps."""
    return {tuple(position_mm(index, tilt).round(2) + 0.0) for index in np.argwhere(mask)}


@pytest.mark.parametrize("way", WAYS)
def test_segments_and_heat_lie_where_the_voxels_lie(tmp_path: Path, way: str) -> None:
    common = common_of(series(tmp_path, way))
    found = {name: read_back(content) for name, content in objects(common)}
    masks = common.diagnosis.masks
    assert masks is not None
    lungs, lesions = found["segmentation-lungs"], found["segmentation-lesions"]
    assert segment_mm(lungs, 1) == drawn_mm(masks.lungs == 1)
    assert segment_mm(lungs, 2) == drawn_mm(masks.lungs == 2)
    assert segment_mm(lesions, 1) == drawn_mm(masks.lesions == GLASS)
    assert segment_mm(lesions, 2) == drawn_mm(masks.lesions == CONSOLIDATION)
    hot = np.zeros(common.diagnosis.scan.pixels.shape, dtype=bool)
    for one in common.diagnosis.explanations:
        hot[one.index] = one.heat > 0
    assert segment_mm(found["heat-map-1"], 0) == drawn_mm(hot)


def test_a_tilted_gantry(tmp_path: Path) -> None:
    common = common_of(series(tmp_path, tilt=TILT))
    assert common.diagnosis.scan.geometry is not None
    assert common.diagnosis.scan.geometry.tilt_deg == pytest.approx(20, abs=0.01)
    found = {name: read_back(content) for name, content in objects(common)}
    assert common.diagnosis.masks is not None
    left = drawn_mm(common.diagnosis.masks.lungs == 2, TILT)
    assert segment_mm(found["segmentation-lungs"], 2) == left


def test_missing_and_uneven_slices(tmp_path: Path) -> None:
    """Without the slices 3 and 4 of 16, what the scan counts as its 4th slice is the chest's 6th."""
    folder = series(tmp_path, "rows upwards")
    for path in list(folder.iterdir()):
        if read_back(path.read_bytes()).ImagePositionPatient[2] in (
            CORNER_MM[2] + 3 * STEP_MM,
            CORNER_MM[2] + 4 * STEP_MM,
        ):
            path.unlink()
    common = common_of(folder)
    masks = common.diagnosis.masks
    assert masks is not None
    drawn = np.insert(masks.lungs, [3, 3], 0, axis=0)
    assert drawn.shape == SHAPE
    found = {name: read_back(content) for name, content in objects(common)}
    assert segment_mm(found["segmentation-lungs"], 1) == drawn_mm(drawn == 1)
    frames = found["heat-map-1"].PerFrameFunctionalGroupsSequence
    heights = [frame.PlanePositionSequence[0].ImagePositionPatient[2] for frame in frames]
    assert heights == [-300 + (index + 2) * STEP_MM for index in HOT]


def test_slices_that_round_their_orientation_differently(tmp_path: Path) -> None:
    folder = series(tmp_path)
    path = next(folder.iterdir())
    dataset = read_back(path.read_bytes())
    dataset.ImageOrientationPatient = [0.999999, 0.000001, 0, 0, 1, 0]
    path.write_bytes(file_bytes(dataset))
    common = common_of(folder)
    assert "ImageOrientationPatient" in common.sources.mended
    assert common.diagnosis.masks is not None
    found = read_back(dict(objects(common))["segmentation-lungs"])
    assert segment_mm(found, 2) == drawn_mm(common.diagnosis.masks.lungs == 2)


def test_one_voxel_derived_by_hand(tmp_path: Path) -> None:
    """Voxel (5, 20, 16) of the scan; stored with rows upwards it is in row 63 - 20 = 43, column 16, of slice 5."""
    common = common_of(series(tmp_path, "rows upwards"))
    assert common.diagnosis.masks is not None
    common.diagnosis.masks.lesions[:] = 0
    common.diagnosis.masks.lesions[5, 20, 16] = CONSOLIDATION
    (content,) = [content for name, content in objects(common) if name == "segmentation-lesions"]
    read = read_back(content)
    (segment,) = read.SegmentSequence  # there is no ground glass
    assert segment.SegmentedPropertyTypeCodeSequence[0].CodeValue == "95436008"
    assert np.argwhere(read.pixel_array.reshape(1, 64, 64)).tolist() == [[0, 43, 16]]
    (frame,) = read.PerFrameFunctionalGroupsSequence
    assert frame.PlanePositionSequence[0].ImagePositionPatient == [-157.5, -190 + 63 * 5, -300 + 5 * STEP_MM]
    (derived,) = frame.DerivationImageSequence
    reference = derived.SourceImageSequence[0].ReferencedSOPInstanceUID
    assert reference == common.sources.images[5].SOPInstanceUID
    assert common.sources.images[5].ImagePositionPatient[2] == CORNER_MM[2] + 5 * STEP_MM


def test_highdicom_gives_each_source_its_mask(tmp_path: Path) -> None:
    common = common_of(series(tmp_path, "columns to the right"))
    content = dict(objects(common))["segmentation-lungs"]
    read = highdicom.seg.segread(BytesIO(content))
    uids = [str(image.SOPInstanceUID) for image in common.sources.images]
    stored = read.get_pixels_by_source_instance(
        uids, combine_segments=True, ignore_spatial_locations=False, assert_missing_frames_are_empty=True
    )
    assert common.diagnosis.masks is not None
    np.testing.assert_array_equal(stored, common.diagnosis.masks.lungs[:, :, ::-1])
    assert [segment.tracking_id for segment in read.SegmentSequence] == ["Right lung", "Left lung"]


def test_simpleitk_lays_it_over_the_series_as_it_reads_it(tmp_path: Path) -> None:
    """The mask of highdicom's volume, resampled by SimpleITK to the grid that its own reader gives the series."""
    common = common_of(series(tmp_path / "ct", "rows upwards"))
    reader = sitk.ImageSeriesReader()
    reader.SetFileNames(reader.GetGDCMSeriesFileNames(str(tmp_path / "ct")))
    image = reader.Execute()
    (tmp_path / "seg.dcm").write_bytes(dict(objects(common))["segmentation-lungs"])
    frames = sitk.GetArrayFromImage(sitk.ReadImage(str(tmp_path / "seg.dcm")))  # by GDCM
    assert common.diagnosis.masks is not None
    assert np.count_nonzero(frames) == np.count_nonzero(common.diagnosis.masks.lungs)
    volume = highdicom.seg.segread(tmp_path / "seg.dcm").get_volume(combine_segments=True)
    mask = sitk.GetImageFromArray(volume.array.astype(np.uint8))
    mask.SetOrigin(volume.position)
    mask.SetSpacing(volume.spacing[::-1])
    mask.SetDirection(volume.direction[:, ::-1].ravel())
    nearest = sitk.Resample(mask, image, sitk.Transform(), sitk.sitkNearestNeighbor, 0)
    laid = sitk.GetArrayFromImage(nearest)
    hu = sitk.GetArrayFromImage(image)
    inside = (hu < -600) & (hu > -950)
    np.testing.assert_array_equal(laid > 0, inside)
    assert np.count_nonzero(laid == 1) == np.count_nonzero(common.diagnosis.masks.lungs == 1)


def test_heat_maps_are_on_their_slices_alone_with_their_values(tmp_path: Path) -> None:
    common = common_of(series(tmp_path, "rows upwards"))
    found = {name: content for name, content in objects(common) if name.startswith("heat-map")}
    assert list(found) == ["heat-map-1", "heat-map-2"]  # one a stage
    read = pmread(BytesIO(found["heat-map-2"]))
    frames = read.PerFrameFunctionalGroupsSequence
    heights = [frame.PlanePositionSequence[0].ImagePositionPatient[2] for frame in frames]
    assert heights == [-300 + index * STEP_MM for index in HOT]
    (mapping,) = read.SharedFunctionalGroupsSequence[0].RealWorldValueMappingSequence
    assert mapping.QuantityDefinitionSequence[0].ConceptCodeSequence[0].CodeValue == "130403"
    real = read.pixel_array * mapping.RealWorldValueSlope + mapping.RealWorldValueIntercept
    heat = [one.heat[::-1] for one in common.diagnosis.explanations if one.stage == 5]
    np.testing.assert_allclose(real, heat, atol=0.5 / 65535)
    assert read.file_meta.TransferSyntaxUID == "1.2.840.10008.1.2.4.80"
    assert (real.max(), real.min()) == (1, 0)


@pytest.mark.parametrize("order", [range(16), range(15, -1, -1), [*range(1, 16, 2), *range(0, 16, 2)]])
def test_frames_of_one_file_in_any_order(tmp_path: Path, order: list[int]) -> None:
    path = tmp_path / "ct.dcm"
    dataset = enhanced(drawn_hu(*SHAPE[:2]), order)
    path.write_bytes(file_bytes(dataset))
    common = common_of(path)
    found = {name: read_back(content) for name, content in objects(common)}
    assert common.diagnosis.masks is not None
    assert segment_mm(found["segmentation-lungs"], 2) == drawn_mm(common.diagnosis.masks.lungs == 2)
    hot = {
        frame.DerivationImageSequence[0].SourceImageSequence[0].ReferencedFrameNumber - 1
        for frame in found["heat-map-1"].PerFrameFunctionalGroupsSequence
    }
    assert {list(order)[frame] for frame in hot} == set(HOT)
    reference = found["overlay-1"].SourceImageSequence[0]
    assert list(order)[reference.ReferencedFrameNumber - 1] == HOT[0]


TURNS = {  # of the scan's row 5, column 10: where it is in the file's 80 rows and 100 columns
    "L\\F": (5, 10),
    "R\\F": (5, 99 - 10),
    "L\\H": (79 - 5, 10),
    "R\\H": (79 - 5, 99 - 10),
    "F\\L": (10, 5),
    "H\\R": (79 - 10, 99 - 5),
}


@pytest.mark.parametrize("orientation", TURNS)
@pytest.mark.parametrize("photometric", ["MONOCHROME1", "MONOCHROME2"])
def test_a_radiograph_is_turned_back(tmp_path: Path, orientation: str, photometric: str) -> None:
    path = radiograph(
        tmp_path / "cr.dcm",
        PatientOrientation=orientation.split("\\"),
        PhotometricInterpretation=photometric,
    )
    common = common_of(path)
    lungs = np.zeros(common.diagnosis.scan.pixels.shape[1:], dtype=bool)
    lungs[5, 10] = True
    object.__setattr__(common.diagnosis, "lungs", lungs)
    found = {name: read_back(content) for name, content in objects(common)}
    assert np.argwhere(found["segmentation-lungs"].pixel_array).tolist() == [list(TURNS[orientation])]
    assert list(found["segmentation-lungs"].PatientOrientation) == orientation.split("\\")


def test_a_heat_map_of_a_radiograph_keeps_its_values(tmp_path: Path) -> None:
    common = common_of(radiograph(tmp_path / "cr.dcm", PatientOrientation=["R", "F"]))
    content = dict(objects(common))["heat-map"]
    read = highdicom.seg.segread(BytesIO(content))
    assert (read.SegmentationType, read.MaximumFractionalValue) == ("FRACTIONAL", 255)
    values = read.get_pixels_by_source_instance(
        [str(common.sources.first.SOPInstanceUID)], ignore_spatial_locations=True
    )
    assert values.shape == (1, 80, 100, 2)
    for number, one in enumerate(common.diagnosis.explanations):
        np.testing.assert_allclose(values[0, ..., number], one.heat[:, ::-1], atol=0.5 / 255)
    types = [segment.SegmentedPropertyTypeCodeSequence[0].CodeValue for segment in read.SegmentSequence]
    assert types == ["130403", "130404"]


def test_a_radiograph_of_oblong_pixels(tmp_path: Path) -> None:
    """Pixels twice as tall as wide: the scan has 160 rows, two for each of the file's."""
    common = common_of(
        radiograph(tmp_path / "cr.dcm", PixelSpacing=[0.4, 0.2], PatientOrientation=["L", "F"])
    )
    assert common.diagnosis.scan.pixels.shape == (1, 160, 100)
    lungs = read_back(dict(objects(common))["segmentation-lungs"]).pixel_array
    assert lungs.shape == (80, 100)
    inside = np.argwhere(lungs)
    assert (inside.min(axis=0).tolist(), inside.max(axis=0).tolist()) in (
        ([2, 10], [14, 19]),
        ([3, 10], [14, 19]),
    )


def test_pixels_as_rle_are_what_others_decode(tmp_path: Path) -> None:
    common = common_of(radiograph(tmp_path / "cr.dcm", PatientOrientation=["L", "F"]))
    path = tmp_path / "heat.dcm"
    path.write_bytes(dict(objects(common))["heat-map"])
    image = sitk.GetArrayFromImage(sitk.ReadImage(str(path)))  # by GDCM
    expected = [np.rint(one.heat * 255) for one in common.diagnosis.explanations]
    np.testing.assert_array_equal(image, expected)


def test_overlays_say_what_they_are(tmp_path: Path) -> None:
    common = common_of(
        radiograph(
            tmp_path / "cr.dcm",
            BurnedInAnnotation="NO",
            PatientAge="034Y",
            ReferringPhysicianName="ward",  # highdicom would warn, and quote it
            LossyImageCompression="01",
            LossyImageCompressionRatio="12.5",
        )
    )
    found = [read_back(content) for name, content in objects(common) if name.startswith("overlay")]
    assert len(found) == 2  # the most probable class, and what is unlike normal lungs
    first = found[0]
    assert first.ImageType == ["DERIVED", "SECONDARY", "OTHER"]
    assert (first.ContentQualification, first.BodyPartExamined) == ("RESEARCH", "CHEST")
    assert (first.PhotometricInterpretation, first.PatientAge) == ("RGB", "034Y")
    assert first.SourceImageSequence[0].ReferencedSOPInstanceUID == common.sources.first.SOPInstanceUID
    assert (first.LossyImageCompression, first.LossyImageCompressionRatio) == ("01", 12.5)
    assert first.BurnedInAnnotation == "NO"  # nothing that names the patient is burned in
    rows, columns, _ = first.pixel_array.shape
    assert columns == 400  # four times as large as the radiograph: the notice needs so much
    assert first.pixel_array[:320].std() > 20
    bar = first.pixel_array[320:rows]
    assert bar.max() > 200  # the notice, white on black
    assert np.median(bar) == 0
    assert first.SeriesInstanceUID == found[1].SeriesInstanceUID != common.sources.first.SeriesInstanceUID


@pytest.mark.parametrize(
    ("stored", "shown"),
    [("L\\F", "L\\F"), ("R\\H", "L\\F"), ("F\\R", "L\\F"), ("A\\F", "A\\F"), ("H\\P", "P\\F"), ("", "L\\F")],
)
def test_overlays_say_how_they_are_turned(tmp_path: Path, stored: str, shown: str) -> None:
    elements = {"PatientOrientation": stored.split("\\")} if stored else {}
    path = radiograph(tmp_path / "cr.dcm", **elements)
    found = [read_back(content) for name, content in objects(common_of(path)) if name.startswith("overlay")]
    assert {"\\".join(one.PatientOrientation) for one in found} == {shown}


def test_equal_input_gives_equal_bytes(tmp_path: Path) -> None:
    first, again = (dict(objects(common_of(series(tmp_path / "ct")))) for _ in range(2))
    assert first == again


@pytest.mark.parametrize(
    "way", ["as a scan", "all the other way", "tilted", "frames", "bare", "xray", "oblong"]
)
@needs_dciodvfy
def test_dciodvfy_finds_no_error(tmp_path: Path, way: str) -> None:
    if way in ("xray", "oblong"):
        path = radiograph(tmp_path / "cr.dcm", PixelSpacing=[0.4, 0.2] if way == "oblong" else [0, 0])
    elif way == "frames":
        path = tmp_path / "ct.dcm"
        path.write_bytes(file_bytes(enhanced(drawn_hu(*SHAPE[:2]), range(16))))
    else:
        path = series(tmp_path / "ct", *([way] if way in WAYS else []), tilt=TILT if way == "tilted" else 0)
    if way == "bare":
        for file in path.iterdir():
            file.write_bytes(b"".join(_without_meta(file)))
    for name, content in objects(common_of(path)):
        (tmp_path / f"{name}.dcm").write_bytes(content)
        said = subprocess.run(
            ["dciodvfy", "-new", str(tmp_path / f"{name}.dcm")], capture_output=True, text=True, check=False
        )
        lines = (said.stderr + said.stdout).splitlines()
        assert not [line for line in lines if line.startswith("Error")], name
        assert said.returncode == 0, name
        known = ("Unrecognized defined term = <QUANTITY>", "needed to build DICOMDIR")
        warnings = [line for line in lines if line.startswith("Warning")]
        assert not [line for line in warnings if not any(one in line for one in known)], name


def _without_meta(path: Path) -> list[bytes]:
    """A file's dataset without preamble and file meta, implicit little endian."""
    stream = BytesIO()
    dataset = read_back(path.read_bytes())
    del dataset.file_meta
    dataset.save_as(stream, implicit_vr=True, little_endian=True)
    return [stream.getvalue()]
