"""FHIR R4 Bundles: what an Observation comes to, by the specification (hl7.org/fhir/R4/observation.html)."""

from __future__ import annotations

import json
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pulmoscope.core.errors import UnreadableError
from pulmoscope.core.facts import patient_sum
from pulmoscope.core.values import Moment
from pulmoscope.values.fhir import read_bundle
from pulmoscope.values.read import read_values
from pulmoscope.values.records import Given, ValuesFile
from refusals import refused
from values import bundle, codes, coding, numbers, observation, patient, quantity, write_bundle


def read(folder: Path, *resources: dict[str, Any]) -> ValuesFile:
    return read_values(bundle(folder, *resources))


def measured(file: ValuesFile) -> list[Given]:
    """All values but the sex, which is the Patient's."""
    return [value for record in file.records for value in record.values if value.name != "sex"]


@pytest.mark.parametrize(
    ("code", "value", "name", "expected"),
    [
        ("1988-5", quantity(43.1, "mg/L"), "crp", 43.1),
        ("1988-5", quantity(4.31, "mg/dL"), "crp", 43.1),
        ("718-7", quantity(13.1, "g/dL"), "haemoglobin", 131.0),
        ("2160-0", quantity(1, "mg/dL"), "creatinine", pytest.approx(88.4, abs=0.005)),
        ("3094-0", quantity(14, "mg/dL"), "urea", pytest.approx(5.0, abs=0.005)),
        ("2345-7", quantity(100, "mg/dL"), "glucose", pytest.approx(5.551, abs=0.001)),
        ("6690-2", quantity(7.78, "10*3/uL"), "leukocytes", 7.78),
        ("48065-7", quantity(500, "ng/mL{FEU}"), "d_dimer", 0.5),
        ("2532-0", quantity(306, "U/L"), "ldh", 306.0),
        ("2532-0", quantity(306, "U/l"), "ldh", 306.0),  # UCUM knows l and L
        ("2532-0", quantity(306, "[iU]/L"), "ldh", 306.0),
        ("59408-5", quantity(93, "%"), "spo2", 93.0),
        ("6301-6", quantity(1.06, "{INR}"), "inr", 1.06),
        ("8310-5", quantity(38.2, "Cel"), "temperature", 38.2),
        ("30525-0", quantity(18, "mo"), "age", 1.5),
        ("718-7", {"value": 13.1, "unit": "g/dl"}, "haemoglobin", 131.0),  # without a system, in words
    ],
)
def test_values_in_the_unit_of_the_analyte(
    tmp_path: Path, code: str, value: dict[str, Any], name: str, expected: float
) -> None:
    file = read(tmp_path, observation(code, value))
    (found,) = measured(file)
    assert (found.name, found.value) == (name, expected)
    assert codes(file) == []


def test_a_patient_with_a_full_url_and_an_id_is_one_record(tmp_path: Path) -> None:
    by_id = observation("1988-5", quantity(43.1, "mg/L"))
    by_url = observation("2532-0", quantity(306, "U/L"), subject={"reference": "urn:uuid:1"})
    path = write_bundle(
        tmp_path,
        [{"resource": by_id}, {"resource": by_url}, {"fullUrl": "urn:uuid:1", "resource": patient()}],
    )
    assert numbers(read_values(path)) == [{"sex": 0, "crp": 43.1, "ldh": 306.0}]


def test_whose_they_are_is_compared_and_not_told(tmp_path: Path) -> None:
    file = read(tmp_path, observation("1988-5", quantity(43.1, "mg/L")))
    (record,) = file.records
    assert record.patients == {patient_sum("SECRET-ID"), patient_sum("p1")}
    assert numbers(file) == [{"sex": 0, "crp": 43.1}]
    for secret in ("SECRET", "Secret", "1951"):
        assert secret not in repr(file)


@pytest.mark.parametrize(
    ("elements", "start", "end"),
    [
        ({}, datetime(2020, 3, 14, 8), datetime(2020, 3, 14, 8)),
        ({"effectiveDateTime": "2020-03-14"}, datetime(2020, 3, 14), datetime(2020, 3, 15)),
        (
            {"effectiveDateTime": None, "effectiveInstant": "2020-03-14T08:00:00.250Z"},
            datetime(2020, 3, 14, 8),
            datetime(2020, 3, 14, 8),
        ),
        (
            {
                "effectiveDateTime": None,
                "effectivePeriod": {"start": "2020-03-14T08:00:00Z", "end": "2020-03-14T20:00:00Z"},
            },
            datetime(2020, 3, 14, 8),
            datetime(2020, 3, 14, 20),
        ),
        ({"effectiveDateTime": "2020-12"}, datetime(2020, 12, 1), datetime(2021, 1, 1)),
        ({"effectiveDateTime": "2015"}, datetime(2015, 1, 1), datetime(2016, 1, 1)),
    ],
)
def test_when_they_were_taken(
    tmp_path: Path, elements: dict[str, Any], start: datetime, end: datetime
) -> None:
    (value,) = measured(read(tmp_path, observation("1988-5", quantity(5, "mg/L"), **elements)))
    assert value.taken is not None
    assert (value.taken.start, value.taken.end) == (start, end)


