"""What a trained network says of the images it learnt from and of those held out, for calibration and export."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import torch

from pulmoscope.core.files import write_bytes
from pulmoscope.core.types import FloatArray
from pulmoscope.models.classifier import Classifier, pool
from pulmoscope.training.data import EpochOrder, FramedImages, Frames, loader
from pulmoscope.training.recipe import Recipe

EXAMPLES = 32
"""How many framed images are kept for comparing runtimes."""


def save_outputs(
    network: Classifier, recipe: Recipe, frames: Frames, device: torch.device, file: Path
) -> None:
    """Write, for the splits ``train`` and ``val``, arrays named ``<split>_<what>``, in the table's order.

    - ``logits`` float32 (n, logits); ``labels`` int64 (n,); ``files`` text (n,)
    - ``features`` float32 (n, maps): the pooled last maps
    - ``examples`` (no split): uint8 (at most 32, size, size), framed images spread evenly over ``val``
    """
    arrays: dict[str, np.ndarray] = {}
    for split in ("train", "val"):
        places = frames.places(split)
        logits, features = predict(network, recipe, frames, places, device)
        arrays[f"{split}_logits"], arrays[f"{split}_features"] = logits, features
        arrays[f"{split}_labels"] = frames.labels[places]
        arrays[f"{split}_files"] = np.array([frames.files[place] for place in places])
    held_out = frames.places("val")
    chosen = np.linspace(0, len(held_out) - 1, min(EXAMPLES, len(held_out))).round().astype(np.int64)
    arrays["examples"] = frames.images[held_out[chosen]]
    stream = io.BytesIO()
    np.savez(stream, allow_pickle=False, **arrays)
    write_bytes(file, stream.getvalue())


def predict(
    network: Classifier, recipe: Recipe, frames: Frames, places: np.ndarray, device: torch.device
) -> tuple[FloatArray, FloatArray]:
    """Logits (n, logits) and pooled features (n, maps) of some images, not augmented, in single precision."""
    images = FramedImages(frames, recipe.preprocess, None, recipe.seed)
    order = EpochOrder(places, max(32, recipe.batch_size), 0, recipe.seed, shuffle=False)
    network.to(device).eval()
    logits, features = [], []
    with torch.inference_mode():
        for batch, _ in loader(images, order, workers=0):
            pooled = pool(network.features(batch.to(device).contiguous(memory_format=torch.channels_last)))
            features.append(pooled.float().cpu())
            logits.append(network.head(pooled).float().cpu())
    network.cpu()
    return torch.cat(logits).numpy(), torch.cat(features).numpy()
