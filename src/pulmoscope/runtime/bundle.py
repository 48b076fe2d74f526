"""A bundle: a trained system as a folder, with a contract and a checksum for every file.

::

    bundle.json          what is in it, what goes in, what comes out, how it was calibrated
    model.onnx           the image network: image -> logits, features, gradients (in old bundles also slice.onnx)
    lungs.onnx           the lung finder, where the preprocessing needs one
    view.onnx            the view network, of X-rays: what a picture shows; bundles from before it have none
    reference.npz        what the training images looked like to the network (out-of-distribution)
    normal.npz           the same of the images of negative classes alone, where there are any
    hospitals.npz        some images of each hospital that it knows, as points; of models of X-rays (drift)
    <vote>.onnx          slices (1, slices, inputs) -> logits, vector: from a study's slices to the patient
    ensemble.onnx        scores (1, votes x classes) -> logits: from several votes to one answer
    imputer.onnx         fills what a study lacks
    anomaly.onnx         slices (batch, 1, size, size) -> score, residual
    *.xml, *.bin         an ``.onnx`` of these in OpenVINO's format, in a bundle that was exported to it
    MODEL_CARD.md        for people; not under checksum, as it is only written from the manifest

The image network takes ``image`` float32 (batch, channels, size, size) and gives

- ``logits`` (batch, classes), or (batch, 1) for a single sigmoid: the logit of the second class;
- ``features`` (batch, channels, rows, columns): the last feature maps;
- ``gradients`` (batch, logits, channels): the derivative of each logit by each feature map, averaged over space,
  which is Grad-CAM's weight (Selvaraju et al. 2017, equation 1);
- where it pools three stages, the same of the two before: ``features_4``, ``gradients_4`` and so on with 3;
- where it has a hidden layer, ``vector`` (batch, hidden).
"""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib.resources import files
from pathlib import Path
from typing import Any

from pulmoscope.core.classes import is_positive
from pulmoscope.core.errors import BundleError
from pulmoscope.core.files import sha256_of_file, write_json
from pulmoscope.core.types import PredictionSet
from pulmoscope.preprocess import kinds
from pulmoscope.preprocess.kinds import Preprocess
from pulmoscope.runtime.archive import upgraded
from pulmoscope.runtime.maps import Maps
from pulmoscope.runtime.precision import OPENVINO, Export, Precision, onnx_name, stored
from pulmoscope.runtime.votes import CLASSIFIERS, ENSEMBLE, VOTES, PatientLevel, learnt

SCHEMA_VERSION = "2.2"
MANIFEST = "bundle.json"
CARD = "MODEL_CARD.md"
CALIBRATION = "calibration"
"""The role of recorded figures of images that calibration used."""
NETWORK = "model.onnx"
IMPUTER, ANOMALY = "imputer.onnx", "anomaly.onnx"
MISGAN = "misgan"
"""The imputer that is a network of the bundle's own."""
HOSPITALS = "hospitals.npz"
"""What the hospitals that a model knows look like (``quality.drift``)."""
OPTIONAL = (HOSPITALS, "normal.npz", "reference.npz", "view.onnx")
"""Parts that a bundle has where they lie in its folder."""
_PARTS = (
    NETWORK,
    "slice.onnx",
    "lungs.onnx",
    *OPTIONAL,
    *(f"{vote}.onnx" for vote in dict.fromkeys((*CLASSIFIERS, *VOTES)) if learnt(vote)),
    f"{ENSEMBLE}.onnx",
    IMPUTER,
    ANOMALY,
)
PARTS = tuple(file for part in _PARTS for file in dict.fromkeys((part, *stored(part, OPENVINO))))
"""The files that ``bundle.json`` may vouch for; a training run has others beside them, which are not the bundle's."""


