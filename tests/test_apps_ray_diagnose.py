"""An archive over a cluster: what one machine gives, whatever is killed meanwhile."""

from __future__ import annotations

import json
import os
import platform
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from threading import Event
from time import sleep
from typing import Any

import fsspec
import pytest
from typer.testing import CliRunner, Result

import scale
from pulmoscope.apps.cli.main import app
from pulmoscope.apps.ray import diagnose as driver
from pulmoscope.apps.ray import pool, tables
from pulmoscope.apps.ray.cluster import connect
from pulmoscope.apps.ray.command import on_cluster
from pulmoscope.apps.ray.inputs import entries_anywhere
from pulmoscope.core.threads import ONE_THREAD
from pulmoscope.io import studies
from pulmoscope.pipeline.choice import Models
from pulmoscope.pipeline.drift.survey import Survey
from pulmoscope.pipeline.runs.run import Outcome, Run
from scale_check import differences, tree

ray_cluster = pytest.importorskip("ray.cluster_utils", reason="the extra `scale` is not installed")
BUCKET = "archive"
COMMAND = [sys.executable, "-c", "from pulmoscope.apps.cli.main import main; main()", "diagnose"]


@pytest.fixture(scope="module")
def store() -> Iterator[dict[str, Any]]:
    with scale.store(BUCKET) as opened, pytest.MonkeyPatch.context() as patch:
        for name, value in opened["variables"].items():
            patch.setenv(name, value)
        yield opened


@pytest.fixture(scope="module")
def cluster(store: dict[str, Any]) -> Iterator[Any]:
    """A head on this machine; its nodes know the store by the environment that they are started in."""
    with pytest.MonkeyPatch.context() as patch:
        for name, value in {**ONE_THREAD, "RAY_USAGE_STATS_ENABLED": "0"}.items():
            patch.setenv(name, value)
        made = ray_cluster.Cluster(
            initialize_head=True, head_node_args={"num_cpus": 2, "include_dashboard": False}
        )
        patch.setenv("RAY_ADDRESS", made.address)
        for name in ONE_THREAD:
            patch.delenv(name)
        try:
            yield made
        finally:
            made.shutdown()


@pytest.fixture(scope="module")
def ray(cluster: Any) -> Iterator[Any]:
    with connect("ray") as connected:
        connected.cloudpickle.register_pickle_by_value(scale)
        yield connected
        connected.cloudpickle.unregister_pickle_by_value(scale)


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("archive")
    scale.draw_archive(folder)
    return folder


