"""A bundle: a trained recipe as a folder, with a contract and a checksum for every file.

::

    bundle.json          what is in it, what goes in, what comes out, how it was calibrated
    model.onnx           image -> logits, features, gradients
    lungs.onnx           the lung finder, where the preprocessing needs one
    view.onnx            the view network, of X-rays: what a picture shows; bundles from before it have none
    reference.npz        what the training images looked like to the network (out-of-distribution)
    normal.npz           the same of the images of negative classes alone, where there are any
    MODEL_CARD.md        for people; not under checksum, as it is only written from the manifest

``model.onnx`` takes ``image`` float32 (batch, channels, size, size) and gives

- ``logits`` (batch, classes), or (batch, 1) for a single sigmoid: the logit of the second class;
- ``features`` (batch, channels, rows, columns): the last feature maps;
- ``gradients`` (batch, logits, channels): the derivative of each logit by each feature map, averaged over space,
  which is Grad-CAM's weight (Selvaraju et al. 2017, equation 1);
- where the network pools three stages, the same of the two before: ``features_4``, ``gradients_4`` and so on with 3.
"""

from __future__ import annotations

import dataclasses
import json
import math
from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from importlib.resources import files
from pathlib import Path
from typing import Any, Self

from pulmoscope.core.errors import BundleError
from pulmoscope.core.files import sha256_of_file, write_json
from pulmoscope.preprocess.kinds import PREPROCESS, Preprocess

SCHEMA_VERSION = "1.0"
MANIFEST = "bundle.json"
CARD = "MODEL_CARD.md"
CALIBRATION = "calibration"
"""The role of recorded figures of images that calibration used."""
PARTS = ("lungs.onnx", "model.onnx", "normal.npz", "reference.npz", "view.onnx")
"""The files that ``bundle.json`` vouches for; a training run has others beside them, which are not the bundle's."""


@dataclass(frozen=True)
class Calibration:
    """Temperature scaling (Guo et al. 2017): probabilities are softmax or sigmoid of logits / temperature.

    Attributes:
        fitted_on: the images that temperature and thresholds were fitted on, in words.
        images: the SHA-256 of each of them, where ``models calibrate`` took images of its own: they are no external
            data any more, whoever is asked about them.
    """

    temperature: float = 1.0
    fitted_on: str = ""
    images: tuple[str, ...] = ()


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
class Contents(ABC):
    """What the ``bundle.json`` of every kind holds, and the folder that it stands in.

    Attributes:
        name, version: which model this is.
        modality: ``XRAY`` or ``CT``.
        classes: the labels in the order of the logits.
        recipe: the resolved recipe, as plain data.
        training_data: counts per split and class, sources, and a fingerprint of all files.
        metrics: the figures of the model card: data set → ``role`` (internal, external, calibration …), ``images``,
            ``figures``.
        verified: runtime → largest difference of an output from the trained network's, in standard deviations.
        files: name → sha256.
    """

    folder: Path
    name: str
    version: str
    modality: str
    classes: tuple[str, ...]
    calibration: Calibration = Calibration()
    thresholds: Thresholds = Thresholds()
    recipe: Mapping[str, Any] = field(default_factory=dict)
    training_data: Mapping[str, Any] = field(default_factory=dict)
    metrics: Mapping[str, Any] = field(default_factory=dict)
    verified: Mapping[str, Any] = field(default_factory=dict)
    software: Mapping[str, str] = field(default_factory=dict)
    files: Mapping[str, str] = field(default_factory=dict)

    @property
    def sha256(self) -> str:
        """One checksum for the whole bundle: that of its manifest, which names all others."""
        return sha256_of_file(self.folder / MANIFEST)

    @property
    @abstractmethod
    def parts(self) -> tuple[str, ...]:
        """The files that it consists of."""

    def save(self) -> Self:
        """Write ``bundle.json`` over the parts that lie in the folder, and give back the bundle with checksums."""
        sealed = dataclasses.replace(
            self, files={name: sha256_of_file(self.folder / name) for name in self.parts}
        )
        plain = dataclasses.asdict(sealed)
        del plain["folder"]
        write_json(self.folder / MANIFEST, {"schema_version": SCHEMA_VERSION, **plain})
        return sealed

    def check(self, needed: Iterable[str]) -> None:
        """Are the files that it needs named, and all there unchanged, and can its temperature divide?

        Raises:
            BundleError: which rule is broken.
        """
        manifest = self.folder / MANIFEST
        for name in needed:
            if name not in self.files:
                raise BundleError(
                    f"{manifest}: files must name {name} (found: {', '.join(self.files) or 'none'})"
                )
        temperature = self.calibration.temperature
        if not (temperature > 0 and math.isfinite(temperature)):
            raise BundleError(f"{manifest}: the temperature must be above 0 (found: {temperature})")
        check_files(self.folder, self.files)


