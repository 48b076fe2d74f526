from __future__ import annotations

import csv
import json
from dataclasses import replace
from pathlib import Path

import jsonschema
import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

import volumes
from bundles import tiny_bundle
from pulmoscope.core.errors import DatasetError, OutputExistsError
from pulmoscope.datasets.checksum import table_checksum
from pulmoscope.datasets.infected import infected_text
from pulmoscope.datasets.table import Sample, SampleTable
from pulmoscope.pipeline.evaluate_slices import evaluate_slices
from pulmoscope.preprocess.ct_slice import SlicePreprocess
from pulmoscope.runtime.model import Model
from refusals import figures

SCHEMA = Path(__file__).resolve().parents[1] / "docs" / "schemas" / "slices.schema.json"


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Model:
    """One that sees the brightness of a picture's quarters, on CT slices."""
    preprocess = SlicePreprocess(size=32, region="full", window=False)
    folder = tiny_bundle(
        tmp_path_factory.mktemp("bundle"),
        classes=("non-COVID", "COVID"),
        preprocess=preprocess,
        modality="CT",
    ).folder
    return Model.load(folder)


@pytest.fixture(scope="module")
def table(tmp_path_factory: pytest.TempPathFactory) -> SampleTable:
    return volumes.table(tmp_path_factory.mktemp("studies"), train=1, val=1)


def test_scores_are_compared_within_each_patient(model: Model, table: SampleTable, tmp_path: Path) -> None:
    found = evaluate_slices(model, table, tmp_path / "out", split="all", bootstrap=50, command="as typed")
    jsonschema.validate(found, json.loads(SCHEMA.read_text(encoding="utf-8")))
    assert found == json.loads((tmp_path / "out/slices.json").read_text(encoding="utf-8"))
    assert found["data"]["sha256"] == table_checksum(table)
    assert found["data"]["split"] == "all"
    assert found["data"]["labels"] == {"CAP": 2, "COVID": 2, "Normal": 2}
    assert found["synthetic"] == {"trained": False, "evaluated": True}
    with (tmp_path / "out/slices.csv").open(newline="") as stream:
        rows = list(csv.DictReader(stream))
    for own, sample in zip(found["patients"], table, strict=True):
        mine = [row for row in rows if row["file"] == sample.file]
        assert [int(row["slice"]) for row in mine] == list(range(own["slices"]))
        judged = [row for row in mine if row["score"]]
        # Too small for a chest: no lesion is measured.
        assert own["lesion_auroc"]["value"] is None
        assert {row["lesion_fraction"] for row in mine} == {""}
        assert own["judged"] == len(judged) > 0
        ill = [row["infected"] == "1" for row in judged]
        assert own["infected"] == sum(ill) == (0 if sample.label == "Normal" else 3)
        scores = [float(row["score"]) for row in judged]
        if sample.label == "Normal":
            assert own["auroc"]["value"] is None
            assert own["dense_auroc"]["value"] is None
        else:
            assert own["auroc"]["value"] == pytest.approx(roc_auc_score(ill, scores), abs=1e-6)
            alone = [float(row["network_score"]) for row in judged]
            assert own["network_auroc"]["value"] == pytest.approx(roc_auc_score(ill, alone), abs=1e-6)
            dense = [float(row["dense_fraction"]) for row in judged]
            assert own["dense_auroc"]["value"] == pytest.approx(roc_auc_score(ill, dense), abs=1e-6)
            expected = np.mean([score for score, one in zip(scores, ill, strict=True) if one])
            assert own["mean_score"]["infected"] == pytest.approx(expected, abs=1e-5)


def test_the_measure_of_lesions_is_ranked_too(model: Model, tmp_path: Path) -> None:
    infected = np.isin(np.arange(12), (3, 4, 5, 6))
    # In pixels of 4.5 mm the lungs are a litre.
    volumes.write(tmp_path / "p1.nii.gz", volumes.volume("COVID", 12, infected, 3), 4.5)
    study = Sample("p1.nii.gz", "COVID", "all", "p1", infected=infected_text(np.flatnonzero(infected)))
    found = evaluate_slices(model, SampleTable(tmp_path, "manifest", (study,)), tmp_path / "out", bootstrap=5)
    with (tmp_path / "out/slices.csv").open(newline="") as stream:
        rows = [row for row in csv.DictReader(stream) if row["score"]]
    lesion = np.array([float(row["lesion_fraction"]) for row in rows])
    ill = np.array([row["infected"] == "1" for row in rows])
    assert lesion[ill].min() > 0.1 > lesion[~ill].max()
    assert found["patients"][0]["lesion_auroc"]["value"] == 1


def test_what_is_there_is_kept_and_what_can_not_be_read_is_told(
    model: Model, table: SampleTable, tmp_path: Path
) -> None:
    (tmp_path / "broken.nii.gz").write_bytes(b"\x1f\x8bno")
    broken = Sample("broken.nii.gz", "COVID", "all", "p9")
    both = SampleTable(
        tmp_path, "manifest", (Sample(str(table.path(table.samples[0])), "CAP", "all"), broken)
    )
    found = evaluate_slices(model, both, tmp_path / "out", bootstrap=5)
    assert [failure["file"] for failure in found["data"]["failures"]] == ["broken.nii.gz"]
    assert found["patients"][0]["infected"] is None
    with pytest.raises(OutputExistsError):
        evaluate_slices(model, both, tmp_path / "out")
    with pytest.raises(DatasetError, match="no study could be read"):
        evaluate_slices(model, SampleTable(tmp_path, "manifest", (broken,)), tmp_path / "none")


def test_infected_slices_that_are_not_the_study_s_leave_it_out(
    model: Model, table: SampleTable, tmp_path: Path
) -> None:
    beyond = replace(table.samples[0], infected="3-40")
    both = replace(table, samples=(beyond, table.samples[1]))
    found = evaluate_slices(model, both, tmp_path, bootstrap=5)
    ((file, reason),) = [own.values() for own in found["data"]["failures"]]
    assert file == beyond.file
    assert figures(reason)[-2:] == (40, 9)  # the slice that is named, the last that there is
    assert [own["file"] for own in found["patients"]] == [table.samples[1].file]
