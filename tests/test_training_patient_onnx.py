from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from pulmoscope.models.patient import build_patient
from pulmoscope.recipes.specs import CLASSIFIERS
from pulmoscope.runtime.network import open_network
from pulmoscope.training.onnx.file import TOLERANCE, write_onnx


@pytest.mark.parametrize("name", CLASSIFIERS)
def test_the_file_says_of_any_number_of_slices_what_the_network_says(name: str, tmp_path: Path) -> None:
    torch.manual_seed(3)
    spec = CLASSIFIERS[name]
    network = build_patient(spec, 8, 3, lstm_units=20).eval()
    inputs = 24 if spec.weighted else 8
    noise = np.random.default_rng(2)
    path = tmp_path / f"{name}.onnx"

    apart = write_onnx(network, path, noise.standard_normal((3, 9, inputs), dtype=np.float32))

    assert set(apart) == {"half", "openvino", "onnx"}
    assert max(apart["openvino"], apart["onnx"]) < TOLERANCE / 10
    for slices in (1, 2, 31):
        study = noise.standard_normal((1, slices, inputs), dtype=np.float32)
        with torch.no_grad():
            expected = network.explainable(torch.from_numpy(study))
        for runtime in ("openvino", "onnx"):
            found = open_network(path, runtime, "cpu")(study)  # type: ignore[arg-type]
            for output, value in zip(("logits", "vector"), expected, strict=True):
                # Weights are stored with the 11 bits of half precision.
                np.testing.assert_allclose(found[output], value.numpy(), atol=2e-3)
