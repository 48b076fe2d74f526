"""Models for other systems: MONAI's loader and verifiers take the bundle, a challenge's folder runs; same answers."""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner

from bundles import quadrants, slice_model, tiny_bundle
from films import save
from pulmoscope import diagnose
from pulmoscope.apps.cli.main import app
from pulmoscope.core.errors import BundleError, OutputExistsError
from pulmoscope.runtime.bundle import load
from pulmoscope.runtime.model import Model
from pulmoscope.training.interchange import monai
from pulmoscope.training.interchange.grand_challenge import export_grand_challenge
from pulmoscope.training.interchange.monai import export_monai
from study_bundles import tiny_study_bundle
from volumes import volume, write

SOURCE = Path(__file__).resolve().parents[1] / "src"
needs_monai = pytest.mark.skipif(importlib.util.find_spec("monai") is None, reason="MONAI is not installed")
needs_torch = pytest.mark.skipif(
    importlib.util.find_spec("onnx2torch") is None, reason="the extra torch is not installed"
)
needs_runtime = pytest.mark.skipif(
    importlib.util.find_spec("onnxruntime") is None, reason="ONNX Runtime is not installed"
)

TENSOR = {
    "type": "object",
    "required": [
        *("type", "format", "modality", "num_channels", "spatial_shape", "dtype", "value_range"),
        *("is_patch_data", "channel_def"),
    ],
    "properties": {
        "num_channels": {"type": "integer"},
        "spatial_shape": {"type": "array"},
        "value_range": {"type": "array", "items": {"type": "number"}},
        "is_patch_data": {"type": "boolean"},
        "channel_def": {"type": "object"},
    },
}
SCHEMA = {
    "$schema": "http://json-schema.org/draft-07/schema#",
    "type": "object",
    "required": [
        *(
            "version",
            "monai_version",
            "pytorch_version",
            "numpy_version",
            "optional_packages_version",
            "task",
        ),
        *("description", "authors", "copyright", "network_data_format"),
    ],
    "properties": {
        "network_data_format": {
            "type": "object",
            "required": ["inputs", "outputs"],
            "properties": {
                "inputs": {"type": "object", "required": ["image"], "properties": {"image": TENSOR}},
                "outputs": {"type": "object", "required": ["pred"], "properties": {"pred": TENSOR}},
            },
        }
    },
}
"""What the «MONAI Bundle Specification» says of metadata; the verifier's own schema lies on the network."""

VERIFY = """
import json, sys, warnings
warnings.simplefilter("ignore")
import numpy as np, torch
import monai.bundle as bundle

schema, images, output, root = sys.argv[1:]
files = {"meta_file": "configs/metadata.json", "config_file": "configs/inference.json"}
bundle.verify_metadata(meta_file=files["meta_file"], filepath=schema)
bundle.verify_net_in_out(net_id="network_def", device="cpu", **files)
bundle.run(run_id="run", dataset_dir=images, output_dir=output, **files)
if root:
    network, metadata, _ = bundle.load("exported", bundle_dir=root, load_ts_module=True, device="cpu")
    weighed = bundle.load("exported", bundle_dir=root, workflow_type="inference", device="cpu")
    noise = torch.rand(2, 3, 32, 32)
    print(json.dumps([metadata["name"], torch.equal(network(noise), weighed(noise))]))
"""


def verified(folder: Path, images: Path, work: Path, *, scripted: bool) -> dict[str, dict[str, float]]:
    """The answers that MONAI's runner writes, once its verifiers have accepted the bundle."""
    (work / "schema.json").write_text(json.dumps(SCHEMA), encoding="utf-8")
    arguments = [work / "schema.json", images, work / "answers", folder.parent if scripted else ""]
    environment = {**os.environ, "PYTHONPATH": str(SOURCE)}
    command = [sys.executable, "-c", VERIFY, *map(str, arguments)]
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    if scripted:
        assert json.loads(done.stdout.splitlines()[-1]) == ["tiny", True]
    return {path.stem: json.loads(path.read_text()) for path in (work / "answers").glob("*.json")}


