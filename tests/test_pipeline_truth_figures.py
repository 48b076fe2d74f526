from __future__ import annotations

import numpy as np

from pulmoscope.datasets.table import Sample
from pulmoscope.evaluation.overlap import Overlap
from pulmoscope.pipeline.truth.figures import Resampling, figures
from pulmoscope.pipeline.truth.study import Affected, ComparedStudy


def test_a_slice_that_was_not_observed_has_no_dice() -> None:
    lesions = Overlap(true=np.array([5, 0]), measured=np.array([3, 0]), both=np.array([3, 0]), distance=None)
    study = ComparedStudy(
        voxel_ml=1.0,
        z_mm=None,
        true=Affected(
            np.array([10, 10]), np.array([5, 5])
        ),  # as it was drawn; of the second slice nothing is seen
        measured=Affected(np.array([10, 0]), np.array([3, 0])),
        lungs=None,
        lesions=lesions,
        measured_grade="CT-2",
        outside=0.0,
        flags=(),
    )
    found = figures([(Sample("study", "COVID", patient="one"), study)], Resampling(10, 0))["lesions"]
    assert found["slices"] == 1
    assert found["slice_dice"]["value"] == found["pooled_dice"]["value"] == 0.75
