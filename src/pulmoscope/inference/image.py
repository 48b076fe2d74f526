"""The one path of a single image, in a diagnosis and in an evaluation: framed → quality → network → decision."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from pulmoscope.core.types import Flag, FloatArray, Modality, Prediction, Quality, Scan
from pulmoscope.inference.decision import decide_images
from pulmoscope.quality import rules
from pulmoscope.runtime.model import Model, Outputs, Prepared


@dataclass(frozen=True)
class SeenImage:
    """An image as the network is shown it, and what the quality rules say of it; small, whatever the image's size."""

    prepared: Prepared
    flags: tuple[Flag, ...]


def look_at_image(scan: Scan, model: Model, lungs: FloatArray | None = None) -> SeenImage:
    """Frame an X-ray, or a CT slice that came as a picture, and check its quality.

    Args:
        lungs: lung probability over the whole image; None: the model looks for them.
    """
    prepared = model.prepare(scan.pixels[0], lungs)
    if model.bundle.modality == Modality.CT:
        quality = rules.check_slice(scan, prepared.framed.lungs_found)
    else:
        quality = rules.check(scan, prepared.lungs, prepared.view)
    return SeenImage(prepared, quality.all_flags)


def infer_images(seen: Sequence[SeenImage], model: Model) -> tuple[Outputs, list[tuple[Quality, Prediction]]]:
    """What a model says of a batch of images, and of each what is known and done with it."""
    outputs = model.predict(np.stack([image.prepared.tensor for image in seen]))
    return outputs, decide_images(model.bundle, [image.flags for image in seen], outputs)