@needs_monai
@pytest.mark.parametrize(
    "scripted", [pytest.param(True, marks=needs_torch), pytest.param(False, marks=needs_runtime)]
)
def test_monai_takes_it_and_answers_alike(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, scripted: bool
) -> None:
    if not scripted:
        monkeypatch.setattr(monai, "_TORCH", "no_such_converter")
    model = Model.load(
        tiny_bundle(tmp_path / "model", single_logit=not scripted, gain=4.0, temperature=1.7).folder
    )
    images = tmp_path / "images"
    for number, bright in enumerate(((0.8, 0.1, 0.4, 0.4), (0.1, 0.7, 0.4, 0.4))):
        save(images / f"{number}.png", quadrants(bright))
    assert export_monai(model, tmp_path / "exported") is scripted
    found = verified(tmp_path / "exported", images, tmp_path, scripted=scripted)
    assert len(found) == 2
    for path in images.iterdir():
        exact = diagnose(path, model, explain=False)
        answer = found[exact.scan.name]
        assert list(answer) == ["COVID", "Normal"]
        for name, probability in exact.prediction.probabilities.items():
            assert answer[name] == pytest.approx(probability, abs=1e-5)


def test_the_metadata_say_what_goes_in_and_comes_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(monai, "_TORCH", "no_such_converter")
    model = Model.load(tiny_bundle(tmp_path / "model").folder)
    out = tmp_path / "exported"
    export_monai(model, out)
    metadata = json.loads((out / "configs/metadata.json").read_text(encoding="utf-8"))
    formats: dict[str, Any] = metadata["network_data_format"]
    assert formats["inputs"]["image"]["spatial_shape"] == [32, 32]
    assert formats["inputs"]["image"]["value_range"] == [0.0, 1.0]  # mean 0, deviation 1
    assert formats["outputs"]["pred"]["channel_def"] == {"0": "COVID", "1": "Normal"}
    assert load(out / "models").sha256 == model.bundle.sha256
    assert (out / "models/model.onnx").read_bytes() == (tmp_path / "model/model.onnx").read_bytes()
    with pytest.raises(OutputExistsError):
        export_monai(model, out)
    export_monai(model, out, force=True)


def test_a_model_of_whole_studies_becomes_no_monai_bundle(tmp_path: Path) -> None:
    model = Model.load(tiny_study_bundle(tmp_path / "model").folder)
    with pytest.raises(BundleError, match="whole studies"):
        export_monai(model, tmp_path / "exported")
    assert not (tmp_path / "exported").exists()


def test_a_challenges_folder_answers_as_the_model_does(tmp_path: Path) -> None:
    model = slice_model(tmp_path / "model")
    export_grand_challenge(model.bundle, tmp_path / "algorithm")
    scan = tmp_path / "input/images/ct/scan.mha"
    scan.parent.mkdir(parents=True)
    write(scan, volume("COVID", 40, np.arange(40) % 40 < 20, 1), pixel_mm=5.0)
    command = [
        sys.executable,
        *(str(tmp_path / name) for name in ("algorithm/process.py", "input", "output")),
    ]
    environment = {**os.environ, "PYTHONPATH": str(SOURCE)}
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    answers = {path.name: json.loads(path.read_text()) for path in (tmp_path / "output").iterdir()}
    exact = diagnose(scan, model, explain=False)
    assert exact.severity is not None
    assert answers == {
        "probability-covid-19.json": pytest.approx(exact.prediction.probabilities["COVID"], abs=1e-6),
        "probability-severe-covid-19.json": pytest.approx(exact.severity.percent_affected / 100),
    }
    assert np.isfinite(list(answers.values())).all()
    assert "ENTRYPOINT" in (tmp_path / "algorithm/Dockerfile").read_text(encoding="utf-8")


def test_what_a_challenge_can_not_use_is_refused_in_one_line(tmp_path: Path) -> None:
    out = str(tmp_path / "out")
    xray = tiny_bundle(tmp_path / "xray").folder
    with pytest.raises(BundleError, match=r"^[^\n]*X-rays[^\n]*$"):
        export_grand_challenge(load(xray), Path(out))
    other = tiny_bundle(tmp_path / "other", ("Tumour", "Normal"), modality="CT").folder
    with pytest.raises(BundleError, match=r"^[^\n]*Tumour, Normal[^\n]*$"):
        export_grand_challenge(load(other), Path(out))
    for more in (["--precision", "int8"], ["--data", str(tmp_path)]):
        done = CliRunner().invoke(app, ["export", str(xray), "--to", "monai", "-o", out, *more])
        assert isinstance(done.exception, BundleError)
    assert not Path(out).exists()
