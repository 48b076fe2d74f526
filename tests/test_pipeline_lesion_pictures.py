from __future__ import annotations

import numpy as np

from diagnoses import a_ct_diagnosis
from pictures import picture_of
from pulmoscope.core.severity import SeverityMasks
from pulmoscope.pipeline.pictures.lesions import (
    LESION_COLOURS,
    OUTLINE,
    affected_pictures,
    lesion_picture,
    most_affected,
)


def masks() -> SeverityMasks:
    lungs = np.zeros((24, 56, 64), dtype=np.uint8)
    lungs[4:20, 10:40, 8:24], lungs[4:20, 10:40, 36:52] = 1, 2
    lesions = np.zeros_like(lungs)
    lesions[6, 14:20, 10:16], lesions[7, 14:16, 10:12], lesions[18, 20:30, 38:48] = 1, 1, 2
    return SeverityMasks(lungs, lesions)


def test_the_slices_with_most_lesion_the_worst_first_and_none_beside_another() -> None:
    assert most_affected(masks(), 4) == [18, 6]  # 7 has some, and stands beside 6
    assert most_affected(masks(), 1) == [18]


def test_without_lesions_slices_all_over_the_lungs_are_shown() -> None:
    healthy = SeverityMasks(masks().lungs, np.zeros_like(masks().lesions))
    assert most_affected(healthy, 4) == [6, 10, 14, 18]  # the middles of 4-7, 8-11, 12-15 and 16-19
    assert most_affected(healthy, 40) == list(range(4, 20))


def test_lungs_and_lesions_are_outlined_and_nothing_is_hidden() -> None:
    scan = a_ct_diagnosis().scan
    picture = lesion_picture(scan, masks(), 18, 64).astype(int)
    assert picture.shape == (56, 64, 3)
    assert tuple(picture[10, 15]) == OUTLINE
    grey = picture[5, 30]
    assert grey[0] == grey[1] == grey[2]
    assert tuple(picture[20, 43]) == LESION_COLOURS[2]
    assert len(set(picture[25, 43])) == 1  # within the outline it stays grey
    ill = lesion_picture(scan, masks(), 6, 64).astype(int)
    assert tuple(ill[14, 12]) == LESION_COLOURS[1]


def test_a_page_shows_the_lungs_in_both_windows() -> None:
    shown = affected_pictures(a_ct_diagnosis().scan, masks())
    assert list(shown) == [18, 6]
    lung, soft = (picture_of(address) for address in shown[18])
    # Rows 10 to 39 and columns 8 to 51 are lung; 15 mm around them are 3 pixels of 5.5 mm.
    assert lung.shape == soft.shape == (round(560 * 36 / 50), 560, 3)
    # The body between the lungs is 40 HU: light in a lung window, in the middle of a soft-tissue one.
    between = (lung.shape[0] // 2, round(560 * (30.5 - 5) / 50))
    np.testing.assert_allclose(lung[between], 255 * (40 + 1350) / 1500, atol=4)
    np.testing.assert_allclose(soft[between], 255 / 2, atol=4)
