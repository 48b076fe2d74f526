from __future__ import annotations

from pathlib import Path

import pytest

from pulmoscope.core.errors import DatasetError
from pulmoscope.datasets import Sample, SampleTable, load, manifest

HEADER = "file,label,split,patient,source\n"


def write(folder: Path, text: str, name: str = "manifest.csv") -> Path:
    file = folder / name
    file.write_text(text, encoding="utf-8")
    return file


def test_reads_a_folder_and_a_file_alike(tmp_path: Path) -> None:
    file = write(tmp_path, HEADER + "a.png,COVID,train,p1,north\nb.png,Normal,test,p2,south\n")
    table = load(tmp_path)
    assert table == load(file)
    assert table.layout == "manifest"
    assert table.samples == (
        Sample("a.png", "COVID", "train", "p1", "north"),
        Sample("b.png", "Normal", "test", "p2", "south"),
    )
    assert table.warnings == ()
    assert table.path(table.samples[0]) == tmp_path / "a.png"


def test_a_csv_of_another_name_is_a_manifest_too(tmp_path: Path) -> None:
    file = write(tmp_path, HEADER + "a.png,COVID,train,p1,north\n", name="subset.csv")
    assert load(file).samples[0].label == "COVID"


def test_column_order_case_spaces_and_further_columns_do_not_matter(tmp_path: Path) -> None:
    write(tmp_path, "\ufeffSource,Patient,Split,Label,File,sha256,mask\nn,p,val, COVID ,a.png,00ff,m.png\n")
    assert load(tmp_path).samples == (Sample("a.png", "COVID", "val", "p", "n", "m.png"),)


def test_absolute_files_stay_absolute(tmp_path: Path) -> None:
    write(tmp_path, HEADER + f"{tmp_path / 'elsewhere' / 'a.png'},COVID,train,p,n\n")
    table = load(tmp_path)
    assert table.path(table.samples[0]) == tmp_path / "elsewhere" / "a.png"


def test_blank_lines_are_skipped_and_quoted_names_kept(tmp_path: Path) -> None:
    write(tmp_path, HEADER + '\n"a, b.png",COVID,train,p,n\n\n')
    assert [sample.file for sample in load(tmp_path)] == ["a, b.png"]


def test_missing_patients_labels_and_splits_are_told(tmp_path: Path) -> None:
    write(tmp_path, HEADER + "a.png,COVID,train,,n\nb.png,,test,p,n\nc.png,COVID,,p3,n\n")
    warnings = load(tmp_path).warnings
    assert [line.split(":")[0] for line in warnings] == ["no patient ids", "no label", "no split"]
    assert all("1 of 3 images" in line for line in warnings)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "line 1: needs column file, label, split, patient, source (found: an empty file)"),
        ("file,label\na,b\n", "line 1: needs column split, patient, source (found: file, label)"),
        (HEADER, "at least one row"),
        (
            HEADER + "a,b,validation,,\n",
            "line 2: split must be train, val, test, all or empty (found: validation)",
        ),
        (HEADER + "a,b,train,,\na,b,test,,\n", "line 3: a file is named once (found: a also in line 2)"),
        (HEADER + ",b,train,,\n", "line 2: column file must not be empty"),
        (HEADER + "a,b,train\n", "line 2: a row has as many values as the header, 5 (found: 3)"),
    ],
)
def test_a_broken_table_gets_one_line_with_file_line_rule_and_value(
    tmp_path: Path, text: str, said: str
) -> None:
    file = write(tmp_path, text)
    with pytest.raises(DatasetError) as caught:
        load(tmp_path)
    assert str(file) in str(caught.value)
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_binary_file_is_refused_in_one_line(tmp_path: Path) -> None:
    (tmp_path / "manifest.csv").write_bytes(b"\xff\xfe\x00\x01 rubbish")
    with pytest.raises(DatasetError, match="must be a CSV file in UTF-8"):
        load(tmp_path)


def test_what_is_written_is_read_back(tmp_path: Path) -> None:
    samples = (
        Sample("a, b.png", "Viral Pneumonia", "train", "p", "n", "m.png"),
        Sample("ü.png", "COVID", "test"),
    )
    manifest.write(tmp_path / "manifest.csv", samples)
    assert load(tmp_path).samples == samples


