"""The frozen values that the rooms hand to each other."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

import numpy as np
import numpy.typing as npt

FloatArray = npt.NDArray[np.float32]


class Modality(StrEnum):
    """What kind of image a scan is."""

    XRAY = "XRAY"
    CT = "CT"


class Severity(StrEnum):
    """How much a flag matters: ``info`` is told, ``warn`` is shown, ``refuse`` turns the decision to refer."""

    INFO = "info"
    WARN = "warn"
    REFUSE = "refuse"


class Decision(StrEnum):
    """Whether the model's answer is reported, or the scan referred to a person."""

    REPORT = "report"
    REFER = "refer"


@dataclass(frozen=True)
class Flag:
    """What a quality check says about the image.

    ``code`` is a stable lower-case word such as ``underexposed``; ``detail`` carries the rule and the value.
    """

    code: str
    severity: Severity
    detail: str


@dataclass(frozen=True)
class Box:
    """A rectangle in pixels of the scan: rows ``top … top + height``, columns ``left … left + width``.

    May reach beyond the image; what lies outside counts as black.
    """

    top: int
    left: int
    height: int
    width: int


@dataclass(frozen=True)
class SourceFile:
    """Where pixels came from. ``name`` is the path as given (``archive.zip/member`` within a zip)."""

    name: str
    sha256: str


@dataclass(frozen=True)
class Scan:
    """One image series of one patient, read and checked.

    Attributes:
        name: a file-system-safe name, unique among the inputs of one run.
        modality: CT or X-ray.
        pixels: float32 (slices, rows, columns); an X-ray has one slice, in [0, 1], air dark, upright.
        files: the files that the pixels came from, in slice order.
        spacing_mm: (slice, row, column) distance, or None where the file does not say.
        view: ``PA``, ``AP``, ``LL`` … where the file says, else None.
        remarks: what the reader had to do or noticed, as flags.
    """

    name: str
    modality: Modality
    pixels: FloatArray
    files: tuple[SourceFile, ...]
    spacing_mm: tuple[float, float, float] | None = None
    view: str | None = None
    remarks: tuple[Flag, ...] = ()


@dataclass(frozen=True)
class Quality:
    """The verdict of the quality checks: ``pass``, ``warn`` or ``refuse``, and the flags behind it."""

    flags: tuple[Flag, ...] = ()

    @property
    def verdict(self) -> str:
        """The worst flag decides."""
        severities = {flag.severity for flag in self.flags}
        if Severity.REFUSE in severities:
            return "refuse"
        return "warn" if Severity.WARN in severities else "pass"


@dataclass(frozen=True)
class Prediction:
    """Calibrated probabilities per class (they sum to 1) and what is done with them."""

    probabilities: Mapping[str, float]
    decision: Decision
    reason: str

    @property
    def label(self) -> str:
        """The most probable class (the first of equals)."""
        return max(self.probabilities, key=lambda name: self.probabilities[name])


@dataclass(frozen=True)
class Explanation:
    """A heat map for one class.

    Attributes:
        kind: ``grad-cam``.
        target: the class whose evidence is shown.
        heat: float32 (rows, columns) in [0, 1] at the scan's own size; 0 outside what the network saw.
    """

    kind: str
    target: str
    heat: FloatArray


@dataclass(frozen=True)
class Diagnosis:
    """The result for one scan; written as ``diagnosis.json`` (see ``docs/schemas``)."""

    scan: Scan
    model: Mapping[str, str]
    quality: Quality
    prediction: Prediction
    explanations: tuple[Explanation, ...] = ()
    timings_s: Mapping[str, float] = field(default_factory=dict)
    software: Mapping[str, str] = field(default_factory=dict)
    card: Mapping[str, Any] = field(default_factory=dict)