def test_ldh_by_the_other_method_is_told(tmp_path: Path) -> None:
    file = read(
        tmp_path,
        observation("14804-9", quantity(200, "U/L")),
        observation("14805-6", quantity(400, "U/L")),
    )
    assert [value.value for value in measured(file)] == [200, 400]
    assert codes(file) == ["other-method"]


def test_an_observation_need_not_say_when(tmp_path: Path) -> None:
    file = read(tmp_path, observation("1988-5", quantity(5, "mg/L"), effectiveDateTime=None))
    assert [value.taken for value in measured(file)] == [None]


@pytest.mark.parametrize(
    "elements",
    [
        {"effectiveDateTime": "14.03.2018"},
        {"effectiveDateTime": None, "effectivePeriod": {"start": "2020-03-14", "end": "later"}},
        {"effectiveDateTime": None, "effectivePeriod": {"start": "2020-03-14", "end": "2020-03-12"}},
        {"effectiveDateTime": None, "effectiveTiming": {"event": ["2020-03-14"]}},
    ],
)
def test_a_value_whose_time_cant_be_read_is_left_out(tmp_path: Path, elements: dict[str, Any]) -> None:
    file = read(tmp_path, observation("1988-5", quantity(5, "mg/L"), **elements))
    assert (measured(file), codes(file)) == ([], ["not-a-time"])


def test_a_zone_counts_where_both_clocks_have_one() -> None:
    image = Moment.of("2020-03-14T10:00:00Z")
    assert image is not None
    for text, hours in (("2020-03-14T10:00:00+01:00", -1.0), ("2020-03-14T10:00:00", 0.0)):
        taken = Moment.of(text)
        assert taken is not None
        assert image.until(taken) == hours
    assert Moment.of("2020-03-14T10:00:00+05:30").zone == timedelta(hours=5.5)  # type: ignore[union-attr]


def test_components_are_values_of_their_own(tmp_path: Path) -> None:
    pressure = observation(
        "85354-9",
        component=[
            {"code": coding("8480-6"), "valueQuantity": quantity(131, "mm[Hg]")},
            {"code": coding("8462-4"), "valueQuantity": quantity(78, "mm[Hg]")},
            {"code": coding("8478-0"), "dataAbsentReason": {"text": "not measured"}},
        ],
    )
    file = read(tmp_path, pressure)
    assert {value.name: value.value for value in measured(file)} == {
        "systolic_pressure": 131,
        "diastolic_pressure": 78,
    }
    assert codes(file) == []


@pytest.mark.parametrize("comparator", ["<", "<=", ">=", ">"])
def test_a_comparator_makes_a_bound(tmp_path: Path, comparator: str) -> None:
    (value,) = measured(
        read(tmp_path, observation("33959-8", quantity(0.05, "ng/mL", comparator=comparator)))
    )
    assert (value.bound, value.value, value.text) == (comparator, 0.05, f"{comparator}0.05 ng/mL")


def test_the_laboratorys_range_is_converted_like_the_value(tmp_path: Path) -> None:
    reference = [{"low": quantity(12, "g/dL"), "high": {"value": 16}}]
    (value,) = measured(read(tmp_path, observation("718-7", quantity(11, "g/dL"), referenceRange=reference)))
    assert (value.value, value.low, value.high) == (110, 120, 160)
    several = [{"low": quantity(12, "g/dL"), "age": {"low": quantity(18, "a")}}]
    (value,) = measured(read(tmp_path, observation("718-7", quantity(11, "g/dL"), referenceRange=several)))
    assert (value.low, value.high) == (None, None)


