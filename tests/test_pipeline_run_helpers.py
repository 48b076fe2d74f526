"""A run in several processes: the same results, and a process that is lost costs nothing but time."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest

from bundles import slice_model, tiny_bundle
from ct_series import drawn_hu, write_series
from pulmoscope.core.threads import SWITCH
from pulmoscope.core.types import Modality
from pulmoscope.io import entries, studies
from pulmoscope.io.studies import paths
from pulmoscope.pipeline import diagnose as pipeline_diagnose
from pulmoscope.pipeline.choice import Models
from pulmoscope.pipeline.diagnose import diagnose_many
from pulmoscope.pipeline.runs import helper, lanes
from pulmoscope.pipeline.runs.helper import Helper, HelperLostError, helpers
from pulmoscope.pipeline.runs.run import Outcome, Run
from radiographs import chest, encoded

CODES = [None, "no-chest-series", None, None, None, None]


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(slice_model(tmp_path_factory.mktemp("bundle")).bundle.folder)


@pytest.fixture(scope="module")
def inputs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Six CTs: the second is refused, and the fourth and the sixth are copies of the first."""
    folder = tmp_path_factory.mktemp("inputs")
    for number, seed in enumerate((0, 1, 2, 0, 4, 0)):
        hu = drawn_hu(4 if number == 1 else 24, seed=seed)
        write_series(folder / str(number), hu, StudyInstanceUID=f"1.2.3.{seed}")
    return folder


def run(inputs: Path, models: Models, out: Path) -> list[Outcome]:
    listed = list(entries([inputs], out))
    return list(diagnose_many(studies(listed), Run(models, out), paths(listed)))


def results(out: Path) -> dict[str, Any]:
    """All files of a run, but for what the clock says."""
    found: dict[str, Any] = {}
    for path in sorted(out.rglob("*")):
        name = str(path.relative_to(out))
        if path.suffix == ".json":
            found[name] = json.loads(path.read_text(encoding="utf-8"))
            found[name].pop("timings_s", None)
        elif path.suffix not in (".html", "") and path.is_file():
            found[name] = path.read_bytes()
    return found


