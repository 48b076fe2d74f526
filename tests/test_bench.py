"""The benchmark suite, on figures that are given: nothing is timed here."""

from __future__ import annotations

import argparse
import importlib.util
import json
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from jsonschema import Draft202012Validator

from bench.comparison import verdict
from bench.energy import used_j, zones
from bench.figures import Spread, combined_rate, percentile, ratio
from bench.inputs import kept, listed, repeated
from bench.latency import summary
from bench.limit import throughput
from bench.machine import kind
from bench.picture import draw
from bench.sides import OUT, Found, Part, Side, described, ratios, run, spread
from bench.written import markdown, write
from measured import Measured, measured, measured_together
from suite import Suite, shown

ROOT = Path(__file__).resolve().parents[1]
SCHEMA = json.loads((ROOT / "docs" / "schemas" / "bench.schema.json").read_text(encoding="utf-8"))
MACHINE = {
    "cpu": "Some CPU",
    "cores": 2,
    "architecture": "x86_64",
    "instructions": ["avx2"],
    "openvino": ["FP32"],
    "memory_gib": 8.0,
    "system": "Linux",
}


def side(name: str, role: Any, commands: Sequence[Sequence[str]] = ((),), **more: Any) -> Side:
    return Side(name, role, 10, commands, "command FOLDER", **more)


def python(code: str) -> list[str]:
    return [sys.executable, "-S", "-c", code]


def document(theirs: Sequence[float], ours: Sequence[float], **more: Any) -> dict[str, Any]:
    """A run in which both sides took these wall times, with 100 and 50 MiB."""
    part = Part("folder-10", "a folder of 10", "radiographs", ())
    found = [
        Found(side("pulmoscope", "ours"), [Measured(wall, 2 * wall, 50.0, 3.0) for wall in ours]),
        Found(side("torch", "peer"), [Measured(wall, 3 * wall, 100.0) for wall in theirs]),
        Found(side("absent", "peer"), [], "absent not installed"),
    ]
    growth = Part("growth-radiographs", "more radiographs", "radiographs", ())
    grown = [Found(side("10 radiographs", "also"), [Measured(2.0, 4.0, 60.0)])]
    limit = {
        "part": "folder",
        "command": "benchmark_app",
        "networks": [{"file": "model.onnx", "shape": [1, 3, 32, 32], "per_second": spread([20.0])}],
        "per_second": spread([20.0]),
    }
    return {
        "schema_version": "1.0",
        "command": "python benchmarks/suite.py",
        "commit": "0" * 40,
        "changed": False,
        "machine": MACHINE,
        "versions": {"python": "3.11"},
        "inputs": {"radiographs": "simulated", "ct": "simulated", "seed": 0},
        "rounds": 5,
        "busy_before": 0.0,
        "seconds": 60.0,
        "parts": [described(part, found), described(growth, grown)],
        "ratios": ratios(part, found),
        "limits": [limit],
        "latency": [{"name": "pulmoscope"} | summary([0.01, 0.02])],
        "skipped": [],
        "notice": "",
    } | more


def compare(folder: Path, run: Mapping[str, Any], *options: str) -> subprocess.CompletedProcess[str]:
    write(folder / "bench.json", run)
    command = [sys.executable, str(ROOT / "benchmarks" / "compare.py"), str(folder / "bench.json")]
    command += ["--baseline", str(folder / "baseline.json"), *options]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)


@pytest.fixture
def stored(tmp_path: Path) -> Path:
    """A folder with a baseline: torch took 2.0 to 2.2 times as long as ours."""
    (tmp_path / "baseline.json").write_text('{"schema_version": "1.0", "machines": {}}')
    done = compare(tmp_path, document([2.0, 2.1, 2.2, 2.1, 2.1], [1.0] * 5), "--record")
    assert done.returncode == 0, done.stderr
    return tmp_path


def test_a_ratio_is_taken_round_by_round() -> None:
    # A disturbance that doubles both times of a round changes no ratio.
    assert ratio([4, 8, 6], [2, 4, 2]) == Spread(2, 2, 3, 3)
    assert ratio([4, 9], [2, 3, 100]) == Spread(2.5, 2, 3, 2)


def test_networks_one_after_the_other_are_slower_than_each() -> None:
    assert combined_rate([100, 50, 25]) == pytest.approx(1000 / 70)
    assert combined_rate([10, 10]) == pytest.approx(5)


def test_percentiles_lie_between_neighbours() -> None:
    assert percentile([4, 1, 2, 3], 50) == 2.5
    assert percentile(range(101), 95) == 95  # type: ignore[arg-type]
    assert summary([0.001, 0.002, 0.003]) == {"images": 3, "p50_ms": 2.0, "p95_ms": 2.9}


