"""The catalogue of analytes: units with exact factors, LOINC codes, limits."""

from __future__ import annotations

from collections import Counter
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pulmoscope.core.analytes import ANALYTES, Analyte, Conversion, Form
from pulmoscope.core.units import find, plain_spelling, without_annotations

FORMS = [(analyte, form) for analyte in ANALYTES.values() for form in analyte.forms]
CONVERSIONS = [conversion for analyte, form in FORMS for conversion in analyte.units(form)]


def converted(name: str, unit: str, value: str, form: int = 0) -> float:
    conversion = ANALYTES[name].conversion(ANALYTES[name].forms[form], unit)
    assert conversion is not None
    return float(conversion(Fraction(value)))


@pytest.mark.parametrize(
    ("name", "unit", "value", "expected"),
    [
        ("haemoglobin", "g/dL", "13.1", 131.0),
        ("haemoglobin", "mmol/L", "10", 161.14),  # one haem of four
        ("crp", "mg/dL", "4.31", 43.1),
        ("d_dimer", "ug_ml", "2.2", 2.2),
        ("d_dimer", "ng/mL{FEU}", "500", 0.5),
        ("creatinine", "mg/dL", "1", 10_000 / 113.12),
        ("bilirubin", "mg/dL", "1", 10_000 / 584.66),
        ("glucose", "mg/dL", "180.156", 10.0),
        ("calcium", "mg/dL", "10", 100 / 40.078),
        ("ldh", "ukat/L", "5", 300.0),
        ("ldh", "[IU]/L", "306", 306.0),
        ("leukocytes", "10*3/uL", "7.78", 7.78),
        ("lymphocytes", "/uL", "800", 0.8),
        ("lymphocytes", "g_l", "0.8", 0.8),  # giga a litre
        ("erythrocytes", "t_l", "4.27", 4.27),
        ("erythrocytes", "10*6/uL", "4.27", 4.27),
        ("haematocrit", "L/L", "0.392", 39.2),
        ("temperature", "[degF]", "98.6", 37.0),
        ("temperature", "K", "310.15", 37.0),
        ("po2", "kPa", "13.3322", 100.0),
        ("sodium", "meq/L", "140", 140.0),
        ("heart_rate", "{beats}/min", "72", 72.0),
        ("age", "mo", "18", 1.5),
    ],
)
def test_values_become_those_of_the_unit_of_the_analyte(
    name: str, unit: str, value: str, expected: float
) -> None:
    assert converted(name, unit, value) == pytest.approx(expected, rel=1e-12)


def test_nitrogen_of_urea_weighs_two_atoms_of_a_molecule() -> None:
    assert converted("urea", "mg/dL", "28.014", form=1) == 10.0
    assert converted("urea", "mg/dL", "60.056", form=0) == 10.0


@given(conversion=st.sampled_from(CONVERSIONS), value=st.fractions())
def test_a_conversion_loses_nothing(conversion: Conversion, value: Fraction) -> None:
    assert conversion.back(conversion(value)) == value


@pytest.mark.parametrize("analyte", ANALYTES.values(), ids=lambda analyte: analyte.name)
def test_the_unit_of_an_analyte_is_one_of_its_own(analyte: Analyte) -> None:
    conversion = analyte.conversion(analyte.forms[0], analyte.unit)
    assert conversion is not None
    assert (conversion.unit.code, conversion.factor, conversion.offset) == (analyte.unit, 1, 0)
    assert analyte.low < analyte.high


@pytest.mark.parametrize(("analyte", "form"), FORMS, ids=lambda part: getattr(part, "name", ""))
def test_every_spelling_of_a_unit_means_one(analyte: Analyte, form: Form) -> None:
    for conversion in analyte.units(form):
        for text in (conversion.unit.code, *conversion.unit.spellings):
            found = analyte.conversion(form, text)
            assert found is not None
            assert (found.factor, found.offset) == (conversion.factor, conversion.offset)


@pytest.mark.parametrize("text", ["x10^9/L", "×10⁹/l", "10*9/L", "10E9/L", "G/L", "10³/µL", "K/uL"])
def test_the_ways_to_write_a_billion_cells(text: str) -> None:
    leukocytes = ANALYTES["leukocytes"]
    found = leukocytes.conversion(leukocytes.forms[0], text)
    assert found is not None
    assert found.factor == 1


def test_d_dimer_units_are_not_fibrinogen_equivalent_units() -> None:
    d_dimer = ANALYTES["d_dimer"]
    assert d_dimer.conversion(d_dimer.forms[0], "ng/mL{DDU}") is None
    assert d_dimer.conversion(d_dimer.forms[0], "ng/mL{FEU}") is not None


def test_units_of_other_quantities_are_none() -> None:
    crp, leukocytes = ANALYTES["crp"], ANALYTES["leukocytes"]
    assert crp.conversion(crp.forms[0], "mmol/L") is None  # of no known molecule
    assert leukocytes.conversion(leukocytes.forms[0], "%") is None
    assert crp.conversion(crp.forms[0], "mg/L{DDU}x") is None


def test_codes_belong_to_one_analyte_and_end_in_their_check_digit() -> None:
    codes = Counter(code for _, form in FORMS for code in form.loinc)
    assert max(codes.values()) == 1
    for code in codes:
        body, check = code.split("-")
        doubled = [int(digit) * (2 - place % 2) for place, digit in enumerate(reversed(body))]
        assert (sum(number // 10 + number % 10 for number in doubled) + int(check)) % 10 == 0, code


def test_a_name_with_a_unit_means_one_analyte() -> None:
    meanings = Counter(
        (name, spelling)
        for analyte, form in FORMS
        for name in form.names
        for spelling in {
            written for conversion in analyte.units(form) for written in conversion.unit.written()
        }
    )
    assert [meaning for meaning, count in meanings.items() if count > 1] == []


def test_annotations_change_nothing() -> None:
    assert without_annotations("10*3/uL{cells}") == "10*3/uL"
    assert without_annotations("mL/min/{1.73_m2}") == "mL/min"
    assert without_annotations("{INR}") == "1"
    assert without_annotations("1/min") == "/min"
    assert without_annotations("ug{FEU}/mL") == "ug/mL"
    assert plain_spelling("µg/ml") == "ug_ml"
    found = find(ANALYTES["leukocytes"].kind, "10^9/l")
    assert found is not None
    assert found.code == "10*9/L"
