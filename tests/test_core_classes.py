from __future__ import annotations

import pytest

from pulmoscope.core.classes import is_positive, suspicion


@pytest.mark.parametrize(
    ("label", "positive"),
    [
        ("COVID", True),
        ("CAP", True),
        ("Normal", False),
        ("non-COVID", False),
        ("Lung Opacity", True),
        ("CT-0", False),
        ("CT-1", True),
        ("CT-4", True),
    ],
)
def test_which_classes_say_that_something_was_found(label: str, positive: bool) -> None:
    assert is_positive(label) is positive


def test_suspicion_is_what_the_positive_classes_have_together() -> None:
    assert suspicion({"COVID": 0.5, "CAP": 0.25, "Normal": 0.25}) == 0.75
    assert suspicion({"COVID": 0.125, "non-COVID": 0.875}) == 0.125
    assert suspicion({"Normal": 1.0}) == 0