@pytest.fixture(scope="module")
def single(archive: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What one machine gives, computing as a node does."""
    out = tmp_path_factory.mktemp("single") / "out"
    done = subprocess.run(
        [*COMMAND, str(archive), "-o", str(out), "--report", "none"],
        capture_output=True,
        text=True,
        env={**os.environ, **ONE_THREAD},
    )
    assert done.returncode == 3, done.stderr
    return out


def diagnose(*arguments: object) -> Result:
    return CliRunner().invoke(app, ["diagnose", *map(str, arguments)])


def outcomes(inputs: list[str], out: str) -> Iterator[Outcome]:
    """A run as the command line begins it, for whoever does something meanwhile."""
    listed = list(entries_anywhere(inputs, out))
    run = Run(Models(), Path(out), "none", survey=Survey(listed))
    with on_cluster("ray", run, out, "auto", "auto", "auto", "auto") as archive:
        yield from archive.outcomes(studies(listed))


def test_a_cluster_gives_what_one_machine_gives(
    ray: Any, archive: Path, single: Path, tmp_path: Path
) -> None:
    done = diagnose(archive, "-o", tmp_path / "out", "--report", "none", "--on", "ray")
    assert done.exit_code == 3, done.output
    assert "1 refused" in done.output
    found = tree(str(tmp_path / "out"))
    assert differences(tree(str(single)), found) == []
    index = json.loads(found["index.json"])
    assert [place["images"] for place in index["places"]] == [
        place["images"] for place in json.loads((single / "index.json").read_text())["places"]
    ]
    assert len(index["studies"]) == 1
    assert not [name for name in found if name.startswith(".entries")]
    again = diagnose(archive, "-o", tmp_path / "out", "--report", "none", "--on", "ray")
    assert (again.exit_code, str(again.exception)) == (1, str(again.exception))
    assert "already exists" in str(again.exception)


def test_the_hosts_are_named_on_the_terminal_alone(ray: Any, archive: Path, tmp_path: Path) -> None:
    done = diagnose(archive / "study", "-o", tmp_path / "out", "--report", "all", "--on", "ray")
    assert done.exit_code == 0, done.output
    (node,) = re.findall(r"^pulmoscope: (.+ \([0-9a-f]{6}\)): 2 studies", done.stderr, re.MULTILINE)
    assert node.startswith(platform.node())
    assert all(node.encode() not in content for content in tree(str(tmp_path / "out")).values())


def test_a_driver_that_is_killed_goes_on(
    ray: Any, cluster: Any, archive: Path, single: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    command = [*COMMAND, str(archive), "-o", str(out), "--report", "none", "--on", "ray"]
    killed = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    while killed.poll() is None and len(list(out.glob(".entries/*/*.json"))) < 5:
        sleep(0.05)
    assert killed.poll() is None, "it was done before it could be killed"
    os.kill(killed.pid, signal.SIGKILL)
    killed.wait()
    assert not (out / "index.json").exists()
    found = list(outcomes([str(archive)], str(out)))
    assert 5 <= sum(outcome.kept for outcome in found) < len(found)
    assert differences(tree(str(single)), tree(str(out))) == []


def test_a_study_that_kills_its_process_is_refused_after_three_tries(
    ray: Any, archive: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(driver, "diagnose_planned", scale.poisoned)
    inputs = tmp_path / "in"
    for number, name in enumerate(("a", "poison", "b")):
        scale.save(inputs / f"{name}.png", scale.film(number))
    done = diagnose(inputs, "-o", tmp_path / "out", "--report", "none", "--on", "ray")
    assert done.exit_code == 3, done.output
    index = json.loads((tmp_path / "out/index.json").read_text())
    assert [entry["outcome"] for entry in index["inputs"]] == ["diagnosed", "diagnosed", "refused"]
    assert index["inputs"][2]["code"] == "no-answer"
    assert "3 times" in index["inputs"][2]["finding"]
    assert "poison" not in json.dumps(index)


def test_a_task_that_hangs_is_given_up(ray: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    def work(item: str) -> str:
        if item == "hangs":
            Event().wait()
        return item.upper()

    monkeypatch.setattr(pool, "LONGEST_S", 1.0)
    done = {one.item: one for one in pool.Pool(ray).spread(work, ["hangs", "works"])}
    assert (done["works"].value, done["works"].lost) == ("WORKS", "")
    assert done["hangs"].value is None
    assert "3 times" in done["hangs"].lost


def test_what_a_lost_node_was_doing_is_done_elsewhere(
    ray: Any, cluster: Any, archive: Path, single: Path, tmp_path: Path
) -> None:
    node = cluster.add_node(num_cpus=2)
    stream = outcomes([str(archive)], str(tmp_path / "out"))
    found = [next(stream) for _ in range(8)]
    cluster.remove_node(node, allow_graceful=False)
    found += stream
    assert all(outcome.error is None or outcome.error.code != "no-answer" for outcome in found)
    assert differences(tree(str(single)), tree(str(tmp_path / "out"))) == []


def test_from_a_store_to_a_store_where_requests_fail(
    ray: Any, store: dict[str, Any], archive: Path, single: Path
) -> None:
    files, _ = fsspec.core.url_to_fs(f"s3://{BUCKET}")
    for path in sorted(path for path in archive.rglob("*") if path.is_file()):
        files.pipe_file(f"{BUCKET}/in/{path.relative_to(archive)}", path.read_bytes())
    before = dict(store["counts"])
    done = diagnose(f"s3://{BUCKET}/in", "-o", f"s3://{BUCKET}/out", "--report", "none", "--on", "ray")
    assert done.exit_code == 3, done.output
    assert store["counts"]["failed"] > before["failed"]
    assert differences(tree(str(single)), tree(f"s3://{BUCKET}/out")) == []


def test_a_table_is_evaluated_and_checked_as_on_one_machine(
    ray: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tables, "PART", 16)
    rows = []
    for number in range(24):
        scale.save(tmp_path / f"data/{number}.png", scale.film(number))
        rows.append({"file": f"{number}.png", "label": ("COVID", "Normal")[number % 2], "split": "test"})
    (tmp_path / "data/7.png").write_bytes(b"no image")
    data = scale.write_manifest(tmp_path / "data", rows)
    for command, marker in (
        (["evaluate", "xray-covid", "--bootstrap", "0"], "metrics.json"),
        (["datasets", "check"], "check.json"),
    ):
        made = []
        for name, on in (("one", []), ("many", ["--on", "ray"])):
            out = tmp_path / f"{name}-{command[0]}"
            with_data = ["--data", str(data)] if command[0] == "evaluate" else [str(data)]
            done = CliRunner().invoke(app, [*command, *with_data, "-o", str(out), *on])
            assert done.exit_code in (0, 1), done.output
            plain = json.loads((out / marker).read_text())
            plain.pop("command", None)
            made.append(
                (plain, {name: content for name, content in tree(str(out)).items() if name.endswith(".csv")})
            )
        assert made[0] == made[1]


def test_a_store_needs_a_cluster(tmp_path: Path) -> None:
    done = diagnose(f"s3://{BUCKET}/in", "-o", tmp_path / "out")
    assert "--on ray" in str(done.exception)


def test_results_go_elsewhere_than_into_the_input(tmp_path: Path) -> None:
    done = diagnose("memory://archive/in", "-o", "memory://archive/in/", "--on", "ray")
    assert "is one of the inputs" in str(done.exception)
