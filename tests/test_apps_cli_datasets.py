from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from films import film, save, write_manifest
from pulmoscope.apps.cli.datasets import FAILED, app
from pulmoscope.core.errors import DatasetError, OutputExistsError
from pulmoscope.datasets import load
from pulmoscope.datasets.layouts.detect import LAYOUTS


def run(*arguments: str | Path, code: int = 0) -> Result:
    result = CliRunner().invoke(app, [str(argument) for argument in arguments], catch_exceptions=False)
    assert result.exit_code == code, result.output
    return result


@pytest.fixture
def data(tmp_path: Path) -> Path:
    folder = tmp_path / "data"
    for number in range(6):
        save(folder / f"{number}.png", film(number))
    write_manifest(
        folder,
        [
            {
                "file": f"{n}.png",
                "label": ("COVID", "Normal")[n % 2],
                "split": ("train", "test")[n // 2 % 2],
                "source": "north",
            }
            for n in range(6)
        ],
    )
    return folder


def test_list_names_every_layout() -> None:
    said = run("list").stdout
    assert all(name in said for name in LAYOUTS)


def test_show_counts_and_warns(data: Path) -> None:
    result = run("show", data)
    assert "6 images, layout manifest" in result.stdout
    assert "Sources: north 6" in result.stdout
    assert "warning: no patient ids" in result.stderr


def test_show_keeps_drawn_splits_in_a_manifest(tmp_path: Path) -> None:
    for number in range(6):
        save(tmp_path / "data" / "COVID" / f"{number}.png", film(number))
    kept = tmp_path / "kept.csv"
    run("show", tmp_path / "data", "-o", kept)
    drawn, read = load(tmp_path / "data"), load(kept)
    assert [(s.label, s.split) for s in read] == [(s.label, s.split) for s in drawn]
    assert all(read.path(sample).is_file() for sample in read)
    with pytest.raises(OutputExistsError):
        run("show", tmp_path / "data", "-o", kept)
    run("show", tmp_path / "data", "-o", kept, "--force")


def test_a_manifest_shown_into_the_folder_settles_its_splits(tmp_path: Path) -> None:
    data, moved = tmp_path / "data", tmp_path / "moved"
    for number in range(6):
        save(data / "COVID" / f"{number}.png", film(number))
    drawn = load(data)
    assert "to settle them" in run("show", data).stderr
    assert "to settle them" not in run("show", data, "-o", data / "manifest.csv").stderr
    data.rename(moved)
    settled = load(moved)
    assert settled.samples == drawn.samples
    assert not any("drawn here" in line for line in settled.warnings)


def test_check_prints_verdicts_and_writes_both_reports(data: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    result = run("check", data, "-o", out, code=FAILED)  # brightness tells its six images' classes
    assert "near-duplicates" in result.stdout
    assert result.stdout.rstrip().endswith("check.html")
    assert json.loads((out / "check.json").read_text(encoding="utf-8"))["images"] == 6
    assert (out / "check.html").read_text(encoding="utf-8").startswith("<!DOCTYPE html>")
    with pytest.raises(OutputExistsError):
        run("check", data, "-o", out)
    run("check", data, "-o", out, "--force", code=FAILED)


def test_check_json_is_all_of_standard_output(data: Path) -> None:
    report = json.loads(run("check", data, "--json", code=FAILED).stdout)
    assert report["schema_version"] == "1.0"
    assert report["verdict"] == "fail"


def test_check_ends_well_where_nothing_worse_than_a_warning_is_found(tmp_path: Path) -> None:
    for number in range(6):
        save(tmp_path / "COVID" / f"{number}.png", film(number))
    report = json.loads(run("check", tmp_path, "--json").stdout)  # one class: nothing can be told apart
    assert report["verdict"] == "warn"


def test_check_of_a_picture_in_two_splits_fails(tmp_path: Path) -> None:
    for name in ("one", "other"):
        save(tmp_path / f"{name}.png", film(1))
    splits = {"one": "train", "other": "test"}
    rows = [{"file": f"{name}.png", "label": "COVID", "split": split} for name, split in splits.items()]
    write_manifest(tmp_path, rows)
    report = json.loads(run("check", tmp_path, "--json", code=FAILED).stdout)
    assert "identical files" in [one["rule"] for one in report["verdicts"] if one["verdict"] == "fail"]


def test_check_of_nothing_is_a_data_set_error(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match="there is no such data set"):
        run("check", tmp_path / "absent")


def test_phantom_makes_a_folder_that_can_be_checked(tmp_path: Path) -> None:
    said = run("phantom", "--kind", "xray", "--seed", "7", "--size", "64", "-o", tmp_path / "one").stdout
    assert "1 synthetic radiographs" in said
    classes = "COVID, Normal"
    run("phantom", "-o", tmp_path / "many", "--count", "8", "--classes", classes, "--size", "64", "--masks")
    assert load(tmp_path / "many").classes == ("COVID", "Normal")
    with pytest.raises(OutputExistsError):
        run("phantom", "-o", tmp_path / "one", "--size", "64")
    run("phantom", "-o", tmp_path / "one", "--size", "64", "--force")


def test_several_phantoms_are_of_two_classes_and_can_be_trained_on(tmp_path: Path) -> None:
    run("phantom", "-o", tmp_path / "many", "--count", "12", "--size", "64")
    table = load(tmp_path / "many")
    assert {(sample.label, sample.split) for sample in table} == {
        (label, split) for label in ("COVID", "Normal") for split in ("train", "val", "test")
    }
    run("phantom", "-o", tmp_path / "one", "--size", "64")
    assert load(tmp_path / "one").classes == ("Normal",)


def test_ct_phantoms_make_a_data_set_and_say_what_is_tied(tmp_path: Path) -> None:
    small = ("--kind", "ct", "--size", "64", "--slices", "8", "--format", "nifti")
    said = run("phantom", "-o", tmp_path / "ct", *small, "--classes", "CAP", "--tie", "dose,kernel").stdout
    assert "1 synthetic chest CT studies (CAP)" in said
    assert "Tied to the class in train, val: dose, kernel" in said
    table = load(tmp_path / "ct")
    assert table.samples[0].infected not in ("", "none")
    assert table.path(table.samples[0]).name == "p0001.nii.gz"
    with pytest.raises(OutputExistsError):
        run("phantom", "-o", tmp_path / "ct", *small)
    with pytest.raises(DatasetError, match="tied to the class"):
        run("phantom", "-o", tmp_path / "other", *small, "--tie", "colour")
    assert "must be dicom or nifti" in run("phantom", "-o", tmp_path, *small[:-1], "png", code=2).stderr


def test_ct_phantoms_in_the_layout_of_mosmeddata(tmp_path: Path) -> None:
    small = ("--kind", "ct", "--layout", "mosmed", "--size", "64", "--slices", "8")
    said = run("phantom", "-o", tmp_path / "ct", *small, "--count", "5", "--damage", "0.25").stdout
    assert "5 synthetic chest CT studies (CT-0 1, CT-1 1, CT-2 1, CT-3 1, CT-4 1)" in said
    assert len(list((tmp_path / "ct" / "truth").glob("*_missing.nii.gz"))) == 5
    shown = run("show", tmp_path / "ct").stdout
    assert "5 CT studies, layout mosmeddata" in shown
    assert "Sources: phantom 5" in shown
    assert "mosmeddata" in run("check", tmp_path / "ct").stdout
    with pytest.raises(OutputExistsError):
        run("phantom", "-o", tmp_path / "ct", *small, "--fraction", "0.001")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--kind", "ct", "--layout", "mosmed"), "--count or --fraction"),
        (
            ("--kind", "ct", "--layout", "mosmed", "--count", "9", "--fraction", "0.1"),
            "--count or --fraction",
        ),
        (
            ("--kind", "ct", "--layout", "mosmed", "--count", "9", "--masks"),
            "is of no use in the layout mosmed",
        ),
        (("--layout", "mosmed", "--count", "9"), "give --kind ct"),
        (("--kind", "ct", "--layout", "heap"), "must be manifest or mosmed (found: heap)"),
        (("--kind", "ct", "--damage", "0.1"), "needs --layout mosmed"),
    ],
)
def test_options_that_do_not_go_together_are_usage_errors(
    tmp_path: Path, arguments: tuple[str, ...], message: str
) -> None:
    stderr = run("phantom", "-o", tmp_path, *arguments, code=2).stderr
    assert message in " ".join(stderr.replace("│", " ").split())


def test_phantom_of_another_kind_is_a_usage_error(tmp_path: Path) -> None:
    result = run("phantom", "--kind", "mri", "-o", tmp_path, code=2)
    assert "found: mri" in result.stderr


def test_the_command_starts_without_heavy_libraries() -> None:
    code = (
        "import sys; import pulmoscope.apps.cli.datasets; "
        "print([name for name in ('cv2', 'numpy', 'sklearn', 'jinja2', 'openpyxl') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
