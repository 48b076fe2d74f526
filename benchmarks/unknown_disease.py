"""Lungs with a disease that the model has no class for: how well scores tell them from normal lungs of their hospital.

    python benchmarks/unknown_disease.py --packs PACKS --case TITLE=BUNDLE=HOSPITAL=LABEL… [--anogan] -o OUT

Each case is a bundle that was trained without HOSPITAL and without the class of the images that are labelled LABEL
(as their data set has it), such as

    pulmoscope train xray-covid --data … --leave-out shenzhen --set "classes=COVID,Normal,Other pneumonia" -o BUNDLE

Asked about are all images of HOSPITAL with LABEL, against its normal ones (where there are ten). Scores: how unlikely
``Normal`` is; the distance from normal lungs (``normal.npz``: what a diagnosis goes by) and both ranks together; the
mean distance of the ten nearest normal training images in the same space; the distance of every cell of the feature
maps from the same cell of normal images (PaDiM; Defard et al. 2020), mean and largest; energy (Liu et al. 2020); with
--anogan what an f-AnoGAN makes of the lungs' box, which has learnt from the same normal images. And the map: does its
maximum lie on what readers have marked (boxes of xray_siim, masks of xray_lesions), and how well does it rank the
pixels there?
Writes OUT/unknown.json and OUT/unknown.md.
"""

from __future__ import annotations

import argparse
import csv
import json
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from scipy.stats import rankdata
from sklearn.metrics import roc_auc_score

from pulmoscope.core.types import FloatArray
from pulmoscope.datasets.hospitals import is_of
from pulmoscope.datasets.labels import mapped_labels
from pulmoscope.datasets.several import load_all
from pulmoscope.datasets.table import Sample, SampleTable
from pulmoscope.evaluation.bootstrap import units
from pulmoscope.explain.gradcam import place
from pulmoscope.io import read_pixels
from pulmoscope.quality.distribution import Reference
from pulmoscope.runtime.model import Model, Prepared

PACKS = ("xray4", "xray_siim", "xray_external", "cxr_lungs", "xray_normals", "xray_lesions")
BATCH, NEAREST, DIMENSIONS, SIDE = 32, 10, 64, 64
NORMALS = 1200
"""Normal training images that are kept."""


@dataclass(frozen=True)
class Seen:
    """What a model says of images."""

    samples: list[Sample]
    prepared: list[Prepared]
    logits: FloatArray
    maps: FloatArray

    @property
    def pooled(self) -> FloatArray:
        return self.maps.astype(np.float32).mean(axis=(2, 3))

    @property
    def boxes(self) -> FloatArray:
        """The lungs' boxes, (n, SIDE, SIDE) in [0, 1]."""
        small = [
            cv2.resize(one.tensor[0], (SIDE, SIDE), interpolation=cv2.INTER_AREA) for one in self.prepared
        ]
        return np.clip(np.stack(small) * 0.5 + 0.5, 0, 1).astype(np.float32)


def see(model: Model, table: SampleTable, samples: list[Sample]) -> Seen:
    prepared, logits, maps = [], [], []
    for start in range(0, len(samples), BATCH):
        part = [model.prepare(read_pixels(table.path(sample))) for sample in samples[start : start + BATCH]]
        outputs = model.predict(np.stack([one.tensor for one in part]))
        prepared += part
        logits.append(outputs.logits / model.bundle.calibration.temperature)
        maps.append(outputs.features.astype(np.float16))
    return Seen(samples, prepared, np.concatenate(logits), np.concatenate(maps))


def scores(model: Model, normal: Seen, asked: Seen, anogan: Path | None) -> dict[str, FloatArray]:
    """Score → (n,), higher where lungs are less like normal ones."""
    reference = Reference.from_bytes((model.bundle.folder / "normal.npz").read_bytes())
    logits, column = asked.logits, model.bundle.classes.index("Normal")
    powers = np.exp(logits - logits.max(axis=1, keepdims=True))
    found = {
        "1 - p(Normal)": 1 - powers[:, column] / powers.sum(axis=1),
        "distance from normal lungs": reference.distance(asked.pooled),
    }
    found["both ranks"] = sum(rankdata(value) for value in list(found.values()))
    known = (normal.pooled - reference.mean) @ reference.projection.T
    points = (asked.pooled - reference.mean) @ reference.projection.T
    apart = np.sqrt(((points[:, None] - known[None]) ** 2).sum(axis=2))
    found["ten nearest"] = np.sort(apart, axis=1)[:, :NEAREST].mean(axis=1)
    cells = patches(normal.maps, asked.maps)
    found["cells, mean"], found["cells, largest"] = cells.mean(axis=1), cells.max(axis=1)
    found["energy"] = -np.log(np.exp(logits).sum(axis=1))
    if anogan is not None:
        found["f-AnoGAN"] = anogan_scores(normal.boxes, asked.boxes, anogan)
    return found


