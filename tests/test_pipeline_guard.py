"""What a bundle from before gets to know when not to answer, on radiographs of simulated stations."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest

from bundles import quadrants, tiny_bundle
from pulmoscope.core.errors import BundleError, DatasetError, OutputExistsError
from pulmoscope.core.types import Decision
from pulmoscope.datasets.table import SampleTable
from pulmoscope.inference.decision import normal_lungs
from pulmoscope.inference.hospitals import hospitals_of
from pulmoscope.io import read_pixels
from pulmoscope.pipeline.diagnose import diagnose
from pulmoscope.pipeline.diagnose_xray import UNLIKE_NORMAL
from pulmoscope.pipeline.guard import guard
from pulmoscope.pipeline.predict import predict_table
from pulmoscope.quality.distribution import Reference
from pulmoscope.runtime.bundle import Bundle
from pulmoscope.runtime.maps import Maps
from pulmoscope.runtime.model import Model
from stations import CLASSES, training_data


def picture(path: Path, *brightness: float) -> Path:
    assert cv2.imwrite(str(path), np.rint(quadrants(brightness, 128) * 255).astype(np.uint8))
    return path


@pytest.fixture(scope="module")
def table(tmp_path_factory: pytest.TempPathFactory) -> SampleTable:
    return training_data(tmp_path_factory.mktemp("stations"))


@pytest.fixture(scope="module")
def old(tmp_path_factory: pytest.TempPathFactory, table: SampleTable) -> Model:
    """A bundle that knows how far an image is from normal lungs, and nothing else."""
    folder = tmp_path_factory.mktemp("old")
    bare = Model(tiny_bundle(folder, CLASSES))
    normal = table.with_samples(one for one in table.split("train") if one.label == "Normal")
    features = predict_table(bare, normal, with_features=True)[0].features
    assert features is not None
    (folder / "normal.npz").write_bytes(Reference.fit(features, np.arange(len(features)) % 2).to_bytes())
    thresholds = replace(bare.bundle.thresholds, normal_distance=3.0, confidence=0.9)
    return Model(replace(bare.bundle, thresholds=thresholds).save())


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory, table: SampleTable, old: Model) -> Bundle:
    return guard(old, table, tmp_path_factory.mktemp("out") / "new", version="2", maps=Maps("occlusion"))


def test_the_new_bundle_knows_more_and_answers_as_before(
    old: Model, made: Bundle, table: SampleTable
) -> None:
    assert (made.version, made.explanation.kind) == ("2", "occlusion")
    assert made.conformal is not None
    val = [one for one in table if one.split == "val"]
    assert sum(made.conformal.images.values()) == len(val)
    known = hospitals_of(made)
    assert known is not None
    assert known.names == ("north",)
    assert (old.bundle.conformal, hospitals_of(old.bundle)) == (None, None)
    before, after = (predict_table(one, table.split("val"))[0] for one in (old, Model(made)))
    np.testing.assert_array_equal(before.probabilities, after.probabilities)


def test_the_places_are_those_of_the_normal_training_images(
    made: Bundle, old: Model, table: SampleTable
) -> None:
    normal = [one for one in table if one.split == "train" and one.label == "Normal"]
    tensors = np.stack([old.prepare(read_pixels(table.path(one))).tensor for one in normal])
    reference = normal_lungs(made)
    assert reference is not None
    assert reference.cells is not None
    mean = old.predict(tensors).features.mean(axis=0)
    np.testing.assert_allclose(reference.cells, reference.with_cells(mean).cells, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize(
    ("brightness", "code", "label"),
    [
        ((0.95, 0.94, 0.4, 0.4), "unknown-disease", "COVID"),
        ((0.94, 0.95, 0.4, 0.4), "unlike-normal", "Normal"),
    ],
)
def test_lungs_like_nothing_that_is_known_are_said_to_be_so_and_where(
    made: Bundle, tmp_path: Path, brightness: tuple[float, ...], code: str, label: str
) -> None:
    """Both halves are brighter than any normal radiograph; neither class is much more probable than the other."""
    found = diagnose(picture(tmp_path / "a.png", *brightness), Model(made))
    assert found.prediction.label == label
    assert code in [flag.code for flag in found.quality.limits]
    assert found.prediction.decision is Decision.REFER
    shown = found.explanations[-1]
    assert (shown.kind, shown.target) == ("anomaly", UNLIKE_NORMAL)
    assert shown.heat.shape == found.scan.pixels.shape[1:]
    assert shown.heat.max() > 0


def test_a_sure_answer_is_no_unknown_disease(made: Bundle, tmp_path: Path) -> None:
    found = diagnose(picture(tmp_path / "a.png", 0.9, 0.1, 0.4, 0.4), Model(made))
    assert found.prediction.label == "COVID"
    assert "unknown-disease" not in [flag.code for flag in found.quality.limits]
    assert UNLIKE_NORMAL not in [shown.target for shown in found.explanations]


def test_what_can_not_be_guarded_is_refused(
    old: Model, made: Bundle, table: SampleTable, tmp_path: Path
) -> None:
    with pytest.raises(OutputExistsError):
        guard(old, table, made.folder)
    with pytest.raises(BundleError):
        guard(old, table, old.bundle.folder, force=True)
    with pytest.raises(DatasetError, match="val"):
        guard(old, table.split("train"), tmp_path / "new")
    ct = Model(tiny_bundle(tmp_path / "ct", CLASSES, modality="CT"))
    with pytest.raises(BundleError):
        guard(ct, table, tmp_path / "new")
    assert not (tmp_path / "new").exists()
