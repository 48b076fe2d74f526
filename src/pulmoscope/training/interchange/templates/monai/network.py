"""The network of this bundle from its ONNX file, for MONAI where no TorchScript was exported."""

from __future__ import annotations

import json
from pathlib import Path

import onnxruntime
import torch


class OnnxNetwork(torch.nn.Module):
    """Calibrated scores by class, whose softmax are the probabilities; computed on the CPU.

    Args:
        folder: of ``model.onnx`` and ``bundle.json``.
    """

    def __init__(self, folder: str) -> None:
        super().__init__()
        manifest = json.loads((Path(folder) / "bundle.json").read_text(encoding="utf-8"))
        calibration = manifest["calibration"]
        self._temperature = float(calibration["temperature"])
        self._bias = torch.tensor(calibration.get("bias") or [0.0], dtype=torch.float32)
        self._session = onnxruntime.InferenceSession(str(Path(folder) / "model.onnx"))

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        """Scores (batch, classes) of prepared images (batch, channels, rows, columns)."""
        (logits,) = self._session.run(["logits"], {"image": image.detach().cpu().numpy()})
        scores = torch.from_numpy(logits) / self._temperature
        if scores.shape[1] == 1:  # one logit stands for the second of two classes
            scores = torch.cat([torch.zeros_like(scores), scores], dim=1)
        return (scores + self._bias).to(image.device)
