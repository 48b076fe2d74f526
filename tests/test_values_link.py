"""Which values are of an image, which of several times count, and what can't all be true."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pulmoscope.core.errors import UnsuitableError
from pulmoscope.core.facts import patient_sum
from pulmoscope.core.values import LinkedValues, Moment
from pulmoscope.values.choose import Window
from pulmoscope.values.link import Image, linked, shared_names
from pulmoscope.values.read import read_values
from refusals import refused
from values import patient, read_text, write_bundle

TAKEN = Moment.of("2020-03-14T12:00")
IMAGE = Image("image.dcm", "/data/a/image.dcm", frozenset({"ab" * 32}), patient_sum("A"), TAKEN)


def link(folder: Path, text: str, image: Image = IMAGE, window: Window | None = None) -> LinkedValues:
    return linked(read_text(folder, text), image, window or Window())


def flags(found: LinkedValues) -> list[str]:
    return [flag.code for flag in found.flags]


def test_by_the_patients_id(tmp_path: Path) -> None:
    found = link(tmp_path, "patient,time,crp_mg_l\nA,2020-03-14T09:00,5\nB,2020-03-14T09:00,6")
    assert (found.link, found.numbers, flags(found)) == ("patient", {"crp": 5}, [])
    assert found.values[0].hours == -3
    none = link(tmp_path, "patient,crp_mg_l\nB,5")
    assert (none.link, none.numbers, flags(none)) == ("none", {}, ["no-values"])


@pytest.mark.parametrize("whose", ["file,image.dcm", "image,a\\image.dcm", f"sha256,{'AB' * 32}"])
def test_by_the_images_file(tmp_path: Path, whose: str) -> None:
    column, cell = whose.split(",")
    found = link(tmp_path, f"{column},crp_mg_l\n{cell},5\nb/image.dcm,6\nother.dcm,7")
    assert (found.link, found.numbers) == ("file", {"crp": 5})
    assert link(tmp_path, "file,patient,crp_mg_l\nmage.dcm,A,5").link == "none"


def test_of_two_files_of_one_name_the_path_tells(tmp_path: Path) -> None:
    file = read_text(tmp_path, "file,crp_mg_l\na/image.dcm,5\nimage.dcm,6\nother.dcm,7")
    shared = shared_names(file, ["/data/a/image.dcm", "/data/b/image.dcm", "/data/other.dcm", "/data"])
    assert shared == {"image.dcm"}
    first = replace(IMAGE, shared=shared)
    assert linked(file, first, Window()).numbers == {"crp": 5}
    with refused(UnsuitableError, "values-ambiguous"):
        linked(file, replace(first, path="/data/b/image.dcm"), Window())


def test_another_patients_values_refuse_the_image(tmp_path: Path) -> None:
    with refused(UnsuitableError, "values-patient") as caught:
        link(tmp_path, "file,patient,crp_mg_l\nimage.dcm,B,5")
    assert "B" not in caught.value.reason
    with refused(UnsuitableError, "values-patient"):
        link(tmp_path, "patient,crp_mg_l\nB,5", replace(IMAGE, only=True))
    assert link(tmp_path, "patient,crp_mg_l\nB,5\nC,6", replace(IMAGE, only=True)).link == "none"


def test_an_id_that_several_patients_of_a_file_have_refuses_the_image(tmp_path: Path) -> None:
    both = [patient(id="one", identifier=[{"value": "A"}]), patient(id="A", identifier=[{"value": "two"}])]
    file = read_values(write_bundle(tmp_path, [{"resource": resource} for resource in both]))
    with refused(UnsuitableError, "values-ambiguous") as caught:
        linked(file, IMAGE, Window())
    assert "two" not in caught.value.reason


def test_a_cell_that_says_that_nothing_is_known_is_no_patient_and_no_file(tmp_path: Path) -> None:
    alone = replace(IMAGE, only=True, patient=patient_sum("NA"))
    with refused(UnsuitableError, "values-ambiguous"):
        link(tmp_path, "patient,file,crp_mg_l\nNA,unknown,5\nNA,-,6", alone)
    assert link(tmp_path, "patient,file,crp_mg_l\nNA,unknown,5", alone).link == "only"


def test_one_patient_and_one_image_belong_together_unless_something_speaks_against_it(tmp_path: Path) -> None:
    alone = replace(IMAGE, patient="", only=True, sex="F", age=61)
    assert link(tmp_path, "crp_mg_l\n5", alone).link == "only"
    assert link(tmp_path, "patient,crp_mg_l\nA,5\nA,5", alone).link == "only"
    assert link(tmp_path, "crp_mg_l\n5", replace(alone, only=False)).link == "none"
    for text in ("crp_mg_l\n5\n6", "patient,crp_mg_l\nA,5\nB,6"):
        with refused(UnsuitableError, "values-ambiguous"):
            link(tmp_path, text, alone)
    for text in ("sex,crp_mg_l\nm,5", "age_years,crp_mg_l\n70,5"):
        with refused(UnsuitableError, "values-patient"):
            link(tmp_path, text, alone)
        by_id = link(
            tmp_path,
            text.replace(",crp", ",patient,crp").replace(",5", ",A,5"),
            replace(alone, patient=patient_sum("A")),
        )
        assert flags(by_id) == ["differs-from-header", "no-time"]
    assert link(tmp_path, "file,crp_mg_l\nother.dcm,5", alone).link == "none"


@pytest.mark.parametrize(
    ("time", "used", "hours"),
    [
        ("2020-03-12T12:00", True, -48),
        ("2020-03-12T11:59", False, None),
        ("2020-03-15T12:00", True, 24),
        ("2020-03-15T12:01", False, None),
        ("2020-03-14", True, 0),
        ("2020-03-13", True, -12),
        ("2020-03-11", False, None),
    ],
)
def test_the_window(tmp_path: Path, time: str, used: bool, hours: float | None) -> None:
    found = link(tmp_path, f"patient,time,crp_mg_l\nA,{time},5")
    assert [value.hours for value in found.values] == ([hours] if used else [])
    assert flags(found) == ([] if used else ["no-values", "too-far"])
    wider = link(tmp_path, f"patient,time,crp_mg_l\nA,{time},5", window=Window(100, 100))
    assert wider.numbers == {"crp": 5}


@pytest.mark.parametrize(
    ("time", "window", "hours"),
    [
        ("2020-03", Window(), None),
        ("2020-03", Window(13.5 * 24, 17.5 * 24), 17.5 * 24),
        ("2020-03", Window(13.5 * 24, 17.5 * 24 - 1), None),
        ("2020-03", Window(13.5 * 24 - 1, 17.5 * 24), None),
        ("2015", Window(), None),
        ("2019", Window(439 * 24, 0), -438.5 * 24),
    ],
)
def test_of_a_month_or_a_year_all_days_lie_in_the_window(
    tmp_path: Path, time: str, window: Window, hours: float | None
) -> None:
    found = link(tmp_path, f"patient,time,crp_mg_l\nA,{time},5", window=window)
    assert [value.hours for value in found.values] == ([] if hours is None else [hours])
    assert flags(found) == (["no-values", "too-far"] if hours is None else [])


def test_the_nearest_wins_and_of_equals_the_earlier(tmp_path: Path) -> None:
    header = "patient,time,crp_mg_l"
    rows = ["A,2020-03-14T06:00,1", "A,2020-03-14T11:00,2", "A,2020-03-14T13:00,3", "A,2020-03-13,4"]
    assert link(tmp_path, "\n".join((header, *rows))).numbers == {"crp": 2}
    on_a_day = replace(IMAGE, taken=Moment.of("2020-03-14"))
    assert link(tmp_path, "\n".join((header, *rows)), on_a_day).numbers == {"crp": 1}


def test_two_values_of_one_time_are_none_unless_they_agree(tmp_path: Path) -> None:
    same = "patient,time,name,value,unit\nA,2020-03-14T09:00,haemoglobin,13.1,g/dL\nA,2020-03-14T09:00,hb,131,g/L"
    assert link(tmp_path, same).numbers == {"haemoglobin": 131}
    differing = link(tmp_path, same.replace(",131,", ",113,"))
    assert (differing.numbers, flags(differing)) == ({}, ["conflicting-values", "no-values"])


def test_values_without_a_time_are_used_and_said(tmp_path: Path) -> None:
    found = link(tmp_path, "patient,crp_mg_l,age_years\nA,5,61")
    assert (found.numbers, flags(found)) == ({"age": 61, "crp": 5}, ["no-time"])
    undated = link(tmp_path, "patient,time,crp_mg_l\nA,2020-03-14,5", replace(IMAGE, taken=None))
    assert (undated.numbers, flags(undated)) == ({"crp": 5}, ["no-time"])
    timed = link(tmp_path, "patient,time,crp_mg_l\nA,,5\nA,2020-03-14T09:00,6")
    assert (timed.numbers, flags(timed)) == ({"crp": 6}, [])


@pytest.mark.parametrize(
    ("age", "value", "text"),
    [
        ("61.87,a", 61, "61 a"),
        ("22645,d", 61, "61 a"),  # 61.9986 years of 365.25 days
        ("22280.25,d", 61, "61 a"),
        ("<18.5,a", 18, "<18 a"),
        ("17.5,a", 17.5, "210 mo"),
        ("100,d", 0.25, "3 mo"),  # 3.3 months
        ("731,d", 2, "2 a"),
    ],
)
def test_an_age_is_kept_in_years_and_of_children_in_months(
    tmp_path: Path, age: str, value: float, text: str
) -> None:
    (found,) = link(tmp_path, f"patient,name,value,unit\nA,age,{age}").values
    assert (found.value, found.given) == (value, text)


def test_hours_from_the_image_need_no_date(tmp_path: Path) -> None:
    found = link(tmp_path, "file,hours_from_image,crp_mg_l\nimage.dcm,-24,5", replace(IMAGE, taken=None))
    assert [value.hours for value in found.values] == [-24]


@pytest.mark.parametrize(
    ("row", "kept"),
    [
        ("neutrophils_pct 80,lymphocytes_pct 30,ldh_u_l 300", {"ldh"}),
        ("neutrophils_pct 0.7,lymphocytes_pct 0.25,ldh_u_l 300", {"ldh"}),
        (
            "neutrophils_pct 0.7,monocytes_pct 0.2,ldh_u_l 300",
            {"neutrophils_fraction", "monocytes_fraction", "ldh"},
        ),
        ("leukocytes_g_l 5,neutrophils_g_l 4,lymphocytes_g_l 3,ldh_u_l 300", {"ldh"}),
        (
            "leukocytes_g_l 5,neutrophils_g_l 4,lymphocytes_g_l 1",
            {"leukocytes", "neutrophils", "lymphocytes"},
        ),
        ("systolic_mmhg 70,diastolic_mmhg 120,ldh_u_l 300", {"ldh"}),
        (
            "leukocytes_g_l 10,neutrophils_g_l 8,lymphocytes_g_l 1,neutrophils_pct 10,lymphocytes_pct 80",
            {"leukocytes"},
        ),
        (
            "leukocytes_g_l 10,neutrophils_g_l >8,lymphocytes_g_l 5",
            {"leukocytes", "neutrophils", "lymphocytes"},
        ),
    ],
)
def test_what_contradicts_itself_is_left_out(tmp_path: Path, row: str, kept: set[str]) -> None:
    columns, cells = zip(*(cell.split(" ") for cell in row.split(",")), strict=True)
    text = f"patient,time,{','.join(columns)}\nA,2020-03-14T09:00,{','.join(cells)}"
    found = link(tmp_path, text)
    assert set(found.numbers) == kept
    assert ("contradicting-values" in flags(found)) == (len(kept) < 3)


def test_age_and_sex_of_the_header_only_where_asked_for(tmp_path: Path) -> None:
    file = read_text(tmp_path, "patient,time,crp_mg_l,age_years\nA,2020-03-14,5,61")
    image = replace(IMAGE, age=62, sex="M")
    assert linked(file, image, Window()).numbers == {"age": 61, "crp": 5}
    found = linked(file, image, Window(), header=True)
    assert found.numbers == {"age": 61, "sex": 1, "crp": 5}
    assert [value.name for value in found.values if value.from_header] == ["sex"]


ROWS = [
    "A,2020-03-14T09:00,5,13.1,",
    "A,2020-03-14T11:00,,12.9,250",
    "A,2020-03-13,7,,",
    "A,,8,11,300",
    "B,2020-03-14T11:00,100,9,900",
    "A,2020-02-01,9,14,260",
]


@given(st.permutations(ROWS))
def test_the_order_of_rows_does_not_matter(tmp_path_factory: pytest.TempPathFactory, rows: list[str]) -> None:
    folder = tmp_path_factory.mktemp("t")
    found = link(folder, "\n".join(("patient,time,crp_mg_l,haemoglobin_g_dl,ldh_u_l", *rows)))
    assert [(value.name, value.value, value.hours) for value in found.values] == [
        ("crp", 5, -3),
        ("haemoglobin", 129, -1),
        ("ldh", 250, -1),
    ]
    assert flags(found) == []
