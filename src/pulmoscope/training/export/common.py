"""What the bundles of all runs have in common: facts of their training data, and figures of the validation split."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from pulmoscope.core.files import sha256_of_file
from pulmoscope.core.software import versions
from pulmoscope.core.synthetic import SYNTHETIC_SOURCE
from pulmoscope.core.types import FloatArray
from pulmoscope.datasets.hospitals import hospital_of
from pulmoscope.datasets.table import Sample, SampleTable
from pulmoscope.evaluation.bootstrap import units
from pulmoscope.evaluation.exact import unit_count
from pulmoscope.evaluation.metrics import Predictions, evaluate
from pulmoscope.recipes import settings
from pulmoscope.recipes.recipe import travelling
from pulmoscope.runtime.bundle import NETWORK, Bundle, Validation
from pulmoscope.training.card.record import key_figures, named
from pulmoscope.training.run import TrainedRun


def drafted(
    trained: TrainedRun,
    known: SampleTable,
    version: str,
    terms: str,
    verified: Mapping[str, Any],
    **parts: Any,
) -> Bundle:
    """A bundle before it is calibrated.

    Args:
        known: what the run has learnt from and was held against: train and val.
        parts: what only some systems have; ``training_data`` is added to what all have.
    """
    run, recipe = trained.folder, trained.recipe
    is_synthetic = recipe.slices is not None and any(parts.source == SYNTHETIC_SOURCE for parts in known)
    data = {
        **trained.summary["data"],
        "classes_by_source": _counts(known, lambda sample: named(sample.source)),
        "classes_by_hospital": _counts(known, hospital_of),
        "layout": known.layout,
        "patients_known": sum(bool(sample.patient) for sample in known),
        "warnings": list(known.warnings),
        "terms": terms,
    }
    return Bundle(
        folder=run,
        name=f"{recipe.name}-synthetic" if is_synthetic else recipe.name,
        version=version or f"own-{sha256_of_file(run / NETWORK)[:8]}",
        modality=recipe.modality,
        classes=recipe.classes,
        preprocess=recipe.preprocess,
        recipe=settings.to_plain(travelling(recipe)),
        verified=verified,
        software=versions("torch", "timm", "onnx", "onnxruntime"),
        **{**parts, "training_data": {**data, **parts.get("training_data", {})}},
    )


def _counts(table: SampleTable, key: Callable[[Sample], str]) -> dict[str, dict[str, int]]:
    """Source or hospital → label → how many."""
    counts: dict[str, Counter[str]] = defaultdict(Counter)
    for sample in table:
        counts[key(sample)][sample.label] += 1
    return {name: dict(sorted(labels.items())) for name, labels in sorted(counts.items())}


def validated(
    draft: Bundle, samples: Sequence[Sample], probabilities: FloatArray, what: str, *, held_out: bool = True
) -> dict[str, Any]:
    """The bundle's ``metrics`` and ``validation``.

    Args:
        samples: of the split val.
        probabilities: theirs, (samples, classes).
        what: how the data stand to the model, in words.
        held_out: whether training has seen none of them.
    """
    predictions = Predictions(
        files=tuple(sample.file for sample in samples),
        labels=tuple(sample.label for sample in samples),
        patients=tuple(sample.patient for sample in samples),
        sources=tuple(sample.source for sample in samples),
        classes=draft.classes,
        probabilities=probabilities.astype(np.float64),
    )
    evaluation = evaluate(predictions)
    pairwise = evaluation.pairwise.plain() if evaluation.pairwise and len(draft.classes) > 2 else None
    val = {
        "role": "internal",
        "what": what,
        "images": evaluation.images,
        "figures": key_figures(evaluation.plain(), pairwise),
    }
    of_patient, auroc = units(predictions.patients), evaluation.scores["macro_auroc"]
    patients = {
        name: unit_count(of_patient, predictions.truth == number) for number, name in enumerate(draft.classes)
    }
    validation = Validation(patients, auroc.value, auroc.low, auroc.high, held_out)
    return {"metrics": {"val": val}, "validation": validation}
