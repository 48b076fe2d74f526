"""An archive on a head and three nodes of this machine, while a node and the driver are killed: `make soak`.

    python benchmarks/soak.py [--radiographs 280] [--cts 20] [--out out/soak]

Twice: from a folder to a folder, and from a bucket to a bucket of moto's server, where 5 % of all requests fail. In
the middle a node is lost and the driver is killed; the same command is given again, and its results are compared
with those of one machine (benchmarks/scale_check.py), which are kept in the folder for the next time. Everything is
simulated: no patient.
"""

from __future__ import annotations

import argparse
import json
import logging
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from time import perf_counter, sleep
from typing import Any

import fsspec

from pulmoscope.core.threads import ONE_THREAD
from scale_check import differences, tree

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "tests"))

import scale  # noqa: E402
from ct_series import drawn_hu, write_series  # noqa: E402

BUCKET = "archive"
COMMAND = [sys.executable, "-c", "from pulmoscope.apps.cli.main import main; main()", "diagnose"]


def draw(folder: Path, radiographs: int, cts: int) -> None:
    """Radiographs, two copies, a study of two, a file that is no image, and CTs."""
    scale.draw_archive(folder, radiographs, 160)
    for number in range(1, cts):
        write_series(
            folder / f"more/{number:03d}", drawn_hu(24, seed=number), StudyInstanceUID=f"1.2.4.{number}"
        )


class Log:
    """Lines on the terminal and in a file."""

    def __init__(self, file: Path) -> None:
        self._file, self._start = file, perf_counter()
        file.parent.mkdir(parents=True, exist_ok=True)

    def __call__(self, line: str) -> None:
        told = f"{perf_counter() - self._start:7.1f} s  {line}"
        print(told, flush=True)
        with self._file.open("a") as stream:
            stream.write(told + "\n")


def disturbed(cluster: Any, inputs: str, out: str, done: Callable[[], int], total: int, log: Log) -> None:
    """A run whose node and driver are killed, and that goes on."""
    command = [*COMMAND, inputs, "-o", out, "--report", "none", "--on", "ray"]
    driver = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    waited(driver, done, total // 3)
    log(f"{done()} studies have an entry: a node is killed")
    node = next(iter(cluster.worker_nodes))
    cluster.remove_node(node, allow_graceful=False)
    waited(driver, done, total // 2)
    log(f"{done()} studies have an entry: the driver is killed")
    os.kill(driver.pid, signal.SIGKILL)
    driver.communicate()
    kept = done()
    cluster.add_node(num_cpus=1)
    log(f"a node is added, and the same command is given again; {kept} entries are there")
    again = subprocess.run(command, capture_output=True, text=True, check=False)
    log(f"exit code {again.returncode}; {(again.stdout.strip().splitlines() or [''])[-1]}")
    for line in again.stderr.strip().splitlines():
        if " studies, " in line:
            log(line)


def waited(driver: subprocess.Popen[str], done: Callable[[], int], count: int) -> None:
    """Wait until so many studies have an entry."""
    while done() < count:
        if driver.poll() is not None:
            raise SystemExit(f"the driver ended too soon: {driver.communicate()[1]}")
        sleep(1)


def soaked(given: argparse.Namespace, log: Log) -> bool:
    """Both runs; whether their results are those of one machine."""
    from ray.cluster_utils import Cluster

    inputs, single = given.out / "in", given.out / "single"
    total = given.radiographs + given.cts + 5
    if not single.exists():
        draw(inputs, given.radiographs, given.cts)
        log(
            f"{total} simulated inputs: {given.radiographs + 4} radiographs, {given.cts} CTs, 1 that is no image"
        )
        alone = [*COMMAND, str(inputs), "-o", str(single), "--report", "none", "--quiet"]
        subprocess.run(alone, env={**os.environ, **ONE_THREAD}, check=False)
        log("one machine is done")
    with scale.store(BUCKET) as store:
        os.environ.update({**store["variables"], "RAY_USAGE_STATS_ENABLED": "0"})
        cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1, "include_dashboard": False})
        try:
            for _ in range(3):
                cluster.add_node(num_cpus=1)
            os.environ["RAY_ADDRESS"] = cluster.address
            log("a head and three nodes are there")
            verdicts = []
            if "folder" in given.only:
                out = str(given.out / "folder")
                disturbed(cluster, str(inputs), out, lambda: entries(out), total, log)
                verdicts.append(told("folder", tree(str(single)), tree(out), total, log))
            if "store" in given.only:
                upload(inputs)
                log("the inputs are in the bucket")
                out = f"s3://{BUCKET}/out"
                disturbed(cluster, f"s3://{BUCKET}/in", out, lambda: entries(out), total, log)
                log("of {requests} requests to the store {failed} failed".format(**store["counts"]))
                verdicts.append(told("store", tree(str(single)), tree(out), total, log))
        finally:
            cluster.shutdown()
    return all(verdicts)


def upload(inputs: Path) -> None:
    """All files into the bucket."""
    files, _ = fsspec.core.url_to_fs(f"s3://{BUCKET}")
    for path in sorted(path for path in inputs.rglob("*") if path.is_file()):
        files.pipe_file(f"{BUCKET}/in/{path.relative_to(inputs)}", path.read_bytes())


def entries(out: str) -> int:
    """How many studies have an entry."""
    files, path = fsspec.core.url_to_fs(out, use_listings_cache=False)
    try:
        return sum(not name.endswith("run.json") for name in files.find(f"{path}/.entries"))
    except FileNotFoundError:
        return 0


def told(title: str, one: dict[str, bytes], other: dict[str, bytes], total: int, log: Log) -> bool:
    """The checker's verdict."""
    found = differences(one, other, total)
    for line in found[:20]:
        log(line)
    counts = json.loads(other["index.json"])["counts"] if "index.json" in other else {}
    log(f"{title}: {'different' if found else 'the same as one machine'}; {len(other)} files; {counts}")
    return not found


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--radiographs", type=int, default=276)
    parser.add_argument("--cts", type=int, default=20)
    parser.add_argument("--out", type=Path, default=Path("out/soak"))
    parser.add_argument("--only", nargs="*", default=["folder", "store"], choices=["folder", "store"])
    given = parser.parse_args()
    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    log = Log(given.out / "soak.log")
    same = soaked(given, log)
    log("every study once, and the same results" if same else "FAILED")
    return not same


if __name__ == "__main__":
    sys.exit(main())