@pytest.mark.parametrize(
    ("before", "now", "expected"),
    [
        (Spread(2.0, 1.9, 2.1, 5), Spread(1.5, 1.4, 1.8, 5), "worse"),
        (Spread(2.0, 1.9, 2.1, 5), Spread(1.5, 1.4, 1.95, 5), "same"),  # the ranges meet
        (Spread(2.0, 1.99, 2.01, 5), Spread(1.92, 1.91, 1.93, 5), "same"),  # 4 %
        (Spread(2.0, 1.9, 2.1, 5), Spread(2.5, 2.2, 2.6, 5), "better"),
        (Spread(2.0, 1.9, 2.1, 5), Spread(1.0, 1.0, 1.0, 1), "too few rounds"),  # 1 in 6 by chance
        (Spread(2.0, 1.9, 2.1, 5), Spread(1.0, 1.0, 1.0, 2), "worse"),  # 1 in 21
        (Spread(2.0, 1.9, 2.1, 2), Spread(1.0, 0.9, 1.1, 2), "too few rounds"),  # 1 in 6
    ],
)
def test_a_change_counts_when_it_is_beyond_the_noise_of_both_runs(
    before: Spread, now: Spread, expected: str
) -> None:
    assert verdict(before, now) == expected


def test_a_regression_is_named_and_fails(stored: Path) -> None:
    done = compare(stored, document([1.5] * 5, [1.0] * 5))
    assert done.returncode == 1, done.stderr
    worse = [line.split()[1:] for line in done.stdout.splitlines() if line.startswith("worse ")]
    # Wall time, and processor time, which follows it here; memory has not changed.
    assert [line[0] for line in worse] == ["folder-10,", "folder-10,"]


def test_the_same_figures_pass(stored: Path) -> None:
    assert compare(stored, document([2.0, 2.1, 2.2, 2.1, 2.1], [1.0] * 5)).returncode == 0


@pytest.mark.parametrize(
    "other",
    [
        {"machine": {**MACHINE, "cpu": "Another CPU"}},
        {"inputs": {"radiographs": "given", "ct": "simulated", "seed": 0}},
    ],
)
def test_another_kind_of_machine_or_input_is_not_compared(stored: Path, other: dict[str, Any]) -> None:
    done = compare(stored, document([0.1] * 5, [1.0] * 5, **other))
    assert done.returncode == 0, done.stderr
    assert "worse" not in done.stdout


def test_other_versions_of_what_ours_is_compared_with_are_told(stored: Path) -> None:
    then = compare(stored, document([2.1] * 5, [1.0] * 5)).stdout
    now = compare(stored, document([2.1] * 5, [1.0] * 5, versions={"python": "3.99"})).stdout
    assert "3.11 is now 3.99" not in then
    assert "python 3.11 is now 3.99" in now


def test_the_stored_baseline_can_be_compared_with() -> None:
    baseline = json.loads((ROOT / "benchmarks" / "baseline.json").read_text(encoding="utf-8"))
    found = [ratio for entry in baseline["machines"].values() for ratio in entry["ratios"].values()]
    assert all(0 < one["low"] <= one["median"] <= one["high"] and one["rounds"] >= 1 for one in found)


def test_a_run_keeps_its_schema_and_has_no_empty_cell_where_a_figure_is(tmp_path: Path) -> None:
    found = document([4.0, 5.0], [2.0, 2.0])
    Draft202012Validator(SCHEMA).validate(found)
    text = markdown(found)
    rows = [[cell.strip() for cell in line.split("|")] for line in text.splitlines() if line.startswith("| ")]
    (torch,) = [row for row in rows if "torch" in row]
    # Wall time, rate, its ratio, MiB, its ratio, processors; nobody read its energy.
    rate, ratio_of_time = "2.2 radiographs", "2.2 (2.0–2.5)"
    assert torch[3:-1] == ["4.50 (4.00–5.00)", rate, ratio_of_time, "100", "2.0 (2.0–2.0)", "13.5", "–"]
    assert any(row[1] == "10 radiographs" and row[-2] == "1" for row in rows)
    draw(found, tmp_path / "bench.png")
    assert cv2.imread(str(tmp_path / "bench.png")) is not None


def test_the_start_of_a_run_says_its_kind_of_machine_and_no_path(tmp_path: Path) -> None:
    given = argparse.Namespace(
        only=["folder"], rounds=2, quick=True, images=tmp_path / "JOHN^DOE", study=None, out=tmp_path
    )
    assert shown(given) == ["--only", "folder", "--rounds", "2", "--quick", "--images", "DIR"]
    found = Suite(given, None, tmp_path).document | {"seconds": 0.0}  # type: ignore[arg-type]
    Draft202012Validator(SCHEMA).validate(found)
    assert str(tmp_path) not in json.dumps(found)
    assert kind(found["machine"]).startswith(found["machine"]["cpu"])


