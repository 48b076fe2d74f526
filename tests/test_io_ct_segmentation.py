"""DICOM Segmentations as truth: on the scan's voxels whatever their order, or refused."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import SimpleITK
from pydicom import dcmread
from pydicom.dataset import Dataset
from pydicom.sr.coding import Code
from pydicom.uid import generate_uid

from chests import chest
from ct_series import CORNER_MM, PIXEL_MM, STEP_MM, drawn_hu, file_bytes, slice_datasets, write_slices
from pulmoscope.core.errors import UnsuitableError
from pulmoscope.core.types import Scan
from pulmoscope.datasets.manifest import read
from pulmoscope.io import read_scan
from pulmoscope.io.ct.masks import read_mask
from pulmoscope.io.ct.segmentation import Shown
from pulmoscope.pipeline.truth.evaluate import evaluate_measure
from refusals import refused

highdicom = pytest.importorskip("highdicom")

LUNG, GLASS = Code("39607008", "SCT", "Lung"), Code("112120", "DCM", "Ground glass opacity")
SOLID, HEART = Code("95436008", "SCT", "Lung consolidation"), Code("80891009", "SCT", "Heart")
HU = drawn_hu(side=61)[:, :, :59]  # 61 x 59 bits: frames begin within a byte
RIGHT = (HU < -500) & (np.indices(HU.shape)[0] > 2)
RIGHT[:, :8] = RIGHT[:, -8:] = RIGHT[..., :8] = RIGHT[..., -8:] = False
LEFT = RIGHT & (np.indices(HU.shape)[2] > 29)
RIGHT &= ~LEFT
ILL = RIGHT & (np.indices(HU.shape)[1] > 25)
"""Overlaps the right lung."""
HEARTS = (np.indices(HU.shape) == 7).all(axis=0)
SEGMENTS = {"Right": (RIGHT, LUNG), "Left": (LEFT, LUNG), "Glass": (ILL, GLASS), "Heart": (HEARTS, HEART)}
SLICES = slice_datasets(HU)


def segmentation(
    slices: list[Dataset], segments: dict[str, tuple[np.ndarray, Code]], kind: str = "BINARY"
) -> Dataset:
    """By highdicom: masks in the order of the slices."""
    for image in slices:
        image.StudyDate = image.StudyTime = image.AccessionNumber = image.PatientBirthDate = None
        image.PatientSex = image.StudyID = image.ReferringPhysicianName = None
    described = [
        highdicom.seg.SegmentDescription(
            number, label, Code("123037004", "SCT", "Anatomical Structure"), coded, "MANUAL"
        )
        for number, (label, (_, coded)) in enumerate(segments.items(), 1)
    ]
    pixels = np.stack([mask for mask, _ in segments.values()], axis=-1)
    return highdicom.seg.Segmentation(
        source_images=slices,
        pixel_array=pixels.astype(float if kind == "FRACTIONAL" else np.uint8),
        segmentation_type=kind,
        segment_descriptions=described,
        series_instance_uid=generate_uid(),
        series_number=9,
        sop_instance_uid=generate_uid(),
        instance_number=1,
        manufacturer="Drawn",
        manufacturer_model_name="Drawn",
        software_versions="1",
        device_serial_number="1",
    )


def written(file: Path, found: Dataset) -> Path:
    file.write_bytes(file_bytes(found))
    return file


@pytest.fixture(scope="module")
def seg(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return written(tmp_path_factory.mktemp("seg") / "seg.dcm", segmentation(SLICES, SEGMENTS))


@pytest.fixture(scope="module")
def scan(tmp_path_factory: pytest.TempPathFactory) -> Scan:
    folder = tmp_path_factory.mktemp("series")
    write_slices(folder, SLICES)
    return read_scan(folder, "ct")


def test_segments_by_code_by_number_and_by_label(scan: Scan, seg: Path) -> None:
    np.testing.assert_array_equal(read_mask(seg, scan, Shown.LUNGS), RIGHT | LEFT)
    np.testing.assert_array_equal(read_mask(seg, scan, Shown.LESIONS), ILL)
    np.testing.assert_array_equal(read_mask(Path(f"{seg}#2"), scan, Shown.LUNGS), LEFT)
    np.testing.assert_array_equal(read_mask(Path(f"{seg}#glass, 4"), scan, Shown.LUNGS), ILL | HEARTS)


def test_of_fractions_more_than_half_counts(scan: Scan, tmp_path: Path) -> None:
    drawn = {"Lungs": (RIGHT * 0.4 + LEFT * 0.6, LUNG)}
    file = written(tmp_path / "seg.dcm", segmentation(SLICES, drawn, "FRACTIONAL"))
    np.testing.assert_array_equal(read_mask(file, scan, Shown.LUNGS), LEFT)


def test_a_label_map(scan: Scan, tmp_path: Path) -> None:
    drawn = {name: SEGMENTS[name] for name in ("Right", "Left", "Heart")}
    drawn["Heart"] = (HEARTS & ~RIGHT & ~LEFT, HEART)
    file = written(tmp_path / "seg.dcm", segmentation(SLICES, drawn, "LABELMAP"))
    np.testing.assert_array_equal(read_mask(file, scan, Shown.LUNGS), RIGHT | LEFT)
    np.testing.assert_array_equal(read_mask(Path(f"{file}#2"), scan, Shown.LUNGS), LEFT)


def test_frames_in_reverse_order_on_slices_that_are_stored_turned(tmp_path: Path) -> None:
    """A patient who lies on the belly; the drawing begins at the head."""
    turned = slice_datasets(
        np.ascontiguousarray(HU[:, ::-1, ::-1]), ImageOrientationPatient=[-1, 0, 0, 0, -1, 0]
    )
    write_slices(tmp_path / "series", turned)
    drawn = {"Left": (LEFT[::-1, ::-1, ::-1], LUNG)}
    file = written(tmp_path / "seg.dcm", segmentation(turned[::-1], drawn))
    scan = read_scan(tmp_path / "series", "ct")
    np.testing.assert_array_equal(read_mask(file, scan, Shown.LUNGS), LEFT)


def no_sources(found: Dataset) -> None:
    for frame in found.PerFrameFunctionalGroupsSequence:
        del frame.DerivationImageSequence


def no_places(found: Dataset) -> None:
    del found.SharedFunctionalGroupsSequence[0].PlaneOrientationSequence
    for frame in found.PerFrameFunctionalGroupsSequence:
        del frame.PlanePositionSequence


@pytest.mark.parametrize("change", [no_sources, no_places])
def test_the_position_or_the_source_image_is_enough(
    change: Callable[[Dataset], None], scan: Scan, seg: Path, tmp_path: Path
) -> None:
    found = dcmread(seg)
    change(found)
    file = written(tmp_path / "seg.dcm", found)
    np.testing.assert_array_equal(read_mask(file, scan, Shown.LUNGS), RIGHT | LEFT)


def nowhere(found: Dataset) -> None:
    no_sources(found)
    no_places(found)


def shifted(axis: int) -> Callable[[Dataset], None]:
    def change(found: Dataset) -> None:
        for frame in found.PerFrameFunctionalGroupsSequence:
            frame.PlanePositionSequence[0].ImagePositionPatient[axis] += 2

    return change


@pytest.mark.parametrize(
    ("change", "code"),
    [
        (lambda found: setattr(found, "FrameOfReferenceUID", generate_uid()), "mask-elsewhere"),
        (nowhere, "mask-elsewhere"),
        (shifted(0), "mask-elsewhere"),
        (shifted(2), "mask-slices"),
        (lambda found: setattr(found, "SOPClassUID", SLICES[0].SOPClassUID), "unsupported-object"),
        (lambda found: setattr(found, "Manufacturer", "Pulmoscope"), "own-result"),
        (lambda found: setattr(found, "SegmentSequence", found.SegmentSequence[3:]), "mask-segments"),
    ],
)
def test_what_does_not_fit_is_refused(
    change: Callable[[Dataset], None], code: str, scan: Scan, seg: Path, tmp_path: Path
) -> None:
    found = dcmread(seg)
    change(found)
    with refused(UnsuitableError, code):
        read_mask(written(tmp_path / "seg.dcm", found), scan, Shown.LUNGS)


def test_a_segment_that_is_not_there_is_refused(scan: Scan, seg: Path) -> None:
    with refused(UnsuitableError, "mask-segments"):
        read_mask(Path(f"{seg}#9"), scan, Shown.LUNGS)


def test_frames_of_another_size_are_refused(scan: Scan, tmp_path: Path) -> None:
    slices = slice_datasets(HU[:, :, 1:])
    file = written(tmp_path / "seg.dcm", segmentation(slices, {"Left": (LEFT[:, :, 1:], LUNG)}))
    with refused(UnsuitableError, "mask-size"):
        read_mask(file, scan, Shown.LUNGS)


def test_figures_are_those_of_the_same_masks_as_nifti(tmp_path: Path) -> None:
    drawn = chest()
    slices = slice_datasets(drawn.hu.round().astype(np.int16), PixelSpacing=[2.5, 2.5])
    write_slices(tmp_path / "ct", slices)
    lungs, ill = drawn.lungs, drawn.consolidation
    for name, mask in (("lungs", lungs), ("ill", ill)):
        image = SimpleITK.GetImageFromArray(mask.astype(np.uint8))
        image.SetOrigin(CORNER_MM)
        image.SetSpacing((PIXEL_MM / 2, PIXEL_MM / 2, STEP_MM))
        SimpleITK.WriteImage(image, str(tmp_path / f"{name}.nii.gz"))
    segments = {"Right": (drawn.right, LUNG), "Left": (drawn.left, LUNG), "Dense": (ill, SOLID)}
    written(tmp_path / "seg.dcm", segmentation(slices, segments))
    found = []
    for number, masks in enumerate(("lungs.nii.gz,ill.nii.gz", "seg.dcm,seg.dcm")):
        table = tmp_path / "manifest.csv"
        table.write_text(f"file,label,split,patient,source,lung_mask,lesion_mask\nct,,,p,s,{masks}\n")
        evaluate_measure(read(tmp_path), tmp_path / f"out{number}", bootstrap=20)
        found.append(json.loads((tmp_path / f"out{number}" / "measure.json").read_text()))
    assert found[0]["studies"] == found[1]["studies"]
    assert found[0]["percent_affected"] == found[1]["percent_affected"]
    percent = 100 * ill.sum() / lungs.sum()
    assert found[1]["studies"][0]["percent_true"] == pytest.approx(percent, rel=1e-6)
