"""An evaluation end to end, with a model whose answers are known by construction."""

from __future__ import annotations

import csv
import json
import re
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
from jsonschema import Draft202012Validator

from bundles import quadrants, tiny_bundle
from pulmoscope.core.errors import OutputExistsError
from pulmoscope.core.files import NOTICE
from pulmoscope.datasets.table import Sample, SampleTable
from pulmoscope.pipeline.evaluate import evaluate
from pulmoscope.runtime.bundle import Conformal
from pulmoscope.runtime.model import Model

SCHEMA = Path(__file__).parents[1] / "docs" / "schemas" / "metrics.schema.json"
CLASSES = ("COVID", "Normal", "Tuberculosis")
ROWS = (
    # file, label, patient, source, brightness of the three quadrants
    ("c1.png", "COVID", "p1", "a", (0.8, 0.2, 0.1)),
    ("c2.png", "COVID", "p1", "a", (0.7, 0.3, 0.1)),
    ("c3.png", "COVID", "p2", "b", (0.3, 0.6, 0.1)),
    ("n1.png", "Normal", "p3", "a", (0.2, 0.8, 0.1)),
    ("n2.png", "Normal", "p4", "a", (0.1, 0.7, 0.2)),
    ("<b>n3.png", "Normal", "p5", "b", (0.9, 0.1, 0.1)),
    ("t1.png", "Tuberculosis", "p6", "b", (0.1, 0.2, 0.9)),
    ("x1.png", "Pneumonia", "p7", "b", (0.9, 0.2, 0.1)),
    ("x2.png", "Pneumonia", "p8", "b", (0.2, 0.9, 0.1)),
)


@pytest.fixture(scope="module")
def table(tmp_path_factory: pytest.TempPathFactory) -> SampleTable:
    root = tmp_path_factory.mktemp("images")
    for file, *_, brightness in ROWS:
        cv2.imwrite(str(root / file), np.rint(quadrants(brightness, 96) * 255).astype(np.uint8))
    (root / "cut.png").write_bytes((root / "c1.png").read_bytes()[:60])
    samples = [Sample(file, label, "test", patient, source) for file, label, patient, source, _ in ROWS]
    return SampleTable(
        root, "manifest", (*samples, Sample("cut.png", "COVID", "test", "p9", "a")), ("be warned",)
    )


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Model:
    return Model(tiny_bundle(tmp_path_factory.mktemp("bundle"), CLASSES))


