"""What `xray-covid` is worth, one line a goal: at home, at hospitals left out of training, and on what it must refer.

    python benchmarks/xray_goals.py --packs PACKS --model BUNDLE --left-out RUNS [--only GROUP] -o OUT

PACKS holds the data sets xray4, xray_siim, xray_external, cxr_lungs, xray_normals, xray_lesions, and for the last group
ct_slices and xray_dicom. RUNS holds a bundle per hospital that was left out, as `pulmoscope leave-out` writes them:
RUNS/nih and so on; one that is not there is told as not measured. Groups: home, left-out, refer. Writes OUT/goals.json
and OUT/goals.md; every share has its counts and an exact (Clopper-Pearson) 95 % interval, AUROC a bootstrap interval by
patient.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

import cv2
import numpy as np
from scipy.stats import beta
from sklearn.metrics import roc_auc_score

from pulmoscope.core.classes import is_positive
from pulmoscope.core.types import FloatArray
from pulmoscope.datasets.hospitals import is_of
from pulmoscope.datasets.labels import mapped_labels
from pulmoscope.datasets.several import load_all
from pulmoscope.datasets.table import Sample
from pulmoscope.evaluation.bootstrap import units
from pulmoscope.evaluation.calibration import DebiasedError
from pulmoscope.evaluation.metrics import Predictions
from pulmoscope.pipeline.diagnose import diagnose
from pulmoscope.pipeline.predict import predict_table
from pulmoscope.runtime.model import Model

PACKS = ("xray4", "xray_siim", "xray_external", "cxr_lungs", "xray_normals", "xray_lesions")
Row = dict[str, object]
Keep = Callable[[Sample], bool]


def share(name: str, goal: str, hits: Sequence[bool] | np.ndarray) -> Row:
    """A share with its exact interval."""
    count, total = int(np.sum(hits)), len(hits)
    if not total:
        return {"goal": name, "wanted": goal, "value": None}
    low = float(beta.ppf(0.025, count, total - count + 1)) if count else 0.0
    high = float(beta.ppf(0.975, count + 1, total - count)) if count < total else 1.0
    return {
        "goal": name,
        "wanted": goal,
        "value": count / total,
        "low": low,
        "high": high,
        "of": [count, total],
    }


def auroc(name: str, goal: str, said: Predictions, positive: Sequence[str], score: np.ndarray) -> Row:
    """The AUROC of these labels against Normal, by patient."""
    kept = [at for at, label in enumerate(said.labels) if label in positive or label == "Normal"]
    truth = np.array([said.labels[at] in positive for at in kept])
    if truth.all() or not truth.any():
        return {"goal": name, "wanted": goal, "value": None}
    values, unit = score[kept], units([said.patients[at] for at in kept])
    rng, drawn = np.random.default_rng(20), []
    members = [np.flatnonzero(unit == number) for number in range(unit.max() + 1)]
    for _ in range(500):
        rows = np.concatenate([members[at] for at in rng.integers(len(members), size=len(members))])
        if 0 < truth[rows].sum() < len(rows):
            drawn.append(roc_auc_score(truth[rows], values[rows]))
    low, high = np.percentile(drawn, (2.5, 97.5))
    counts = [int(truth.sum()), int((~truth).sum())]
    value = float(roc_auc_score(truth, values))
    return {
        "goal": name,
        "wanted": goal,
        "value": value,
        "low": float(low),
        "high": float(high),
        "of": counts,
    }


def column(said: Predictions, name: str) -> np.ndarray:
    return said.probabilities[:, said.classes.index(name)]


def called(said: Predictions, label: str, name: str) -> np.ndarray:
    """Of the images with this label, whether the most probable class is ``name``."""
    return np.array([p == name for own, p in zip(said.labels, said.predicted, strict=True) if own == label])


def reported(said: Predictions, label: str | None, name: str | None) -> np.ndarray:
    """Of the images with this label (None: all), whether they are reported as ``name`` (None: as anything)."""
    rows = zip(said.labels, said.predicted, said.decisions, strict=True)
    return np.array(
        [d == "report" and name in (None, p) for own, p, d in rows if label is None or own == label],
        dtype=bool,
    )


class Asked:
    """A model's answers for chosen images of all packs."""

    def __init__(self, bundle: Path, packs: Path) -> None:
        self.model = Model.load(str(bundle))
        table = load_all([packs / name for name in PACKS])
        self.table = mapped_labels(table, self.model.bundle.recipe.get("labels", {}))

    def __call__(
        self, keep: Keep, transform: Callable[[FloatArray], FloatArray] | None = None
    ) -> Predictions:
        rows = self.table.with_samples(sample for sample in self.table if keep(sample))
        return predict_table(self.model, rows, transform)[0]


