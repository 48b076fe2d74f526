"""The imputation stress test (the paper's experiment 2): held-out studies damaged on purpose, repaired and predicted.

Damage is put into the study's own voxels, looked for as in every diagnosis, and filled by every imputer and by none;
what predicts is the cross-validated system, whose imputer is one of them. Lungs are looked for before.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from pulmoscope.core.errors import RecipeError
from pulmoscope.core.files import NOTICE, csv_text, write_bytes, write_json, write_text
from pulmoscope.core.software import versions
from pulmoscope.core.synthetic import SYNTHETIC_SOURCE
from pulmoscope.core.types import NOT_FILLED, BoolArray, FloatArray
from pulmoscope.datasets.table import Sample, SampleTable
from pulmoscope.evaluation.metrics import evaluate
from pulmoscope.io import read_scan
from pulmoscope.phantoms.ct.damage import SIZES, Size, damage
from pulmoscope.preprocess.ct_standard import Standardisation, StandardStudy
from pulmoscope.quality.filled import fill_missing
from pulmoscope.quality.imputation import IMPUTERS, Imputer, impute, imputer
from pulmoscope.quality.missing import find_missing
from pulmoscope.quality.repair import imputer_of
from pulmoscope.recipes.recipe import expected
from pulmoscope.recipes.specs import VoteSpec
from pulmoscope.runtime.bundle import MISGAN
from pulmoscope.runtime.model import Model, StudyOutputs
from pulmoscope.runtime.votes import VOTES
from pulmoscope.segment.ct_lungs import lung_mask
from pulmoscope.training.progress import Reporter
from pulmoscope.training.run import load_run
from pulmoscope.training.severity.charts import bars
from pulmoscope.training.severity.folds import BOOTSTRAP, SUMMARY, severity_folds
from pulmoscope.training.severity.predicted import PredictedStudy, missing_fractions, of_patients, of_slices
from pulmoscope.training.state import read_json

SCHEMA_VERSION = "1.0"
RESULT = "stress.json"
SHARES = (0.1, 0.2, 0.3)
"""Of each study's slices, how many are damaged."""
UNDAMAGED = "as they are"


@dataclass(frozen=True)
class Case:
    """One level of damage."""

    share: float
    size: Size

    @property
    def name(self) -> str:
        """As the table and the picture have it."""
        return f"{100 * self.share:.0f} % {self.size}"


CASES = tuple(Case(share, size) for share in SHARES for size in SIZES)


@dataclass(frozen=True)
class Answer:
    """A study under one case and imputer; ``hit``: bool, which of the predicted slices were damaged for it."""

    study: PredictedStudy
    hit: BoolArray


def stress(
    folds: Path,
    table: SampleTable,
    out: Path,
    *,
    bootstrap: int = BOOTSTRAP,
    progress: bool = True,
    command: str = "",
) -> dict[str, Any]:
    """Damage, repair and predict every held-out study of a cross-validation.

    Writes ``stress.json``, ``stress.csv``, ``stress-damaged.png`` and ``stress-<vote>.png`` into ``out``.

    Args:
        folds: the folder of a finished cross-validation.
        table: the same data.

    Raises:
        RecipeError: the folder holds no finished cross-validation of a system that looks for damage, or of other data.
        InputError: a study can't be read.
    """
    known = _finished(folds)
    reporter = Reporter.of(progress)
    recipe = load_run(folds / "fold-1").recipe
    if recipe.controls.imputer == NOT_FILLED:
        raise RecipeError(
            f"{folds}: quality.imputer=none looks for no damage, so nothing is filled; take another run"
        )
    answers: dict[tuple[str, str], list[Answer]] = defaultdict(list)
    for number, part in enumerate(severity_folds(recipe, table, len(known), reporter), 1):
        model = Model.load(folds / f"fold-{number}")
        held_out = part.split("val")
        if sorted(sample.file for sample in held_out) != sorted(known[number - 1]["held_out"]):
            raise RecipeError(f"{folds}: fold {number} has held out other studies than these data give it")
        for sample in reporter.track(held_out, f"Fold {number} of {len(known)}", len(held_out)):
            for key, answer in _answers(model, held_out, sample, recipe.seed):
                answers[key].append(answer)
    rows = [
        {
            "case": case,
            "imputer": name,
            **_counts(of_case),
            "mcc": _mcc(of_case, recipe.classes, bootstrap, recipe.seed),
        }
        for (case, name), of_case in answers.items()
    ]
    result = {
        "schema_version": SCHEMA_VERSION,
        "recipe": recipe.name,
        "folds": len(known),
        "own_imputer": recipe.controls.imputer,
        "rows": rows,
        "synthetic": any(sample.source == SYNTHETIC_SOURCE for sample in table),
        "command": command,
        "software": versions("scikit-learn"),
        "notice": NOTICE,
    }
    _write(out, rows, expected(recipe.patient, VoteSpec).decides)
    write_json(out / RESULT, result)
    return result


