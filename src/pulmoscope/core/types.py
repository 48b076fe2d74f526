"""The frozen values that the rooms hand to each other."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

import numpy as np
import numpy.typing as npt

from pulmoscope.core.change import Change
from pulmoscope.core.facts import Facts
from pulmoscope.core.outcome import Outcome
from pulmoscope.core.severity import SeverityMasks, SeverityMeasure
from pulmoscope.core.values import LinkedValues
from pulmoscope.core.xray_severity import XraySeverity

FloatArray = npt.NDArray[np.float32]
Voxels = npt.NDArray[np.float32] | npt.NDArray[np.int16]
"""A scan's values. HU are whole numbers nearly always: a CT of them takes half as much memory as int16."""
BoolArray = npt.NDArray[np.bool_]
Bytes = npt.NDArray[np.uint8]
Point = tuple[float, float, float]


class Modality(StrEnum):
    """What kind of image a scan is."""

    XRAY = "XRAY"
    CT = "CT"


class Units(StrEnum):
    """What a scan's numbers mean."""

    HU = "HU"
    """Hounsfield units: water 0, air -1000."""
    GREY = "grey"
    """Grey in [0, 1] as a screen shows it; of a CT slice that was saved as a picture, nobody knows the window."""


class FlagLevel(StrEnum):
    """How much a flag matters: ``info`` is mentioned, ``warn`` is shown, ``refuse`` turns the decision to refer."""

    INFO = "info"
    WARN = "warn"
    REFUSE = "refuse"


class Decision(StrEnum):
    """Whether the model's answer is reported, or the scan referred to a person."""

    REPORT = "report"
    REFER = "refer"


class Subject(StrEnum):
    """What a flag is about: the image, or how far the model can be trusted with it."""

    IMAGE = "image"
    MODEL = "model"


@dataclass(frozen=True)
class Flag:
    """One thing to know about an image, or about the model that read it.

    Attributes:
        code: a stable lower-case word such as ``underexposed``.
        level: how much it matters.
        finding: what was found, in words and with its unit: ``"the lungs cover 2 % of the image"``.
        rule: what is expected instead, where a finding alone does not say it: ``"8 to 60 % in a chest X-ray"``.
        subject: what it is about.
    """

    code: str
    level: FlagLevel
    finding: str
    rule: str = ""
    subject: Subject = Subject.IMAGE

    @property
    def message(self) -> str:
        """The finding first, then the rule."""
        return f"{self.finding} ({self.rule})" if self.rule else self.finding


@dataclass(frozen=True)
class Box:
    """A rectangle in pixels of the scan: rows ``top … top + height``, columns ``left … left + width``.

    May reach beyond the image; what lies outside counts as black.
    """

    top: int
    left: int
    height: int
    width: int

    @property
    def slices(self) -> tuple[slice, slice]:
        """Its rows and columns, as an index of an image that it lies within."""
        return slice(self.top, self.top + self.height), slice(self.left, self.left + self.width)


@dataclass(frozen=True)
class SourceFile:
    """Where pixels came from.

    Attributes:
        name: what the file is called in results, by its content unless the user wants its own name.
        sha256: of its content.
        path: as the user named it (``archive.zip/member`` within a zip); may name a patient, and is written nowhere.
        frame: which of its frames, counted from 0.
        read: gives its bytes once more; None where nobody can.
    """

    name: str
    sha256: str
    path: str = field(default="", repr=False, compare=False)
    frame: int = 0
    read: Callable[[], bytes] | None = field(default=None, repr=False, compare=False)


@dataclass(frozen=True)
class Geometry:
    """Where a volume's voxels lie in the patient: mm on DICOM's axes, to the left, to the back, to the head.

    Attributes:
        origin_mm: the centre of the first voxel of the first slice.
        slice_step_mm, row_step_mm, column_step_mm: from a voxel to the same one of the next slice, to the next row
            (the one below), to the next column (the one to the right). The slice step is not at right angles to the
            others where the gantry was tilted.
    """

    origin_mm: Point
    slice_step_mm: Point
    row_step_mm: Point
    column_step_mm: Point

    @property
    def normal(self) -> Point:
        """The unit vector at right angles to the slices, on the side to which the slices run."""
        column, row, along = (
            np.array(step) for step in (self.column_step_mm, self.row_step_mm, self.slice_step_mm)
        )
        normal = np.cross(column, row)
        normal /= np.linalg.norm(normal) * (1 if normal @ along >= 0 else -1)
        x, y, z = (float(value) for value in normal)
        return x, y, z

    @property
    def spacing_mm(self) -> Point:
        """(slice, row, column) distance; that of the slices is measured at right angles to them."""
        across = abs(float(np.dot(self.normal, self.slice_step_mm)))
        return across, float(np.linalg.norm(self.row_step_mm)), float(np.linalg.norm(self.column_step_mm))

    @property
    def tilt_deg(self) -> float:
        """The angle between the slice step and the normal: 0 but for a tilted gantry."""
        return float(
            np.degrees(np.arccos(np.clip(self.spacing_mm[0] / np.linalg.norm(self.slice_step_mm), 0, 1)))
        )


