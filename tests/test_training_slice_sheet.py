from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np

from pulmoscope.training.slice_sheet import GAP, write_sheet


def test_slices_stand_row_by_row(tmp_path: Path) -> None:
    slices = np.stack([np.full((3, 3), grey, dtype=np.float32) for grey in (0, 0.2, 0.4, 0.6, 2)])
    write_sheet(slices, 2, tmp_path / "sheet.png")
    sheet = cv2.imread(str(tmp_path / "sheet.png"), cv2.IMREAD_GRAYSCALE)
    assert sheet.shape == (3 * (3 + GAP) + GAP, 2 * (3 + GAP) + GAP)
    step, middle = 3 + GAP, GAP + 1
    found = [
        [int(sheet[middle + row * step, middle + column * step]) for column in (0, 1)] for row in (0, 1, 2)
    ]
    assert found == [[0, 51], [102, 153], [255, 255]]  # 2 is cut to white; the last place is empty: white
    assert (sheet[:GAP] == 255).all()
