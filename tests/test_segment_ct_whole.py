"""A CT that is held in whole numbers, int16, is measured as the same one in float32."""

from __future__ import annotations

import numpy as np
import pytest

from chests import SPACING_MM, chest
from pulmoscope.core.types import Flag, Modality, Scan, SourceFile, Units, Voxels
from pulmoscope.quality.ct import rules
from pulmoscope.quality.missing import find_missing
from pulmoscope.segment.ct_dense import dense_fractions
from pulmoscope.segment.ct_lungs import lung_mask
from pulmoscope.segment.ct_severity import measure


@pytest.fixture(scope="module")
def exact() -> np.ndarray:
    hu = np.rint(chest().hu).astype(np.float32)
    hu[6:10, 60:75, 30:45] = np.where(hu[6:10, 60:75, 30:45] < -700, -450, hu[6:10, 60:75, 30:45])
    return hu


def flags(pixels: Voxels, labels: np.ndarray) -> tuple[Flag, ...]:
    file = SourceFile("a", "a", "0" * 64)
    scan = Scan("a", Modality.CT, pixels, (file,), spacing_mm=SPACING_MM, units=Units.HU)
    return rules.check(scan, labels).all_flags


def test_lungs_lesions_and_flags(exact: np.ndarray) -> None:
    whole = exact.astype(np.int16)
    lungs = lung_mask(exact, SPACING_MM)
    assert lungs.found
    np.testing.assert_array_equal(lung_mask(whole, SPACING_MM).labels, lungs.labels)
    np.testing.assert_array_equal(
        dense_fractions(whole, lungs.labels, SPACING_MM), dense_fractions(exact, lungs.labels, SPACING_MM)
    )
    assert flags(whole, lungs.labels) == flags(exact, lungs.labels)
    expected, found = (measure(hu, lungs.labels, SPACING_MM) for hu in (exact, whole))
    assert expected is not None
    assert found is not None
    assert expected[0].percent_affected > 0
    assert repr(found[0]) == repr(expected[0])  # NaN of slices without lung equals nothing
    np.testing.assert_array_equal(found[1].lesions, expected[1].lesions)


def test_missing_data_whose_steps_16_bits_do_not_hold(exact: np.ndarray) -> None:
    damaged = exact.copy()
    rows, columns = damaged.shape[1:]
    damaged[5, rows // 2 - rows // 8 : rows // 2 + rows // 8, columns // 2 - columns // 8 : columns // 2] = (
        32767
    )
    expected, found = (find_missing(hu, SPACING_MM) for hu in (damaged, damaged.astype(np.int16)))
    assert expected.slices == (5,)
    assert found.kinds == expected.kinds
    np.testing.assert_array_equal(found.mask, expected.mask)
