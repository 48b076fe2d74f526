"""The one path of a CT: slices → patient → quality → decision; a diagnosis and an evaluation both go along it."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace

from pulmoscope.core.errors import UnsuitableError
from pulmoscope.core.severity import SeverityMasks, SeverityMeasure, grade_number
from pulmoscope.core.types import Decision, FlagLevel, Prediction, Quality
from pulmoscope.inference.answer import CtAnswer
from pulmoscope.inference.decision import ct_quality, decide
from pulmoscope.inference.look import SeenCt
from pulmoscope.inference.measure import held_to_measure, measured, with_limits
from pulmoscope.inference.missing import missing_flags
from pulmoscope.inference.patient_rule import ENOUGH
from pulmoscope.inference.reading import Reading
from pulmoscope.runtime.bundle import Conformal, Thresholds
from pulmoscope.runtime.model import Model


@dataclass(frozen=True)
class CtResult:
    """All that is known of a CT.

    Attributes:
        reading: the model at this CT, to be asked what speaks for its answer.
        answer: the model's.
        quality: of the scan, with what limits the answer.
        prediction: the patient's, decided.
        severity, masks: measured without learning; None where they were not.
    """

    reading: Reading
    answer: CtAnswer
    quality: Quality
    prediction: Prediction
    severity: SeverityMeasure | None
    masks: SeverityMasks | None


def infer(seen: SeenCt, model: Model, *, measure: bool = True) -> CtResult:
    """What a model says of a CT, and what is done with it.

    Args:
        model: one whose bundle is of modality CT.
        measure: measure the severity in any case; else only where the model's classes are grades, which are held to it.

    Raises:
        UnsuitableError: no slice shows enough lung to be predicted, which a wrong input may explain, or the model can't
            read such a scan.
    """
    bundle = model.bundle
    wanted = measure or any(grade_number(name) is not None for name in bundle.classes)
    with ThreadPoolExecutor(
        1
    ) as aside:  # one after the other: both at once would take more memory, and no less time
        checked = aside.submit(ct_quality, seen.scan, seen.lungs, bundle.training_data.get("sources", ()))
        measuring = aside.submit(measured, seen.scan, seen.lungs, seen.missing) if wanted else None
        reading = Reading.of(seen, model)
        answer = reading.answer()
    if not answer.patient:
        raise _without_lungs(seen, checked.result())
    missing = missing_flags(seen.search, seen.lungs, bundle.imputer)
    quality = Quality((*checked.result().all_flags, *missing, *answer.flags))
    severity, masks = with_limits(measuring.result() if measuring else None, quality)
    # What is fitted on slices says nothing of a patient.
    conformal = None if bundle.patient is None else bundle.conformal
    prediction = held_to_measure(_decided(answer, quality, bundle.thresholds, conformal), severity)
    return CtResult(reading, answer, quality, prediction, severity, masks)


def _decided(
    answer: CtAnswer, quality: Quality, thresholds: Thresholds, conformal: Conformal | None
) -> Prediction:
    """Report or refer; what hardly any patient has checked is always referred, for that reason unless for a flag."""
    prediction = decide(answer.patient, quality, thresholds, conformal)
    if quality.refusals or answer.checked is None or answer.checked >= ENOUGH:
        return prediction
    reason = (
        f"How the slices' answers become the patient's was checked on {answer.checked} patients only; answers are "
        f"reported from {ENOUGH} on. A person must read the study."
    )
    return replace(prediction, decision=Decision.REFER, reason=reason)


def _without_lungs(seen: SeenCt, quality: Quality) -> UnsuitableError:
    """Why a CT of which no slice was predicted is refused, with what makes it a wrong input, as that may be why."""
    lung_ml = 0 if seen.lungs is None else seen.lungs.right_ml + seen.lungs.left_ml
    wrong = [
        flag.finding for flag in quality.flags if flag.level is FlagLevel.REFUSE and flag.code != "no-lungs"
    ]
    finding = "; ".join([f"no slice shows enough lung: {lung_ml:.0f} ml are found in all", *wrong])
    return UnsuitableError(seen.scan.source, "no-lungs", finding)
