from __future__ import annotations

import pytest

from pulmoscope.core.severity import GRADES, grade_number


def test_a_grade_has_its_number_and_no_other_class_has_one() -> None:
    assert [grade_number(name) for name in GRADES] == [0, 1, 2, 3, 4]
    assert grade_number(" ct-3 ") == 3


@pytest.mark.parametrize("label", ["COVID", "CT", "CT-5", "CT-12", "non-CT-1", ""])
def test_other_classes_are_no_grades(label: str) -> None:
    assert grade_number(label) is None
