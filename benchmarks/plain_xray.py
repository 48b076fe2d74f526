"""What one writes first: a folder of radiographs through a network in torch, one line of CSV for each.

    python benchmarks/plain_xray.py FOLDER OUT.csv [--network timm|torchxrayvision] [--compile] [--batch 16]
        [--size 160] [--classes 4] [--times TIMES.json]       (needs pulmoscope[train]; torchxrayvision for that one)

With timm: PIL, MobileNetV2 at the size given, softmax. With torchxrayvision: its own reading, centre crop, resizing to
224 px and DenseNet121, one image at a time, as its examples do. All weights are random, which are as quick as any, and
nothing is downloaded. No lungs are found, no quality is checked: less work than ours.
--times keeps how long each batch took, in seconds, from reading to its lines.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch

from pulmoscope.runtime.torchvision_shim import declare_missing_operators

declare_missing_operators()

Read = Callable[[Path], torch.Tensor]


def main() -> None:
    ask = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    ask.add_argument("folder", type=Path)
    ask.add_argument("out", type=Path)
    ask.add_argument("--network", choices=["timm", "torchxrayvision"], default="timm")
    ask.add_argument("--compile", action="store_true")
    ask.add_argument("--batch", type=int, default=16)
    ask.add_argument("--size", type=int, default=160)
    ask.add_argument("--classes", type=int, default=4)
    ask.add_argument("--times", type=Path)
    given = ask.parse_args()
    if given.network == "timm":
        read, answer = mobilenet(given.size, given.classes, given.compile)
    else:
        read, answer = densenet()
    paths = sorted(given.folder.iterdir())
    times = []
    with given.out.open("w", encoding="utf-8") as lines, torch.inference_mode():
        for start in range(0, len(paths), given.batch):
            before = time.perf_counter()
            batch = paths[start : start + given.batch]
            for path, values in zip(batch, answer(torch.stack([read(path) for path in batch])), strict=True):
                lines.write(f"{path.name},{','.join(f'{value:.4f}' for value in values.tolist())}\n")
            times.append(time.perf_counter() - before)
    if given.times:
        given.times.write_text(json.dumps(times), encoding="utf-8")


def mobilenet(size: int, classes: int, compiled: bool) -> tuple[Read, Callable[[torch.Tensor], torch.Tensor]]:
    import timm
    from PIL import Image

    network = timm.create_model("mobilenetv2_100", num_classes=classes).eval()
    run = torch.compile(network) if compiled else network

    def read(path: Path) -> torch.Tensor:
        image = Image.open(path).convert("RGB").resize((size, size))
        return torch.from_numpy(np.asarray(image, dtype=np.float32) / 255).permute(2, 0, 1)

    return read, lambda images: run(images).softmax(dim=1)


def densenet() -> tuple[Read, Callable[[torch.Tensor], torch.Tensor]]:
    import torchxrayvision
    from torchvision.transforms import Compose

    network = torchxrayvision.models.DenseNet(weights=None).eval()
    transform = Compose(
        [torchxrayvision.datasets.XRayCenterCrop(), torchxrayvision.datasets.XRayResizer(224, engine="cv2")]
    )

    def read(path: Path) -> torch.Tensor:
        return torch.from_numpy(transform(torchxrayvision.utils.load_image(str(path)))).float()

    return read, network


if __name__ == "__main__":
    main()
