"""Lung mask and system B's preprocessing on three real series, every fourth slice; skipped where they are absent."""

from __future__ import annotations

import csv
from functools import cache
from pathlib import Path

import numpy as np
import pytest
import SimpleITK

from pulmoscope.core.types import FloatArray, Point, Units
from pulmoscope.preprocess.ct import CtPreprocess
from pulmoscope.segment.ct_lungs import LungMask, lung_mask

STEP = 4
SERIES = ("P001", "cap001", "normal001")


@cache
def labelled(folder: Path) -> dict[str, list[dict[str, str]]]:
    """The rows of slice_labels.csv by patient, from the feet up, every fourth."""
    with (folder / "slice_labels.csv").open(encoding="utf-8") as stream:
        rows = sorted(csv.DictReader(stream), key=lambda row: int(row["slice_index"]))
    return {patient: [row for row in rows if row["patient"] == patient][::STEP] for patient in SERIES}


@cache
def study(folder: Path, patient: str) -> tuple[FloatArray, Point, LungMask]:
    image = SimpleITK.ReadImage([str(folder / row["file"]) for row in labelled(folder)[patient]])
    column_mm, row_mm, slice_mm = image.GetSpacing()
    hu = SimpleITK.GetArrayFromImage(image).astype(np.float32)
    spacing_mm = (slice_mm, row_mm, column_mm)
    return hu, spacing_mm, lung_mask(hu, spacing_mm)


@pytest.fixture
def folder(shared: Path) -> Path:
    return shared / "data/ct_series"


@pytest.mark.parametrize(
    ("patient", "right_ml", "left_ml"),
    [("P001", 3130, 3060), ("cap001", 1610, 1740), ("normal001", 1880, 1620)],
)
def test_volumes_are_those_of_lungs(folder: Path, patient: str, right_ml: float, left_ml: float) -> None:
    """Measured once, with every outline looked at; cap001's series lacks apex and base."""
    _, spacing_mm, lungs = study(folder, patient)
    assert spacing_mm[0] == pytest.approx(8, abs=0.01)
    assert lungs.right_ml == pytest.approx(right_ml, rel=0.05)
    assert lungs.left_ml == pytest.approx(left_ml, rel=0.05)


@pytest.mark.parametrize("patient", SERIES)
def test_mostly_aerated_and_no_open_air(folder: Path, patient: str) -> None:
    hu, _, lungs = study(folder, patient)
    inside = hu[lungs.labels > 0]
    assert -900 < np.median(inside) < -700
    assert (inside < -980).mean() < 0.03
    assert (inside > -300).mean() < 0.15  # vessels and disease
    columns = [np.nonzero(lungs.labels == side)[2].mean() for side in (1, 2)]
    assert columns[0] < columns[1]


@pytest.mark.parametrize("patient", ["P001", "cap001"])
def test_infected_slices_have_as_much_lung_as_their_neighbours(folder: Path, patient: str) -> None:
    hu, _, lungs = study(folder, patient)
    area = (lungs.labels > 0).sum(axis=(1, 2)) / hu[0].size
    infected = [index for index, row in enumerate(labelled(folder)[patient]) if row["infected"] == "1"]
    assert len(infected) >= 8
    for index in infected:
        assert area[index] > 0.02
        between = area[max(0, index - 1) : index + 2]
        assert area[index] > 0.75 * between.mean()


@pytest.mark.parametrize(("patient", "index"), [("P001", 15), ("cap001", 17)])
def test_consolidation_at_the_back_is_inside(folder: Path, patient: str, index: int) -> None:
    """Slices 60 and 68: dense tissue behind the lower lobe lies within the outline."""
    hu, _, lungs = study(folder, patient)
    right = lungs.labels[index] == 1
    assert (hu[index][right] > -100).sum() * 0.0035 > 3  # cm², at about 0.35 mm² a pixel or more


@pytest.mark.parametrize("patient", SERIES)
def test_system_b_leaves_body_and_takes_the_table(folder: Path, patient: str) -> None:
    hu, _, lungs = study(folder, patient)
    images = CtPreprocess(size=512).slices(hu, Units.HU)
    assert (images[lungs.labels > 0] > 0).mean() > 0.97
    assert not images[:, -20:, 200:300].any()  # the table's middle
    assert np.median(images[hu > 0]) > 200


def test_a_belly_has_no_lungs(shared: Path) -> None:
    image = SimpleITK.ReadImage(str(shared / "data/dicom_odd/abdomen_ct_3mm.nii.gz"))
    hu = SimpleITK.GetArrayFromImage(image).astype(np.float32)[:, ::-1, ::-1]
    assert not lung_mask(np.ascontiguousarray(hu), (3.0, 3.0, 3.0)).found
