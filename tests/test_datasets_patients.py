"""Tables of patients: names and units of columns, times, splits, and what is refused."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from pulmoscope.core.errors import DatasetError
from pulmoscope.datasets.patients import Window, read_patients


def table(folder: Path, text: str, name: str = "t.csv") -> Path:
    (folder / name).write_text(text, encoding="utf-8")
    return folder


def test_columns_are_named_by_the_catalogue_and_come_in_its_units(tmp_path: Path) -> None:
    header = "patient,split,age_years,sex,haemoglobin_g_dl,hs_crp_mg_l,neutrophils_pct,d-dimer [ug/mL],shoe_size,died"
    found = read_patients(
        table(tmp_path, f"{header}\na,train,70,M,13.1,40,81,0.5,42,1\nb,test,60,f,,,,,,0\n"), "t.csv", "died"
    )
    assert found.names == ("age", "sex", "haemoglobin", "crp", "neutrophils_fraction", "d_dimer")
    np.testing.assert_allclose(found.values[0], [70, 1, 131, 40, 81, 0.5])
    assert np.isnan(found.values[1, 2:]).all()
    assert list(found.happened) == [True, False]
    assert found.split("test").patients == ("b",)
    assert not found.synthetic


def test_values_beyond_what_is_possible_are_missing_and_counted(tmp_path: Path) -> None:
    rows = "patient,platelets_g_l,po2_mmhg,died\na,-1,80,1\nb,200,-inf,0\n"
    found = read_patients(table(tmp_path, rows), "t.csv", "died")
    assert found.impossible == {"platelets": 1}
    np.testing.assert_array_equal(
        found.columns(["platelets", "po2", "ldh"]), [[np.nan, 80, np.nan], [200, np.nan, np.nan]]
    )


COURSE = """patient,hours_from_admission,ldh_u_l,crp_mg_l
a,30,500,
a,2,300,
a,5,320,50
b,40,250,10
"""
STAYS = "patient,split,age_years,ldh_u_l,died,stay_days\na,train,70,999,1,2\nb,val,50,999,0,4\n"


@pytest.mark.parametrize(
    ("window", "patients", "values"),
    [
        (Window(hours=24), ("a",), [[70, 300, 50]]),
        (Window(), ("a", "b"), [[70, 300, 50], [50, 250, 10]]),
        (Window(before_end_hours=0), ("a", "b"), [[70, 500, 50], [50, 250, 10]]),
        (Window(before_end_hours=24), ("a", "b"), [[70, 320, 50], [50, 250, 10]]),
        (Window(before_end_hours=48), ("b",), [[50, 250, 10]]),
    ],
)
def test_of_a_table_with_times_the_window_says_which_values_count(
    tmp_path: Path, window: Window, patients: tuple[str, ...], values: list[list[float]]
) -> None:
    table(tmp_path, STAYS, "stays.csv")
    found = read_patients(table(tmp_path, COURSE, "course.csv"), "course.csv", "died", "stays.csv", window)
    assert found.patients == patients
    np.testing.assert_allclose(found.columns(["age", "ldh", "crp"]), values)
    assert found.timed


def test_patients_without_an_outcome_or_a_time_are_left_out(tmp_path: Path) -> None:
    table(tmp_path, STAYS + "c,test,60,999,,5\n", "stays.csv")
    course = COURSE + "b,,999,\nc,1,300,\nd,1,300,\n"
    found = read_patients(table(tmp_path, course, "course.csv"), "course.csv", "died", "stays.csv")
    assert found.patients == ("a", "b")
    np.testing.assert_allclose(found.columns(["ldh"]), [[300], [250]])


def test_scaled_values_join_with_nothing(tmp_path: Path) -> None:
    rows = "patient,age_percentil,albumin,icu_later\na,Above 90th,0.6,1\nb,10th,-1,0\n"
    found = read_patients(table(tmp_path, rows, "sirio_libanes.csv"), "sirio_libanes.csv", "icu_later")
    assert found.names == ("scaled_age_percentil", "scaled_albumin")
    np.testing.assert_allclose(found.values, [[95, 0.6], [10, -1]])


def test_splits_that_a_table_lacks_are_drawn(tmp_path: Path) -> None:
    rows = "".join(f"p{number},{number % 40 + 30},{number % 3 == 0:d}\n" for number in range(200))
    found = read_patients(table(tmp_path, "patient,age_years,died\n" + rows), "t.csv", "died")
    assert {name: found.splits.count(name) for name in ("train", "val", "test")} == {
        "train": 140,
        "val": 30,
        "test": 30,
    }


@pytest.mark.parametrize("row", ["a,SECRET,m,1", "a,50,SECRET,1", "a,50,m,SECRET"])
def test_what_a_cell_holds_is_not_told(tmp_path: Path, row: str) -> None:
    with pytest.raises(DatasetError) as refused:
        read_patients(table(tmp_path, f"patient,age_years,sex,died\n{row}\n"), "t.csv", "died")
    assert "SECRET" not in str(refused.value)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("patient,age_years,died\n", "rows"),
        ("age_years,died\n50,1\n", "patient"),
        ("patient,age_years\na,50\n", "died"),
        ("patient,age_years,died\na,old,1\n", "age"),
        ("patient,sex,died\na,x,1\n", "sex"),
        ("patient,age_years,died\na,50,2\n", "died"),
        ("patient,age_years,died\na,50,1\na,60,0\n", "1 patients"),
        ("patient,age_years,died\na,50,1,7\n", "row 2"),
        ("patient,age_years,age_years,died\na,50,50,1\n", "age_years"),
        ("patient,crp,died\na,5,1\n", "crp"),
        ("patient,crp_u_l,died\na,5,1\n", "crp"),
        ("patient,crp_mg_l,hs_crp_mg_l,died\na,5,5,1\n", "crp"),
    ],
)
def test_a_table_that_is_none_is_refused_in_one_line(tmp_path: Path, text: str, says: str) -> None:
    with pytest.raises(DatasetError, match=says) as refused:
        read_patients(table(tmp_path, text), "t.csv", "died")
    assert "\n" not in str(refused.value)
    with pytest.raises(DatasetError):
        read_patients(tmp_path, "absent.csv", "died")


def test_the_published_tables_are_read(shared: Path) -> None:
    folder = shared / "data" / "clinical"
    wuhan = read_patients(folder, "wuhan.csv", "died")
    assert (len(wuhan), int(wuhan.happened.sum()), len(wuhan.names)) == (375, 174, 45)
    einstein = read_patients(folder, "einstein.csv", "respiratory")
    assert (len(einstein), int(einstein.happened.sum())) == (2982, 1008)
    assert 130 < np.nanmedian(einstein.columns(["haemoglobin"])) < 150  # g/L of g/dL
    day = read_patients(folder, "wuhan_course.csv", "died", "wuhan.csv", Window(hours=24))
    assert (len(day), day.names) == (327, ("age", "sex", "ldh", "crp", "lymphocytes_fraction"))
