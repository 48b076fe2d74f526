"""Images per second and memory for a folder: `pulmoscope diagnose` beside torch + timm eager, in the same run.

    python benchmarks/diagnose_folder.py [--images DIR] [--count 1000] [--model NAME|DIR] [--report auto]

Whole processes on the same files, one after the other. Ours reads, checks quality, predicts and writes a JSON per
image and the index; pages and heat maps as --report says. The other is the plain script that it replaces: PIL, a
batch of 16, MobileNetV2 at the bundle's input size from timm, float32, one line of CSV per image. A first, quarter
run of ours shows whether memory grows with the number of images. Without --images it draws phantoms (JPEG, 256 to
512 px).
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
from pathlib import Path

from measured import Measured, measured, pulmoscope

SIDES = (256, 299, 384, 512)


def main() -> None:
    ask = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    ask.add_argument("--images", type=Path)
    ask.add_argument("--count", type=int, default=1000)
    ask.add_argument("--model", default="xray-covid")
    ask.add_argument("--report", default="auto")
    ask.add_argument("--eager", type=Path, nargs=2, help=argparse.SUPPRESS)
    given = ask.parse_args()
    if given.eager:
        eager(*given.eager, given.model)
        return
    with tempfile.TemporaryDirectory() as scratch:
        files = listed(given.images) if given.images else drawn(Path(scratch) / "drawn", given.count)
        files = files[: given.count]
        whole, quarter = Path(scratch) / "whole", Path(scratch) / "quarter"
        linked(files, whole)
        linked(files[: len(files) // 4], quarter)

        def ours(folder: Path) -> Measured:
            options = ["--model", given.model, "--report", given.report, "-o", f"{folder}-out"]
            return measured([pulmoscope(), "diagnose", str(folder), *options])

        less, more = ours(quarter), ours(whole)
        script = [sys.executable, __file__, "--model", given.model, "--eager", str(whole)]
        other = measured([*script, f"{scratch}/eager.csv"])
        index = json.loads(Path(f"{whole}-out/index.json").read_text(encoding="utf-8"))
        pages = sum(entry.get("report") is not None for entry in index["inputs"])
    print(f"{len(files)} images on {os.cpu_count()} cores; {index['counts']}; {pages} pages with heat maps")
    show("pulmoscope", more, len(files))
    show("  a quarter of them", less, len(files) // 4)
    show("torch + timm eager", other, len(files))
    print(f"ratio {other.wall_s / more.wall_s:.1f}")


def show(name: str, found: Measured, images: int) -> None:
    rate = f"{images / found.wall_s:6.1f} images/s"
    print(f"{name:20} {found.wall_s:7.2f} s  {rate}  peak {found.peak_mib:5.0f} MiB")


def listed(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*") if path.suffix.lower() in (".jpg", ".jpeg", ".png"))


def linked(files: list[Path], folder: Path) -> None:
    """The same files under one folder."""
    folder.mkdir()
    for number, path in enumerate(files):
        (folder / f"{number:05d}{path.suffix.lower()}").symlink_to(path.resolve())


def drawn(folder: Path, count: int) -> list[Path]:
    import cv2
    import numpy as np

    from pulmoscope.phantoms.xray.draw import FINDINGS, draw_xray

    folder.mkdir()
    paths = [folder / f"{number:05d}.jpg" for number in range(count)]
    for number, path in enumerate(paths):
        film = draw_xray(number, FINDINGS[number % len(FINDINGS)], SIDES[number % len(SIDES)]).image
        cv2.imwrite(str(path), np.rint(film * 255).astype(np.uint8))
    return paths


def eager(folder: Path, out: Path, model: str) -> None:
    """What people write: PIL, a batch, softmax, a line each."""
    import numpy as np

    from pulmoscope.runtime.torchvision_shim import declare_missing_operators

    declare_missing_operators()
    import timm
    import torch
    from PIL import Image

    from pulmoscope.runtime.bundle import load

    bundle = load(model)
    size = bundle.preprocess.size
    network = timm.create_model("mobilenetv2_100", num_classes=len(bundle.classes)).eval()
    paths = sorted(folder.iterdir())
    with out.open("w", encoding="utf-8") as lines, torch.inference_mode():
        for start in range(0, len(paths), 16):
            batch = [
                np.asarray(Image.open(path).convert("RGB").resize((size, size)), dtype=np.float32) / 255
                for path in paths[start : start + 16]
            ]
            images = torch.from_numpy(np.stack(batch)).permute(0, 3, 1, 2)
            for path, shares in zip(paths[start:], network(images).softmax(dim=1), strict=False):
                lines.write(f"{path.name},{','.join(f'{share:.4f}' for share in shares.tolist())}\n")


if __name__ == "__main__":
    main()
