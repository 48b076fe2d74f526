"""Tables of values: which columns and cells are read, and what is refused or left out."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pulmoscope.core.analytes import ANALYTES
from pulmoscope.core.errors import UnreadableError
from pulmoscope.values.read import read_values
from pulmoscope.values.table import read_table
from refusals import refused
from values import codes, numbers, only, read_text, table

WIDE = """
    patient,time,age_years,sex,crp_mg_l,haemoglobin_g_dl,lymphocytes_pct,leukocytes_g_l,d-dimer (ug/mL)
    a,2020-03-14T10:30,61,F,43.1,13.1,7.5,4.2,0.96
    b,2020-03-15,70,m,,10.9,19.1,3.72,
"""


def test_a_wide_table_in_the_units_of_the_catalogue(tmp_path: Path) -> None:
    file = read_text(tmp_path, WIDE)
    assert numbers(file) == [
        {
            "age": 61,
            "sex": 0,
            "crp": 43.1,
            "haemoglobin": 131,
            "lymphocytes_fraction": 7.5,
            "leukocytes": 4.2,
            "d_dimer": 0.96,
        },
        {"age": 70, "sex": 1, "haemoglobin": 109, "lymphocytes_fraction": 19.1, "leukocytes": 3.72},
    ]
    assert file.patients == 2
    assert codes(file) == []
    haemoglobin = next(value for value in file.records[0].values if value.name == "haemoglobin")
    assert haemoglobin.text == "13.1 g/dL"


@pytest.mark.parametrize(
    ("rows", "expected"),
    [
        ("name,value,unit\n crp,4.31,mg/dL\n urea_nitrogen,28.014,mg/dL", {"crp": 43.1, "urea": 10.0}),
        ("code,value,unit\n 1988-5,43.1,mg/L\n 718-7,13.1,g/dL", {"crp": 43.1, "haemoglobin": 131.0}),
        ("loinc,name,value,unit\n 1988-5,anything,43.1,mg/L\n ,INR,1.1,", {"crp": 43.1, "inr": 1.1}),
    ],
)
def test_a_long_table_is_one_patients_where_no_row_says_whose(
    tmp_path: Path, rows: str, expected: dict[str, float]
) -> None:
    file = read_text(tmp_path, rows)
    assert numbers(file) == [expected]
    assert (file.patients, codes(file)) == (1, [])


def test_a_long_table_is_put_together_by_patient(tmp_path: Path) -> None:
    file = read_text(tmp_path, "patient,name,value,unit\n a,crp,1,mg/L\n b,crp,2,mg/L\n a,ldh,300,U/L")
    assert numbers(file) == [{"crp": 1, "ldh": 300}, {"crp": 2}]


@pytest.mark.parametrize("delimiter", [";", "\t"])
def test_other_delimiters(tmp_path: Path, delimiter: str) -> None:
    file = read_values(table(tmp_path, f"patient{delimiter}crp_mg_l\na{delimiter}5"))
    assert numbers(file) == [{"crp": 5.0}]


@pytest.mark.parametrize(
    ("header", "code"),
    [
        ("patient,crp", "values-unit"),
        ("patient,crp [stones]", "values-unit"),
        ("patient,leukocytes_mmol_l", "values-unit"),
        ("patient,weight_kg", "values-columns"),
        ("patient,crp_mg_l,crp [mg/dL]", "values-columns"),
        ("patient,patient_id,crp_mg_l", "values-columns"),
        ("patient,crp_mg_l,crp_mg_l", "values-columns"),
        ("", "values-columns"),
    ],
)
def test_a_header_that_is_unclear_refuses_the_table(tmp_path: Path, header: str, code: str) -> None:
    with refused(UnreadableError, code):
        read_text(tmp_path, header + "\n" + ",".join("1" * len(header.split(","))))


@pytest.mark.parametrize(
    "content", [b"\xff\xfe\x00crp", b'patient,crp_mg_l\n"a,5', b'{"resourceType": "Patient"}', b"["]
)
def test_what_is_no_table_and_no_bundle(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "v").write_bytes(content)
    with refused(UnreadableError, "values-file"):
        read_values(tmp_path / "v")
    with refused(UnreadableError, "values-file"):
        read_values(tmp_path / "missing")


@pytest.mark.parametrize(
    ("header", "cell", "code"),
    [
        ("crp_mg_l", "5000", "impossible-value"),
        ("age_years", "200", "impossible-value"),
        ("spo2_pct", "0.97", "impossible-value"),
        ("haematocrit_pct", "0.39", "impossible-value"),
        ("crp_mg_l", "high", "not-a-number"),
        ("crp_mg_l", "43,1", "ragged-row"),
        ("crp_mg_l", '"43,1"', "not-a-number"),
        ("crp_mg_l", "1e999999999", "not-a-number"),
        ("sex", "2", "not-a-sex"),
        ("weight_kg,crp_mg_l", "70,1", "unknown-column"),
    ],
)
def test_what_is_left_out_costs_only_itself(tmp_path: Path, header: str, cell: str, code: str) -> None:
    file = read_text(
        tmp_path, f"patient,ldh_u_l,{header}\nsecret,250,{cell}\nother,300,{',' * header.count(',')}"
    )
    assert code in codes(file)
    kept = {value.value for record in file.records for value in record.values if value.name == "ldh"}
    assert kept == ({300.0} if code == "ragged-row" else {250.0, 300.0})
    said = " ".join(flag.message for flag in file.flags())
    assert "secret" not in said
    assert "secret" not in repr(file)


def test_a_fraction_is_read_where_the_unit_says_so(tmp_path: Path) -> None:
    file = read_text(tmp_path, "name,value,unit\nspo2,0.97,1\nspo2,97,%")
    assert [value.value for value in file.records[0].values] == [97, 97]


@pytest.mark.parametrize(
    ("cell", "bound", "value"), [("<0.5", "<", 0.5), (">= 500", ">=", 500), ("≤ 3", "<=", 3)]
)
def test_a_bound_is_kept_as_one(tmp_path: Path, cell: str, bound: str, value: float) -> None:
    found = only(read_text(tmp_path, f"patient,crp_mg_l\na,{cell}"))
    assert (found.bound, found.value) == (bound, value)


def test_a_comma_in_a_number_is_explained(tmp_path: Path) -> None:
    flags = list(read_text(tmp_path, "patient;crp_mg_l\na;43,1\nb;high").flags())
    assert [(flag.code, bool(flag.rule)) for flag in flags] == [
        ("not-a-number", True),
        ("not-a-number", False),
    ]


@pytest.mark.parametrize("cell", ["", "NA", "nan", "-", "null"])
def test_missing_cells_are_no_values(tmp_path: Path, cell: str) -> None:
    file = read_text(tmp_path, f"patient,crp_mg_l,ldh_u_l\na,{cell},250")
    assert (numbers(file), codes(file)) == ([{"ldh": 250}], [])


@pytest.mark.parametrize("time", ["yesterday", "14.3.2020", "2020-13-40", "2020-3", "9999-12-31"])
@pytest.mark.parametrize(("header", "cells"), [("crp_mg_l", "5"), ("name,value,unit", "crp,5,mg/L")])
def test_values_whose_time_cant_be_read_are_left_out(
    tmp_path: Path, time: str, header: str, cells: str
) -> None:
    file = read_text(tmp_path, f"patient,time,{header}\na,{time},{cells}\na,2020-03-14,{cells}")
    assert codes(file) == ["not-a-time"]
    (value,) = (value for record in file.records for value in record.values)
    assert value.where == "row 3"


@pytest.mark.parametrize("hours", ["soon", "<-48"])
def test_hours_from_the_image_are_a_number(tmp_path: Path, hours: str) -> None:
    file = read_text(tmp_path, f"file,hours_from_image,crp_mg_l\na,{hours},5")
    assert (numbers(file), codes(file)) == ([{}], ["not-a-time"])


def test_ldh_by_the_other_method_is_told(tmp_path: Path) -> None:
    file = read_text(tmp_path, "code,value,unit\n14804-9,200,U/L\n14805-6,400,U/L")
    assert [value.where for value in file.records[0].values] == ["row 2", "row 3"]
    assert codes(file) == ["other-method"]


def test_columns_whose_values_are_each_others_are_left_out(tmp_path: Path) -> None:
    rows = "\n".join(f"p{number},{130 + number},{38 + number / 10},250" for number in range(5))
    right = read_text(tmp_path, f"patient,sodium_mmol_l,temperature_cel,ldh_u_l\n{rows}")
    assert codes(right) == []
    crossed = read_text(tmp_path, f"patient,temperature_cel,sodium_mmol_l,ldh_u_l\n{rows}")
    assert codes(crossed) == ["swapped-columns"]
    assert numbers(crossed) == [{"ldh": 250}] * 5


@pytest.mark.parametrize(("rows", "found"), [(12, ["swapped-columns"]), (5, [])])
def test_more_lymphocytes_than_neutrophils_in_most_patients(
    tmp_path: Path, rows: int, found: list[str]
) -> None:
    lines = "\n".join(f"p{number},{60 + number},{30 - number}" for number in range(rows))
    assert codes(read_text(tmp_path, f"patient,lymphocytes_pct,neutrophils_pct\n{lines}")) == found
    assert codes(read_text(tmp_path, f"patient,neutrophils_pct,lymphocytes_pct\n{lines}")) == []


@given(st.text(st.sampled_from('crp_mg_l,;"\n\t 019.<e-'), max_size=60))
def test_whatever_a_table_holds_is_read_or_refused_in_one_line(text: str) -> None:
    with suppress(UnreadableError):  # quotes that don't fit
        records, _ = read_table("t.csv", "patient,crp_mg_l\n" + text)
        assert all(0 <= value.value <= 1000 for record in records for value in record.values)


HEADERS = {f"{name} [{analyte.unit}]": analyte for name, analyte in ANALYTES.items() if name != "sex"}


@given(st.lists(st.sampled_from(sorted(HEADERS)), min_size=1, unique=True), st.data())
def test_any_columns_in_any_order_give_the_same_values(
    tmp_path_factory: pytest.TempPathFactory, headers: list[str], data: st.DataObject
) -> None:
    """Dropping columns fails nothing, and neither their order nor that of the rows matters."""
    folder = tmp_path_factory.mktemp("t")
    cells = {
        header: f"{(3 * one.low + one.high) / 4:.6g}" for header, one in HEADERS.items() if header in headers
    }
    rows = [("a", cells), ("b", dict.fromkeys(headers, ""))]

    def read(order: list[str], rows: list[tuple[str, dict[str, str]]]) -> dict[str, dict[str, float]]:
        lines = [",".join((patient, *(held[header] for header in order))) for patient, held in rows]
        file = read_text(folder, "\n".join((",".join(("patient", *order)), *lines)))
        return {
            str(sorted(record.patients)): {value.name: value.value for value in record.values}
            for record in file.records
        }

    before = read(headers, rows)
    assert read(data.draw(st.permutations(headers)), rows[::-1]) == before
    assert max(map(len, before.values())) == len(headers)


@pytest.mark.parametrize(
    ("name", "patients", "values"), [("wuhan", 375, 45), ("einstein", 2982, 17), ("wuhan_course", 358, 3)]
)
def test_the_tables_of_hospitals(shared: Path, name: str, patients: int, values: int) -> None:
    file = read_values(shared / "data" / "clinical" / f"{name}.csv")
    assert file.patients == patients
    assert len({value.name for record in file.records for value in record.values}) == values


def test_scaled_values_without_units_are_refused(shared: Path) -> None:
    with refused(UnreadableError, "values-unit"):
        read_values(shared / "data" / "clinical" / "sirio_libanes.csv")