@pytest.fixture(scope="module")
def alone(inputs: Path, bundle: str, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What one process gives."""
    out = tmp_path_factory.mktemp("alone") / "out"
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(SWITCH, "1")
        outcomes = run(inputs, Models(bundle), out)
    assert [outcome.error and outcome.error.code for outcome in outcomes] == CODES
    return results(out)


@pytest.fixture
def started(monkeypatch: pytest.MonkeyPatch) -> list[subprocess.Popen[bytes]]:
    """The processes that are started, on a machine with three processors and memory enough."""
    found: list[subprocess.Popen[bytes]] = []

    class Noted(subprocess.Popen[bytes]):
        def __init__(self, *given: Any, **more: Any) -> None:
            super().__init__(*given, **more)
            found.append(self)

    monkeypatch.setattr(helper.subprocess, "Popen", Noted)
    monkeypatch.setattr(helper, "_memory", lambda: 64 * 2**30)
    monkeypatch.setenv(SWITCH, "3")
    return found


def test_several_processes_give_what_one_gives(
    inputs: Path,
    bundle: str,
    alone: dict[str, Any],
    started: list[subprocess.Popen[bytes]],
    tmp_path: Path,
) -> None:
    outcomes = run(inputs, Models(bundle), tmp_path / "out")
    assert [outcome.error and outcome.error.code for outcome in outcomes] == CODES
    assert 1 <= len(started) <= 2
    assert all(process.returncode is not None for process in started)
    assert results(tmp_path / "out") == alone


def test_what_a_lost_process_was_to_do_is_done_here(
    inputs: Path,
    bundle: str,
    alone: dict[str, Any],
    started: list[subprocess.Popen[bytes]],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    lost: list[None] = []
    asked = Helper.diagnosed

    def killed(self: Helper, *given: Any) -> Outcome:
        def name_of(content: str) -> str:
            for process in started:
                process.kill()
                process.wait()
            return str(given[2](content))

        try:
            return asked(self, *given[:2], name_of)
        except HelperLostError:
            lost.append(None)
            raise

    monkeypatch.setattr(Helper, "diagnosed", killed)
    run(inputs, Models(bundle), tmp_path / "out")
    assert lost
    assert results(tmp_path / "out") == alone


def test_processes_that_cannot_begin_are_done_without(
    inputs: Path,
    bundle: str,
    alone: dict[str, Any],
    started: list[subprocess.Popen[bytes]],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(helper, "_BEGIN", "raise SystemExit(1)")
    run(inputs, Models(bundle), tmp_path / "out")
    assert len(started) == 2
    assert results(tmp_path / "out") == alone


def test_large_cts_are_diagnosed_here_and_alone(
    inputs: Path,
    bundle: str,
    alone: dict[str, Any],
    started: list[subprocess.Popen[bytes]],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(lanes, "SMALL_VOXELS", 0)
    run(inputs, Models(bundle), tmp_path / "out")
    assert not started
    assert results(tmp_path / "out") == alone


@pytest.fixture(scope="module")
def films(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Eight radiographs, of which two are alike, and one that can't be read."""
    folder = tmp_path_factory.mktemp("films")
    for number in range(8):
        (folder / f"{number}.png").write_bytes(encoded(chest(seed=number % 7), "PNG"))
    (folder / "8.png").write_bytes(encoded(chest(seed=8), "PNG")[:900])
    return folder


@pytest.fixture(scope="module")
def film_bundle(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(tiny_bundle(tmp_path_factory.mktemp("films-bundle")).folder)


@pytest.fixture(scope="module")
def films_alone(films: Path, film_bundle: str, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What one process gives."""
    out = tmp_path_factory.mktemp("films-alone") / "out"
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(SWITCH, "1")
        outcomes = run(films, Models(film_bundle, severity="none"), out)
    assert [outcome.error is None for outcome in outcomes] == [True] * 8 + [False]
    return results(out)


@pytest.mark.parametrize("begin", [helper._BEGIN, "raise SystemExit(1)"])
def test_radiographs_in_several_processes_and_where_these_cannot_begin(
    begin: str,
    films: Path,
    film_bundle: str,
    films_alone: dict[str, Any],
    started: list[subprocess.Popen[bytes]],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(helper, "_BEGIN", begin)
    monkeypatch.setattr(pipeline_diagnose, "FEW", 1)
    run(films, Models(film_bundle, severity="none"), tmp_path / "out")
    assert started
    assert results(tmp_path / "out") == films_alone


def test_few_radiographs_start_no_process(
    films: Path,
    film_bundle: str,
    films_alone: dict[str, Any],
    started: list[subprocess.Popen[bytes]],
    tmp_path: Path,
) -> None:
    run(films, Models(film_bundle, severity="none"), tmp_path / "out")
    assert not started
    assert results(tmp_path / "out") == films_alone


@pytest.mark.parametrize(
    ("available_kb", "limit", "used", "most"),
    [
        (100 * 2**20, "max", "0", 7),  # by eight processors
        (7 * 2**20, "max", "0", 2),  # 7 GiB: three processes of 2 GiB, this one among them
        (100 * 2**20, str(8 * 2**30), str(3 * 2**30), 1),  # 5 GiB of a container's 8 are left
        (2**20, "max", "0", 0),
    ],
)
def test_there_are_no_more_processes_than_memory_allows(
    available_kb: int,
    limit: str,
    used: str,
    most: int,
    bundle: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv(SWITCH, "8")
    for name, file, text in (
        ("_MEMINFO", "meminfo", f"MemTotal: 1 kB\nMemAvailable:   {available_kb} kB\n"),
        ("_LIMIT", "max", limit),
        ("_USED", "current", used),
    ):
        (tmp_path / file).write_text(f"{text}\n", encoding="ascii")
        monkeypatch.setattr(helper, name, tmp_path / file)
    asked = Run(Models(bundle), tmp_path)
    assert len(helpers(asked)) == most
    assert (
        helpers(Run(Models.only(asked.models.of(Modality.CT, "ct")), tmp_path)) == []
    )  # which can't be opened again
    monkeypatch.setattr(helper, "_MEMINFO", tmp_path / "missing")
    assert helpers(asked) == []
