from __future__ import annotations

import csv
import io

from diagnoses import a_ct_diagnosis, a_ct_of_pictures
from pulmoscope.report.slice_table import to_csv


def test_a_row_per_slice_from_the_feet_to_the_head() -> None:
    lines = to_csv(a_ct_diagnosis()).splitlines()
    known = (
        "index,file,instance,z_mm,lung_fraction,dense_fraction,lesion_fraction,missing_fraction,anomaly_score"
    )
    assert lines[0] == f"{known},p_COVID,p_CAP,p_Normal"
    assert lines[1] == "0,study/024.dcm,24,-300.000,0.000000,,,,,,,"
    assert lines[1 + 12] == "12,study/012.dcm,12,-240.000,0.200000,,,,,0.850000,0.015000,0.135000"
    assert len(lines) == 1 + 24


def test_heights_that_no_one_knows_are_empty() -> None:
    assert to_csv(a_ct_of_pictures()).splitlines()[1] == "0,pictures/000.png,,,0.000000,,,,,,,"


def test_a_file_name_is_neither_a_formula_nor_a_column() -> None:
    rows = list(csv.DictReader(io.StringIO(to_csv(a_ct_diagnosis('=cmd("x"),a\nb')))))
    assert rows[0]["file"] == './=cmd("x"),a\nb/024.dcm'
    assert rows[0]["z_mm"] == "-300.000"
    assert len(rows) == 24