def _answers(
    model: Model, table: SampleTable, sample: Sample, seed: int
) -> Iterator[tuple[tuple[str, str], Answer]]:
    """A study as it is, then under every case and imputer."""
    preprocess, trained_imputer = model.bundle.preprocess, imputer_of(model)
    assert isinstance(preprocess, Standardisation)
    assert trained_imputer is not None
    scan = read_scan(table.path(sample), "ct")
    assert scan.spacing_mm is not None
    search = fill_missing(scan)
    lungs = lung_mask(search.scan.pixels, scan.spacing_mm)
    base = preprocess.apply(scan.pixels, scan.spacing_mm, lungs, search.mask)
    indices = np.flatnonzero(base.enough_lung)
    repaired = impute(_grey(base), base.missing, trained_imputer, base.shown)
    outputs = model.study(repaired[indices])
    yield (
        (UNDAMAGED, trained_imputer.name),
        _answer(sample, indices, outputs, base, np.zeros(len(indices), dtype=bool)),
    )
    fillers: list[Imputer | None] = [None, *(imputer(name) for name in IMPUTERS)]
    if model.bundle.imputer == MISGAN:
        fillers.append(trained_imputer)
    # A study's damage is its own, whatever the order of the studies.
    study_seed = int.from_bytes(scan.files[0].sha256.encode()[:6], "big")
    for number, case in enumerate(CASES):
        rng = np.random.default_rng([seed, study_seed, number])
        hu = np.asarray(scan.pixels, dtype=np.float32)
        spoilt, _ = damage(hu, rng, case.share, kinds=("block",), sizes=(case.size,))
        missing = find_missing(spoilt, scan.spacing_mm).mask
        study = preprocess.apply(spoilt, scan.spacing_mm, lungs, missing)
        changed = (study.images != base.images).any(axis=(1, 2))
        hit = changed[indices]
        for filler in fillers:
            filled = _grey(study)
            if filler is not None:
                filled = impute(filled, study.missing, filler, study.shown)
            yield (
                (case.name, NOT_FILLED if filler is None else filler.name),
                _answer(sample, indices, _again(model, outputs, filled[indices], hit), study, hit),
            )


def _grey(study: StandardStudy) -> FloatArray:
    return np.asarray(study.images, dtype=np.float32) / np.float32(255)


def _again(model: Model, before: StudyOutputs, images: FloatArray, hit: BoolArray) -> StudyOutputs:
    """The study's answer when only these slices are looked at anew."""
    if not hit.any():
        return before
    probabilities, vectors = before.slices.copy(), before.vectors.copy()
    probabilities[hit], vectors[hit] = model.slices(images[hit])
    return StudyOutputs(probabilities, vectors, model.patient(probabilities, vectors))


def _answer(
    sample: Sample, indices: npt.NDArray[np.intp], outputs: StudyOutputs, study: StandardStudy, hit: BoolArray
) -> Answer:
    missing = missing_fractions(study.missing[indices], study.shown[indices])
    predicted = PredictedStudy(
        sample, tuple(map(int, indices)), outputs.slices, outputs.patient.votes, missing
    )
    return Answer(predicted, hit)


def _finished(folds: Path) -> list[dict[str, Any]]:
    """What a cross-validation's summary says of each fold."""
    if not (folds / SUMMARY).is_file():
        raise RecipeError(f"{folds}: holds no finished cross-validation (no {SUMMARY})")
    folds_done: list[dict[str, Any]] = read_json(folds / SUMMARY, "folds")["folds"]
    return folds_done


def _counts(answers: Sequence[Answer]) -> dict[str, int]:
    """How many studies, slices, and damaged ones among these were predicted."""
    return {
        "studies": len(answers),
        "slices": sum(len(one.hit) for one in answers),
        "damaged_slices": sum(int(one.hit.sum()) for one in answers),
    }


def _mcc(
    answers: Sequence[Answer], classes: tuple[str, ...], bootstrap: int, seed: int
) -> Mapping[str, Mapping[str, Any] | None]:
    """MCC of all predicted slices, of the damaged ones alone, and of patients by each vote."""
    studies = [answer.study for answer in answers]
    slices = of_slices(studies, classes)
    hit = np.concatenate([answer.hit for answer in answers])
    levels = {"slice": slices, **{vote: of_patients(studies, classes, vote) for vote in VOTES}}
    scores: dict[str, Mapping[str, Any] | None] = {
        level: evaluate(answer, bootstrap, seed).plain()["scores"]["mcc"] for level, answer in levels.items()
    }
    scores["damaged"] = (
        evaluate(slices.select(hit), bootstrap, seed).plain()["scores"]["mcc"] if hit.any() else None
    )
    return scores


def _write(out: Path, rows: Sequence[Mapping[str, Any]], vote: str) -> None:
    levels = ("slice", "damaged", *VOTES)
    header = ["case", "imputer", "slices", "damaged_slices"]
    header += [*(f"{level}_{part}" for level in levels for part in ("mcc", "low", "high"))]
    table = [
        [
            row["case"],
            row["imputer"],
            row["slices"],
            row["damaged_slices"],
            *(
                "" if row["mcc"][level] is None else row["mcc"][level][part]
                for level in levels
                for part in ("value", "low", "high")
            ),
        ]
        for row in rows
    ]
    write_text(out / "stress.csv", csv_text(header, table))
    names = list(dict.fromkeys(row["imputer"] for row in rows if row["case"] != UNDAMAGED))
    nothing = {"value": None, "low": None, "high": None}
    for level in ("damaged", vote):
        series = {
            name: [
                row["mcc"][level] or nothing
                for case in CASES
                for row in rows
                if (row["case"], row["imputer"]) == (case.name, name)
            ]
            for name in names
        }
        picture = bars([case.name for case in CASES], series, f"MCC, {level}")
        write_bytes(out / f"stress-{level}.png", picture)