@dataclass(frozen=True)
class Calibration:
    """Temperature scaling (Guo et al. 2017), with a bias where there is one.

    Probabilities are softmax or sigmoid of logits / temperature + bias.

    Attributes:
        bias: of each class, in their order, which ``models calibrate`` may fit to a hospital; empty: none.
        fitted_on: the images that temperature and thresholds were fitted on, in words.
        images: the SHA-256 of each of them, where ``models calibrate`` took images of its own: they are no external
            data any more, whoever is asked about them.
    """

    temperature: float = 1.0
    fitted_on: str = ""
    images: tuple[str, ...] = ()
    bias: tuple[float, ...] = ()


@dataclass(frozen=True)
class Thresholds:
    """When an answer is referred instead of reported.

    Attributes:
        confidence: the least probability of the best class.
        distance: the largest out-of-distribution distance (see ``quality.distribution``); None: not measured.
        by_class: the same as ``confidence`` for some classes alone, which it replaces there.
        normal_distance: the largest distance from normal images at which a negative answer is reported: beyond it the
            lungs show something that the classes have no name for; None: not measured.
    """

    confidence: float = 0.5
    distance: float | None = None
    by_class: Mapping[str, float] = field(default_factory=dict)
    normal_distance: float | None = None

    def of(self, label: str) -> float:
        """The least probability at which this class is reported."""
        return self.by_class.get(label, self.confidence)


@dataclass(frozen=True)
class Conformal:
    """Which classes can't be ruled out: a class is in an image's set from a least probability on.

    Nobody tells a diagnosis which hospital an image is of, so it goes by ``by_class``: all images that this was fitted
    on, together. After ``models calibrate`` these are one hospital's. See :mod:`pulmoscope.evaluation.conformal`.

    Attributes:
        coverage: the fraction of images whose class is in their set.
        by_class: class → the least probability at which it is in the set.
        by_hospital: hospital → the same of its images alone, where there were enough.
        images: class → how many images this was fitted on.
        fitted_on: these images, in words.
    """

    coverage: float
    by_class: Mapping[str, float]
    by_hospital: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    images: Mapping[str, int] = field(default_factory=dict)
    fitted_on: str = ""

    def set_of(self, probabilities: Mapping[str, float], hospital: str = "") -> PredictionSet:
        """The classes that can't be ruled out.

        Args:
            probabilities: class → probability, of every class of the model.
            hospital: that the image is of, if it is known; one that is not in ``by_hospital`` changes nothing.
        """
        least = self.by_hospital.get(hospital, self.by_class)
        classes = tuple(name for name, value in probabilities.items() if value >= least[name])
        return PredictionSet(self.coverage, classes)


@dataclass(frozen=True)
class Validation:
    """What a model was tried on before its thresholds were chosen, and how well it did.

    Attributes:
        patients: class → patients of the validation split (images, where the patient is unknown).
        auroc, auroc_low, auroc_high: mean over the classes, each against the rest, and its 95 % interval by patient;
            None where undefined.
        held_out: whether training has seen none of them.
    """

    patients: Mapping[str, int]
    auroc: float | None
    auroc_low: float | None
    auroc_high: float | None
    held_out: bool = True


