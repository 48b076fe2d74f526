from __future__ import annotations

import re

import numpy as np
import numpy.typing as npt
import pytest

from pulmoscope.core.types import Flag, FlagLevel, Modality, Point, Scan, Units
from pulmoscope.quality.ct.rules import check, lung_fractions

SPACING: Point = (5.0, 4.0, 4.0)  # 0.08 ml a voxel


def lungs(*areas: int) -> npt.NDArray[np.uint8]:
    """Slices of 100 x 100 with so many rows of 20 voxels in each lung, away from the borders."""
    labels = np.zeros((len(areas), 100, 100), dtype=np.uint8)
    for place, rows in enumerate(areas):
        labels[place, 10 : 10 + rows, 20:40] = 1
        labels[place, 10 : 10 + rows, 60:80] = 2
    return labels


def codes(
    labels: npt.NDArray[np.uint8], spacing_mm: Point = SPACING, *remarks: Flag
) -> list[tuple[str, str]]:
    pixels = np.zeros(labels.shape, dtype=np.float32)
    scan = Scan("ct", Modality.CT, pixels, (), spacing_mm, Units.HU, remarks=remarks)
    return [(flag.code, flag.level.value) for flag in check(scan, labels).flags]


WHOLE = (5, 40, 80, 60, 10)  # rows: 195 x 40 voxels = 7,800 = 624 ml


def test_whole_lungs_in_fine_pixels_raise_no_flag() -> None:
    assert codes(lungs(*WHOLE), (5.0, 1.5, 1.5)) == [("no-lungs", "refuse")]  # 88 ml
    assert codes(lungs(*WHOLE)) == [("coarse-pixels", "warn")]


def test_what_the_reader_noticed_comes_first() -> None:
    remark = Flag("contrast", FlagLevel.WARN, "x")
    assert codes(lungs(*WHOLE), SPACING, remark) == [("contrast", "warn"), ("coarse-pixels", "warn")]


def test_500_ml_are_needed() -> None:
    assert ("no-lungs", "refuse") in codes(lungs(0, 40, 80, 36, 0))  # 6,240 voxels = 499.2 ml
    assert ("no-lungs", "refuse") not in codes(lungs(0, 40, 80, 37, 0))  # 6,280 voxels = 502.4 ml


@pytest.mark.parametrize(
    ("areas", "told"),
    [
        ((16, 80, 80, 16), None),  # a fifth at both ends is still whole
        ((17, 80, 80, 16), [("base", "21")]),
        ((16, 80, 80, 60), [("apex", "75")]),
        ((80, 80, 80, 80), [("base", "100"), ("apex", "100")]),
    ],
)
def test_lungs_that_end_within_the_scan_are_whole(
    areas: tuple[int, ...], told: list[tuple[str, str]] | None
) -> None:
    scan = Scan("ct", Modality.CT, np.zeros((4, 100, 100), dtype=np.float32), (), SPACING, Units.HU)
    cut = [flag.finding for flag in check(scan, lungs(*areas)).flags if flag.code == "lungs-cut"]
    assert [re.findall(r"(base|apex)\D* (\d+) %", finding) for finding in cut] == (
        [] if told is None else [told]
    )


def test_one_lung_is_flagged() -> None:
    labels = lungs(20, 80, 80, 80, 80, 80, 80, 20)
    labels[:, 22:, 60:80][labels[:, 22:, 60:80] == 2] = 0  # 12 rows a slice are left of the left lung
    assert ("one-lung", "warn") not in codes(labels)  # 520 to 96 rows: 5.4 times
    labels[:, 20:, 60:80] = 0  # 10 rows
    assert ("one-lung", "warn") in codes(labels)  # 6.5 times


def test_lungs_at_the_border_are_cut_by_the_field_of_view() -> None:
    labels = lungs(*WHOLE)
    labels[2, 0:10, 20:40] = 1  # 20 of 2,000 border voxels: a hundredth
    assert ("truncated-fov", "warn") not in codes(labels)
    labels[2, 0:10, 40] = 1
    assert ("truncated-fov", "warn") in codes(labels)


def test_thick_slices_and_coarse_pixels() -> None:
    assert codes(lungs(*WHOLE), (5.01, 4.0, 4.0)) == [("thick-slices", "warn"), ("coarse-pixels", "warn")]


def test_without_lungs_to_look_at_only_the_remarks_are_told() -> None:
    remark = Flag("pictures", FlagLevel.WARN, "x")
    scan = Scan("ct", Modality.CT, np.zeros((1, 9, 9), dtype=np.float32), (), remarks=(remark,))
    assert check(scan, None).flags == (remark,)


def test_lung_fractions_are_per_slice() -> None:
    assert lung_fractions(lungs(0, 25)).tolist() == [0.0, 0.1]  # 2 x 25 x 20 of 10,000
