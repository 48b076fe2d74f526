"""How far MisGAN's imputer and the simple ones are from the truth, where pixels were missing.

    python benchmarks/misgan.py OUT [SERIES...] [--drawn 36] [--size 64] [--steps N] [--imputing-steps N]

Learns from N drawn studies with damage and is asked about N / 3 others; then, of the series (folders of DICOM files, or
volumes; two at least), about each after learning from the others alone. All are standardised as for system A: the
square around the lungs, all else black, slices about 8 mm apart, averaged where they are thinner (a thin series gives
as many series to learn from as it has ways to be averaged). Each study asked about is damaged several times over; the
truth is what stood there. Holes are in the lungs: what is black is known. The imputer is asked as diagnosis asks it:
through its file.

OUT gets every training's folder, ``misgan.json`` and ``misgan.md``. Errors are in HU, with 95 % bootstrap intervals
over studies where there are many and slices where there is one.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from pulmoscope.core.files import write_json, write_text
from pulmoscope.core.types import FloatArray, Point
from pulmoscope.evaluation.bootstrap import Estimate, estimates, units
from pulmoscope.io import read_scan
from pulmoscope.phantoms.ct.damage import Defect, draw_defects
from pulmoscope.phantoms.ct.draw import draw
from pulmoscope.preprocess.ct_standard import Standardisation
from pulmoscope.quality.imputation import IMPUTERS, Imputer, NetworkImputer, impute
from pulmoscope.recipes.gan_specs import QUICK_MISGAN, MisGanSettings
from pulmoscope.runtime.network import open_network
from pulmoscope.segment.ct_lungs import LungMask, lung_mask
from pulmoscope.training.hardware import keep_freed_memory
from pulmoscope.training.misgan.export import write_imputer
from pulmoscope.training.misgan.fit import fit_misgan
from pulmoscope.training.progress import Reporter

LABELS = ("CT-0", "CT-1", "CT-2", "CT-3", "Normal", "CAP")
DRAWN_SIZE, DRAWN_SLICES = 192, 36
LEARNT_SHARE, ASKED_SHARE = 0.25, 0.25
REPEATS = {"drawn": 2, "real": 10}
HOLES = ("small", "medium", "large", "band", "rows", "slice", "all")
RESAMPLES = 1000
RATIO = "misgan / linear"


@dataclass(frozen=True)
class Fill:
    """One damaged slice."""

    unit: str
    hole: str
    squared: dict[str, float]
    """Mean squared error inside the hole, by imputer, in HU²."""


@dataclass(frozen=True)
class Study:
    """A study's slices from the lowest to the highest that shows enough lung: in [0, 1]; and where lung is shown."""

    images: FloatArray
    shown: np.ndarray


def standardised(hu: FloatArray, spacing_mm: Point, lungs: LungMask, own: Standardisation) -> Study:
    found = own.apply(hu, spacing_mm, lungs, np.ones(hu.shape, dtype=bool))  # all is missing that is shown
    places = np.flatnonzero(found.enough_lung)
    seen = slice(places[0], places[-1] + 1)
    return Study(np.asarray(found.images[seen], dtype=np.float32) / np.float32(255), found.missing[seen])


def drawn(count: int, seed: int, own: Standardisation) -> list[Study]:
    studies = []
    for number in range(count):
        label = LABELS[number % len(LABELS)]
        one = draw(label, (seed, number), slices=DRAWN_SLICES, size=DRAWN_SIZE)
        truth = LungMask(one.lungs, right_ml=1.0, left_ml=1.0)  # only whether there are any counts here
        studies.append(standardised(one.hu.astype(np.float32), one.spacing_mm, truth, own))
    return studies


def series(path: Path, own: Standardisation) -> list[Study]:
    """A series in every way that it can be averaged; the first from its first slice on."""
    scan = read_scan(path, "CT")
    assert scan.spacing_mm is not None
    ways = max(1, round(own.slice_mm / scan.spacing_mm[0]))
    lungs = lung_mask(scan.pixels, scan.spacing_mm)
    return [
        standardised(scan.pixels[way:], scan.spacing_mm, replace(lungs, labels=lungs.labels[way:]), own)
        for way in range(ways)
    ]


def hole_of(defect: Defect, width: int) -> str:
    if defect.kind in ("rows", "slice"):
        return defect.kind
    return "band" if defect.columns[1] - defect.columns[0] == width else str(defect.size)


def damaged(study: Study, share: float, rng: np.random.Generator) -> tuple[np.ndarray, tuple[Defect, ...]]:
    missing = np.zeros(study.shown.shape, dtype=bool)
    defects = draw_defects(study.shown.shape, rng, share)
    for defect in defects:
        missing[defect.place] = study.shown[defect.place]
    return missing, tuple(defect for defect in defects if missing[defect.place].any())