@pytest.mark.parametrize(
    ("resource", "found"),
    [
        (observation("1988-5", quantity(5, "mg/L"), status="entered-in-error"), ["not-valid"]),
        (observation("1988-5", quantity(5, "mg/L"), status="cancelled"), ["not-valid"]),
        (observation("1988-5", quantity(5, "mg/L"), status=None), ["not-valid"]),
        (observation("1988-5", dataAbsentReason={"text": "unknown"}), []),
        (observation("1988-5"), []),
        (observation("1988-5", valueString="high"), ["not-a-number"]),
        (observation("1988-5", quantity(5000, "mg/L")), ["impossible-value"]),
        (observation("1988-5", quantity(5, "mmol/L")), ["wrong-unit"]),
        (observation("1988-5", quantity(5, "Mg/L")), ["wrong-unit"]),  # megagrams
        (observation("1988-5", quantity(5, "mg/L", system="urn:local")), ["wrong-unit"]),
        (observation("1988-5", {"value": 5}), ["wrong-unit"]),
        (observation("48066-5", quantity(500, "ng/mL{DDU}")), ["unknown-code"]),
        (
            observation("1988-5", quantity(5, "mg/L"), subject={"reference": "Patient/other"}),
            ["unknown-subject"],
        ),
        (observation("1988-5", quantity(5, "mg/L"), subject=None), ["unknown-subject"]),
        (observation("1988-5", quantity(5, "mg/L"), modifierExtension=[{}]), ["modified-meaning"]),
        (
            observation(
                "1988-5",
                quantity(5, "mg/L"),
                code={"coding": [*coding("1988-5")["coding"], *coding("2532-0")["coding"]]},
            ),
            ["unknown-analyte"],
        ),
    ],
)
def test_what_is_left_out(tmp_path: Path, resource: dict[str, Any], found: list[str]) -> None:
    file = read(tmp_path, resource, observation("2532-0", quantity(300, "U/L")))
    assert [value.name for value in measured(file)] == ["ldh"]
    assert codes(file) == found


def test_references_by_full_address(tmp_path: Path) -> None:
    url = "urn:uuid:3f1ad6ef-3b8e-4ad1-8a9e-3fbd2dcb5d1f"
    for reference, full in ((url, url), ("https://a.example/fhir/Patient/p1/_history/2", "")):
        value = observation("1988-5", quantity(5, "mg/L"), subject={"reference": reference})
        path = write_bundle(tmp_path, [{"fullUrl": full, "resource": patient()}, {"resource": value}])
        assert [one.name for one in measured(read_values(path))] == ["crp"]


def test_a_patient_whom_references_call_in_two_ways_is_read_once(tmp_path: Path) -> None:
    full = {"fullUrl": "urn:uuid:3f1ad6ef", "resource": patient()}
    references = ("Patient/p1", "urn:uuid:3f1ad6ef")
    values = [
        {"resource": observation("1988-5", quantity(number, "mg/L"), subject={"reference": reference})}
        for number, reference in enumerate(references, start=5)
    ]
    (record,) = read_values(write_bundle(tmp_path, [full, *values])).records
    assert [(value.name, value.value) for value in record.values] == [("sex", 0), ("crp", 5), ("crp", 6)]


def test_an_empty_identifier_is_no_id(tmp_path: Path) -> None:
    nobody = patient(id=" ", identifier=[{"value": "  "}])
    (record,) = read_values(write_bundle(tmp_path, [{"resource": nobody}])).records
    assert record.patients == frozenset()


def test_half_of_a_character_in_an_id_is_only_compared() -> None:
    text = '{"resourceType": "Bundle", "entry": [{"resource": {"resourceType": "Patient", "id": "\\ud83d"}}]}'
    ((record,), remarks) = read_bundle("b.json", text)
    assert (len(record.patients), remarks) == (1, [])


@pytest.mark.parametrize(
    "text",
    [
        "{",
        "[]",
        '{"a": 1e99999999999999999999}',
        '{"resourceType": "Observation"}',
        '{"resourceType": "Bundle", "entry": 3}',
        '{"a": NaN}',
    ],
)
def test_what_is_no_bundle_is_refused(text: str) -> None:
    with refused(UnreadableError, "values-file"):
        read_bundle("b.json", text)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["coding", "code", "system", "value", "unit", "reference", "low", "start"]), inner
        )
    ),
    max_leaves=12,
)


@given(
    st.dictionaries(
        st.sampled_from(
            [
                "status",
                "code",
                "subject",
                "valueQuantity",
                "component",
                "effectiveDateTime",
                "effectivePeriod",
                "referenceRange",
                "identifier",
                "birthDate",
                "id",
                "gender",
            ]
        ),
        JSON,
    )
)
def test_whatever_a_resource_holds_costs_only_itself(junk: dict[str, Any]) -> None:
    good = observation("1988-5", quantity(5, "mg/L"))
    changed = [{**good, **junk}, {**patient(), **junk, "id": "other"}]
    entries = [{"resource": resource} for resource in (patient(), good, *changed)]
    records, _ = read_bundle("b.json", json.dumps({"resourceType": "Bundle", "entry": entries}))
    assert ("crp", 5.0) in [(value.name, value.value) for value in records[0].values]
