"""The image network as TorchScript: a MONAI Bundle's ``model.ts``, with its weights as ``model.pt``."""

from __future__ import annotations

import io
import json
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch

from pulmoscope.core.errors import BundleError
from pulmoscope.core.types import FloatArray
from pulmoscope.runtime.bundle import Bundle
from pulmoscope.runtime.model import Model
from pulmoscope.runtime.torch_backend import torch_module

LIMIT = 1e-4
"""The largest difference of a probability from that of the bundle's own network."""
_IMAGES, _SEED = 4, 1


class _Scores(torch.nn.Module):
    """Calibrated scores by class, whose softmax are the probabilities."""

    def __init__(self, network: torch.nn.Module, output: int, bundle: Bundle) -> None:
        super().__init__()
        self.network, self.output = network, output
        self.temperature = bundle.calibration.temperature
        self.register_buffer("bias", torch.tensor(bundle.calibration.bias or (0.0,), dtype=torch.float32))

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        """(batch, classes) of prepared images."""
        found = self.network(image)
        scores = (found if isinstance(found, torch.Tensor) else found[self.output]) / self.temperature
        if scores.shape[1] == 1:  # one logit stands for the second of two classes
            scores = torch.cat([torch.zeros_like(scores), scores], dim=1)
        bias = self.bias
        assert isinstance(bias, torch.Tensor)
        return scores + bias


def torchscript(model: Model, metadata: Mapping[str, Any]) -> tuple[bytes, bytes]:
    """``model.ts``, with the metadata in it as MONAI's loader expects them, and ``model.pt``.

    Raises:
        BundleError: torch can't read the network, or computes other answers than the bundle's runtime.
    """
    bundle = model.bundle
    path = bundle.folder / bundle.network
    network, outputs = torch_module(path)
    scores = _Scores(network, outputs.index("logits"), bundle).eval()
    shape = (_IMAGES, bundle.preprocess.channels, bundle.preprocess.size, bundle.preprocess.size)
    images = np.random.default_rng(_SEED).standard_normal(shape, dtype=np.float32)
    with torch.no_grad(), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch calls TorchScript old; MONAI's loader takes nothing else
        jit: Any = torch.jit
        traced = jit.trace(scores, torch.from_numpy(images[:2]), check_trace=False)
        script, weights = io.BytesIO(), io.BytesIO()
        jit.save(traced, script, _extra_files={"metadata.json": json.dumps(dict(metadata)).encode()})
        torch.save(traced.state_dict(), weights)
        script.seek(0)
        read = jit.load(script)
        found = read(torch.from_numpy(images)).softmax(dim=1).numpy()
    _check(path, found, model.predict(images).probabilities)
    return script.getvalue(), weights.getvalue()


def _check(path: Path, found: FloatArray, exact: FloatArray) -> None:
    off = float(np.abs(found - exact).max())
    if not off <= LIMIT:
        raise BundleError(f"{path}: as TorchScript its probabilities differ by {off:.2g} (at most {LIMIT:g})")
