from __future__ import annotations

import pytest
from jinja2 import UndefinedError

from pulmoscope.core.files import NOTICE
from pulmoscope.report.html import data_uri, interval, number, percent, render


def test_every_page_carries_the_notice_and_loads_nothing() -> None:
    page = render("base.html")
    assert NOTICE in page
    assert "http:" not in page
    assert "https:" not in page


def test_a_value_that_is_missing_is_an_error() -> None:
    with pytest.raises(UndefinedError):
        render("diagnosis.html", label="COVID")


def test_a_data_address_holds_the_bytes() -> None:
    assert data_uri(b"abc", "image/jpeg") == "data:image/jpeg;base64,YWJj"


@pytest.mark.parametrize(
    ("share", "written"),
    [
        (0.0, "0.0 %"),
        (0.0004, "< 0.1 %"),
        (0.001, "0.1 %"),
        (0.934, "93.4 %"),
        (0.999, "99.9 %"),
        (0.9996, "> 99.9 %"),
        (1.0, "100.0 %"),
    ],
)
def test_a_percentage_claims_neither_none_nor_all_of_what_is_nearly_so(share: float, written: str) -> None:
    assert percent(share) == written


def test_figures_and_intervals_have_fixed_decimals() -> None:
    assert number(0.97) == "0.970"
    assert interval(0.9123, 0.961) == "0.912–0.961"
    assert interval(-0.12, 0.21, 2) == "-0.12 to 0.21"