@pytest.fixture(scope="module")
def out(model: Model, table: SampleTable, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("evaluation")
    evaluate(model, table, folder, split="test", bootstrap=200, command="pulmoscope evaluate tiny")
    return folder


@pytest.fixture(scope="module")
def found(out: Path) -> dict:
    return json.loads((out / "metrics.json").read_text(encoding="utf-8"))


def test_figures_are_those_derived_by_hand(found: dict, model: Model) -> None:
    assert not list(Draft202012Validator(json.loads(SCHEMA.read_text())).iter_errors(found))
    overall = found["overall"]
    # Five of seven right: c3 is called Normal, n3 COVID.
    assert overall["images"] == 7
    assert (overall["units"], overall["resampled_by"]) == (6, "patient")
    assert overall["scores"]["accuracy"]["value"] == pytest.approx(5 / 7)
    assert overall["confusion"] == [[2, 1, 0], [1, 2, 0], [0, 0, 1]]
    assert overall["by_class"]["COVID"]["sensitivity"]["value"] == pytest.approx(2 / 3)
    assert overall["by_class"]["COVID"]["specificity"]["value"] == pytest.approx(3 / 4)
    pair = found["pairwise"]
    assert (pair["positive"], pair["negative"], pair["images"]) == ("COVID", "Normal", 6)
    # Ranked by COVID against Normal: n3, c1, c2, c3, n1 and n2 (tied): c1, c2, c3 each beat n1 and n2: 6 of 9.
    assert pair["scores"]["macro_auroc"]["value"] == pytest.approx(6 / 9)
    assert {name: own["images"] for name, own in found["by_source"].items()} == {"a": 4, "b": 3}
    assert found["by_source"]["a"]["scores"]["accuracy"]["value"] == 1
    assert found["by_source"]["b"]["scores"]["accuracy"]["value"] == pytest.approx(1 / 3)
    (outside,) = found["outside_classes"]
    assert (outside["source"], outside["label"], outside["images"]) == ("b", "Pneumonia", 2)
    assert outside["called"]["COVID"]["value"] == 0.5
    assert sum(own["images"] for own in found["reliability"]) == 7
    counts = found["referral"]["overall"]["counts"]
    assert counts["right_reported"] + counts["right_referred"] == 5
    assert counts["wrong_reported"] + counts["wrong_referred"] == 2
    (strange,) = [own["counts"] for own in found["referral"]["by_label"] if own["label"] == "Pneumonia"]
    assert strange["wrong_reported"] + strange["wrong_referred"] == 2  # the model has no such class
    rows = [
        (own["source"], own["label"], sum(own["counts"].values())) for own in found["referral"]["by_label"]
    ]
    assert rows == [
        ("a", "COVID", 2),
        ("a", "Normal", 2),
        ("b", "COVID", 1),
        ("b", "Normal", 1),
        ("b", "Pneumonia", 2),
        ("b", "Tuberculosis", 1),
    ]
    assert found["model"]["sha256"] == model.bundle.sha256
    assert found["notice"] == NOTICE


def test_hospitals_have_figures_of_their_own(found: dict, out: Path) -> None:
    rows = {row["hospital"]: row for row in found["hospitals"]["rows"]}
    assert {name: row["images"] for name, row in rows.items()} == {"a": 4, "b": 5}
    # Of b's images c3, n3 and t1 have labels that the model knows; c3 is called Normal, n3 COVID.
    assert rows["b"]["wrongly_called"]["value"] == pytest.approx(2 / 3)
    assert rows["b"]["by_label"]["Normal"]["called"]["COVID"]["value"] == 1
    assert rows["b"]["by_label"]["Pneumonia"]["called"]["COVID"]["value"] == 0.5
    assert rows["a"]["learnt"] is None  # the bundle tells nothing of its training data
    page = (out / "report.html").read_text(encoding="utf-8")
    assert "<h2>By hospital</h2>" in page
    assert '<th scope="row">(b)</th>' in page


def test_one_hospital_without_both_classes_has_no_section(
    model: Model, table: SampleTable, tmp_path: Path
) -> None:
    one = table.with_samples(s for s in table if s.source == "b" and s.label != "COVID")
    assert evaluate(model, one, tmp_path / "one", bootstrap=10)["hospitals"] is None
    assert "By hospital" not in (tmp_path / "one" / "report.html").read_text(encoding="utf-8")
    both = table.with_samples(s for s in table if s.source == "a")
    assert len(evaluate(model, both, tmp_path / "both", bootstrap=10)["hospitals"]["rows"]) == 1


def test_data_are_told(found: dict) -> None:
    data = found["data"]
    assert (data["images"], data["predicted"], data["split"]) == (10, 9, "test")
    assert data["labels"] == {"COVID": 3, "Normal": 3, "Pneumonia": 2, "Tuberculosis": 1}
    assert [failure["file"] for failure in data["failures"]] == ["cut.png"]
    assert data["warnings"] == ["be warned"]
    assert found["command"] == "pulmoscope evaluate tiny"


def test_what_may_be_shared_has_no_path_of_the_data(model: Model, table: SampleTable, tmp_path: Path) -> None:
    absolute = [replace(sample, file=str(table.path(sample))) for sample in table]
    evaluate(model, table.with_samples(absolute), tmp_path, bootstrap=5)
    pages = [tmp_path / name for name in ("metrics.json", "report.html", "worst.html")]
    assert all(str(table.root) not in path.read_text(encoding="utf-8") for path in pages)
    (failure,) = json.loads(pages[0].read_text(encoding="utf-8"))["data"]["failures"]
    assert failure["file"] == "cut.png"
    with (tmp_path / "predictions.csv").open(
        encoding="utf-8"
    ) as stream:  # local: it leads back to the images
        assert {row["file"] for row in csv.DictReader(stream)} < {sample.file for sample in absolute}


def test_predictions_name_every_readable_file_once(out: Path) -> None:
    with (out / "predictions.csv").open(encoding="utf-8", newline="") as stream:
        rows = list(csv.DictReader(stream))
    assert [(row["file"], row["label"], row["patient"], row["source"]) for row in rows] == [
        row[:4] for row in ROWS
    ]
    called = [CLASSES[int(np.argmax(row[4]))] for row in ROWS]
    assert [row["predicted"] for row in rows] == called


def test_pages_stand_alone_and_are_escaped(out: Path) -> None:
    for name in ("report.html", "worst.html"):
        page = (out / name).read_text(encoding="utf-8")
        assert NOTICE in page
        assert not re.search(r"https?://|<script src|<link [^>]*stylesheet", page)
        assert all(address.startswith("data:") for address in re.findall(r'src="([^"]*)"', page))
        assert "<b>n3" not in page
    report = (out / "report.html").read_text(encoding="utf-8")
    for text in ("Pneumonia", "cut.png", "be warned", "COVID against Normal", "0.714"):
        assert text in report
    for name in ("confusion", "roc", "precision_recall", "reliability"):
        assert (out / f"{name}.png").read_bytes().startswith(b"\x89PNG")


def test_worst_answers_come_most_sure_first(out: Path) -> None:
    page = (out / "worst.html").read_text(encoding="utf-8")
    # n3 is called COVID by 0.8 in brightness, c3 Normal by 0.3 only; Pneumonia can't be wrong.
    assert page.index("&lt;b&gt;n3.png") < page.index("c3.png")
    assert page.count("Evidence for COVID, the predicted class") == 1
    assert page.count("Evidence for Normal, the predicted class") == 1
    assert "x1.png" not in page
    assert page.count("data:image/jpeg") == 6


def test_nothing_is_overwritten_unasked(model: Model, table: SampleTable, out: Path) -> None:
    before = (out / "metrics.json").read_bytes()
    with pytest.raises(OutputExistsError, match="--force"):
        evaluate(model, table, out)
    assert (out / "metrics.json").read_bytes() == before
    evaluate(model, table, out, split="test", bootstrap=200, command="pulmoscope evaluate tiny", force=True)
    assert (out / "metrics.json").read_bytes() == before


def test_only_strange_labels(model: Model, table: SampleTable, tmp_path: Path) -> None:
    strange = SampleTable(table.root, "manifest", tuple(s for s in table if s.label == "Pneumonia"))
    found = evaluate(model, strange, tmp_path, bootstrap=10)
    assert found["overall"] is None
    assert found["by_source"] == {}
    assert not list(Draft202012Validator(json.loads(SCHEMA.read_text())).iter_errors(found))
    assert "No figure can be given" in (tmp_path / "report.html").read_text(encoding="utf-8")
    assert not (tmp_path / "roc.png").exists()


def test_two_classes_from_a_single_logit(tmp_path: Path, table: SampleTable) -> None:
    single = Model(tiny_bundle(tmp_path / "bundle", ("COVID", "Normal"), single_logit=True))
    found = evaluate(single, table.with_labels(["COVID", "Normal"]), tmp_path / "out", bootstrap=10)
    assert found["overall"]["confusion"] == [[2, 1], [1, 2]]
    assert found["overall"]["scores"]["macro_auroc"] == found["pairwise"]["scores"]["macro_auroc"]


def test_sets_and_risk_are_those_of_the_predictions(table: SampleTable, tmp_path: Path) -> None:
    least = {"COVID": 0.4, "Normal": 0.2, "Tuberculosis": 0.9}
    bare = tiny_bundle(tmp_path / "bundle", CLASSES)
    model = Model(replace(bare, conformal=Conformal(0.9, least, {"a": least})).save())
    found = evaluate(model, table, tmp_path / "out", bootstrap=20)
    assert not list(Draft202012Validator(json.loads(SCHEMA.read_text())).iter_errors(found))
    rows = [row for row in read_predictions(tmp_path / "out").values() if row["label"] in CLASSES]
    sets = [[name for name in CLASSES if float(row[f"p_{name}"]) >= least[name]] for row in rows]
    overall = found["sets"]["overall"]
    assert overall["coverage"]["value"] == pytest.approx(
        np.mean([row["label"] in own for row, own in zip(rows, sets, strict=True)])
    )
    assert overall["size"]["value"] == pytest.approx(np.mean([len(own) for own in sets]))
    assert overall["empty"]["value"] == pytest.approx(np.mean([not own for own in sets]))
    assert 0 < overall["coverage"]["value"] < 1
    at_a = found["sets"]["by_hospital"]["a"]
    assert at_a["coverage_if_known"] == at_a["coverage"]
    assert "coverage_if_known" not in found["sets"]["by_hospital"]["b"]
    risk = found["risk_coverage"]["overall"]
    assert risk["error"]["value"] == pytest.approx(1 - found["overall"]["scores"]["accuracy"]["value"])
    page = (tmp_path / "out" / "report.html").read_text(encoding="utf-8")
    assert "True class in the set" in page


def test_without_sets_there_are_none(found: dict) -> None:
    assert found["sets"] is None
    assert set(found["risk_coverage"]["by_hospital"]) == {"a", "b"}


def read_predictions(out: Path) -> dict[str, dict[str, str]]:
    with (out / "predictions.csv").open(newline="", encoding="utf-8") as stream:
        return {row["file"]: row for row in csv.DictReader(stream)}
