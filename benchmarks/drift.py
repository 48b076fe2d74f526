"""Is a hospital noticed that a model does not know, and is one that it knows left alone?

    python benchmarks/drift.py --packs PACKS [--model BUNDLE] [--left-out BUNDLE]... [--draws 200] -o OUT

PACKS holds the data sets xray4, xray_siim, xray_external, cxr_lungs, xray_normals and xray_lesions. BUNDLE after
`--model` has learnt from all of them, each one after `--left-out` from all but some hospitals, as its manifest says.
Nothing of a bundle's own `hospitals.npz` is used: the reference is made anew from at most 200 training images of each
hospital, its margin from validation images. Writes OUT/drift.json and OUT/drift.md.

- left out: images of a hospital that neither network nor reference has seen, in draws of 30 and 64;
- known: test images, and, with val and test exchanged, val images of a hospital in training;
- cross-fitted: the hospital left out is added to the reference with half of its images; draws from the other half,
  so that the network has seen neither;
- changed: images of a known hospital's test split as they are, and changed in a known way.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np

from pulmoscope.core.threads import ahead
from pulmoscope.core.types import FloatArray
from pulmoscope.datasets.hospitals import UNIDENTIFIED, has_learnt, hospital_of, known_to
from pulmoscope.datasets.labels import mapped_labels
from pulmoscope.datasets.several import load_all
from pulmoscope.datasets.table import Sample
from pulmoscope.inference.hospitals import Looked, look, see
from pulmoscope.io import read_xray
from pulmoscope.quality.drift import LEAST_IMAGES, KnownHospitals
from pulmoscope.quality.seen_images import SeenImages
from pulmoscope.runtime.model import Model

PACKS = ("xray4", "xray_siim", "xray_external", "cxr_lungs", "xray_normals", "xray_lesions")
MOST = 200
SIZES = (LEAST_IMAGES, 64)
Row = dict[str, object]
Change = Callable[[FloatArray], FloatArray]


def jpeg(quality: int) -> Change:
    def change(image: FloatArray) -> FloatArray:
        grey = np.rint(image * 255).astype(np.uint8)
        packed = cv2.imencode(".jpg", grey, [cv2.IMWRITE_JPEG_QUALITY, quality])[1]
        return np.asarray(cv2.imdecode(packed, cv2.IMREAD_GRAYSCALE) / 255, dtype=np.float32)

    return change


def framed(image: FloatArray) -> FloatArray:
    made, width = image.copy(), round(0.06 * min(image.shape))
    made[:width], made[-width:], made[:, :width], made[:, -width:] = 0, 0, 0, 0
    return made


CHANGES: dict[str, Change] = {
    "as they are": lambda image: image,
    "JPEG, quality 75": jpeg(75),
    "JPEG, quality 50": jpeg(50),
    "half the size": lambda image: cv2.resize(image, None, fx=0.5, fy=0.5, interpolation=cv2.INTER_AREA),
    "darker (gamma 1.5)": lambda image: image**1.5,
    "brighter (gamma 0.67)": lambda image: image**0.67,
    "blurred (0.2 % of the side)": lambda image: cv2.GaussianBlur(image, (0, 0), 0.002 * max(image.shape)),
    "sharpened": lambda image: np.clip(2 * image - cv2.GaussianBlur(image, (0, 0), 3), 0, 1),
    "a black border of 6 %": framed,
}


class Seen:
    """What a model sees of at most MOST images of each hospital and split."""

    def __init__(self, bundle: Path, packs: Path) -> None:
        self.model = Model.load(str(bundle))
        table = load_all([packs / name for name in PACKS])
        self.table = mapped_labels(table, self.model.bundle.recipe.get("labels", {}))
        rng, groups = np.random.default_rng(17), {}
        for sample in self.table:
            groups.setdefault((hospital_of(sample), sample.split), []).append(sample)
        self.samples = [
            group[index]
            for (_, split), group in sorted(groups.items())
            if split
            for index in np.sort(rng.permutation(len(group))[:MOST])
        ]
        self.images, self.splits = self.seen(self.samples)
        self.learnt = known_to(self.model.bundle.training_data)

    def seen(self, samples: Sequence[Sample], change: Change | None = None) -> tuple[SeenImages, list[str]]:
        """What can be compared of these images, and the split of each."""
        splits: list[str] = []

        def one(sample: Sample) -> tuple[Sample, Looked | None]:
            scan = read_xray(self.table.path(sample))
            if change is not None:
                scan = replace(scan, pixels=change(scan.pixels[0]).astype(np.float32)[None])
            looked = look(scan, self.model)
            return sample, looked and replace(looked, hospital=hospital_of(sample))

        def stream() -> Iterator[Looked]:
            with ThreadPoolExecutor(2) as threads:
                for sample, looked in ahead(threads, one, samples, 64):
                    if looked is not None:
                        splits.append(sample.split)
                        yield looked

        made = see(stream(), self.model)
        assert made is not None
        return made, splits

    def of(self, hospital: str, *splits: str) -> np.ndarray:
        chosen = np.array(self.images.hospitals) == hospital
        return np.flatnonzero(chosen & np.isin(self.splits, splits or ("train", "val", "test")))

    def known(self, held_out: str = "val", pool: bool = False) -> KnownHospitals:
        """The reference, by what the network has learnt from; ``pool``: as if unidentified images were a hospital."""
        names = [
            name
            for name in {*self.images.hospitals}
            if has_learnt(self.learnt, name) and (pool or name != UNIDENTIFIED)
        ]
        own = np.isin(self.images.hospitals, names)
        parts = [self.images.select(own & np.isin(self.splits, split)) for split in ("train", held_out)]
        fitted = KnownHospitals.fit(parts[0], self.model.bundle.classes)
        assert fitted is not None
        return fitted.with_held_out(parts[1])


def strange(known: KnownHospitals, images: SeenImages, size: int, draws: int) -> Row | None:
    """How many draws of so many of the images are called strange; None where there are not so many images."""
    if len(images) < size:
        return None
    rng = np.random.default_rng(20)
    made = [known.compare(images.select(rng.permutation(len(images))[:size])) for _ in range(draws)]
    nearest = [comparison.nearest for comparison in made]
    return {
        "size": size,
        "images": len(images),
        "strange": float(np.mean([comparison.strange for comparison in made])),
        "distance": [float(np.quantile([one.distance for one in made], part)) for part in (0.05, 0.5, 0.95)],
        "nearest": max({*nearest}, key=nearest.count),
    }


def left_out(seen: Seen, draws: int) -> Iterator[Row]:
    known, pooled = seen.known(), seen.known(pool=True)
    for hospital in sorted({*seen.images.hospitals} - {UNIDENTIFIED}):
        if has_learnt(seen.learnt, hospital):
            continue
        own = seen.of(hospital)
        for size in SIZES:
            yield row("left out", hospital, strange(known, seen.images.select(own), size, draws))
        yield row(
            "left out, the unidentified images counted as one more hospital",
            hospital,
            strange(pooled, seen.images.select(own), LEAST_IMAGES, draws),
        )
        mixed = np.random.default_rng(3).permutation(own)
        half, rest = np.array_split(mixed, 2)
        added = known.with_hospital(hospital, seen.images.select(half))
        yield row("cross-fitted", hospital, strange(added, seen.images.select(rest), LEAST_IMAGES, draws))


def at_home(seen: Seen, draws: int) -> Iterator[Row]:
    for split, other in (("test", "val"), ("val", "test")):
        known = seen.known(other)
        for hospital in known.names:
            own = seen.images.select(seen.of(hospital, split))
            for size in SIZES:
                yield row(f"known, {split} images", hospital, strange(known, own, size, draws))
    known = seen.known()
    for hospital in ("siim_covid19", "shenzhen"):
        own = seen.images.select(seen.of(hospital, "val", "test"))
        for label in np.unique(own.predicted):
            part = own.select(own.predicted == label)
            what = f"known, all predicted as {known.classes[label]}"
            yield row(what, hospital, strange(known, part, LEAST_IMAGES, draws))


def changed(seen: Seen, draws: int) -> Iterator[Row]:
    known = seen.known()
    for hospital in ("siim_covid19", "rsna"):
        samples = [one for one in seen.samples if one.split == "test" and hospital_of(one) == hospital]
        for name, change in CHANGES.items():
            images, _ = seen.seen(samples[:120], change)
            for size in SIZES:
                yield row(f"changed: {name}", hospital, strange(known, images, size, draws))


def row(what: str, hospital: str, measured: Row | None) -> Row:
    return {"what": what, "hospital": hospital, **(measured or {"strange": None})}


def markdown(rows: Sequence[Row]) -> str:
    lines = ["| | hospital | images a draw | of | called strange | distance, median | nearest |"]
    lines.append("|---|---|---|---|---|---|---|")
    for one in rows:
        if one["strange"] is not None:
            low, middle, high = one["distance"]  # type: ignore[misc]
            lines.append(
                f"| {one['what']} | {one['hospital']} | {one['size']} | {one['images']} | "
                f"{100 * float(one['strange']):.1f} % | {middle:.2f} ({low:.2f}–{high:.2f}) | {one['nearest']} |"  # type: ignore[arg-type]
            )
    return "\n".join(lines) + "\n"


def main() -> None:
    ask = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    ask.add_argument("--packs", type=Path, required=True)
    ask.add_argument("--model", type=Path)
    ask.add_argument("--left-out", type=Path, action="append", default=[])
    ask.add_argument("--draws", type=int, default=200)
    ask.add_argument("-o", "--out", type=Path, required=True)
    args = ask.parse_args()
    rows: list[Row] = []
    for bundle in args.left_out:
        rows += left_out(Seen(bundle, args.packs), args.draws)
    if args.model is not None:
        home = Seen(args.model, args.packs)
        rows += at_home(home, args.draws)
        rows += changed(home, args.draws)
    args.out.mkdir(parents=True, exist_ok=True)
    (args.out / "drift.json").write_text(json.dumps(rows, indent=2))
    (args.out / "drift.md").write_text(markdown(rows))
    print(markdown(rows))


if __name__ == "__main__":
    main()
