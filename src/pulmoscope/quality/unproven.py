"""Has an X-ray model been tried on enough held-out patients that its answers may be reported?

A threshold of referral is chosen on the validation split: on 18 images hardly anything can be wrong, and a model that
guesses passes for a sure one. Like the way from a CT's slices to the patient, an X-ray model must have been checked on
:data:`LEAST` patients before it reports. Of each class :data:`LEAST_OF_CLASS` are needed, so many as
:mod:`pulmoscope.evaluation.thresholds` asks of a hospital that has a say.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pulmoscope.core.types import Flag, FlagLevel, Modality, Subject
from pulmoscope.runtime.bundle import Bundle, Validation

UNPROVEN = "unproven-model"
LEAST, LEAST_OF_CLASS = 50, 20
"""Held-out patients (images, where the patient is unknown) that a model must have been tried on: in all, of a class."""
CHANCE = 0.5
"""AUROC of a model that guesses."""
RULE = (
    f"answers are reported where a model was tried on at least {LEAST} held-out patients, {LEAST_OF_CLASS} of every "
    f"class, and its AUROC lies above {CHANCE} with its whole 95 % interval"
)


def limits_of(bundle: Bundle) -> tuple[Flag, ...]:
    """What keeps an X-ray model from reporting answers: one flag, or none where it is proven (or reads CT slices)."""
    if bundle.modality != Modality.XRAY:
        return ()
    known = bundle.validation or recorded_validation(bundle)
    findings = ["no validation of the model is recorded"] if known is None else _findings(known, bundle)
    if not findings:
        return ()
    return (Flag(UNPROVEN, FlagLevel.REFUSE, "; ".join(findings), RULE, Subject.MODEL),)


def recorded_validation(bundle: Bundle) -> Validation | None:
    """The same facts of a bundle from before they were written, by its recorded figures of validation; None: none."""
    recorded: Mapping[str, Any] | None = bundle.metrics.get("val")
    if recorded is None:
        return None
    auroc = recorded["figures"].get("auroc", {})
    return Validation(
        patients=bundle.training_data.get("counts", {}).get("val", {}),
        auroc=auroc.get("value"),
        auroc_low=auroc.get("low"),
        auroc_high=auroc.get("high"),
        held_out="trained on" not in recorded["what"],
    )


def _findings(known: Validation, bundle: Bundle) -> list[str]:
    """Every reason against the model, in words."""
    counts = {name: known.patients.get(name, 0) for name in bundle.classes}
    findings = []
    if not known.held_out:
        findings.append("the model was validated on images that it was trained on")
    if sum(counts.values()) < LEAST or min(counts.values()) < LEAST_OF_CLASS:
        listed = ", ".join(f"{name} {count}" for name, count in counts.items())
        findings.append(f"the model was validated on {sum(counts.values())} patients ({listed})")
    if known.auroc is None or known.auroc_low is None or known.auroc_low <= CHANCE:
        findings.append(f"the model may be guessing: its AUROC in validation is {_auroc(known)}")
    return findings


def _auroc(known: Validation) -> str:
    if known.auroc is None:
        return "undefined"
    if known.auroc_low is None or known.auroc_high is None:
        return f"{known.auroc:.2f}, without an interval"
    return f"{known.auroc:.2f} (95 % interval {known.auroc_low:.2f} to {known.auroc_high:.2f})"