def of_pack(name: str, split: str = "") -> Keep:
    return lambda sample: sample.file.startswith(f"{name}/") and split in ("", sample.split)


def home(ask: Asked) -> list[Row]:
    siim = ask(of_pack("xray_siim", "test"))
    sick = ask(
        lambda s: (
            s.split == "test" and s.label in ("Other pneumonia", "Tuberculosis") and not of_pack("xray4")(s)
        )
    )
    rows = [
        auroc(
            "xray_siim test: typical against negative, AUROC",
            ">= 0.90",
            siim,
            ("COVID",),
            column(siim, "COVID"),
        ),
        share("its negatives reported as COVID", "<= 0.05", reported(siim, "Normal", "COVID")),
        share("its films reported at all", ">= 0.50", reported(siim, None, None)),
        share("its typical ones reported as COVID", ">= 0.40", reported(siim, "COVID", "COVID")),
        calibration("xray_siim test: calibration error of COVID", "<= 0.06", siim),
    ]
    for source in sorted(set(sick.sources)):
        part = sick.select([own == source for own in sick.sources])
        rows.append(
            share(f"another disease, {source} test: reported as Normal", "", reported(part, None, "Normal"))
        )
    rows.append(
        share("another disease, all of these: reported as Normal", "<= 0.10", reported(sick, None, "Normal"))
    )
    for name in ("cxr_lungs", "xray_normals", "xray_external"):
        said = ask(of_pack(name, "test"))
        rows.append(share(f"{name} test: normals called COVID", "", called(said, "Normal", "COVID")))
        rows.append(share(f"{name} test: normals reported at all", "", reported(said, "Normal", None)))
    return rows


def calibration(name: str, goal: str, said: Predictions) -> Row:
    known = said.select(said.truth >= 0)
    error = DebiasedError(column(known, "COVID"), np.array(known.labels) == "COVID")
    value = float(error(np.ones((1, len(known))))[0])
    return {"goal": name, "wanted": goal, "value": value, "of": [len(known)]}


def left_out(runs: Path, packs: Path) -> list[Row]:
    rows: list[Row] = []
    for hospital, title in (
        ("siim_covid19", "SIIM"),
        ("nih", "NIH"),
        ("shenzhen", "Shenzhen"),
        ("openist", "OpenIST"),
    ):
        if not (runs / hospital / "bundle.json").is_file():
            rows.append({"goal": f"{title} left out", "wanted": "", "value": None})
            continue
        ask = Asked(runs / hospital, packs)
        said = ask(lambda s, own=hospital: is_of(s, (own,)) and not of_pack("xray4")(s))
        if hospital == "siim_covid19":
            rows += [
                auroc(
                    "SIIM left out: typical/negative, AUROC",
                    ">= 0.85",
                    said,
                    ("COVID",),
                    column(said, "COVID"),
                ),
                share(
                    "SIIM left out: negatives reported as COVID", "<= 0.10", reported(said, "Normal", "COVID")
                ),
                share("SIIM left out: films reported at all", "", reported(said, None, None)),
                calibration("SIIM left out: calibration error of COVID", "told", said),
            ]
            continue
        if hospital == "nih":
            score = 1 - column(said, "Normal")
            rows.append(
                auroc(
                    "NIH left out: pneumonia against normal, AUROC",
                    ">= 0.72",
                    said,
                    ("Other pneumonia",),
                    score,
                )
            )
        rows += [
            share(f"{title} left out: normals called COVID", "<= 0.05", called(said, "Normal", "COVID")),
            share(
                f"{title} left out: normals reported as COVID", "<= 0.02", reported(said, "Normal", "COVID")
            ),
            share(f"{title} left out: normals reported at all", ">= 0.60", reported(said, "Normal", None)),
        ]
    if (runs / "ieee8023" / "bundle.json").is_file():
        said = Asked(runs / "ieee8023", packs)(lambda s: is_of(s, ("ieee8023",)))
        rows.append(share("ieee8023 left out: COVID called COVID", ">= 0.75", called(said, "COVID", "COVID")))
    return rows


def blurred(percent: float) -> Callable[[FloatArray], FloatArray]:
    return lambda image: cv2.GaussianBlur(image, (0, 0), percent / 100 * max(image.shape))