def patches(known: FloatArray, asked: FloatArray) -> FloatArray:
    """Mahalanobis distance of each cell from the same cell of normal images, (n, cells)."""
    flat = known.astype(np.float32).transpose(0, 2, 3, 1)
    mean = flat.mean(axis=(0, 1, 2))
    rows = (flat - mean).reshape(-1, flat.shape[-1])
    values, axes = np.linalg.eigh(rows.T @ rows / len(rows))
    projection = axes[:, ::-1][:, :DIMENSIONS] / np.sqrt(values[::-1][:DIMENSIONS])
    points = ((flat - mean) @ projection).reshape(len(flat), -1, DIMENSIONS)
    others = ((asked.astype(np.float32).transpose(0, 2, 3, 1) - mean) @ projection).reshape(
        len(asked), -1, DIMENSIONS
    )
    distances = np.empty(others.shape[:2], dtype=np.float32)
    for cell in range(points.shape[1]):
        precision = np.linalg.inv(np.cov(points[:, cell].T) + 0.05 * np.eye(DIMENSIONS))
        offset = others[:, cell] - points[:, cell].mean(axis=0)
        distances[:, cell] = np.sqrt(np.einsum("ij,jk,ik->i", offset, precision, offset) / DIMENSIONS)
    return distances


def anogan_scores(known: FloatArray, asked: FloatArray, folder: Path) -> FloatArray:
    """System A's networks, trained on normal radiographs of all sources."""
    import torch

    from pulmoscope.recipes.gan_specs import AnoGanSettings
    from pulmoscope.training.anogan.fit import fit_anogan
    from pulmoscope.training.anogan.scores import encoder_scores
    from pulmoscope.training.progress import Reporter

    anogan = fit_anogan(known, AnoGanSettings(), folder, torch.device("cpu"), Reporter.of(False))
    return encoder_scores(anogan, asked)[0]


def interval(truth: np.ndarray, score: FloatArray, patients: list[str]) -> tuple[float, float]:
    unit, rng, drawn = units(patients), np.random.default_rng(20), []
    members = [np.flatnonzero(unit == number) for number in range(unit.max() + 1)]
    for _ in range(500):
        rows = np.concatenate([members[at] for at in rng.integers(len(members), size=len(members))])
        if 0 < truth[rows].sum() < len(rows):
            drawn.append(roc_auc_score(truth[rows], score[rows]))
    low, high = np.percentile(drawn, (2.5, 97.5))
    return float(low), float(high)


def marked(
    packs: Path, sample: Sample, shape: tuple[int, int], masks: dict[str, list[Path]]
) -> np.ndarray | None:
    """What a reader has marked, bool (rows, columns); None where nothing is, or in pixels of another image."""
    mask = np.zeros(shape, dtype=bool)
    for left, top, right, bottom in sample.boxes:
        mask[int(top) : int(bottom) + 1, int(left) : int(right) + 1] = True
    for path in masks.get(sample.file, []):
        drawn = cv2.imread(str(path), cv2.IMREAD_GRAYSCALE)
        if drawn is None or drawn.shape != shape:
            return None
        mask |= drawn > 0
    return mask if mask.any() and not mask.all() else None


def lesion_masks(packs: Path) -> dict[str, list[Path]]:
    folder = packs / "xray_lesions"
    with (folder / "manifest.csv").open(encoding="utf-8", newline="") as stream:
        rows = list(csv.DictReader(stream))
    kinds = ("ggo", "consolidation")
    return {
        f"xray_lesions/{row['file']}": [folder / row[kind] for kind in kinds if row[kind]] for row in rows
    }