@dataclass(frozen=True, kw_only=True)
class Bundle(Contents):
    """A model of one image at a time; ``preprocess`` is the very object that training used.

    ``validation`` is None in bundles from before it was written: their ``metrics`` tell the same in part.
    """

    preprocess: Preprocess
    validation: Validation | None = None

    @property
    def parts(self) -> tuple[str, ...]:
        """Those of :data:`PARTS` that lie in the folder."""
        return tuple(name for name in PARTS if (self.folder / name).is_file())


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
    """Load and verify a bundle: a built-in one by name, or a folder.

    Raises:
        BundleError: no such bundle, a file is missing or changed, the schema is of another version, or the
            manifest contradicts itself.
    """
    folder, plain = read_manifest(model)
    manifest = folder / MANIFEST
    if plain.get("kind", "image") != "image":
        raise BundleError(
            f"{manifest}: kind must be image here: a model of one image at a time "
            f"(found: {plain['kind']}, which judges whole CT studies)"
        )
    plain.pop("kind", None)
    try:
        bundle = Bundle(
            folder=folder,
            **plain
            | common(plain)
            | {
                "preprocess": PREPROCESS[plain["modality"]](**plain["preprocess"]),
                "validation": Validation(**plain["validation"]) if plain.get("validation") else None,
            },
        )
        needed = {
            "model.onnx": True,
            "lungs.onnx": bundle.preprocess.needs_finder,
            "reference.npz": bundle.thresholds.distance is not None,
            "normal.npz": bundle.thresholds.normal_distance is not None,
        }
        bundle.check([name for name, must in needed.items() if must])
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise BundleError(f"{manifest}: is not a valid bundle ({error})") from error
    return bundle


def common(plain: Mapping[str, Any]) -> dict[str, Any]:
    """What a manifest of every kind holds that is more than plain data (errors: of any class, where it is wrong)."""
    return {
        "classes": tuple(plain["classes"]),
        "calibration": Calibration(
            **plain["calibration"] | {"images": tuple(plain["calibration"].get("images", ()))}
        ),
        "thresholds": Thresholds(**plain["thresholds"]),
    }


def read_manifest(model: str | Path) -> tuple[Path, dict[str, Any]]:
    """The folder and the plain contents of a bundle's manifest, of whatever kind it is.

    Raises:
        BundleError: no such bundle, no JSON object, or the schema is of another version.
    """
    folder = built_in().get(str(model), Path(model))
    manifest = folder / MANIFEST
    if not manifest.is_file():
        names = ", ".join(built_in()) or "none"
        raise BundleError(f"{model}: is neither a built-in bundle ({names}) nor a folder with {MANIFEST}")
    try:
        plain: dict[str, Any] = json.loads(manifest.read_text(encoding="utf-8"))
        version = plain.pop("schema_version").split(".")[0]
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise BundleError(f"{manifest}: is not a valid bundle ({error})") from error
    if version != SCHEMA_VERSION.split(".")[0]:
        raise BundleError(f"{manifest}: schema_version must be {SCHEMA_VERSION.split('.')[0]}.x")
    return folder, plain


def check_files(folder: Path, files: Mapping[str, str]) -> None:
    """Is every file there that a manifest vouches for, unchanged?

    Raises:
        BundleError: one is not.
    """
    for name, expected in files.items():
        if name == CARD:  # of a manifest from before the card was left out
            continue
        if not (folder / name).is_file():
            raise BundleError(f"{folder / name}: is missing")
        if sha256_of_file(folder / name) != expected:
            raise BundleError(
                f"{folder / name}: its sha256 differs from the one in {MANIFEST}; the file was changed"
            )