@dataclass(frozen=True)
class Scan:
    """One image series of one patient, read and checked.

    Attributes:
        name: a file-system-safe name, by its content unless the user chose one; unique among the inputs of one run.
        modality: CT or X-ray.
        pixels: float32 (slices, rows, columns), int16 for a CT whose HU are all whole numbers; an X-ray has one
            slice, in [0, 1], air dark, upright; a CT's slices run from the feet to the head, their rows to the back,
            their columns to the patient's left.
        files: the files that the pixels came from, in slice order.
        spacing_mm: (slice, row, column) distance, or None where the file does not say.
        units: what the numbers mean.
        geometry: where the voxels lie; None for an X-ray, and for a CT whose files don't say.
        z_mm: the height of each slice's first voxel in the patient, towards the head; slices may be missing between
            two. None where the files don't say.
        view: ``PA``, ``AP``, ``LL`` … where the file says, else None.
        remarks: what the reader had to do or noticed, as flags.
        facts: of DICOM, how and when it was made; None for anything else.
    """

    name: str
    modality: Modality
    pixels: Voxels
    files: tuple[SourceFile, ...]
    spacing_mm: Point | None = None
    units: Units = Units.GREY
    geometry: Geometry | None = None
    z_mm: tuple[float, ...] | None = None
    view: str | None = None
    remarks: tuple[Flag, ...] = ()
    facts: Facts | None = None

    def plane(self, index: int) -> FloatArray:
        """One slice, float32 (rows, columns): what arithmetic needs, as int16 would overflow."""
        return np.asarray(self.pixels[index], dtype=np.float32)

    @property
    def source(self) -> str:
        """What its only file is called by the user, for messages to the user; of several files the scan's name."""
        return self.files[0].path or self.files[0].name if len(self.files) == 1 else self.name


@dataclass(frozen=True)
class Quality:
    """What the checks say of an image, and of how far its model can be trusted with it.

    Attributes:
        all_flags: whatever they are about.
    """

    all_flags: tuple[Flag, ...] = ()

    @property
    def flags(self) -> tuple[Flag, ...]:
        """Those about the image."""
        return tuple(flag for flag in self.all_flags if flag.subject is Subject.IMAGE)

    @property
    def limits(self) -> tuple[Flag, ...]:
        """Those about the model: no matter of the image's quality, though they may refer it, too."""
        return tuple(flag for flag in self.all_flags if flag.subject is Subject.MODEL)

    @property
    def refusals(self) -> tuple[Flag, ...]:
        """Those that turn the decision to refer, first the ones about the image."""
        return tuple(flag for flag in (*self.flags, *self.limits) if flag.level is FlagLevel.REFUSE)

    @property
    def verdict(self) -> str:
        """Of the image's quality: ``pass``, ``warn`` or ``refuse``; the worst flag about the image decides."""
        levels = {flag.level for flag in self.flags}
        if FlagLevel.REFUSE in levels:
            return "refuse"
        return "warn" if FlagLevel.WARN in levels else "pass"


@dataclass(frozen=True)
class PredictionSet:
    """The classes that can't be ruled out (conformal prediction, Vovk et al. 2005).

    Attributes:
        coverage: the fraction of images like those it was fitted on whose class is among ``classes``.
        classes: in the model's order; empty: none of them fits.
    """

    coverage: float
    classes: tuple[str, ...]


@dataclass(frozen=True)
class Prediction:
    """Calibrated probabilities per class (they sum to 1) and what is done with them.

    Attributes:
        set: the classes that can't be ruled out; None where the model has no such sets.
    """

    probabilities: Mapping[str, float]
    decision: Decision
    reason: str
    set: PredictionSet | None = None

    @property
    def label(self) -> str:
        """The most probable class (the first of equals)."""
        return max(self.probabilities, key=lambda name: self.probabilities[name])


