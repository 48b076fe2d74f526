"""Images as the network of this bundle was trained on them, and its answers as JSON; needs the package pulmoscope."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import torch

import pulmoscope


class Prepared:
    """Turns the path of an image into what the network takes: read, framed around the lungs, normalised.

    Args:
        folder: of the model, ``models`` of this bundle.
    """

    def __init__(self, folder: str) -> None:
        self._model = pulmoscope.open_model(folder)

    def __call__(self, item: Mapping[str, Any]) -> dict[str, Any]:
        """``image``: float32 (channels, rows, columns); ``name``: what the image is called, by its content."""
        (scan,) = pulmoscope.read_scans([item["image"]])
        if isinstance(scan, Exception):
            raise scan
        prepared = self._model.prepare(scan.plane(0))
        return {"image": torch.from_numpy(prepared.tensor), "name": scan.name}


def predict(
    loader: Iterable[Mapping[str, Any]],
    network: torch.nn.Module,
    inferer: Any,
    postprocessing: Any,
    classes: list[str],
    device: torch.device,
    output: str,
) -> None:
    """Write ``<name>.json`` with the probability of each class for every image."""
    folder = Path(output)
    folder.mkdir(parents=True, exist_ok=True)
    with torch.no_grad():
        for batch in loader:
            scores = inferer(batch["image"].to(device), network)
            for name, one in zip(batch["name"], scores, strict=True):
                found = postprocessing({"pred": one})["pred"].tolist()
                text = json.dumps(dict(zip(classes, found, strict=True)), indent=2)
                (folder / f"{name}.json").write_text(text + "\n", encoding="utf-8")