@dataclass(frozen=True, kw_only=True)
class Bundle:
    """What ``bundle.json`` holds, and the folder that it stands in.

    Attributes:
        name, version: which model this is.
        modality: ``XRAY`` or ``CT``.
        classes: the labels in the order of the logits.
        preprocess: the very object that training used.
        network: the image network's file.
        patient: how a study's slices become one answer; None: the model reads single images, and of a CT the patient
            follows by a rule (``inference.patient_rule``).
        imputer: what the model fills missing regions of a CT with; empty: it takes what it is given; ``none``: it is
            shown the damage.
        anomaly: from which score on a slice is unlike a normal one, and what that rests on (see
            ``quality.anomaly.AnomalyThreshold``); None: there is no anomaly network.
        calibration: of the answer: an image's, or the patient's where there is a patient level.
        conformal: of the same answer; None in bundles from before it was written, or of too few images.
        validation: None in bundles from before it was written: ``metrics`` tell the same in part. Only models of
            radiographs are held to it (``quality.unproven``).
        explanation: which heat maps explain an X-ray; bundles from before it was written have Grad-CAM.
        recipe: the resolved recipe, as plain data.
        training_data: counts per split and class, sources, and a fingerprint of all files.
        metrics: the figures of the model card: data set → ``role`` (internal, external, calibration …), ``images``,
            ``figures``.
        verified: runtime → largest difference of an output from the trained network's, in standard deviations; where
            there are several networks, file → these.
        export: at which precision it computes and in which format; None: it was not exported, and computes in single
            precision.
        files: name → sha256.
    """

    folder: Path
    name: str
    version: str
    modality: str
    classes: tuple[str, ...]
    preprocess: Preprocess
    network: str = NETWORK
    patient: PatientLevel | None = None
    imputer: str = ""
    anomaly: Mapping[str, Any] | None = None
    calibration: Calibration = Calibration()
    thresholds: Thresholds = Thresholds()
    conformal: Conformal | None = None
    validation: Validation | None = None
    explanation: Maps = field(default_factory=Maps)
    recipe: Mapping[str, Any] = field(default_factory=dict)
    training_data: Mapping[str, Any] = field(default_factory=dict)
    metrics: Mapping[str, Any] = field(default_factory=dict)
    verified: Mapping[str, Any] = field(default_factory=dict)
    software: Mapping[str, str] = field(default_factory=dict)
    export: Export | None = None
    files: Mapping[str, str] = field(default_factory=dict)

    @property
    def networks(self) -> Mapping[str, str]:
        """The networks: as they are called in ONNX (``lungs.onnx``) → the file that holds each."""
        named = sorted({*self.files, *self.needed})
        return {onnx_name(name): name for name in named if name.endswith((".onnx", ".xml"))}

    def precision_of(self, network: str) -> Precision:
        """At which precision a network computes, named as in :attr:`networks`."""
        return "fp32" if self.export is None else self.export.networks.get(network, "fp32")

    def _stored(self, part: str) -> tuple[str, ...]:
        return stored(part, "onnx" if self.export is None else self.export.format)

    @property
    def sha256(self) -> str:
        """One checksum for the whole bundle: that of its manifest, which names all others."""
        return sha256_of_file(self.folder / MANIFEST)

    @property
    def negative(self) -> tuple[int, ...]:
        """The numbers of the classes that say that nothing was found."""
        return tuple(number for number, name in enumerate(self.classes) if not is_positive(name))

    @property
    def needed(self) -> tuple[str, ...]:
        """The files without which it can't answer."""
        parts = {
            onnx_name(self.network): True,
            "lungs.onnx": self.preprocess.needs_finder,
            "reference.npz": self.thresholds.distance is not None,
            "normal.npz": self.thresholds.normal_distance is not None,
            IMPUTER: self.imputer == MISGAN,
            ANOMALY: self.anomaly is not None,
        }
        needed = (
            *(name for name, is_needed in parts.items() if is_needed),
            *(() if self.patient is None else self.patient.files),
        )
        return tuple(file for part in needed for file in self._stored(part))

    def sealed(self) -> Bundle:
        """The bundle with the checksums of its parts as they lie in the folder."""
        known = {*self.needed, *(file for part in OPTIONAL for file in self._stored(part))}
        parts = sorted(name for name in known if (self.folder / name).is_file())
        return dataclasses.replace(self, files={name: sha256_of_file(self.folder / name) for name in parts})

    def save(self) -> Bundle:
        """Write ``bundle.json`` over the parts that lie in the folder, and give back the bundle with checksums."""
        sealed = self.sealed()
        plain = dataclasses.asdict(sealed)
        del plain["folder"]
        plain["preprocess"] = kinds.to_plain(self.preprocess)
        write_json(self.folder / MANIFEST, {"schema_version": SCHEMA_VERSION, **plain})
        return sealed


def built_in_lung_finder() -> Path:
    """The folder of the lung finder that comes with the package: ``lungs.onnx`` and its card; no bundle of its own."""
    return Path(str(files("pulmoscope") / "bundles" / "xray-lungs"))


