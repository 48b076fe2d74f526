"""A model of an outcome: one function a value, whose parts sum to the log-odds; plain JSON, applied with numpy alone.

::

    outcome.json      what is predicted, of whose patients; intercept and terms; threshold; figures; its own checksum
    bootstrap.json    the same intercept and terms of models trained on patients drawn again, for the interval
    MODEL_CARD.md     for people; not under checksum, as it is only written from the first

A term is linear in its value (or in the value's logarithm), or a function of steps; it says what a missing value adds.
So a prediction can be made from any of the values, and what each adds to the log-odds is exact.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from pulmoscope.core.errors import BundleError
from pulmoscope.core.files import sha256_of, sha256_of_file, write_json, write_text

SCHEMA_VERSION = "1.0"
MANIFEST, BOOTSTRAP, CARD = "outcome.json", "bootstrap.json", "MODEL_CARD.md"

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Linear:
    """slope · (g(x) − centre), g the identity or the natural logarithm, x moved into [low, high].

    Attributes:
        missing: what a missing value adds.
    """

    slope: float
    centre: float
    low: float
    high: float
    logarithm: bool
    missing: float

    def __call__(self, values: Floats) -> Floats:
        """The parts of values (patients,), NaN where missing."""
        within = np.clip(values, self.low, self.high)
        parts = self.slope * ((np.log(within) if self.logarithm else within) - self.centre)
        return np.where(np.isnan(values), self.missing, parts)

    def scaled(self, factor: float) -> Linear:
        """All parts times a factor."""
        return Linear(
            self.slope * factor, self.centre, self.low, self.high, self.logarithm, self.missing * factor
        )


@dataclass(frozen=True)
class Steps:
    """``heights[i]`` for x in (edges[i − 1], edges[i]].

    Attributes:
        missing: what a missing value adds.
    """

    edges: tuple[float, ...]
    heights: tuple[float, ...]
    missing: float

    def __post_init__(self) -> None:
        if len(self.heights) != len(self.edges) + 1 or list(self.edges) != sorted(self.edges):
            raise ValueError("a step function has rising edges and one height more")
        object.__setattr__(self, "edges", tuple(self.edges))
        object.__setattr__(self, "heights", tuple(self.heights))

    def __call__(self, values: Floats) -> Floats:
        """The parts of values (patients,), NaN where missing."""
        parts = np.array(self.heights)[
            np.searchsorted(self.edges, values, side="left").clip(max=len(self.edges))
        ]
        return np.where(np.isnan(values), self.missing, parts)

    def scaled(self, factor: float) -> Steps:
        """All parts times a factor."""
        return Steps(self.edges, tuple(height * factor for height in self.heights), self.missing * factor)


Term = Linear | Steps
_TERMS: Mapping[str, type[Linear] | type[Steps]] = {"linear": Linear, "steps": Steps}


@dataclass(frozen=True)
class Additive:
    """Log-odds = intercept + the sum of one term for each value.

    Attributes:
        intercept: the log-odds of a patient all of whose parts are 0.
        terms: in order of the columns.
    """

    intercept: float
    terms: Mapping[str, Term]

    def parts(self, values: Floats) -> Floats:
        """What each value adds: (patients, terms), from values (patients, terms), NaN where missing."""
        return np.stack([term(values[:, index]) for index, term in enumerate(self.terms.values())], axis=1)

    def log_odds(self, values: Floats) -> Floats:
        """(patients,), from values (patients, terms)."""
        parts = self.parts(values)
        return np.array([math.fsum([self.intercept, *row]) for row in parts])

    def plain(self) -> dict[str, Any]:
        """For JSON."""
        return {
            "intercept": self.intercept,
            "terms": {
                name: {"type": "linear" if isinstance(term, Linear) else "steps", **asdict(term)}
                for name, term in self.terms.items()
            },
        }

    @classmethod
    def of(cls, plain: Mapping[str, Any]) -> Additive:
        """The inverse of :meth:`plain`.

        Raises:
            KeyError, TypeError, ValueError: it is none.
        """
        terms = {
            name: _TERMS[term["type"]](**{key: value for key, value in term.items() if key != "type"})
            for name, term in plain["terms"].items()
        }
        return cls(float(plain["intercept"]), terms)


@dataclass(frozen=True)
class Input:
    """A value that the model takes, and what training saw of it.

    Attributes:
        name, title, unit: as in the catalogue.
        low, median, high: of the patients of the split train who have it.
        known: the fraction of them.
    """

    name: str
    title: str
    unit: str
    low: float
    median: float
    high: float
    known: float


@dataclass(frozen=True, kw_only=True)
class OutcomeModel:
    """What ``outcome.json`` holds, and the folder that it stands in.

    Attributes:
        name, version: which model this is.
        outcome, title: what is predicted: the column in the table, and in words.
        hospital: whose patients were learnt from.
        synthetic: whether these were simulated.
        inputs: the values, in order of the columns.
        additive: the model, calibrated.
        calibration: how it was: method, slope and intercept.
        threshold: from which probability on the outcome is called.
        bootstrap: the models that the interval is made of.
        recipe: the resolved recipe, as plain data.
        training_data: table, patients and events per split, fingerprint, and sums that tell the same patients.
        metrics: figures of held-out patients of the training and of the validation split.
        software: versions.
        sha256: of all this.
    """

    folder: Path
    name: str
    version: str
    outcome: str
    title: str
    hospital: str
    synthetic: bool
    inputs: tuple[Input, ...]
    additive: Additive
    calibration: Mapping[str, Any]
    threshold: float
    bootstrap: tuple[Additive, ...] = field(repr=False)
    recipe: Mapping[str, Any] = field(repr=False)
    training_data: Mapping[str, Any] = field(repr=False)
    metrics: Mapping[str, Any] = field(default_factory=dict, repr=False)
    software: Mapping[str, str] = field(default_factory=dict, repr=False)
    sha256: str = ""

    @property
    def names(self) -> tuple[str, ...]:
        """The values that it takes."""
        return tuple(value.name for value in self.inputs)

    def probabilities(self, values: Floats) -> tuple[Floats, Floats, Floats]:
        """Probability and the ends of its interval, each (patients,).

        The interval holds the probabilities of 95 % of the models of the bootstrap, and the probability itself.

        Args:
            values: (patients, inputs), NaN where missing.
        """
        log_odds = self.additive.log_odds(values)
        members = np.stack([member.parts(values).sum(axis=1) + member.intercept for member in self.bootstrap])
        low, high = np.percentile(members, [2.5, 97.5], axis=0)
        return sigmoid(log_odds), sigmoid(np.minimum(low, log_odds)), sigmoid(np.maximum(high, log_odds))

    def save(self) -> None:
        """Write ``bootstrap.json``, then ``outcome.json``."""
        members = {"schema_version": SCHEMA_VERSION, "models": [member.plain() for member in self.bootstrap]}
        write_text(self.folder / BOOTSTRAP, json.dumps(members, allow_nan=False) + "\n")
        content = {
            "schema_version": SCHEMA_VERSION,
            **{
                name: getattr(self, name)
                for name in ("name", "version", "outcome", "title", "hospital", "synthetic")
            },
            "inputs": [asdict(value) for value in self.inputs],
            "model": self.additive.plain(),
            **{
                name: getattr(self, name)
                for name in ("calibration", "threshold", "recipe", "training_data", "metrics")
            },
            "software": dict(self.software),
            "files": {BOOTSTRAP: sha256_of_file(self.folder / BOOTSTRAP)},
        }
        write_json(self.folder / MANIFEST, content | {"sha256": _checksum(content)})


def load_outcome(folder: Path) -> OutcomeModel:
    """Load and verify a model of an outcome.

    Raises:
        BundleError: there is none, a file is missing or changed, or the schema is of a later version.
    """
    manifest = folder / MANIFEST
    if not manifest.is_file():
        raise BundleError(f"{folder}: is no model of an outcome ({MANIFEST} is not there)")
    try:
        content = json.loads(manifest.read_text(encoding="utf-8"))
        if str(content["schema_version"]).partition(".")[0] != SCHEMA_VERSION.partition(".")[0]:
            raise BundleError(
                f"{manifest}: has schema {content['schema_version']}; this version reads {SCHEMA_VERSION}"
            )
        checksum = content.pop("sha256")
        if checksum != _checksum(content):
            raise BundleError(f"{manifest}: was changed since it was written (its checksum differs)")
        return _model(folder, content, checksum)
    except (OSError, AttributeError, KeyError, TypeError, ValueError) as error:
        raise BundleError(
            f"{manifest}: is not a valid model of an outcome ({' '.join(str(error).split())})"
        ) from error


def _model(folder: Path, content: Mapping[str, Any], checksum: str) -> OutcomeModel:
    drawn = folder / BOOTSTRAP
    if not drawn.is_file() or sha256_of_file(drawn) != content["files"][BOOTSTRAP]:
        raise BundleError(f"{drawn}: is missing or was changed since it was written")
    if "sums" not in content["training_data"]:
        raise ValueError("training_data.sums is missing")
    own = {
        name: content[name]
        for name in (
            *("name", "version", "outcome", "title", "hospital", "synthetic", "calibration", "threshold"),
            *("recipe", "training_data", "metrics", "software"),
        )
    }
    return OutcomeModel(
        folder=folder,
        inputs=tuple(Input(**value) for value in content["inputs"]),
        additive=Additive.of(content["model"]),
        bootstrap=tuple(
            Additive.of(member) for member in json.loads(drawn.read_text(encoding="utf-8"))["models"]
        ),
        sha256=checksum,
        **own,
    )


def _checksum(content: Mapping[str, Any]) -> str:
    """Of the content as JSON in one way, whatever the file's spaces."""
    return sha256_of(json.dumps(content, sort_keys=True, ensure_ascii=False, allow_nan=False).encode())


def sigmoid(log_odds: Floats) -> Floats:
    """The probability of log-odds; of very large ones without overflow."""
    return np.asarray(0.5 * (1 + np.tanh(0.5 * np.asarray(log_odds))), dtype=np.float64)