def map_figures(
    model: Model, normal: Seen, table: SampleTable, packs: Path, samples: list[Sample]
) -> dict[str, float]:
    """How the map of what is unlike normal lungs lies on what readers have marked."""
    reference = Reference.from_bytes((model.bundle.folder / "normal.npz").read_bytes())
    reference = reference.with_cells(normal.maps.astype(np.float32).mean(axis=0))
    asked, masks = see(model, table, samples), lesion_masks(packs)
    rows: list[tuple[float, float, float]] = []
    for index, sample in enumerate(samples):
        shape = read_pixels(table.path(sample)).shape
        mask = marked(packs, sample, shape, masks)
        cells = reference.excess(asked.maps[index].astype(np.float32))
        if mask is None or cells is None or cells.max() <= 0:
            continue
        heat = place(cells, asked.prepared[index].framed.box, *shape)
        thin = (slice(None, None, 2), slice(None, None, 2))
        rows.append(
            (
                float(mask[np.unravel_index(heat.argmax(), shape)]),
                float(mask.mean()),
                float(roc_auc_score(mask[thin].ravel(), heat[thin].ravel())) if mask[thin].any() else np.nan,
            )
        )
    hit, chance, ranked = np.nanmean(np.array(rows), axis=0)
    return {"images": len(rows), "pointing": hit, "pointing_by_chance": chance, "pixel_auroc": ranked}


def told(
    model: Model, table: SampleTable, known: Seen, ill: list[Sample], well: list[Sample], anogan: Path | None
) -> dict[str, tuple[float, float, float]]:
    """Score → AUROC and its interval; nothing where there are fewer than ten of a kind."""
    if min(len(ill), len(well)) < 10:
        return {}
    asked = see(model, table, [*ill, *well])
    truth = np.repeat([True, False], [len(ill), len(well)])
    patients = [sample.patient for sample in asked.samples]
    return {
        name: (float(roc_auc_score(truth, score)), *interval(truth, score, patients))
        for name, score in scores(model, known, asked, anogan).items()
    }


def main() -> None:
    ask = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    ask.add_argument("--packs", type=Path, required=True)
    ask.add_argument("--case", action="append", required=True)
    ask.add_argument("--anogan", action="store_true")
    ask.add_argument("-o", "--out", type=Path, required=True)
    args = ask.parse_args()
    raw = load_all([args.packs / name for name in PACKS])
    found: dict[str, object] = {}
    lines = []
    for case in args.case:
        title, folder, hospital, label = case.split("=")
        model = Model.load(folder)
        table = mapped_labels(raw, model.bundle.recipe["labels"])
        of_raw = {sample.file: sample.label for sample in raw}
        left_out = tuple(model.bundle.recipe.get("left_out", ())) or (hospital,)
        train = [s for s in table if s.split == "train" and s.label == "Normal" and not is_of(s, left_out)]
        rng = np.random.default_rng(20)
        known = see(model, table, [train[at] for at in sorted(rng.permutation(len(train))[:NORMALS])])
        asked_of = [s for s in table if s.hospital == hospital or s.source == hospital]
        ill = [s for s in asked_of if of_raw[s.file] == label]
        well = [s for s in asked_of if s.label == "Normal"]
        figures = told(
            model,
            table,
            known,
            ill,
            well,
            args.out / f"anogan-{title.replace(' ', '-')}" if args.anogan else None,
        )
        lines += [
            f"| {title} | {len(ill)} / {len(well)} | {name} | {value:.3f} ({low:.3f}–{high:.3f}) |"
            for name, (value, low, high) in figures.items()
        ]
        with_marks = [s for s in table if s.boxes and s.hospital == hospital][:400]
        lesions = [s for s in table if s.file.startswith("xray_lesions/")]
        maps = {
            name: map_figures(model, known, table, args.packs, samples)
            for name, samples in (("boxes", with_marks), ("masks of xray_lesions", lesions))
            if samples
        }
        found[title] = {"ill": len(ill), "normal": len(well), "auroc": figures, "map": maps}
        print(title, figures, maps, flush=True)
    args.out.mkdir(parents=True, exist_ok=True)
    (args.out / "unknown.json").write_text(json.dumps(found, indent=2))
    header = "| disease unknown to the model | images, ill / normal | score | AUROC |\n|---|---|---|---|\n"
    (args.out / "unknown.md").write_text(header + "\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
