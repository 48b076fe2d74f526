from __future__ import annotations

import json
import shutil
from pathlib import Path

import jsonschema
import numpy as np
import pytest

from films import film, save, write_manifest
from pulmoscope.datasets import load
from pulmoscope.datasets.check.check import check
from pulmoscope.datasets.check.findings import CheckReport

SCHEMA = json.loads(
    (Path(__file__).parents[1] / "docs" / "schemas" / "dataset-check.schema.json").read_text(encoding="utf-8")
)


def rows(count: int) -> list[dict[str, str]]:
    """Two classes, three splits, patients and sources known; nothing wrong."""
    return [
        {
            "file": f"{number}.png",
            "label": ("COVID", "Normal")[number % 2],
            "split": ("train", "train", "val", "val", "test", "test")[number % 6],
            "patient": f"p{number}",
            "source": ("north", "south")[number // 2 % 2],
        }
        for number in range(count)
    ]


@pytest.fixture
def clean(tmp_path: Path) -> Path:
    for number in range(24):
        save(tmp_path / f"{number}.png", film(number))
    write_manifest(tmp_path, rows(24))
    return tmp_path


def verdicts(report: CheckReport) -> dict[str, str]:
    return {one.rule: one.verdict for one in report.verdicts}


def test_a_clean_set_has_no_leak_and_no_confounding_by_source(clean: Path) -> None:
    report = check(load(clean))
    found = verdicts(report)
    assert [rule for rule, verdict in found.items() if verdict != "ok" and rule != "shortcuts"] == []
    assert (report.images, report.readable, report.problems, report.pairs) == (24, 24, (), ())
    assert report.source_v == 0
    assert sum(count.images for count in report.counts) == 24
    assert [kind.images for kind in report.files] == [12, 12]
    assert report.splits == ("train", "val", "test")


def test_the_report_keeps_its_schema(clean: Path) -> None:
    (clean / "5.png").unlink()
    plain = json.loads(json.dumps(check(load(clean)).to_json(), allow_nan=False))
    jsonschema.Draft202012Validator(SCHEMA).validate(plain)
    assert len(plain["problems"]) == 1


def test_pixel_statistics_by_hand(tmp_path: Path) -> None:
    half = np.zeros((64, 64), dtype=np.float32)
    half[:, 32:] = 1
    grey = np.full((128, 128), 0.2, dtype=np.float32)  # larger, but counts the same
    grey[:, 64:] = 0.6
    save(tmp_path / "a.png", half)
    save(tmp_path / "b.png", grey)
    write_manifest(
        tmp_path,
        [
            {"file": "a.png", "label": "COVID", "split": "train"},
            {"file": "b.png", "label": "Normal", "split": "train"},
        ],
    )
    # means 0.5 and 0.4, mean squares 0.5 and (0.04 + 0.36) / 2 = 0.2; together mean 0.45, square 0.35
    found = {part.label: (part.mean, part.sd) for part in check(load(tmp_path)).pixels}
    assert found["COVID"] == pytest.approx((0.5, 0.5))
    assert found["Normal"] == pytest.approx((0.4, 0.2), abs=1e-6)
    assert found[""] == pytest.approx((0.45, (0.35 - 0.45**2) ** 0.5), abs=1e-6)


def test_missing_and_unreadable_files_cost_a_line_each(clean: Path) -> None:
    (clean / "3.png").unlink()
    (clean / "4.png").write_bytes(b"\x89PNG\r\n")
    report = check(load(clean))
    assert report.readable == 22
    assert [Path(line.split(":")[0]).name for line in report.problems] == ["3.png", "4.png"]
    assert all("\n" not in line for line in report.problems)
    assert verdicts(report)["files"] == "fail"


def test_a_missing_mask_is_told(clean: Path) -> None:
    (clean / "manifest.csv").write_text(
        "file,label,split,patient,source,mask\n0.png,COVID,train,p,n,m.png\n", encoding="utf-8"
    )
    (problem,) = check(load(clean)).problems
    assert problem.startswith(f"{clean / 'm.png'}: ")


def test_an_identical_file_in_two_splits_fails(clean: Path) -> None:
    shutil.copy(clean / "0.png", clean / "4.png")  # train and test, both COVID
    report = check(load(clean))
    (pair,) = report.pairs
    assert (pair.first, pair.second, pair.bits, pair.identical) == ("0.png", "4.png", 0, True)
    assert (pair.splits, pair.leaks, pair.conflicts) == (("train", "test"), True, False)
    assert verdicts(report)["identical files"] == "fail"
    assert report.verdict == "fail"


def test_a_near_duplicate_in_two_splits_is_found_and_within_one_split_a_warning(clean: Path) -> None:
    save(clean / "4.png", film(0) * 0.85)  # train and test
    found = verdicts(check(load(clean)))
    assert (found["near-duplicates"], found["identical files"]) == ("fail", "ok")
    save(clean / "4.png", film(4))
    save(clean / "6.png", film(0) * 0.85)  # both train
    assert verdicts(check(load(clean)))["near-duplicates"] == "warn"


def test_the_same_picture_with_two_labels(clean: Path) -> None:
    save(clean / "1.png", film(0) * 0.85)
    assert verdicts(check(load(clean)))["labels"] == "warn"
    shutil.copy(clean / "0.png", clean / "1.png")
    report = check(load(clean))
    assert verdicts(report)["labels"] == "fail"
    assert report.pairs[0].labels == ("COVID", "Normal")


def test_a_patient_in_two_splits_is_found_and_the_id_stays_out(clean: Path) -> None:
    changed = rows(24)
    changed[0]["patient"] = changed[2]["patient"] = "secret-patient"
    write_manifest(clean, changed)
    report = check(load(clean))
    (leak,) = report.patient_leaks
    assert (leak.splits, leak.files) == (("train", "val"), ("0.png", "2.png"))
    assert verdicts(report)["patients"] == "fail"
    assert "secret-patient" not in json.dumps(report.to_json())


def test_a_source_that_tells_the_class_fails(clean: Path) -> None:
    changed = rows(24)
    for row in changed:
        row["source"] = f"from {row['label']}"
    write_manifest(clean, changed)
    report = check(load(clean))
    assert report.source_v == 1
    assert verdicts(report)["sources"] == "fail"
    assert {(s.label, s.source, s.share) for s in report.sources} == {
        ("COVID", "from COVID", 1.0),
        ("Normal", "from Normal", 1.0),
    }


def test_a_format_that_tells_the_class_fails(clean: Path) -> None:
    changed = rows(24)
    for row in changed[::2]:
        save(clean / f"{Path(row['file']).stem}.jpg", film(int(Path(row["file"]).stem)))
        row["file"] = f"{Path(row['file']).stem}.jpg"
    write_manifest(clean, changed)
    report = check(load(clean))
    assert report.probe is not None
    assert dict(report.probe.by_feature)["file format"] == 1
    assert verdicts(report)["shortcuts"] == "fail"


def test_nothing_readable_at_all(tmp_path: Path) -> None:
    write_manifest(tmp_path, [{"file": "absent.png", "label": "COVID", "split": "test"}])
    report = check(load(tmp_path))
    assert (report.readable, report.pixels, report.probe) == (0, (), None)
    assert report.verdict == "fail"
    jsonschema.Draft202012Validator(SCHEMA).validate(json.loads(json.dumps(report.to_json())))