def built_in_view_network() -> Path:
    """The folder of the view network that comes with the package: ``view.onnx`` and its card; no bundle of its own."""
    return Path(str(files("pulmoscope") / "bundles" / "xray-view"))


def built_in() -> Mapping[str, Path]:
    """The bundles that come with the package: name → folder."""
    folder = Path(str(files("pulmoscope") / "bundles"))
    return {path.parent.name: path.parent for path in sorted(folder.glob(f"*/{MANIFEST}"))}


def load(model: str | Path) -> Bundle:
    """Load and verify a bundle: a built-in one by name, or a folder; one of an earlier version, too.

    Raises:
        BundleError: no such bundle, a file is missing or changed, the schema is of a later version, or the manifest
            contradicts itself.
    """
    folder = built_in().get(str(model), Path(model))
    manifest = folder / MANIFEST
    if not manifest.is_file():
        names = ", ".join(built_in()) or "none"
        raise BundleError(f"{model}: is neither a built-in bundle ({names}) nor a folder with {MANIFEST}")
    try:
        bundle = _bundle(folder, upgraded(json.loads(manifest.read_text(encoding="utf-8"))))
        _check(bundle)
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise BundleError(f"{manifest}: is not a valid bundle ({error})") from error
    return bundle


def is_bundle(folder: Path) -> bool:
    """Whether the folder is a whole bundle."""
    try:
        load(folder)
    except BundleError:
        return False
    return True


def _bundle(folder: Path, plain: dict[str, Any]) -> Bundle:
    """The bundle that the contents of a manifest describe (errors: of any class, where it is wrong)."""
    patient, validation, conformal = plain.get("patient"), plain.get("validation"), plain.get("conformal")
    calibration, export = plain["calibration"], plain.get("export")
    tuples = {name: tuple(calibration.get(name, ())) for name in ("images", "bias")}
    return Bundle(
        folder=folder,
        **plain
        | {
            "classes": tuple(plain["classes"]),
            "preprocess": kinds.from_plain(plain["preprocess"]),
            "patient": None if patient is None else PatientLevel(**patient),
            "calibration": Calibration(**calibration | tuples),
            "thresholds": Thresholds(**plain["thresholds"]),
            "conformal": None if conformal is None else Conformal(**conformal),
            "explanation": Maps(**plain.get("explanation", {})),
            "validation": None if validation is None else Validation(**validation),
            "export": None if export is None else Export(**export),
        },
    )


def _check(bundle: Bundle) -> None:
    """Are the files that it needs named, and all there unchanged, and do temperature, bias and sets fit?

    Raises:
        BundleError: which rule is broken.
    """
    manifest = bundle.folder / MANIFEST
    if other := [name for name in bundle.files if name not in PARTS]:
        raise BundleError(f"{manifest}: files must be parts of a bundle (found: {', '.join(other)})")
    halves = [onnx_name(name) for name in bundle.files if name.endswith((".xml", ".bin"))]
    for name in (*bundle.needed, *(file for part in halves for file in stored(part, OPENVINO))):
        if name not in bundle.files:
            raise BundleError(
                f"{manifest}: files must name {name} (found: {', '.join(bundle.files) or 'none'})"
            )
    temperature = bundle.calibration.temperature
    if not (temperature > 0 and math.isfinite(temperature)):
        raise BundleError(f"{manifest}: the temperature must be above 0 (found: {temperature})")
    if bundle.calibration.bias and len(bundle.calibration.bias) != len(bundle.classes):
        raise BundleError(f"{manifest}: the bias needs one value a class (found: {bundle.calibration.bias})")
    if bundle.conformal is not None:
        for least in (bundle.conformal.by_class, *bundle.conformal.by_hospital.values()):
            if set(least) != set(bundle.classes):
                raise BundleError(f"{manifest}: conformal must name every class (found: {', '.join(least)})")
    for name, expected in bundle.files.items():
        file = bundle.folder / name
        if not file.is_file():
            raise BundleError(f"{file}: is missing")
        if sha256_of_file(file) != expected:
            raise BundleError(f"{file}: its sha256 differs from the one in {MANIFEST}; the file was changed")
