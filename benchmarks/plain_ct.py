"""What one writes first: a DICOM folder through MONAI's transforms, the same network in torch, a report's pictures.

    python benchmarks/plain_ct.py STUDY [STUDY ...] BUNDLE OUT      (needs pulmoscope[bench])

Reads each series with MONAI's pydicom reader, scales the lung window, crops the foreground, resizes every slice to the
network's input, runs the bundle's own network as a torch module in batches of 16, and writes scores, a contact sheet
and heat maps of the four highest slices. It has no lung mask, no quality control and no page: less work than ours. Of
several studies each has a folder of its own in OUT.
"""

from __future__ import annotations

import csv
import json
import sys
from pathlib import Path

from pulmoscope.runtime.torchvision_shim import declare_missing_operators

declare_missing_operators()

import cv2  # noqa: E402
import numpy as np  # noqa: E402
import torch  # noqa: E402
from monai.transforms import (  # noqa: E402
    Compose,
    CropForeground,
    EnsureChannelFirst,
    LoadImage,
    Orientation,
    ScaleIntensityRange,
)

from pulmoscope.runtime.torch_backend import TorchNetwork  # noqa: E402

READ = Compose(
    [
        LoadImage(reader="PydicomReader", image_only=True),
        EnsureChannelFirst(),
        Orientation(axcodes="LPS", labels=(("R", "L"), ("A", "P"), ("I", "S"))),
        ScaleIntensityRange(a_min=-1350, a_max=150, b_min=0, b_max=1, clip=True),
        CropForeground(allow_smaller=True),
    ]
)


def main() -> None:
    *studies, bundle, out = map(Path, sys.argv[1:])
    size = json.loads((bundle / "bundle.json").read_text())["preprocess"]["size"]
    network = TorchNetwork(bundle / "model.onnx", "cpu")
    for number, study in enumerate(studies):
        diagnose(study, network, size, out if len(studies) == 1 else out / f"{number:04d}")


def diagnose(study: Path, network: TorchNetwork, size: int, out: Path) -> None:
    out.mkdir(parents=True)
    volume = READ(str(study))[0].permute(2, 1, 0)
    slices = torch.nn.functional.interpolate(
        volume[:, None].float(), size=(size, size), mode="bilinear", antialias=True
    )
    batches = ((slices - 0.5) / 0.5).expand(-1, 3, -1, -1).split(16)
    found = [network(np.ascontiguousarray(batch.numpy())) for batch in batches]
    logits = np.concatenate([answer["logits"] for answer in found])
    scores = (
        1 / (1 + np.exp(logits[:, 0] - logits[:, -1]))
        if logits.shape[1] > 1
        else 1 / (1 + np.exp(-logits[:, 0]))
    )
    with (out / "slices.csv").open("w", newline="") as stream:
        csv.writer(stream).writerows(enumerate(scores))
    grey = (volume.numpy() * 255).astype(np.uint8)
    for place in np.argsort(-scores)[:4]:
        answer = found[place // 16]
        heat_map(
            grey[place],
            answer["features"][place % 16],
            answer["gradients"][place % 16, -1],
            out / f"{place}.png",
        )
    tiles = [cv2.resize(image, (128, 128)) for image in grey[:: max(1, len(grey) // 40)][:40]]
    tiles += [np.zeros((128, 128), dtype=np.uint8)] * (40 - len(tiles))
    cv2.imwrite(
        str(out / "sheet.png"), np.vstack([np.hstack(tiles[row : row + 8]) for row in range(0, 40, 8)])
    )


def heat_map(grey: np.ndarray, features: np.ndarray, gradients: np.ndarray, file: Path) -> None:
    heat = np.maximum(np.tensordot(gradients, features, axes=1), 0)
    heat = cv2.resize(heat / max(heat.max(), 1e-9), grey.shape[::-1])
    colour = cv2.applyColorMap((heat * 255).astype(np.uint8), cv2.COLORMAP_INFERNO)
    cv2.imwrite(str(file), cv2.addWeighted(cv2.cvtColor(grey, cv2.COLOR_GRAY2BGR), 0.6, colour, 0.4, 0))


if __name__ == "__main__":
    main()