def test_sides_take_turns_and_the_first_run_is_not_counted(tmp_path: Path) -> None:
    told: list[str] = []
    part = Part(
        "p",
        "a part",
        "radiographs",
        [
            side("ours", "ours", [python(f"import os; os.mkdir('{OUT}')")]),
            side("once", "also", [python("0")], warm=[], most=1),
            side("fails", "peer", [python("raise SystemExit(1)")]),
            side("absent", "peer", [python("0")], needs=["no_such_module"]),
        ],
    )
    found = run(part, 2, tmp_path, told.append)
    assert [len(one.runs) for one in found] == [2, 1, 0, 0]
    assert [bool(one.skipped) for one in found] == [False, False, True, True]
    assert len(told) == 4
    assert list(tmp_path.iterdir()) == []  # what they wrote is gone
    assert ratios(part, found) == []


def test_ours_that_fails_ends_the_benchmark(tmp_path: Path) -> None:
    part = Part("p", "a part", "radiographs", [side("ours", "ours", [python("raise SystemExit(1)")])])
    with pytest.raises(SystemExit):
        run(part, 1, tmp_path, str)


def test_processes_run_at_once_and_their_costs_are_added(tmp_path: Path) -> None:
    # Each waits until the other has started: one after the other they would never end.
    wait = (
        "import os, time\nopen('{0}', 'w').close()\nend = time.monotonic() + 30\n"
        "while not os.path.exists('{1}') and time.monotonic() < end: time.sleep(0.01)\n"
        "print(os.path.exists('{1}'))"
    )
    files = tmp_path / "a", tmp_path / "b"
    both = measured_together([python(wait.format(*files)), python(wait.format(*files[::-1]))])
    assert both.output.split() == ["True", "True"]
    alone = measured(python("raise SystemExit(3)"))  # some inputs refused, the others done
    assert both.peak_mib > 1.5 * alone.peak_mib > 0


@pytest.mark.skipif(
    not Path("/proc/self/clear_refs").exists(), reason="only some systems let a process forget its peak"
)
def test_a_childs_peak_is_its_own() -> None:
    code = (
        f"import sys; sys.path.insert(0, {str(ROOT / 'benchmarks')!r})\nfrom measured import measured\n"
        "held = b'x' * (200 * 2**20)\ndel held\nprint(measured([sys.executable, '-S', '-c', '']).peak_mib)"
    )
    child = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert float(child.stdout) < 150


def test_energy_is_counted_over_the_end_of_the_counter(tmp_path: Path) -> None:
    for name in ("intel-rapl:0", "intel-rapl:1", "intel-rapl:0:0"):  # the last is a part of the first
        (tmp_path / name).mkdir()
        (tmp_path / name / "energy_uj").write_text("9000000\n")
        (tmp_path / name / "max_energy_range_uj").write_text("9999999\n")
    before = zones(tmp_path)
    (tmp_path / "intel-rapl:0" / "energy_uj").write_text("1000000\n")
    (tmp_path / "intel-rapl:1" / "energy_uj").write_text("9500000\n")
    assert used_j(before, zones(tmp_path)) == pytest.approx(2.5)
    assert used_j(zones(tmp_path / "absent"), zones(tmp_path / "absent")) is None


def test_the_rate_of_a_network_is_what_the_tool_prints() -> None:
    assert throughput("[ INFO ] Count: 10\n[ INFO ] Throughput:   421.37 FPS\n") == 421.37
    with pytest.raises(ValueError, match="throughput"):
        throughput("[ ERROR ] no")


def test_copies_of_a_radiograph_have_its_pixels_and_other_bytes(tmp_path: Path) -> None:
    picture = tmp_path / "picture.jpg"
    cv2.imwrite(str(picture), np.arange(64, dtype=np.uint8).reshape(8, 8))
    copies = listed(repeated([picture], 3, tmp_path / "copies"))
    assert len({path.read_bytes() for path in copies}) == 3
    first = cv2.imread(str(picture), cv2.IMREAD_GRAYSCALE)
    assert all(np.array_equal(cv2.imread(str(path), cv2.IMREAD_GRAYSCALE), first) for path in copies)


def test_inputs_are_drawn_once_and_whole(tmp_path: Path) -> None:
    def draw(folder: Path) -> None:
        folder.mkdir()

    def interrupted(folder: Path) -> None:
        folder.mkdir()
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        kept(tmp_path / "drawn", interrupted)
    assert not (tmp_path / "drawn").exists()
    assert kept(tmp_path / "drawn", draw).is_dir()
    assert kept(tmp_path / "drawn", interrupted).is_dir()


@pytest.mark.skipif(
    all(importlib.util.find_spec(name) for name in ("monai", "nibabel")), reason="nothing is missing"
)
def test_a_missing_peer_is_one_line(tmp_path: Path) -> None:
    command = [sys.executable, str(ROOT / "benchmarks" / "diagnose_ct.py"), str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 1
    (line,) = done.stderr.splitlines()
    missing = [name for name in ("monai", "nibabel") if importlib.util.find_spec(name) is None]
    assert all(name in line for name in missing)
