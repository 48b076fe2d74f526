"""AnoGAN and f-AnoGAN on drawn chest CT of the grades CT-0 … CT-3: how well, and how fast, they tell CT-3 from CT-0.

    pulmoscope datasets phantom --kind ct --layout mosmed --fraction 0.2 --damage 0.15 --seed 5 -o STUDIES
    OMP_NUM_THREADS=1 python benchmarks/anogan.py STUDIES OUT --size 32 --epochs 50 --encoder_epochs 40

Every study is standardised, damage left as it is; its slices with enough lung count. A fraction of the CT-0 studies
trains, all others are held out. The search takes seconds a slice, so it is done on a few slices of each study, evenly
spread; f-AnoGAN is also measured on all of them. One core; times are this process's own, as other processes may share
the machine. Writes OUT/anogan.json, OUT/scores.csv, pictures, OUT/anomaly.onnx and OUT/run, from which an interrupted
run goes on.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from time import process_time
from typing import Any

import numpy as np
import torch

from pulmoscope.core.files import csv_text, write_bytes, write_json, write_text
from pulmoscope.datasets import load
from pulmoscope.evaluation import plots
from pulmoscope.evaluation.bootstrap import Weights, estimates, units
from pulmoscope.evaluation.metrics import Ranked
from pulmoscope.io import read_scan
from pulmoscope.preprocess.ct_standard import VERSION, Standardisation
from pulmoscope.quality.anomaly import (
    AnomalyModel,
    AnomalyThreshold,
    score_table,
    study_flags,
)
from pulmoscope.recipes.gan_specs import AnoGanSettings
from pulmoscope.segment.lungs import lungs_of
from pulmoscope.training.anogan.fit import fit_anogan
from pulmoscope.training.anogan.scores import encoder_scores, export_anomaly, search_scores
from pulmoscope.training.progress import Reporter
from pulmoscope.training.slice_sheet import write_sheet

NORMAL, ILL = "CT-0", "CT-3"
GRADES = ("CT-0", "CT-1", "CT-2", "CT-3")
RESAMPLES = 2000


@dataclass(frozen=True)
class Slices:
    """Slices, float32 (n, side, side) in [0, 1]; the study of each; its grade."""

    images: np.ndarray
    study: np.ndarray
    grade: np.ndarray

    def __len__(self) -> int:
        return len(self.images)

    def where(self, chosen: np.ndarray) -> Slices:
        return Slices(self.images[chosen], self.study[chosen], self.grade[chosen])


def standardised(
    folder: Path, cache: Path, standard: Standardisation, most: int, reporter: Reporter
) -> Slices:
    """All studies' slices with enough lung, at most so many of each grade; kept in a file, as reading takes longest."""
    if not cache.is_file():
        table = load(folder)
        chosen = [own for name in GRADES for own in [s for s in table if s.label == name][:most]]
        images, study, grade = [], [], []
        for sample in reporter.track(chosen, "Standardising", len(chosen)):
            scan = read_scan(table.path(sample), "ct")
            lungs = lungs_of(scan)
            assert lungs is not None
            assert scan.spacing_mm is not None
            found = standard.apply(scan.pixels, scan.spacing_mm, lungs)
            images.append(found.images[found.enough_lung])
            study += [sample.patient] * len(images[-1])
            grade += [sample.label] * len(images[-1])
        np.savez_compressed(
            cache,
            images=np.concatenate(images),
            study=np.array(study),
            grade=np.array(grade),
        )
    with np.load(cache) as stored:
        return Slices(stored["images"].astype(np.float32) / 255, stored["study"], stored["grade"])


def split(slices: Slices, share: float, seed: int) -> tuple[Slices, Slices]:
    """Slices to train on, of that share of the CT-0 studies, and all others."""
    normal = np.unique(slices.study[slices.grade == NORMAL])
    drawn = np.random.default_rng(seed).permutation(normal)[: round(share * len(normal))]
    own = np.isin(slices.study, drawn)
    return slices.where(own), slices.where(~own)


