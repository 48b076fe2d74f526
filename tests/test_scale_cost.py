"""What an archive costs on a cluster, on a small benchmark whose figures make the arithmetic easy to do by hand."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

import scale_cost

PLAIN = [
    f"--{name}={value}"
    for name, value in {
        "ct-fraction": 0.1,
        "ct-slices": 100,
        "radiograph-mb": 10,
        "slice-mb": 0.5,
        "radiograph-result-kb": 10,
        "ct-result-kb": 100,
        "radiograph-puts": 2,
        "ct-puts": 2,
        "gets": 1,
        "efficiency": 0.5,
        "overhead-ms": 10,
        "start-s": 4,
        "cores": 10,
        "node-gbit": 8,
        "store-gbit": 16,
        "gets-per-s": 1000,
        "puts-per-s": 500,
        "runs": 1,
        "listed-per-s": 10900,
        "headers-per-s": 2180,
        "tasks-per-s": 400,
        "node-mtbf-h": 100,
        "request-failure": 0,
        "request-tries": 5,
        "studies": 1000,
        "nodes": "1,2,1000",
    }.items()
]
"""Of 1,000 studies 900 radiographs and 100 CTs of 100 slices."""


def spread(value: float) -> dict[str, float]:
    return {"median": value, "low": value, "high": value, "rounds": 1}


def side(count: int, cpu_s: float, role: str = "also", name: str = "pulmoscope") -> dict[str, Any]:
    return {"name": name, "role": role, "count": count, "cpu_s": spread(cpu_s)}


def bench(folder: Path, *parts: tuple[str, str, list[dict[str, Any]]]) -> Path:
    machine = {"cpu": "A", "cores": 2, "instructions": ["avx2"], "architecture": "x86_64"}
    document = {
        "parts": [{"key": key, "unit": unit, "sides": sides} for key, unit, sides in parts],
        "machine": machine,
        "commit": "0123456789",
        "changed": False,
        "busy_before": 0.1,
    }
    file = folder / "bench.json"
    file.write_text(json.dumps(document), encoding="utf-8")
    return file


@pytest.fixture
def measured(tmp_path: Path) -> Path:
    """A radiograph takes 0.09 s of a core, a slice 0.01 s; what peers and other sizes take does not count."""
    return bench(
        tmp_path,
        ("folder-50", "radiographs", [side(50, 10, "ours"), side(50, 99, "peer", "other")]),
        ("growth-radiographs", "radiographs", [side(1, 2), side(1000, 90)]),
        ("growth-slices", "slices", [side(50, 5), side(120, 1.2), side(300, 30)]),
        ("one", "radiographs", [side(1, 3, "ours"), side(0, 0.1)]),
    )


def cost(file: Path, *words: str) -> dict[str, Any]:
    scale_cost.main(["--bench", str(file), "-o", str(file.parent / "cost"), *words])
    found: dict[str, Any] = json.loads((file.parent / "cost" / "scale-cost.json").read_text(encoding="utf-8"))
    return found


def test_an_archive_by_hand(measured: Path) -> None:
    (one,) = cost(measured, *PLAIN)["archives"]

    # 900 * (0.09 + 0.01) s and 100 * (100 * 0.01 + 0.01) s, at half speed.
    assert one["core_hours_by_kind"] == pytest.approx({"radiograph": 180 / 3600, "ct": 202 / 3600})
    assert one["core_hours"] == pytest.approx(382 / 3600)
    assert one["read_tb"] == pytest.approx((900 * 10e6 + 100 * 50e6) / 1e12)
    assert one["results_gb"] == pytest.approx((900 * 10e3 + 100 * 100e3) / 1e9)
    assert one["requests"] == pytest.approx(900 + 100 * 100 + 2 * 1000)
    assert (one["files"], one["stops"]) == (pytest.approx(10900), 0)
    assert one["listing_h"] == pytest.approx(1 / 3600)


def test_the_slowest_part_decides_and_moves(measured: Path) -> None:
    (one,) = cost(measured, *PLAIN)["archives"]
    first, second, many = one["clusters"]

    assert first["seconds"] == pytest.approx(
        {
            "cores": 38.2,  # 382 / 10
            "node network": 14.019,  # (9000 + 5000 + 19) MB of 8 bits through 8 Gbit/s
            "store bandwidth": 7.0095,
            "store requests": 10.9,  # (900 + 10,000) / 1,000; 2,000 / 500 are fewer
            "headers": 5,  # 10,900 / 2,180
            "driver": 2.5,  # 1,000 / 400
        }
    )
    # A second of listing goes before.
    assert (first["limit"], first["wall_h"]) == ("cores", pytest.approx(39.2 / 3600))
    assert (second["limit"], second["wall_h"]) == ("cores", pytest.approx(20.1 / 3600))
    assert (many["limit"], many["wall_h"]) == ("store requests", pytest.approx(11.9 / 3600))
    assert many["busy_cores"] == pytest.approx(0.0382 / 11.9)
    assert many["studies_per_s"] == pytest.approx(1000 / 11.9)
    assert many["requests_per_s"] == pytest.approx(12900 / 11.9)
    assert first["store_gbit"] == first["node_gbit"] == pytest.approx(14.019 * 8 / 39.2)
    assert second["node_gbit"] == pytest.approx(second["store_gbit"] / 2)
    assert one["limit"] == {"first": "cores", "last": "store requests", "nodes": pytest.approx(38.2 / 10.9)}


def test_a_node_that_fails_loses_what_its_cores_have_begun(measured: Path) -> None:
    (one,) = cost(measured, *PLAIN)["archives"]
    # Of 191 s of work, 90 are in studies of 0.1 s and 101 in studies of 1.01 s; half of one is lost, and 4 s to start.
    begun = (90 * 0.1 + 101 * 1.01) / 191 / 2
    two = one["clusters"][1]
    assert two["node_failures"] == pytest.approx(2 * 20.1 / 3600 / 100)
    assert two["lost_core_hours"] == pytest.approx(two["node_failures"] * 10 * (begun + 4) / 3600)


def test_failing_requests_are_sent_again_and_may_stop_a_run(measured: Path) -> None:
    changed = [
        "--request-failure=0.1",
        "--request-tries=3",
        "--ct-fraction=0",
        "--nodes=2",
        "--node-mtbf-h=1e12",
    ]
    (one,) = cost(measured, *PLAIN, *changed)["archives"]
    assert one["core_hours"] == pytest.approx(1000 * 0.1 / 0.5 / 3600)
    assert one["requests"] == pytest.approx(3000 / 0.9)
    assert one["stops"] == pytest.approx(3000 * 0.1**3)
    (two,) = one["clusters"]
    # Each of 3 stops costs the listing, half of the headers, and what 20 cores have begun: half of 0.1 s, 4 s to start.
    listing, headers = 1000 / 10900, 1000 / 2180
    assert two["wall_h"] == pytest.approx((listing + 10 + 3 * (listing + headers / 2)) / 3600)
    assert two["lost_core_hours"] == pytest.approx(3 * 20 * 4.05 / 3600)


def test_several_runs_share_what_a_driver_does(measured: Path) -> None:
    (one,) = cost(measured, *PLAIN, "--runs=2", "--headers-per-s=218")["archives"]
    many = one["clusters"][-1]
    assert (many["limit"], many["wall_h"]) == ("headers", pytest.approx((10900 / 218 + 1) / 2 / 3600))
    assert many["seconds"]["driver"] == pytest.approx(1.25)


def test_every_figure_says_where_it_is_from(measured: Path, tmp_path: Path) -> None:
    scale = tmp_path / "scale.json"
    rounds = [{"workers": workers, "overhead_ms": ms} for workers, ms in ((1, 5), (2, 7.5), (1, 9))]
    scale.write_text(json.dumps({"rounds": rounds, "ratio": [1.6, 1.7, 1.9]}), encoding="utf-8")
    studies, results = tmp_path / "studies", tmp_path / "results"
    for path, size in (
        (studies / "a.dcm", 3_000_000),
        (studies / "b" / "c.dcm", 1_000_000),
        (studies / "d.csv", 9),
    ):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(bytes(size))
    for path, size in (
        (results / "xray-1" / "diagnosis.json", 4000),
        (results / "ct-1" / "lungs.nii.gz", 70_000),
    ):
        path.parent.mkdir(parents=True)
        path.write_bytes(bytes(size))
    (results / "ct-1" / "diagnosis.json").write_bytes(bytes(2000))

    words = ["--scale", str(scale), "--radiographs", str(studies), "--results", str(results), "--cores", "32"]
    document = cost(measured, *words)

    inputs = document["inputs"]
    found = {name: (one["origin"], one["value"]) for name, one in inputs.items()}
    assert found["radiograph-core-s"] == ("measured", 0.09)
    assert found["slice-core-s"] == ("measured", pytest.approx(0.01))  # of 120 slices, the nearest to 150
    assert found["start-s"] == ("measured", 3)
    assert found["overhead-ms"] == ("measured", 7.5)
    assert found["efficiency"] == ("measured", 0.85)
    assert found["radiograph-mb"] == ("measured", 2.0)
    assert found["radiograph-result-kb"] == ("measured", 4.0)
    assert found["ct-result-kb"] == ("measured", 72.0)
    assert found["radiograph-puts"] == ("measured", 2.0)
    assert found["ct-puts"] == ("measured", 3.0)
    assert found["cores"] == ("stated", 32)
    assert found["node-gbit"] == ("assumed", 10)
    assert "growth-radiographs" in inputs["radiograph-core-s"]["source"]
    assert str(tmp_path) not in json.dumps(document)


def test_what_was_not_measured_must_be_stated(tmp_path: Path) -> None:
    file = bench(tmp_path, ("folder-50", "radiographs", [side(50, 10, "ours")]))
    with pytest.raises(SystemExit, match="--slice-core-s"):
        cost(file, *PLAIN)
    assert cost(file, *PLAIN, "--slice-core-s", "0.02")["inputs"]["slice-core-s"]["origin"] == "stated"


def test_the_tables_have_a_row_for_each_figure_and_each_cluster(measured: Path) -> None:
    document = cost(measured, *PLAIN)
    lines = (measured.parent / "cost" / "scale-cost.md").read_text(encoding="utf-8").splitlines()
    rows = [line.strip("| ").split(" | ") for line in lines if line.startswith("| ")]
    assert sum(row[0] in document["inputs"] for row in rows) == len(document["inputs"])
    assert [row[:4] for row in rows[-3:]] == [
        ["1", "0.011", "26", "cores"],
        ["2", "0.0056", "50", "cores"],
        ["1,000", "0.0033", "84", "store requests"],
    ]
