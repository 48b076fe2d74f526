"""Which heat map of an X-ray's model lies best on what readers drew: every kind on validation, the chosen one on test.

    python benchmarks/evidence.py --packs PACKS --model BUNDLE [--images N] [--test KIND …] -o OUT

PACKS holds the data sets xray_siim (readers' boxes) and xray_lesions (masks of lungs and lesions). Without --test: all
kinds, on xray_siim val and xray_lesions train. With --test: those kinds on xray_siim test and xray_lesions test, and
beside them the best constant point as it was chosen on val and train. Only images with a reader's finding are asked
about, at most N of each set, each for the class of its label (Indeterminate: COVID). With --severity, the map of
opacities of a severity model that reads this model's features stands beside them. Writes OUT/evidence.json and
OUT/evidence.md; means with 95 % bootstrap intervals by patient.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from pulmoscope.datasets.labels import mapped_labels
from pulmoscope.datasets.layouts.detect import load
from pulmoscope.datasets.table import SampleTable
from pulmoscope.evaluation.audit import evidence as measure
from pulmoscope.explain.lungs import mass_within
from pulmoscope.inference.xray_severity import near_lungs
from pulmoscope.pipeline.audit.located import Located, cells_of, located
from pulmoscope.runtime.maps import MAPS
from pulmoscope.runtime.model import Model
from pulmoscope.runtime.xray_severity import load as load_severity
from pulmoscope.runtime.xray_severity import opacity_map
from pulmoscope.segment.xray_zones import lung_zones

SETS = {"xray_siim": ("val", "test"), "xray_lesions": ("train", "test")}
COLUMNS = ("in_lungs", "pointing", "overlap", "average_precision")
Row = dict[str, object]


def images_of(model: Model, packs: Path, name: str, split: str, most: int) -> list[Located]:
    """Images with findings, drawn evenly."""
    labels = {**model.bundle.recipe.get("labels", {}), "Indeterminate": "COVID"}
    table: SampleTable = mapped_labels(load(packs / name), labels).split(split)
    marked = [sample for sample in table if sample.boxes or sample.lesions]
    order = np.random.default_rng(20).permutation(len(marked))[:most]
    chosen = table.with_samples(marked[at] for at in sorted(order))
    return [image for image in located(model, chosen) if image.finding is not None]


def opacities(image: Located, weights: np.ndarray) -> np.ndarray:
    """The map of opacities as a diagnosis shows it; where no lungs are seen, nothing."""
    rows, columns = image.pixels.shape
    cells = opacity_map(weights, image.viewed.features)
    zones = None if image.finder is None else lung_zones(image.finder, rows, columns)
    return (
        np.zeros((1, 1), np.float32)
        if zones is None
        else near_lungs(cells, zones, image.box, (rows, columns))
    )


def row(title: str, values: dict[str, list[float]], images: Sequence[Located], what: str) -> Row:
    people = [image.sample.patient for image in images]
    return {
        "set": what,
        "map": title,
        "images": len(images),
        **{name: measure.mean(column, people, 1000, 20).plain() for name, column in values.items()},
    }


def of_maps(images: Sequence[Located], heats: Sequence[np.ndarray]) -> dict[str, list[float]]:
    pairs = list(zip(images, heats, strict=True))
    nothing = float("nan")
    return {
        "in_lungs": [nothing if one.lungs is None else mass_within(heat, one.lungs) for one, heat in pairs],
        "pointing": [measure.hits(heat, one.finding) for one, heat in pairs],
        "overlap": [measure.overlap(heat, one.finding) for one, heat in pairs],
        "average_precision": [measure.average_precision(heat, one.finding) for one, heat in pairs],
    }


def baselines(images: Sequence[Located], point: tuple[float, float], what: str) -> list[Row]:
    even = [np.ones(image.pixels.shape, dtype=np.float32) for image in images]
    region = [image.placed(np.ones((1, 1), dtype=np.float32)) for image in images]
    depths = [
        np.zeros(image.pixels.shape, np.float32) if image.lungs is None else measure.depth(image.lungs)
        for image in images
    ]
    hit = [measure.point_hits(point, image.finding) for image in images]
    return [
        row("the same everywhere in the image", of_maps(images, even), images, what),
        row("the same everywhere in the network's region", of_maps(images, region), images, what),
        row("depth within the lungs", of_maps(images, depths), images, what),
        row(f"best constant point ({point[0]:.2f}, {point[1]:.2f})", {"pointing": hit}, images, what),
    ]


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--packs", type=Path, required=True)
    parser.add_argument("--model", default="xray-covid")
    parser.add_argument("--images", type=int, default=200)
    parser.add_argument("--test", nargs="*", choices=MAPS)
    parser.add_argument("--severity", default="")
    parser.add_argument("-o", "--out", type=Path, required=True)
    options = parser.parse_args()
    model = Model.load(options.model)
    rows: list[Row] = []
    for name, (chosen_on, tested_on) in SETS.items():
        images = images_of(model, options.packs, name, chosen_on, options.images)
        point = measure.best_point([image.finding for image in images if image.finding is not None])
        split = chosen_on
        if options.test is not None:
            split, images = tested_on, images_of(model, options.packs, name, tested_on, options.images)
        what = f"{name} {split}"
        for kind in options.test or MAPS:
            heats = [image.placed(cells_of(model, image, kind)) for image in images]
            rows.append(row(kind, of_maps(images, heats), images, what))
            print(json.dumps(rows[-1]), flush=True)
        if options.severity:
            weights = load_severity(options.severity).map_weights
            heats = [image.placed(opacities(image, weights)) for image in images]
            rows.append(row("map of opacities", of_maps(images, heats), images, what))
            print(json.dumps(rows[-1]), flush=True)
        rows += baselines(images, point, what)
    options.out.mkdir(parents=True, exist_ok=True)
    (options.out / "evidence.json").write_text(json.dumps(rows, indent=1), encoding="utf-8")
    (options.out / "evidence.md").write_text(markdown(rows), encoding="utf-8")


def markdown(rows: Sequence[Row]) -> str:
    def cell(figure: object) -> str:
        if not isinstance(figure, dict) or figure["value"] is None:
            return "–"
        interval = "" if figure["low"] is None else f" ({figure['low']:.3f}–{figure['high']:.3f})"
        return f"{figure['value']:.3f}{interval}"

    lines = [
        "| images | map | in the lungs | pointing | overlap | average precision |",
        "|---|---|---|---|---|---|",
    ]
    lines += [
        f"| {one['set']}, {one['images']} | {one['map']} | {' | '.join(cell(one.get(name)) for name in COLUMNS)} |"
        for one in rows
    ]
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    main()
