from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from ct_trees import TREES, covid_ct_md, mosmed, series
from films import film, save, write_manifest
from pulmoscope.apps.cli.datasets import app
from pulmoscope.core.errors import DatasetError
from pulmoscope.datasets import Sample, load
from pulmoscope.datasets.check.check import check
from pulmoscope.datasets.checksum import table_checksum
from pulmoscope.datasets.infected import infected_text
from pulmoscope.datasets.studies import as_studies
from pulmoscope.datasets.table import SampleTable


def run(*arguments: str | Path) -> Result:
    result = CliRunner().invoke(app, [str(argument) for argument in arguments], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result


def slices(root: Path, patient: str, label: str, count: int, **row: str) -> list[dict[str, str]]:
    """The rows of a manifest, one a slice of a new series."""
    folder = series(root / label / patient, count, len(patient))
    return [
        {"file": f"{label}/{patient}/{file.name}", "label": label, "patient": patient, "split": "all"} | row
        for file in sorted(folder.iterdir())
    ]


@pytest.mark.parametrize(
    ("numbers", "text"),
    [([], "none"), ([0], "0"), ([3, 1, 2, 2], "1-3"), ([12, 13, 45], "12-13,45"), ([1, 3, 5], "1,3,5")],
)
def test_slice_numbers_as_text(numbers: list[int], text: str) -> None:
    assert infected_text(numbers) == text


def test_slices_of_a_manifest_become_studies(tmp_path: Path) -> None:
    rows = slices(tmp_path, "P1", "COVID", 4, source="north") + slices(tmp_path, "N1", "Normal", 2)
    write_manifest(tmp_path, rows)
    lines = ["file,slice_index,infected"]
    lines += [f"{row['file']},{number},{int(number in (1, 2))}" for number, row in enumerate(rows[:4])]
    (tmp_path / "slice_labels.csv").write_text("\n".join(lines) + "\n")
    assert as_studies(load(tmp_path)).samples == (
        Sample("COVID/P1", "COVID", "all", "P1", "north", infected="1-2"),
        Sample("Normal/N1", "Normal", "all", "N1", ""),
    )


def test_folders_and_volumes_stay_as_they_are(tmp_path: Path) -> None:
    series(tmp_path / "P1", 2)
    samples = (Sample("P1", "COVID", infected="0"), Sample("absent.nii.gz", "CAP"), Sample("b.MHA", "CAP"))
    assert as_studies(SampleTable(tmp_path, "manifest", samples)).samples == samples


def test_a_picture_is_no_study(tmp_path: Path) -> None:
    table = SampleTable(tmp_path, "manifest", (Sample("a.png", "COVID"),))
    with pytest.raises(
        DatasetError, match=r"a\.png: a study is a folder of DICOM slices or a volume's file .*found: \.png"
    ):
        as_studies(table)


@pytest.mark.parametrize("column", ["label", "split", "patient", "source"])
def test_slices_of_one_folder_must_agree(tmp_path: Path, column: str) -> None:
    rows = slices(tmp_path, "P1", "COVID", 3)
    rows[1][column] = "test" if column == "split" else "other"
    write_manifest(tmp_path, rows)
    with pytest.raises(DatasetError, match=f"COVID/P1: all slices of a study have one {column}") as caught:
        as_studies(load(tmp_path))
    if column == "patient":
        assert "found: 2 patients" in str(caught.value)


def test_a_study_is_its_whole_folder(tmp_path: Path) -> None:
    write_manifest(tmp_path, slices(tmp_path, "P1", "COVID", 3)[1:])
    with pytest.raises(
        DatasetError, match=r"a study is all slices of its folder \(found: 2 of 3 in the table\)"
    ):
        as_studies(load(tmp_path))


@pytest.mark.parametrize(
    ("lines", "rule"),
    [
        (["{0},0,1", "{1},2,0"], r"slice_index counts the 2 slices of COVID/P1 from 0 .*found: 0,2"),
        (["{0},0,1"], r"slice_index counts the 2 slices"),
        (["{0},first,1"], r"slice_labels\.csv, line 2: slice_index must be a whole number"),
        (["{0},0,yes"], r"infected 0 or 1 \(found: 0, yes\)"),
    ],
)
def test_slice_labels_that_do_not_fit_are_refused(tmp_path: Path, lines: list[str], rule: str) -> None:
    rows = slices(tmp_path, "P1", "COVID", 2)
    write_manifest(tmp_path, rows)
    text = "\n".join(["file,slice_index,infected", *lines]).format(*(row["file"] for row in rows))
    (tmp_path / "slice_labels.csv").write_text(text)
    with pytest.raises(DatasetError, match=rule):
        as_studies(load(tmp_path))


def test_the_real_series_become_three_studies(shared: Path) -> None:
    table = as_studies(load(shared / "data" / "ct_series"))
    found = {sample.file: (sample.label, sample.patient, sample.infected) for sample in table}
    assert set(found) == {"COVID/P001", "CAP/cap001", "Normal/normal001"}
    assert found["Normal/normal001"] == ("Normal", "normal001", "none")
    # the README: cap001 was cut to its infected range and 20 slices to either side, 30 of its 70 are infected
    assert found["CAP/cap001"][2].split("-")[0] == "20"
    assert found["CAP/cap001"][2].split("-")[-1] == "49"


@pytest.mark.parametrize("name", sorted(TREES))
def test_show_and_check_go_through_every_layout(tmp_path: Path, name: str) -> None:
    data, out = TREES[name](tmp_path / "data"), tmp_path / "out"
    said = run("show", data).stdout
    assert f"layout {name}" in said
    assert ("CT studies" in said) == (name in ("covid-ct-md", "mosmeddata", "spgc-covid"))
    CliRunner().invoke(app, ["check", str(data), "-o", str(out)], catch_exceptions=False)
    verdicts = {
        one["verdict"] for one in json.loads((out / "check.json").read_text(encoding="utf-8"))["verdicts"]
    }
    assert verdicts <= {"ok", "warn", "fail"}
    page = (out / "check.html").read_text(encoding="utf-8")
    assert ("What the images look like" in page) == ("CT studies" not in said)


def test_the_check_of_studies_counts_and_finds_copies_and_leaks(tmp_path: Path) -> None:
    one = series(tmp_path / "a", 3)
    shutil.copytree(one, tmp_path / "b")
    (tmp_path / "b" / "IM0001.dcm").rename(tmp_path / "b" / "renamed.dcm")
    series(tmp_path / "c", 3, seed=9)
    samples = (
        Sample("a", "COVID", "train", "P1"),
        Sample("b", "COVID", "test", "P1"),
        Sample("c", "Normal", "train", "P2"),
        Sample("gone.nii.gz", "Normal", "test", "P3"),
    )
    report = check(SampleTable(tmp_path, "manifest", samples))
    assert (report.images, report.studies, report.readable) == (4, 4, 3)
    assert [(pair.first, pair.second, pair.identical) for pair in report.pairs] == [("a", "b", True)]
    assert [leak.splits for leak in report.patient_leaks] == [("train", "test")]
    (problem,) = report.problems
    assert problem.startswith(f"{tmp_path / 'gone.nii.gz'}: ")
    verdicts = {one.rule: one.verdict for one in report.verdicts}
    assert verdicts["files"] == "fail"
    assert (verdicts["identical files"], verdicts["patients"], verdicts["near-duplicates"]) == (
        "fail",
        "fail",
        "warn",
    )


def test_a_table_s_checksum_sees_into_studies(tmp_path: Path) -> None:
    table = load(covid_ct_md(tmp_path))
    before = table_checksum(table)
    (tmp_path / "Cap subjects" / "cap001" / "IM0001.dcm").write_bytes(b"changed")
    assert table_checksum(table) != before


def test_studies_and_pictures_in_one_table_are_checked_each_in_its_way(tmp_path: Path) -> None:
    mosmed(tmp_path)
    save(tmp_path / "slice.png", film(1, 64))
    table = load(tmp_path)
    mixed = SampleTable(tmp_path, "manifest", (*table.samples, Sample("slice.png", "CT-1", "train")))
    report = check(mixed)
    assert (report.images, report.studies, report.readable) == (5, 4, 5)
    assert [(kind.format, kind.images) for kind in report.files] == [("PNG", 1)]
    files = next(one for one in report.verdicts if one.rule == "files")
    assert (files.verdict, files.sentence) == (
        "ok",
        "All 5 images are there; CT studies (4 of them) were not opened.",
    )
