from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pulmoscope.datasets.infected import infected_ranges, infected_slices, infected_text


def test_ranges_and_single_slices_count_from_the_feet() -> None:
    assert infected_slices("1-3,5", 7) == (False, True, True, True, False, True, False)
    assert infected_slices(" 0 , 2-2 ", 3) == (True, False, True)


def test_none_is_known_and_empty_is_not() -> None:
    assert infected_slices("none", 3) == (False, False, False)
    assert infected_slices("", 3) is None
    assert infected_ranges("12-40,45") == ((12, 40), (45, 45))


@pytest.mark.parametrize("text", ["3-1", "a", "1,,2", "-3", "1-", "none,3", "1.5", "1 2"])
def test_other_texts_are_refused(text: str) -> None:
    with pytest.raises(ValueError, match="12-40,45"):
        infected_slices(text, 100)


def test_a_slice_beyond_the_last_is_refused() -> None:
    with pytest.raises(ValueError, match=r"\b5\b.*\b4\b"):  # the slice that is named, the last that there is
        infected_slices("2-5", 5)


@given(st.lists(st.booleans(), min_size=1, max_size=60))
def test_text_and_slices_are_each_other_s_inverse(infected: list[bool]) -> None:
    assert infected_slices(infected_text(i for i, ill in enumerate(infected) if ill), len(infected)) == tuple(
        infected
    )


def test_the_text_is_short() -> None:
    assert infected_text([5, 1, 2, 3, 3]) == "1-3,5"
    assert infected_text([]) == "none"
