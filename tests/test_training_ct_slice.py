"""A recipe for CT slices from drawn pictures to a bundle that answers."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np

from pulmoscope.datasets.table import Sample, SampleTable
from pulmoscope.io import read_pixels
from pulmoscope.preprocess.ct_slice import SlicePreprocess
from pulmoscope.recipes import settings
from pulmoscope.recipes.published import find
from pulmoscope.runtime.bundle import load
from pulmoscope.runtime.model import Model
from pulmoscope.training.export.bundle import export_bundle
from pulmoscope.training.run import fit
from slices import slice_hu, windowed


def drawn_slices(folder: Path) -> SampleTable:
    """Slices with and without a lesion, noisy and each in a window of its own."""
    folder.mkdir()
    rng = np.random.default_rng(5)
    samples = []
    for split, count in (("train", 6), ("val", 4)):
        for label in ("COVID", "non-COVID"):
            for number in range(count):
                picture = windowed(
                    slice_hu(label == "COVID"), rng.uniform(-700, -500), rng.uniform(1200, 1600)
                )
                noisy = picture + rng.normal(0, 0.02, picture.shape)
                file = f"{label}-{split}-{number}.png"
                assert cv2.imwrite(str(folder / file), np.rint(noisy.clip(0, 1) * 255).astype(np.uint8))
                samples.append(Sample(file, label, split, "", "drawn"))
    return SampleTable(folder, "manifest", tuple(samples))


def test_a_slice_model_is_trained_exported_and_asked(tmp_path: Path) -> None:
    recipe = settings.apply(
        find("ct-slice-covid"),
        [
            "phases.train.epochs=1",
            "model.backbone=cnn",
            "model.filters=2",
            "model.stages=1",
            "phases.train.frozen=none",
            "preprocess.size=32",
        ],
    )
    table = drawn_slices(tmp_path / "slices")
    fit(recipe, table, tmp_path / "run", device="cpu", progress=False)
    bundle = export_bundle(tmp_path / "run", table, progress=False)

    assert (bundle.modality, bundle.classes) == ("CT", ("non-COVID", "COVID"))
    assert set(bundle.files) == {"model.onnx", "reference.npz"}
    again = load(tmp_path / "run")
    assert again.preprocess == recipe.preprocess
    assert isinstance(again.preprocess, SlicePreprocess)
    card = (tmp_path / "run" / "MODEL_CARD.md").read_text(encoding="utf-8")
    assert "A classifier for one slice of a chest CT at a time" in card
    assert "The box around the lungs, found by grey alone" in card

    model = Model(again)
    assert not model.finds_lungs
    prepared = model.prepare(read_pixels(table.path(table.samples[0])))
    assert prepared.framed.lungs_found
    assert prepared.lungs is None
    np.testing.assert_allclose(model.predict(prepared.tensor[None]).probabilities.sum(axis=1), 1, rtol=1e-5)