@dataclass(frozen=True)
class Explanation:
    """A heat map for one class.

    Attributes:
        kind: ``grad-cam`` or another code of ``explain/maps.py``; ``anomaly``: what of the slice the networks that
            know normal ones alone can't redraw.
        target: the class whose evidence is shown; of an anomaly ``unlike`` and the class that it is not like.
        heat: float32 (rows, columns) in [0, 1] at the scan's own size; 0 outside what the network saw.
        index: the slice that is explained, counted from 0 at the feet; 0 for an X-ray.
        stage: the network's stage that is looked at, as the network's paper counts them (ResNet50: 3, 4, 5); 0: the
            last, and the only one.
        cells: float32, the map as the network gives it, whose cells fill ``box`` evenly; None: not kept.
        box: the part of the scan that the network saw.
        in_lungs: fraction of the map's mass within the lungs; None where no lungs are known, or nothing speaks for the
            class.
    """

    kind: str
    target: str
    heat: FloatArray
    index: int = 0
    stage: int = 0
    cells: FloatArray | None = field(default=None, repr=False)
    box: Box | None = None
    in_lungs: float | None = None


@dataclass(frozen=True)
class SliceResult:
    """What the network says of one slice of a CT.

    Attributes:
        index: counted from 0 at the feet.
        file: the one that it came from.
        z_mm: its height in the patient, towards the head; None where the files don't say.
        probabilities: per class; None where the slice shows too little lung for a prediction.
        lung_fraction: of the slice's pixels, how many are lung; None where that was not measured.
        dense_fraction: of the slice's lung, how much is dense (see ``segment/ct_dense.py``); None likewise.
        network: what the network says by itself, before ``dense_fraction`` is weighed in; None where it is not.
        lesion_fraction: of the slice's lung, how much is lesion by measure, 0 to 1; None where that was not measured,
            or none of its lung was observed.
        missing_fraction: of the body in the slice, how much was not measured and was filled in, 0 to 1; None where that
            was not looked for.
        anomaly_score: how unlike a normal slice it is, as a multiple of the model's limit: it counts as unlike above
            1; None where it has no prediction, or the model has no such score.
        instance: its InstanceNumber; None where the files don't say.
    """

    index: int
    file: str
    z_mm: float | None
    probabilities: Mapping[str, float] | None
    lung_fraction: float | None = None
    dense_fraction: float | None = None
    network: Mapping[str, float] | None = None
    lesion_fraction: float | None = None
    missing_fraction: float | None = None
    anomaly_score: float | None = None
    instance: int | None = None


NOT_FILLED = "none"


@dataclass(frozen=True)
class Imputed:
    """What of a CT was missing, and was filled in before lungs and lesions were looked for.

    Attributes:
        fraction: of the body at the height of the lungs, 0 to 1; of the whole body where no lungs were found.
        slices: how many slices lacked something.
        imputer: what filled it for the model; :data:`NOT_FILLED`: nothing, the model was shown the damage.
        mask: bool (slices, rows, columns): what was filled in.
    """

    fraction: float
    slices: int
    imputer: str
    mask: BoolArray = field(repr=False)


@dataclass(frozen=True)
class Diagnosis:
    """The result for one scan; written as ``diagnosis.json`` (see ``docs/schemas``).

    Attributes:
        scan, model, quality, prediction: what was read, by which model, how good it is, and what it shows.
        slices: of a CT, one per slice, from the feet to the head; empty for an X-ray.
        levels: of a CT, what each classifier that looks at the whole patient says by itself: name → probabilities.
            The prediction is what they come to together.
        explanations: heat maps.
        card: what the page says of the model.
        severity: of a CT, how much of the lungs is affected; None where that was not measured.
        xray_severity: of an X-ray, how ill its lungs are; None where that was not estimated.
        masks: what ``severity`` was measured on.
        imputed: of a CT, what was missing; the scan's pixels are filled in there. None where nothing was.
        lungs: of an X-ray, where the lung finder sees lungs, bool over the whole image, of any size; None where it
            sees none, or there is no finder.
        change: what has changed since an earlier scan of the same patient and kind; None where none was given.
        values: of the patient, from a file that was given beside the image; None where none was.
        outcome: that ``values`` and the image predict; None where no model of one was given.
    """

    scan: Scan
    model: Mapping[str, str]
    quality: Quality
    prediction: Prediction
    slices: tuple[SliceResult, ...] = ()
    levels: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    explanations: tuple[Explanation, ...] = ()
    timings_s: Mapping[str, float] = field(default_factory=dict)
    software: Mapping[str, str] = field(default_factory=dict)
    card: Mapping[str, Any] = field(default_factory=dict)
    severity: SeverityMeasure | None = None
    masks: SeverityMasks | None = None
    imputed: Imputed | None = None
    lungs: BoolArray | None = field(default=None, repr=False)
    change: Change | None = None
    xray_severity: XraySeverity | None = None
    values: LinkedValues | None = None
    outcome: Outcome | None = None
