"""A DICOM series made ready for a network: read, turned, slices of 8 mm, 128 x 128 px, window -1000 to 200 HU.

    python benchmarks/prepare_ct.py STUDY --by pulmoscope|lungs|torchio

``pulmoscope`` and ``torchio`` do the same steps on the whole slices (ours averages where it shrinks, TorchIO
interpolates); ``lungs`` is ours as a recipe has it: the lungs are found, the square around them is shown, the rest is
black.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np

SIZE, SLICE_MM, LOW, HIGH = 128, 8.0, -1000.0, 200.0


def main() -> None:
    ask = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    ask.add_argument("study", type=Path)
    ask.add_argument("--by", choices=["pulmoscope", "lungs", "torchio"], required=True)
    given = ask.parse_args()
    images = (
        by_torchio(given.study) if given.by == "torchio" else by_pulmoscope(given.study, given.by == "lungs")
    )
    print(images.shape, images.dtype, f"{images.mean():.3f}")


def by_pulmoscope(study: Path, find_lungs: bool) -> np.ndarray:
    import pulmoscope
    from pulmoscope.preprocess.ct_standard import Standardisation
    from pulmoscope.segment.ct_lungs import LungMask, lung_mask

    scan = pulmoscope.read_scan(study)
    spacing = scan.spacing_mm
    if find_lungs:
        lungs = lung_mask(scan.pixels, spacing)
    else:
        lungs = LungMask(np.zeros(scan.pixels.shape, dtype=np.uint8), 0.0, 0.0)
    region, outside = ("lungs", "hidden") if find_lungs else ("body", "kept")
    settings = Standardisation(SIZE, region, outside, slice_mm=SLICE_MM, hu_low=LOW, hu_high=HIGH)
    return settings.apply(scan.pixels, spacing, lungs).images / np.float32(255)


def by_torchio(study: Path) -> np.ndarray:
    import torchio

    image = torchio.ScalarImage(study)
    across, down = (image.spatial_shape[axis] * image.spacing[axis] / SIZE for axis in (0, 1))
    steps = [
        torchio.ToCanonical(),
        torchio.Resample((across, down, SLICE_MM)),
        torchio.Clamp(LOW, HIGH),
        torchio.RescaleIntensity((0, 1), in_min_max=(LOW, HIGH)),
    ]
    ready = torchio.Compose(steps)(image)
    ready = torchio.CropOrPad((SIZE, SIZE, ready.spatial_shape[2]))(ready)
    return ready.numpy()[0].transpose(2, 1, 0)


if __name__ == "__main__":
    main()
