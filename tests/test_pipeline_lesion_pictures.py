from __future__ import annotations

import numpy as np

from diagnoses import a_ct_diagnosis
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


def test_the_most_affected_slice_of_every_part_of_the_lungs() -> None:
    assert most_affected(masks(), 4) == [
        6,
        10,
        14,
        18,
    ]  # parts 4-7, 8-11, 12-15, 16-19; middles where none is ill
    assert most_affected(masks(), 40) == list(range(4, 20))


def test_lesions_are_coloured_and_lungs_outlined() -> None:
    scan = a_ct_diagnosis().scan
    picture = lesion_picture(scan, masks(), 18, 64).astype(int)
    assert picture.shape == (56, 64, 3)
    assert tuple(picture[10, 15]) == OUTLINE
    grey = picture[5, 30]
    assert grey[0] == grey[1] == grey[2]
    red, green, _ = picture[25, 43]
    assert red - green > 0.4 * (LESION_COLOURS[2][0] - LESION_COLOURS[2][1])


def test_a_page_shows_six() -> None:
    assert len(affected_pictures(a_ct_diagnosis().scan, masks())) == 6