def test_an_absolute_manifest_may_lie_anywhere(tmp_path: Path) -> None:
    table = SampleTable(tmp_path / "data", "class-folders", (Sample("COVID/a.png", "COVID", "train"),))
    (tmp_path / "kept").mkdir()
    manifest.write_table(tmp_path / "kept" / "mine.csv", table)
    found = load(tmp_path / "kept" / "mine.csv")
    assert found.path(found.samples[0]) == (tmp_path / "data" / "COVID" / "a.png").resolve()
    assert found.samples[0].mask == ""


def test_infected_slices_are_read_and_written(tmp_path: Path) -> None:
    text = HEADER[:-1] + ",infected\np1,COVID,train,1,n,3-9\np2,Normal,train,2,n,none\np3,CAP,test,3,n,\n"
    write(tmp_path, text)
    table = load(tmp_path)
    assert [sample.infected for sample in table] == ["3-9", "none", ""]
    manifest.write(tmp_path / "copy.csv", table.samples)
    assert (tmp_path / "copy.csv").read_text(encoding="utf-8") == text


def test_infected_slices_in_another_writing_are_refused(tmp_path: Path) -> None:
    write(tmp_path, HEADER[:-1] + ",infected\np1,COVID,train,1,n,9-3\n")
    with pytest.raises(DatasetError, match=r"line 2: .*\b9-3\b"):
        load(tmp_path)


def test_labels_that_nobody_read_are_written_and_read(tmp_path: Path) -> None:
    text = HEADER[:-1] + ",hospital,unread\na.png,COVID,train,1,n,h,yes\nb.png,Normal,train,2,n,h,\n"
    write(tmp_path, text)
    table = load(tmp_path)
    assert [sample.unread for sample in table] == [True, False]
    manifest.write(tmp_path / "copy.csv", table.samples)
    assert (tmp_path / "copy.csv").read_text(encoding="utf-8") == text
    write(tmp_path, text.replace("yes", "maybe"))
    with pytest.raises(DatasetError, match=r"line 2: unread must be yes or empty \(found: maybe\)"):
        load(tmp_path)


def test_boxes_are_read_and_those_of_no_row_told(tmp_path: Path) -> None:
    write(tmp_path, HEADER + "a.png,COVID,train,1,n\n")
    write(tmp_path, "file,x0,y0,x1,y1\na.png,1,2,3,4\nz.png,1,2,3,4\n", "boxes.csv")
    table = load(tmp_path)
    assert table.samples[0].boxes == ((1, 2, 3, 4),)
    assert table.warnings == ("boxes.csv: 1 files are not in manifest.csv, e.g. z.png",)


@pytest.mark.parametrize("box", ["3,2,1,4", "1,2,inf,4", "1,nan,3,4"])
def test_a_box_that_is_none_is_refused(box: str, tmp_path: Path) -> None:
    write(tmp_path, HEADER + "a.png,COVID,train,1,n\n")
    write(tmp_path, f"file,x0,y0,x1,y1\na.png,{box}\n", "boxes.csv")
    with pytest.raises(DatasetError, match=r"boxes\.csv, line 2: a box goes from left to right"):
        load(tmp_path)


@pytest.mark.parametrize("text", ["", "room,size\n1,2\n"])
def test_another_table_called_boxes_is_ignored_and_told(text: str, tmp_path: Path) -> None:
    write(tmp_path, HEADER + "a.png,COVID,train,1,n\n")
    write(tmp_path, text, "boxes.csv")
    assert [warning.split(":")[0] for warning in load(tmp_path).warnings] == ["boxes.csv is ignored"]


@pytest.mark.parametrize(
    ("age", "sex", "view", "expected"),
    [
        ("62", "F", "ap", (62.0, "female", "AP")),
        ("0.5", "male", "PA", (0.5, "male", "PA")),
        ("0", "W", "", (0.0, "female", "")),
        ("", "", "", (None, "", "")),
        ("about 60", "unknown", "N/A", (None, "", "")),
        ("-1", "other", "LL", (None, "other", "LL")),
        ("200", "", "", (None, "", "")),
        ("nan", "", "", (None, "", "")),
    ],
)
def test_what_is_known_of_the_patient(
    tmp_path: Path, age: str, sex: str, view: str, expected: tuple[float | None, str, str]
) -> None:
    write(
        tmp_path,
        f"file,label,split,patient,source,age,sex,view\na.png,COVID,test,p1,north,{age},{sex},{view}\n",
    )
    (sample,) = load(tmp_path).samples
    assert (sample.age, sample.sex, sample.view) == expected
    manifest.write(tmp_path / "again.csv", [sample])
    assert manifest.read(tmp_path / "again.csv").samples == (sample,)
