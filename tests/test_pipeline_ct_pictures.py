from __future__ import annotations

from dataclasses import replace

import cv2
import numpy as np
import pytest

from diagnoses import a_ct_diagnosis, a_ct_of_pictures
from pictures import picture_of, read
from pulmoscope.core.types import Units
from pulmoscope.pipeline.pictures.ct import GRID, along, ct_pictures, evenly, slice_files
from pulmoscope.pipeline.pictures.xray import SOFT_WINDOW, displayed
from pulmoscope.report.slice_axis import Axis


def test_hu_are_shown_through_a_lung_window_and_grey_as_it_is() -> None:
    hu = np.array([[-3000, -1350, -600, 150, 3000]], dtype=np.float32)
    assert displayed(hu, Units.HU).tolist() == [[0, 0, 0.5, 1, 1]]
    assert displayed(np.array([[-160, 40, 240]], dtype=np.float32), Units.HU, SOFT_WINDOW).tolist() == [
        [0, 0.5, 1]
    ]
    grey = np.array([[0, 0.25, 1]], dtype=np.float32)
    assert displayed(grey, Units.GREY).tolist() == [[0, 0.25, 1]]


def test_an_explained_slice_is_saved_as_it_is_and_under_its_maps() -> None:
    files = dict(slice_files(a_ct_diagnosis()))
    plain = read(files["slice-011.png"], cv2.IMREAD_GRAYSCALE)
    # air -1000, body 40, lung -850, opacity -250 HU: (HU + 1350) / 1500 x 255
    assert [plain[place] for place in ((0, 0), (28, 32), (28, 46), (34, 16))] == [60, 236, 85, 187]
    heat = read(files["heat-011-COVID-stage3.png"])
    assert heat.shape == (56, 64, 3)
    assert (heat[0, 0] == 60).all()  # no heat: untouched
    assert heat[34, 16].tolist() != [187] * 3
    # at the map's greatest value half of inferno's last colour (164, 255, 252 in blue, green, red)
    np.testing.assert_allclose(heat[34, 16], (187 + np.array([164, 255, 252])) / 2, atol=1)


def test_grey_slices_keep_their_grey() -> None:
    files = dict(slice_files(a_ct_of_pictures()))
    plain = read(files["slice-011.png"], cv2.IMREAD_GRAYSCALE)
    assert [plain[place] for place in ((0, 0), (28, 32))] == [60, 236]


def test_the_page_gets_every_explanation_and_slices_from_end_to_end() -> None:
    made = ct_pictures(a_ct_diagnosis())
    assert list(made.slices) == [8, 11]
    assert len(made.overlays) == 2 * 3
    assert list(made.grid) == list(range(24))
    assert "−600 HU" in made.grey
    assert "−600 HU" not in ct_pictures(a_ct_of_pictures()).grey
    assert ct_pictures(replace(a_ct_diagnosis(), explanations=())).scale == ""


def test_the_lightbox_is_evenly_spread() -> None:
    assert evenly(3, GRID) == [0, 1, 2]
    assert evenly(148, GRID)[:3] == [0, 4, 8]
    assert (len(evenly(148, GRID)), evenly(148, GRID)[-1]) == (40, 147)
    assert evenly(9, 3) == [0, 4, 8]


def test_large_slices_are_small_in_the_page() -> None:
    found = a_ct_diagnosis()
    big = replace(
        found,
        scan=replace(found.scan, pixels=np.tile(found.scan.pixels, (1, 10, 9))),
        explanations=tuple(replace(one, heat=np.tile(one.heat, (10, 9))) for one in found.explanations),
    )
    made = ct_pictures(big)
    assert max(picture_of(made.slices[8]).shape[:2]) == 512
    assert max(picture_of(made.overlays[0]).shape[:2]) == 400
    assert max(picture_of(made.grid[0]).shape[:2]) == 288
    many = ct_pictures(replace(big, explanations=big.explanations * 3))
    assert max(picture_of(many.overlays[0]).shape[:2]) == 256


def test_cuts_are_upright_and_to_scale() -> None:
    coronal, sagittal = ct_pictures(a_ct_diagnosis()).cuts
    # 64 columns x 5.5 = 352 mm across, 56 rows = 308 mm, 24 slices x 5 = 120 mm up; the longest side is 300 px
    assert (coronal.width, coronal.height) == (300, 102)
    assert (sagittal.width, sagittal.height) == (300, 117)
    assert picture_of(coronal.picture).shape == (102, 300, 3)
    assert (coronal.sides, sagittal.sides) == (("right", "left"), ("front", "back"))


def test_a_cut_has_its_head_up() -> None:
    found = a_ct_diagnosis()
    pixels = np.full(found.scan.pixels.shape, -1350, dtype=np.float32)
    pixels[-1] = 150  # white at the head
    for cut in ct_pictures(replace(found, scan=replace(found.scan, pixels=pixels))).cuts:
        picture = picture_of(cut.picture)
        assert picture[0].min() > 200
        assert picture[-1].max() < 50


def test_a_cut_without_distances_has_a_fixed_shape_and_one_slice_has_none() -> None:
    found = a_ct_of_pictures()
    assert [(cut.width, cut.height) for cut in ct_pictures(found).cuts] == [(300, 240)] * 2
    one = replace(
        found,
        scan=replace(found.scan, pixels=found.scan.pixels[:1]),
        explanations=(),
        slices=found.slices[:1],
    )
    assert ct_pictures(one).cuts == ()


@pytest.mark.parametrize(
    ("positions", "expected"),
    [((0.0, 2.0, 4.0), [1, 2, 3]), ((0.0, 2.0, 8.0), [1, 2, 0, 0, 3])],
)
def test_missing_slices_are_black_in_a_cut(positions: tuple[float, ...], expected: list[int]) -> None:
    lines = np.array([[1], [2], [3]], dtype=np.float32)
    assert along(lines, Axis(positions, 2.0, in_mm=True))[:, 0].tolist() == expected