def thumbnail(image: FloatArray) -> FloatArray:
    rows, columns = image.shape
    scale = 32 / max(rows, columns)
    size = (max(1, round(columns * scale)), max(1, round(rows * scale)))
    small = cv2.resize(image, size, interpolation=cv2.INTER_AREA)
    return np.asarray(
        cv2.resize(small, (columns, rows), interpolation=cv2.INTER_CUBIC), dtype=np.float32
    ).clip(0, 1)


def noise_band(image: FloatArray) -> FloatArray:
    made, rng = image.copy(), np.random.default_rng(image.shape[0])
    height = round(0.1 * image.shape[0])
    top = int(rng.integers(0, image.shape[0] - height))
    made[top : top + height] = rng.random((height, image.shape[1]), dtype=np.float32)
    return made


def side_by_side(image: FloatArray) -> FloatArray:
    return np.hstack([image, image[:, ::-1]])


DAMAGE: dict[str, tuple[Callable[[FloatArray], FloatArray], bool]] = {
    "blurred by 1 %": (blurred(1), False),
    "blurred by 2 %": (blurred(2), False),
    "blurred by 3 %": (blurred(3), False),
    "32 px, enlarged": (thumbnail, False),
    "a band of noise": (noise_band, False),
    "two side by side": (side_by_side, True),
    "upper half": (lambda image: image[: image.shape[0] // 2], True),
    "lower half": (lambda image: image[image.shape[0] // 2 :], True),
}
"""Name → what is done to a normal radiograph, and whether nothing at all may be reported then."""


def to_refer(ask: Asked, packs: Path) -> list[Row]:
    def normal(sample: Sample) -> bool:
        return sample.split == "test" and not is_positive(sample.label) and not of_pack("xray4")(sample)

    rows = []
    for name, (damage, at_all) in DAMAGE.items():
        said = ask(normal, damage)
        wrong = [
            d == "report" and (at_all or is_positive(p))
            for p, d in zip(said.predicted, said.decisions, strict=True)
        ]
        what = "reported at all" if at_all else "reported as a disease"
        rows.append(share(f"normals, {name}: {what}", "<= 0.03", np.array(wrong)))
    slices = load_all([packs / "ct_slices"]).split("test")
    said, _ = predict_table(ask.model, slices)
    rows.append(share("CT slices as radiographs: reported at all", "<= 0.03", reported(said, None, None)))
    masses = diagnose(packs / "xray_dicom/pydicom_data/RG1_J2KI.dcm", ask.model, explain=False).prediction
    sure = max(masses.probabilities.values())
    rows.append(
        {
            "goal": "a radiograph full of round masses (RG1)",
            "wanted": "refer",
            "value": None,
            "told": f"{masses.decision}: {masses.label} {sure:.3f}; {masses.reason}",
        }
    )
    return rows


def shown(row: Row) -> str:
    value = row.get("value")
    if "told" in row or value is None:
        return str(row.get("told", "not measured"))
    interval = f" ({row['low']:.3f}–{row['high']:.3f})" if "low" in row else ""
    return f"{value:.3f}{interval}"


def markdown(rows: Iterable[Row]) -> str:
    lines = ["| | wanted | measured | of |", "|---|---|---|---|"]
    for row in rows:
        of = " / ".join(map(str, row.get("of", [])))  # type: ignore[call-overload]
        lines.append(f"| {row['goal']} | {row['wanted']} | {shown(row)} | {of} |")
    return "\n".join(lines) + "\n"


def main() -> None:
    ask = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    ask.add_argument("--packs", type=Path, required=True)
    ask.add_argument("--model", type=Path, required=True)
    ask.add_argument("--left-out", type=Path, required=True)
    ask.add_argument("--only", choices=["home", "left-out", "refer"])
    ask.add_argument("-o", "--out", type=Path, required=True)
    args = ask.parse_args()
    rows: list[Row] = []
    if args.only != "left-out":
        asked = Asked(args.model, args.packs)
        rows += home(asked) if args.only in (None, "home") else []
        rows += to_refer(asked, args.packs) if args.only in (None, "refer") else []
    if args.only in (None, "left-out"):
        rows += left_out(args.left_out, args.packs)
    args.out.mkdir(parents=True, exist_ok=True)
    (args.out / "goals.json").write_text(json.dumps(rows, indent=2, ensure_ascii=False))
    (args.out / "goals.md").write_text(markdown(rows))
    print(markdown(rows))


if __name__ == "__main__":
    main()