def learn(studies: Sequence[Study], settings: MisGanSettings, folder: Path) -> tuple[Imputer, float]:
    """Train on damaged studies; the imputer, from its file, and how long it took."""
    rng = np.random.default_rng([settings.seed, 1])
    missing = np.concatenate([damaged(study, LEARNT_SHARE, rng)[0] for study in studies])
    images = np.concatenate([study.images for study in studies])
    owners = np.concatenate([np.full(len(study.images), number) for number, study in enumerate(studies)])
    began = time.perf_counter()
    misgan = fit_misgan(
        np.where(missing, 0, images).astype(np.float32),
        missing,
        owners,
        settings,
        folder,
        torch.device("cpu"),
        Reporter.of(True),
        np.concatenate([study.shown for study in studies]),
    )
    seconds = time.perf_counter() - began
    write_imputer(misgan.imputer, misgan.side, folder / "imputer.onnx")
    return NetworkImputer("misgan", open_network(folder / "imputer.onnx")), seconds


def asked(studies: Sequence[Study], imputers: Iterable[Imputer], repeats: int, hu: float) -> list[Fill]:
    """Every damaged slice of every repeat; ``hu`` is what 1 stands for."""
    fills = []
    for number, study in enumerate(studies):
        for repeat in range(repeats):
            missing, defects = damaged(study, ASKED_SHARE, np.random.default_rng([2, number, repeat]))
            broken = np.where(missing, 0, study.images).astype(np.float32)
            done = {own.name: impute(broken, missing, own, study.shown) for own in imputers}
            for defect in defects:
                place, lost = defect.place, missing[defect.place]
                squared = {
                    name: float(np.mean((filled[place] - study.images[place])[lost] ** 2)) * hu**2
                    for name, filled in done.items()
                }
                unit = str(number) if len(studies) > 1 else str(defect.index)
                fills.append(Fill(unit, hole_of(defect, missing.shape[2]), squared))
    return fills


def rmse(fills: Sequence[Fill]) -> dict[str, dict[str, Estimate]]:
    """Hole → imputer → root of the slices' mean squared error; and MisGAN's share of linear's."""
    found = {}
    for hole in HOLES:
        own = [fill for fill in fills if hole in (fill.hole, "all")]
        if not own:
            continue

        def statistics(weights: Any, own: list[Fill] = own) -> dict[Any, Any]:
            drawn_ = np.maximum(weights.sum(axis=1), 1)
            roots = {
                name: np.sqrt(weights @ np.array([fill.squared[name] for fill in own]) / drawn_)
                for name in own[0].squared
            }
            return {**roots, RATIO: roots["misgan"] / np.maximum(roots["linear"], 1e-9)}

        found[hole] = estimates(statistics, units([fill.unit for fill in own]), RESAMPLES, 0)
    return found  # type: ignore[return-value]


def table(name: str, slices: dict[str, int], found: dict[str, dict[str, Estimate]]) -> str:
    columns = [*IMPUTERS, "misgan", RATIO]
    rows = [f"{name}\n", f"| hole | slices | {' | '.join(columns)} |", "|---" * (len(columns) + 2) + "|"]
    for hole, figures in found.items():
        cells = [
            f"{own.value:{form}} ({own.low:{form}}–{own.high:{form}})"
            for own, form in ((figures[column], ".2f" if column == RATIO else ".0f") for column in columns)
        ]
        rows.append(f"| {hole} | {slices[hole]} | {' | '.join(cells)} |")
    return "\n".join([*rows, ""])


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    options.add_argument("out", type=Path)
    options.add_argument("series", type=Path, nargs="*")
    options.add_argument("--drawn", type=int, default=36)
    options.add_argument("--size", type=int, default=64)
    options.add_argument("--steps", type=int, default=QUICK_MISGAN.steps)
    options.add_argument("--imputing-steps", type=int, default=QUICK_MISGAN.imputing_steps)
    options.add_argument("--seed", type=int, default=0)
    given = options.parse_args()
    torch.set_num_threads(1)
    keep_freed_memory()
    settings = replace(QUICK_MISGAN, steps=given.steps, imputing_steps=given.imputing_steps, seed=given.seed)
    own = Standardisation(size=given.size)
    hu = own.hu_high - own.hu_low
    told: dict[str, Any] = {"settings": asdict(settings), "standardisation": asdict(own), "tests": {}}
    tables = []

    def test(name: str, learnt: Sequence[Study], tested: Sequence[Study], repeats: int) -> None:
        imputer, seconds = learn(learnt, settings, given.out / name)
        fills = asked(tested, [*IMPUTERS.values(), imputer], repeats, hu)
        found = rmse(fills)
        slices = {hole: sum(hole in (fill.hole, "all") for fill in fills) for hole in HOLES}
        plain = {hole: {key: value.plain() for key, value in by.items()} for hole, by in found.items()}
        told["tests"][name] = {"training_s": round(seconds, 1), "slices": slices, "rmse_hu": plain}
        tables.append(table(name, slices, found))
        print(tables[-1], flush=True)
        write_json(given.out / "misgan.json", told)
        write_text(given.out / "misgan.md", "\n".join(tables))

    if given.drawn:
        studies = drawn(given.drawn + given.drawn // 3, given.seed, own)
        test("drawn", studies[: given.drawn], studies[given.drawn :], REPEATS["drawn"])
    real = {path.name: series(path, own) for path in given.series}
    for name, ways in real.items():
        others = [study for other, studies in real.items() if other != name for study in studies]
        test(name, others, ways[:1], REPEATS["real"])


if __name__ == "__main__":
    main()
