"""Whether a model knows what it does not know: sets of classes, calibration to a hospital, and risk over coverage.

    python benchmarks/abstention.py --packs PACKS --left-out siim_covid19=RUN --left-out nih=RUN -o OUT

PACKS holds the data sets that trained `xray-covid` (see `benchmarks/xray_goals.py`); a RUN is a bundle of its recipe
that has not seen the hospital. The built-in model is asked about `xray_siim` test and the validation images. A model's
answers are kept in OUT/answers, by the bundle's checksum, so that a second run takes minutes. Writes
OUT/abstention.json and OUT/abstention.md. Every figure after a split is the mean over seeded random halves by patient,
with the 2.5th and 97.5th percentile over them.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from pulmoscope.core.types import FloatArray
from pulmoscope.datasets.hospitals import hospital_of, is_of
from pulmoscope.datasets.table import Sample
from pulmoscope.evaluation.bootstrap import units
from pulmoscope.evaluation.calibration import DebiasedError, fit_calibration, fit_temperature
from pulmoscope.evaluation.conformal import fit_conformal, in_sets
from pulmoscope.evaluation.metrics import Predictions
from pulmoscope.evaluation.referral import risk_at
from pulmoscope.inference.image import infer_images, look_at_image
from pulmoscope.io import read_xray
from pulmoscope.quality.distribution import Reference
from pulmoscope.runtime.bundle import Calibration
from pulmoscope.runtime.model import calibrated
from xray_goals import Asked, of_pack

HOME, BUILT_IN = "xray_siim test", "xray-covid"
IMAGES, SPLITS, SETS_SPLITS = (25, 50, 100, 200), 50, 200
BATCH = 16
Row = dict[str, Any]


class Answers:
    """A model's answers for images of labels that it knows.

    Attributes:
        said: the predictions; ``distance``: (images,), from the training images; ``val``: (images,), of the split val.
        calibration: the model's own.
    """

    def __init__(self, said: Predictions, distance: FloatArray, val: np.ndarray, own: Calibration) -> None:
        known = said.truth >= 0
        self.said, self.distance, self.val, self.calibration = (
            said.select(known),
            distance[known],
            val[known],
            own,
        )

    def select(self, chosen: np.ndarray) -> Answers:
        return Answers(self.said.select(chosen), self.distance[chosen], self.val[chosen], self.calibration)


def asked(bundle: str, packs: Path, keep: Callable[[Sample], bool], kept_at: Path) -> Answers:
    ask = Asked(Path(bundle), packs)
    file = kept_at.with_name(f"{kept_at.name}-{ask.model.bundle.sha256[:12]}.npz")
    if not file.is_file():
        _answer(ask, [sample for sample in ask.table if keep(sample)], file)
    made, own = np.load(file), ask.model.bundle
    names = ("files", "labels", "patients", "sources", "hospitals")
    texts = {name: tuple(str(value) for value in made[name]) for name in names}
    probabilities = calibrated(made["logits"], own.calibration.temperature, own.calibration.bias)
    said = Predictions(
        classes=own.classes, probabilities=probabilities.astype(np.float64), logits=made["logits"], **texts
    )
    reference = Reference.from_bytes((own.folder / "reference.npz").read_bytes())
    return Answers(said, reference.distance(made["pooled"]), made["splits"] == "val", own.calibration)


def _answer(ask: Asked, rows: list[Sample], file: Path) -> None:
    logits, pooled = [], []
    for start in range(0, len(rows), BATCH):
        part = rows[start : start + BATCH]
        seen = [look_at_image(read_xray(ask.table.path(sample)), ask.model) for sample in part]
        outputs, _ = infer_images(seen, ask.model)
        logits.append(outputs.logits)
        pooled.append(outputs.features.mean(axis=(2, 3)))
    file.parent.mkdir(parents=True, exist_ok=True)
    np.savez(
        file,
        logits=np.concatenate(logits),
        pooled=np.concatenate(pooled),
        files=[sample.file for sample in rows],
        labels=[sample.label for sample in rows],
        patients=[sample.patient for sample in rows],
        sources=[sample.source for sample in rows],
        hospitals=[hospital_of(sample) for sample in rows],
        splits=[sample.split for sample in rows],
    )


def halves(said: Predictions, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """The images of a half of the patients, drawn, in a drawn order; and the others."""
    rng, unit = np.random.default_rng(seed), units(said.patients)
    count = int(unit.max()) + 1
    first = np.isin(unit, rng.permutation(count)[: count // 2])
    return rng.permutation(np.flatnonzero(first)), np.flatnonzero(~first)


def taken(said: Predictions, rows: np.ndarray) -> Predictions:
    """These images, in this order."""
    chosen = np.zeros(len(said), dtype=bool)
    chosen[rows] = True
    return said.select(chosen)


def with_calibration(said: Predictions, temperature: float, bias: tuple[float, ...]) -> Predictions:
    assert said.logits is not None
    probabilities = calibrated(said.logits.astype(np.float32), temperature, bias)
    return replace(said, probabilities=probabilities.astype(np.float64))


def spread(values: list[float]) -> Row:
    low, high = np.percentile(values, (2.5, 97.5))
    return {"value": float(np.mean(values)), "low": float(low), "high": float(high)}


def coverage_of(said: Predictions, fitted: Any, hospital: str = "") -> dict[str, float]:
    sets = in_sets(said, fitted, hospital)
    size = sets.sum(axis=1)
    return {
        "coverage": float(sets[np.arange(len(said)), said.truth].mean()),
        "size": float(size.mean()),
        "singletons": float((size == 1).mean()),
        "empty": float((size == 0).mean()),
    }


def sets_after_splits(said: Predictions, fit: bool) -> Row:
    """Sets fitted on one half and asked on the other, with or without fitting the probabilities as well."""
    rows = []
    for seed in range(SETS_SPLITS):
        first, second = (taken(said, part) for part in halves(said, seed))
        if fit:
            own = fit_calibration(first.logits, first.truth, units(first.patients))
            first, second = with_calibration(first, *own), with_calibration(second, *own)
        fitted = fit_conformal(first.probabilities, first.truth, first.hospitals, first.classes, "a half")
        rows.append(coverage_of(second, fitted))
    return {"images": len(said)} | {name: spread([row[name] for row in rows]) for name in rows[0]}


def sets_at_home(home: Answers) -> Row:
    """Sets of the validation images, as a diagnosis uses them: all together, and those of SIIM alone."""
    val, test = home.select(home.val).said, home.select(~home.val).said
    fitted = fit_conformal(val.probabilities, val.truth, val.hospitals, val.classes, "val")
    return {
        "all": coverage_of(test, fitted),
        "siim_covid19": coverage_of(test, fitted, "siim_covid19"),
    }


def event(said: Predictions) -> tuple[str, np.ndarray, np.ndarray]:
    """The probability that is asked about: of COVID, or of any disease where no image is COVID; and whether it is."""
    labels = np.array(said.labels)
    if "COVID" in said.labels:
        return "COVID", said.probabilities[:, said.classes.index("COVID")], labels == "COVID"
    return "disease", 1 - said.probabilities[:, said.classes.index("Normal")], labels != "Normal"


def error(said: Predictions) -> float:
    _, probabilities, outcomes = event(said)
    return float(DebiasedError(probabilities, outcomes)(np.ones((1, len(said))))[0])


def calibration_curve(answers: Answers) -> Row:
    """Calibration error of the other half, before and after fitting to so many images of a half."""
    said = answers.said
    own = answers.calibration.temperature, answers.calibration.bias
    curve: Row = {"of": event(said)[0], "images": len(said), "after": {}}
    before: list[float] = []
    for images in IMAGES:
        by_way: dict[str, list[float]] = {"temperature": [], "fitted": [], "bias": []}
        used = []
        for seed in range(SPLITS):
            first, second = halves(said, seed)
            known, asked_of = taken(said, first[:images]), taken(said, second)
            used.append(len(known))
            fitted = fit_calibration(known.logits, known.truth, units(known.patients))
            alone = fit_temperature(known.logits, known.truth), ()
            if images == IMAGES[0]:
                before.append(error(with_calibration(asked_of, *own)))
            by_way["temperature"].append(error(with_calibration(asked_of, *alone)))
            by_way["fitted"].append(error(with_calibration(asked_of, *fitted)))
            by_way["bias"].append(float(bool(fitted[1])))
        curve["after"][images] = {"used": float(np.mean(used))} | {
            name: spread(values) for name, values in by_way.items()
        }
    return curve | {"before": spread(before)}


def orders(answers: Answers) -> Mapping[str, np.ndarray]:
    """How sure an answer is, by several scores: the higher, the surer."""
    ranked = np.sort(answers.said.probabilities, axis=1)
    odds = np.log(ranked[:, -1] / np.maximum(1 - ranked[:, -1], 1e-9))
    return {
        "highest probability": ranked[:, -1],
        "margin to the second": ranked[:, -1] - ranked[:, -2],
        "highest probability and distance": odds - answers.distance,
        "distance alone": -answers.distance,
    }


def risks(answers: Answers) -> Row:
    said = answers.said
    wrong, all_once = said.truth != said.probabilities.argmax(axis=1), np.ones((1, len(said)))
    of_all = float(wrong.mean())
    left = (of_all - 0.1) / 0.9  # of the surest 90 %, where every image left out is wrong
    return {
        "images": len(said),
        "error": of_all,
        "least_ratio_at_90": max(left, 0) / of_all,
        "by_order": {
            name: {
                f"at_{percent}": float(risk_at(percent / 100, sure, wrong, all_once)[0])
                for percent in (90, 50)
            }
            for name, sure in orders(answers).items()
        },
    }


def risks_calibrated(answers: Answers, images: int) -> Row:
    """Errors of the other half, by the highest probability, after fitting to so many images of a half."""
    said, found = answers.said, []
    for seed in range(SPLITS):
        first, second = halves(said, seed)
        known = taken(said, first[:images])
        asked_of = with_calibration(
            taken(said, second), *fit_calibration(known.logits, known.truth, units(known.patients))
        )
        sure = asked_of.probabilities.max(axis=1)
        wrong = asked_of.truth != asked_of.probabilities.argmax(axis=1)
        all_once = np.ones((1, len(asked_of)))
        found.append([float(risk_at(part, sure, wrong, all_once)[0]) for part in (1.0, 0.9, 0.5)])
    return {
        "images": images,
        **{
            name: spread(list(values))
            for name, values in zip(("error", "at_90", "at_50"), np.array(found).T, strict=True)
        },
    }


def shown(row: Row, digits: int = 3) -> str:
    return f"{row['value']:.{digits}f} ({row['low']:.{digits}f}–{row['high']:.{digits}f})"


def markdown(found: Row) -> str:
    lines = ["| Sets at 90 % | images | coverage | classes in a set | one class |", "|---|---|---|---|---|"]
    for name, row in found["sets"].items():
        cells = (shown(row["coverage"]), shown(row["size"], 2), shown(row["singletons"], 2))
        lines.append(f"| {name} | {row['images']} | {' | '.join(cells)} |")
    for name, row in found["sets_of_val"].items():
        lines.append(
            f"| {HOME}, sets of val ({name}) | | {row['coverage']:.3f} | {row['size']:.2f} | "
            f"{row['singletons']:.2f} |"
        )
    lines += ["", f"| Calibration error | of | before | {' | '.join(f'{n} images' for n in IMAGES)} |"]
    lines.append("|---" * (3 + len(IMAGES)) + "|")
    for name, row in found["calibration"].items():
        for way in ("temperature", "fitted"):
            cells = (shown(row["after"][images][way]) for images in IMAGES)
            lines.append(f"| {name}, {way} | {row['of']} | {shown(row['before'])} | {' | '.join(cells)} |")
    lines += ["", "| Risk | images | error | surest by | 90 % | 50 % |", "|---|---|---|---|---|---|"]
    for name, row in found["risk"].items():
        for order, at in row["by_order"].items():
            parts = (f"{value:.3f} ({value / row['error']:.2f})" for value in at.values())
            lines.append(f"| {name} | {row['images']} | {row['error']:.3f} | {order} | {' | '.join(parts)} |")
    lines += ["", "| Calibrated to 100 images | error | 90 % | 50 % |", "|---|---|---|---|"]
    for name, row in found["risk_calibrated"].items():
        lines.append(f"| {name} | {shown(row['error'])} | {shown(row['at_90'])} | {shown(row['at_50'])} |")
    return "\n".join(lines) + "\n"


def is_at_home(sample: Sample) -> bool:
    return sample.split == "val" or of_pack("xray_siim", "test")(sample)


def is_at(hospital: str, sample: Sample) -> bool:
    return is_of(sample, (hospital,)) and not of_pack("xray4")(sample)


def main() -> None:
    ask = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    ask.add_argument("--packs", type=Path, required=True)
    ask.add_argument("--left-out", action="append", default=[], help="HOSPITAL=BUNDLE, as often as wanted")
    ask.add_argument("-o", "--out", type=Path, required=True)
    args = ask.parse_args()
    kept = args.out / "answers"
    home = asked(BUILT_IN, args.packs, is_at_home, kept / "home")
    left_out = {
        hospital: asked(bundle, args.packs, partial(is_at, hospital), kept / hospital)
        for hospital, _, bundle in (one.partition("=") for one in args.left_out)
    }
    test = home.select(~home.val)
    sets = {HOME: sets_after_splits(test.said, fit=False)}
    for hospital, answers in left_out.items():
        sets[f"{hospital}, left out"] = sets_after_splits(answers.said, fit=False)
        sets[f"{hospital}, left out, calibrated"] = sets_after_splits(answers.said, fit=True)
    places = {HOME: test, **{f"{hospital}, left out": answers for hospital, answers in left_out.items()}}
    found = {
        "sets": sets,
        "sets_of_val": sets_at_home(home),
        "calibration": {name: calibration_curve(answers) for name, answers in places.items()},
        "risk_calibrated": {name: risks_calibrated(answers, 100) for name, answers in places.items()},
        "risk": {name: risks(answers) for name, answers in {"val": home.select(home.val), **places}.items()},
    }
    (args.out / "abstention.json").write_text(json.dumps(found, indent=2, ensure_ascii=False))
    (args.out / "abstention.md").write_text(markdown(found))
    print(markdown(found))


if __name__ == "__main__":
    main()
