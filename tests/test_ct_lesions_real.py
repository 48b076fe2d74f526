"""What must hold of four real CTs whose lungs and lesions a radiologist has drawn, read as the benchmark reads them."""

from __future__ import annotations

import runpy
from pathlib import Path

import numpy as np
import pytest

from pulmoscope.pipeline.truth.study import ComparedStudy, compared

BENCHMARK = Path(__file__).resolve().parents[1] / "benchmarks" / "ct_lesions.py"


@pytest.fixture(scope="module")
def studies(shared: Path) -> dict[str, ComparedStudy]:
    volumes = runpy.run_path(str(BENCHMARK))["volumes"](shared / "data" / "ct_lesions", None)
    return {volume.name: compared(volume.scan, volume.truth) for volume in volumes}


def test_percent_affected_is_that_of_the_radiologist(studies: dict[str, ComparedStudy]) -> None:
    assert set(studies) == {"v1", "v5", "v7", "v8"}
    errors = {name: abs(study.measured.percent - study.true_percent) for name, study in studies.items()}
    assert {name: error for name, error in errors.items() if error > 5} == {}
    assert np.mean(list(errors.values())) <= 2.5


def test_lungs_and_lesions_lie_where_they_were_drawn(studies: dict[str, ComparedStudy]) -> None:
    for study in studies.values():
        assert study.lungs is not None
        assert study.lungs.dice >= 0.95
    slices = [
        study.lesions.slice_dice[study.true.percents > 5]
        for study in studies.values()
        if study.lesions is not None and study.true is not None
    ]
    assert np.concatenate(slices).mean() >= 0.65
