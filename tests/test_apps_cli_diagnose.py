from __future__ import annotations

import hashlib
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from bundles import tiny_bundle
from ct_series import drawn_hu
from no_network import run_without_network
from pulmoscope.phantoms.xray.folder import write_phantoms
from radiographs import encoded
from stations import knowing_bundle, station, training_data

COMMAND = [sys.executable, "-c", "from pulmoscope.apps.cli.main import main; main()", "diagnose"]


def named(path: Path) -> str:
    """What a film is called by its content."""
    return f"xray-{hashlib.sha256(path.read_bytes()).hexdigest()[:12]}"


def diagnose(*arguments: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run([*COMMAND, *map(str, arguments)], capture_output=True, text=True, timeout=120)


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_bundle(tmp_path_factory.mktemp("bundle")).folder


@pytest.fixture(scope="module")
def films(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("films")
    write_phantoms(folder, count=3, size=256)
    return folder


@pytest.fixture(scope="module")
def film(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("film")
    table = write_phantoms(folder, size=256)
    return folder / table.samples[0].file


def test_one_image_in_plain_words(tmp_path: Path, model: Path, film: Path) -> None:
    done = diagnose(film, "--model", model, "-o", tmp_path / "out")
    assert (done.returncode, done.stderr) == (0, "")
    report = tmp_path / "out" / named(film) / "report.html"
    assert report.is_file()
    lines = done.stdout.splitlines()
    assert lines[0].startswith("Synthetic image")
    assert [line.split("  ")[0] for line in lines[1:4]] == ["Most probable", "Decision", "Reason"]
    assert f"Report          {report}" in lines
    assert "Synthetic image." in report.read_text(encoding="utf-8")


def test_a_second_run_is_refused_in_one_line_until_forced(tmp_path: Path, model: Path, film: Path) -> None:
    arguments = (film, "--model", model, "-o", tmp_path / "out", "--quiet")
    assert diagnose(*arguments).stdout == ""
    again = diagnose(*arguments)
    assert again.returncode == 2
    assert again.stderr.count("\n") == 1
    assert "--force" in again.stderr
    assert diagnose(*arguments, "--force").returncode == 0


def test_a_run_that_refused_everything_stands_in_no_ones_way(tmp_path: Path, model: Path, film: Path) -> None:
    assert diagnose(tmp_path / "flim.png", "--model", model, "-o", tmp_path / "out").returncode == 4
    assert diagnose(film, "--model", model, "-o", tmp_path / "out").returncode == 0


def test_some_refused_is_3_all_refused_is_4(tmp_path: Path, model: Path, film: Path) -> None:
    bad = tmp_path / "bad"
    bad.mkdir()
    (bad / "cut.png").write_bytes(film.read_bytes()[:500])
    (bad / "empty.png").write_bytes(b"")
    all_refused = diagnose(bad, "--model", model, "-o", tmp_path / "all")
    assert all_refused.returncode == 4
    refusals = [line for line in all_refused.stderr.splitlines() if line.startswith("pulmoscope: refused:")]
    assert [name in line for name, line in zip(("cut.png", "empty.png"), refusals, strict=True)] == [
        True,
        True,
    ]
    assert "Traceback" not in all_refused.stderr
    (bad / "good.png").write_bytes(film.read_bytes())
    some = diagnose(bad, "--model", model, "-o", tmp_path / "some")
    assert some.returncode == 3
    assert "1 diagnosed" in some.stdout
    assert "2 refused" in some.stdout
    index = json.loads((tmp_path / "some/index.json").read_text(encoding="utf-8"))
    assert [entry["outcome"] for entry in index["inputs"]] == ["refused", "refused", "diagnosed"]


def test_several_images_get_a_line_each(tmp_path: Path, model: Path, films: Path) -> None:
    done = diagnose(films, "--model", model, "-o", tmp_path / "out", "--report", "none")
    assert done.returncode == 0
    assert [line.count("Normal-000") for line in done.stdout.splitlines()] == [1, 1, 1, 0]
    assert not list((tmp_path / "out").rglob("*.html"))


@pytest.mark.parametrize(
    "arguments",
    [("--model", "no-such-model"), ("--runtime", "abacus"), ("--device", "toaster"), ("--report", "some")],
)
def test_wrong_usage_is_2(tmp_path: Path, film: Path, model: Path, arguments: tuple[str, str]) -> None:
    named = () if arguments[0] == "--model" else ("--model", model)
    done = diagnose(film, "-o", tmp_path / "out", *named, *arguments)
    assert done.returncode == 2
    assert "Traceback" not in done.stderr
    assert arguments[1] in done.stderr


def test_a_folder_of_ct_slices_is_told_of_once_and_referred(tmp_path: Path, model: Path) -> None:
    for number, hu in enumerate(drawn_hu(12, side=256)):
        pixels = np.clip((hu + 1350) / 1500 * 255, 0, 255).astype(np.uint8)
        (tmp_path / "ct" / f"{number:02}.png").parent.mkdir(exist_ok=True)
        (tmp_path / "ct" / f"{number:02}.png").write_bytes(encoded(pixels, "PNG"))
    done = diagnose(tmp_path / "ct", "--model", model, "-o", tmp_path / "out", "--report", "none")
    assert done.returncode == 0
    (line,) = [line for line in done.stderr.splitlines() if "--modality ct" in line]
    assert line.startswith(f"pulmoscope: {tmp_path / 'ct'}: looks like the slices of a CT")
    index = json.loads((tmp_path / "out/index.json").read_text(encoding="utf-8"))
    assert index["counts"] == {"inputs": 12, "diagnosed": 12, "refused": 0, "report": 0, "refer": 12}
    films = diagnose(
        tmp_path / "ct", "--model", model, "-o", tmp_path / "films", "--report", "none", "--modality", "xray"
    )
    assert "--modality ct" not in films.stderr
    quiet = diagnose(tmp_path / "ct", "--model", model, "-o", tmp_path / "q", "--report", "none", "--quiet")
    assert (quiet.returncode, quiet.stderr) == (0, "")


def test_its_own_results_are_no_inputs(tmp_path: Path, model: Path, film: Path) -> None:
    (tmp_path / "film.png").write_bytes(film.read_bytes())
    out = tmp_path / "results"
    for _ in range(2):
        assert diagnose(tmp_path, "--model", model, "-o", out, "--force").returncode == 0
        index = json.loads((out / "index.json").read_text(encoding="utf-8"))
        assert [entry["folder"] for entry in index["inputs"]] == [named(film)]
    into_itself = diagnose(tmp_path, "--model", model, "-o", tmp_path)
    assert into_itself.returncode == 2
    assert "is one of the inputs" in into_itself.stderr


def test_results_of_another_run_are_no_inputs(tmp_path: Path, model: Path, film: Path) -> None:
    folder = tmp_path / "films"
    folder.mkdir()
    (folder / "film.png").write_bytes(film.read_bytes())
    assert diagnose(folder, "--model", model, "-o", folder / "results").returncode == 0
    made = min(folder.glob("results/*/heat-*.png"))
    (folder / "map.png").write_bytes(made.read_bytes())  # taken out of its folder, it still says what it is
    (folder / "metrics.json").write_text('{"software": {}}', encoding="utf-8")  # someone else's
    done = diagnose(folder, "--model", model, "-o", tmp_path / "out")
    assert done.returncode == 3
    told = [line for line in done.stderr.splitlines() if line.startswith("pulmoscope: ")]
    assert [str(made.parent) in line for line in told] == [True, False]
    index = json.loads((tmp_path / "out/index.json").read_text(encoding="utf-8"))
    assert {entry["input"]: entry["outcome"] for entry in index["inputs"]} == {
        named(film): "diagnosed",
        named(made): "refused",
    }


def test_one_input_may_be_named_and_several_not(tmp_path: Path, model: Path, film: Path) -> None:
    arguments = (film, "--model", model, "--report", "none", "--name", "Case-7")
    assert diagnose(*arguments, "-o", tmp_path / "one").returncode == 0
    assert (tmp_path / "one/Case-7/diagnosis.json").is_file()
    for more in ((film,), ("--keep-names",)):
        refused = diagnose(*arguments, *more, "-o", tmp_path / "more")
        assert (refused.returncode, refused.stderr.count("\n")) == (2, 1)
    assert not (tmp_path / "more").exists()


@pytest.mark.parametrize("empty", [("",), ("--model", "", "film.png"), ("--out=", "film.png")])
def test_an_empty_path_is_not_the_current_folder(tmp_path: Path, empty: tuple[str, ...]) -> None:
    done = diagnose(*empty, "-o", tmp_path / "out")
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (2, "", 1)
    assert not (tmp_path / "out").exists()


def test_an_output_that_can_not_be_written_is_one_line(tmp_path: Path, model: Path, film: Path) -> None:
    (tmp_path / "file").write_text("", encoding="utf-8")
    done = diagnose(film, "--model", model, "-o", tmp_path / "file")
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1


def test_it_opens_no_network_no_torch_and_for_a_picture_no_pydicom(
    tmp_path: Path, model: Path, film: Path
) -> None:
    program = (
        "import sys\n"
        "from pulmoscope.apps.cli.main import main\n"
        "try:\n    main()\n"
        "finally:\n    print({'torch', 'pydicom', 'scipy'} & sys.modules.keys(), file=sys.stderr)\n"
    )
    command = [sys.executable, "-c", program, "diagnose", film, "--model", model, "-o", tmp_path / "out"]
    silence = run_without_network(command, tmp_path / "record")
    assert silence.attempts == ()
    assert (silence.returncode, silence.stderr.strip()) == (0, "set()")


def test_a_strange_place_has_a_line_and_strict_drift_refers_it(tmp_path: Path) -> None:
    bundle = knowing_bundle(tmp_path / "bundle", training_data(tmp_path / "data")).folder
    station(tmp_path / "in/strange", range(400, 432), gamma=0.8)
    station(tmp_path / "in/known", range(300, 332))
    done = diagnose(tmp_path / "in", "--model", bundle, "-o", tmp_path / "out", "--strict-drift")
    assert (done.returncode, done.stderr.strip()) == (0, "")
    told = [line for line in done.stdout.splitlines() if line.startswith("place-")]
    assert [str(tmp_path / "in/strange") in line for line in told] == [True]
    index = json.loads((tmp_path / "out/index.json").read_text(encoding="utf-8"))
    assert index["counts"]["refer"] == 32
    few = diagnose(*list((tmp_path / "in/strange").iterdir())[:3], "--model", bundle, "-o", tmp_path / "few")
    before, told_of_few, after = (
        few.stdout.splitlines()[:3],
        few.stdout.splitlines()[3],
        few.stdout.splitlines()[4:],
    )
    assert (len(before), len(after)) == (3, 1)
    assert "30" in told_of_few
    quiet = diagnose(tmp_path / "in/known", "--model", bundle, "-o", tmp_path / "quiet", "--quiet")
    assert quiet.stdout == ""