def spread(slices: Slices, count: int) -> np.ndarray:
    """Places of so many slices of each study, evenly from its first to its last."""
    places = [np.flatnonzero(slices.study == name) for name in np.unique(slices.study)]
    chosen = [own[np.unique(np.linspace(0, len(own) - 1, count).round().astype(int))] for own in places]
    return np.sort(np.concatenate(chosen))


def by_study(slices: Slices, scores: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Studies, their grades and the means of their slices' scores."""
    names, first = np.unique(slices.study, return_index=True)
    return names, slices.grade[first], np.array([scores[slices.study == name].mean() for name in names])


def auroc(scores: np.ndarray, grade: np.ndarray, study: np.ndarray) -> dict[str, Any]:
    """CT-3 against CT-0, with an interval from resampled studies."""
    used = np.isin(grade, (NORMAL, ILL))
    ranked = Ranked(scores[used].astype(np.float64), grade[used] == ILL)

    def statistics(weights: Weights) -> Mapping[Any, np.ndarray]:
        return {"auroc": ranked(weights)[0]}

    return estimates(statistics, units(list(study[used])), RESAMPLES, 20)["auroc"].plain()


def separation(slices: Slices, scores: np.ndarray) -> dict[str, Any]:
    names, grades, means = by_study(slices, scores)
    return {
        "slices": len(slices),
        "studies": len(names),
        "auroc_slices": auroc(scores, slices.grade, slices.study),
        "auroc_studies": auroc(means, grades, names),
        "table": {name: own.plain() for name, own in score_table(scores, list(slices.grade)).items()},
    }


def spearman(one: np.ndarray, other: np.ndarray) -> float:
    from scipy.stats import spearmanr

    return float(spearmanr(one, other)[0])


def flagged(slices: Slices, scores: np.ndarray, threshold: AnomalyThreshold) -> dict[str, dict[str, int]]:
    """Per grade: studies, and how many get a flag of which severity."""
    counts = {name: {"studies": 0, "info": 0, "warn": 0} for name in sorted(set(slices.grade))}
    for name in np.unique(slices.study):
        own = slices.study == name
        grade = counts[slices.grade[own][0]]
        grade["studies"] += 1
        for flag in study_flags(scores[own], threshold):
            grade[flag.level.value] += 1
    return counts


def timed(work: Callable[[], Any]) -> tuple[Any, float]:
    start = process_time()
    found = work()
    return found, process_time() - start


def measure(arguments: argparse.Namespace, settings: AnoGanSettings, reporter: Reporter) -> dict[str, Any]:
    out: Path = arguments.out
    out.mkdir(parents=True, exist_ok=True)
    standard = Standardisation(size=arguments.size)
    slices = standardised(
        arguments.studies,
        out / f"standard-{VERSION}-{arguments.size}.npz",
        standard,
        arguments.most,
        reporter,
    )
    train, held = split(slices, arguments.share, settings.seed)
    reporter.line(f"{len(train)} slices to train on, {len(held)} held out")
    anogan, train_s = timed(
        lambda: fit_anogan(train.images, settings, out / "run", torch.device("cpu"), reporter)
    )
    export_anomaly(anogan, out / "anomaly.onnx")

    places = spread(held, arguments.slices)
    few = held.where(places)
    (searched, search_maps), search_s = timed(lambda: search_scores(anogan, few.images, reporter=reporter))
    (encoded, encoder_maps), encoder_s = timed(lambda: encoder_scores(anogan, few.images))
    everywhere, _ = AnomalyModel.open(out / "anomaly.onnx")(held.images)
    few_scores = {"search": searched, "encoder": encoded}
    write_scores(out, few, places, few_scores)
    write_maps(out, few, arguments.slices, (search_maps, encoder_maps))
    return {
        "data": {
            "standardisation": asdict(standard),
            "training": {"studies": len(np.unique(train.study)), "slices": len(train)},
            "held_out_studies": {name: len(np.unique(held.study[held.grade == name])) for name in GRADES},
        },
        "settings": asdict(settings),
        "separation": {
            **{name: separation(few, scores) for name, scores in few_scores.items()},
            "encoder_all_slices": separation(held, everywhere),
        },
        "spearman": spearman(searched, encoded),
        "spearman_by_grade": {
            name: spearman(searched[few.grade == name], encoded[few.grade == name]) for name in GRADES
        },
        "seconds": {
            "training_in_this_run": round(train_s, 1),
            "search_per_slice": search_s / len(few),
            "encoder_per_slice": encoder_s / len(few),
            "search_to_encoder": search_s / encoder_s,
        },
        "limit": limited(out, held, everywhere),
    }


def limited(out: Path, held: Slices, scores: np.ndarray) -> dict[str, Any]:
    """The threshold from the held-out CT-0 slices, the picture with it, and how many studies it flags."""
    normal = held.grade == NORMAL
    threshold = AnomalyThreshold.fit(scores[normal], list(held.study[normal]))
    label = f"{threshold.false_alarms:.0%} of CT-0 above"
    picture = plots.distributions(scores, list(held.grade), "anomaly score", threshold.value, label)
    write_bytes(out / "scores.png", picture)
    return {"threshold": asdict(threshold), "flagged_studies": flagged(held, scores, threshold)}


def write_scores(out: Path, few: Slices, places: np.ndarray, scores: Mapping[str, np.ndarray]) -> None:
    columns = (few.study, few.grade, places, *(own.tolist() for own in scores.values()))
    header = ("study", "grade", "place", *scores)
    write_text(out / "scores.csv", csv_text(header, zip(*columns, strict=True)))


def write_maps(out: Path, few: Slices, step: int, maps: tuple[np.ndarray, ...]) -> None:
    """A slice of each of eight studies of CT-0 and of CT-3: itself, and its residuals (three times) of either way."""
    shown = [np.flatnonzero(few.grade == name)[step // 2 :: step][:8] for name in (NORMAL, ILL)]
    columns = min(map(len, shown))
    pictures = [
        own
        for row in shown
        for own in (few.images[row[:columns]], *(3 * part[row[:columns]] for part in maps))
    ]
    write_sheet(np.concatenate(pictures), columns, out / "maps.png")


def tell(result: dict[str, Any]) -> None:
    print("Synthetic data: figures of drawn chests, not of patients.\n")
    for name, own in result["separation"].items():
        told = [
            f"{what} {own[f'auroc_{what}']['value']:.3f} ({own[f'auroc_{what}']['low']:.3f}-"
            f"{own[f'auroc_{what}']['high']:.3f})"
            for what in ("slices", "studies")
        ]
        print(
            f"{name}: {own['slices']} slices of {own['studies']} studies; AUROC CT-3 / CT-0: {', '.join(told)}"
        )
        print("  class  slices     min      q1  median      q3     max    mean")
        for grade, row in own["table"].items():
            count, *values = row.values()
            print(f"  {grade}  {count:6d}  " + "  ".join(f"{value:.4f}" for value in values))
    seconds = result["seconds"]
    print(
        f"\nSpearman {result['spearman']:.3f}; search "
        f"{seconds['search_per_slice']:.3f} s a slice, f-AnoGAN {1000 * seconds['encoder_per_slice']:.2f} ms: "
        f"{seconds['search_to_encoder']:.0f} times faster"
    )
    print(f"studies flagged: {json.dumps(result['limit']['flagged_studies'])}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("studies", type=Path, help="a folder in MosMedData's layout")
    parser.add_argument("out", type=Path)
    parser.add_argument("--size", type=int, default=64, help="side of the standardised slices")
    parser.add_argument("--slices", type=int, default=5, help="slices a study that are searched")
    parser.add_argument("--share", type=float, default=0.75, help="share of the CT-0 studies that trains")
    parser.add_argument("--most", type=int, default=100, help="studies of each grade, at most")
    kinds = {"int": int, "float": float}
    for own in fields(AnoGanSettings):
        if own.type in kinds:
            parser.add_argument(f"--{own.name}", type=kinds[str(own.type)], default=own.default)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    named = {own.name: getattr(arguments, own.name) for own in fields(AnoGanSettings) if own.type in kinds}
    result = measure(arguments, AnoGanSettings(**named), Reporter.of(True))
    write_json(arguments.out / "anogan.json", {"schema_version": "1.0", "synthetic": True, **result})
    tell(result)


if __name__ == "__main__":
    main()
