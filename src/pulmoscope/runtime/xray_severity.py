"""A severity model of radiographs: a light network on the features of an X-ray model, as a folder.

::

    severity.json    what it reads, its thresholds and intervals, how it was measured
    severity.npz     the network's weights: ``zone`` and ``map``, each float32 (channels + 1,), the bias last
    MODEL_CARD.md    for people

Features, (channels, rows, columns), are averaged over each of six zones of the lungs; one linear layer, the same for
all zones, scores each. What lies below a threshold is 0, so that a healthy lung's small values don't add up. Another
linear layer gives each cell the probability of an opacity.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from importlib.resources import files
from math import isfinite
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from pulmoscope.core.errors import BundleError
from pulmoscope.core.files import sha256_of_file
from pulmoscope.core.types import FloatArray
from pulmoscope.core.xray_severity import MOST_BRIXIA, MOST_EXTENT, MOST_OPACITY, MOST_ZONE, Estimate

SCHEMA_VERSION = "1.0"
MANIFEST, WEIGHTS, CARD = "severity.json", "severity.npz", "MODEL_CARD.md"
BUILT_IN = "xray-severity"
MOST = {"extent": MOST_EXTENT, "opacity": MOST_OPACITY, "brixia": MOST_BRIXIA, "zone": MOST_ZONE}
"""Score → its highest value; the lowest is 0."""


@dataclass(frozen=True)
class Hinge:
    """A score from a raw sum: ``slope · max(0, sum - threshold)``."""

    slope: float
    threshold: float

    def __call__(self, raw: npt.NDArray[np.floating]) -> FloatArray:
        """Scores, as many as there are raw sums."""
        return np.asarray(self.slope * np.maximum(0, raw - self.threshold), dtype=np.float32)


@dataclass(frozen=True)
class Widths:
    """How far a score may be off, by how high it is.

    Attributes:
        edges: where the next width begins, increasing.
        widths: half of the interval's width below the first edge, between edges, from the last edge on.
    """

    edges: tuple[float, ...]
    widths: tuple[float, ...]

    def around(self, value: float, most: float) -> Estimate:
        """The score with its interval, within 0 and the highest score."""
        width = self.widths[int(np.searchsorted(self.edges, value, side="right"))]
        return Estimate(value, max(0.0, value - width), min(most, value + width))


@dataclass(frozen=True)
class Scores:
    """What a severity model says of one radiograph.

    Attributes:
        extent, opacity, brixia: see :class:`pulmoscope.core.xray_severity.XraySeverity`.
        zones: (6,), 0 to 3.
        cells: float32 (rows, columns), the probability of an opacity.
    """

    extent: float
    opacity: float
    brixia: float
    zones: FloatArray
    cells: FloatArray


@dataclass(frozen=True, kw_only=True)
class SeverityModel:
    """A severity model, loaded and verified.

    Attributes:
        folder, name, version: which model this is.
        features: name, version and the network's sha256 of the bundle whose features it reads.
        zone, extent, opacity: how raw sums become scores; of a zone, and of all of them together.
        widths: ``extent``, ``opacity``, ``brixia``, ``zone`` → how far it may be off.
        coverage: the fraction of radiographs like the training's whose score lies within the interval.
        zone_weights, map_weights: float32 (channels + 1,), see the module.
        facts: everything else in ``severity.json``: recipe, images, figures.
    """

    folder: Path
    name: str
    version: str
    features: Mapping[str, str]
    zone: Hinge
    extent: Hinge
    opacity: Hinge
    widths: Mapping[str, Widths]
    coverage: float
    zone_weights: FloatArray = field(repr=False)
    map_weights: FloatArray = field(repr=False)
    facts: Mapping[str, Any] = field(default_factory=dict, repr=False)

    @property
    def identity(self) -> dict[str, str]:
        """Name, version and the manifest's sha256, as results name it."""
        sha256 = sha256_of_file(self.folder / MANIFEST)
        return {"name": self.name, "version": self.version, "sha256": sha256}

    def scores(self, features: FloatArray, weights: FloatArray) -> Scores:
        """Score one radiograph.

        Args:
            features: float32 (channels, rows, columns).
            weights: of the zones' cells, float32 (6, rows, columns), as ``segment.xray_zones.zone_weights`` gives them.
        """
        raw = linear(self.zone_weights, pooled(features, weights))
        zones = np.minimum(self.zone(raw), np.float32(MOST_ZONE))
        total = raw.sum()
        return Scores(
            extent=float(np.clip(self.extent(total), 0, MOST_EXTENT)),
            opacity=float(np.clip(self.opacity(total), 0, MOST_OPACITY)),
            brixia=float(zones.sum()),
            zones=zones,
            cells=opacity_map(self.map_weights, features),
        )

    def estimate(self, score: str, value: float) -> Estimate:
        """A score (``extent`` …) with its prediction interval."""
        return self.widths[score].around(value, MOST[score])


def pooled(features: FloatArray, weights: FloatArray) -> FloatArray:
    """The mean features of each zone: (channels, rows, columns) and (zones, rows, columns) → (zones, channels)."""
    return np.asarray(np.einsum("zij,cij->zc", weights, features), dtype=np.float32)


def linear(weights: FloatArray, features: FloatArray) -> FloatArray:
    """One linear layer: (channels + 1,) and (n, channels) → (n,)."""
    return np.asarray(features @ weights[:-1] + weights[-1], dtype=np.float32)


def opacity_map(weights: FloatArray, features: FloatArray) -> FloatArray:
    """The probability of an opacity in each cell: (channels + 1,) and (channels, rows, columns) → (rows, columns)."""
    logits = np.einsum("c,cij->ij", weights[:-1], features) + weights[-1]
    # The logistic function, without an exponential that may overflow.
    return np.asarray((1 + np.tanh(logits / 2)) / 2, dtype=np.float32)


def manifest(model: SeverityModel, sha256: str) -> dict[str, Any]:
    """The contents of ``severity.json``; ``sha256``: of the weights."""
    return {
        "schema_version": SCHEMA_VERSION,
        "name": model.name,
        "version": model.version,
        "features": dict(model.features),
        "zone": asdict(model.zone),
        "extent": asdict(model.extent),
        "opacity": asdict(model.opacity),
        "coverage": model.coverage,
        "widths": {name: asdict(width) for name, width in model.widths.items()},
        "files": {WEIGHTS: sha256},
        **model.facts,
    }


def built_in_severity() -> Path:
    """The folder of the severity model that comes with the package."""
    return Path(str(files("pulmoscope") / "bundles" / BUILT_IN))


def load(model: str | Path) -> SeverityModel:
    """Load and verify a severity model: the built-in one by its name, or a folder.

    Raises:
        BundleError: there is none, a file is missing or changed, or the manifest contradicts itself.
    """
    folder = built_in_severity() if str(model) == BUILT_IN else Path(model)
    file = folder / MANIFEST
    if not file.is_file():
        raise BundleError(f"{model}: is neither {BUILT_IN} nor a folder with {MANIFEST}")
    try:
        plain = json.loads(file.read_text(encoding="utf-8"))
        if str(plain["schema_version"]).split(".")[0] != SCHEMA_VERSION.split(".")[0]:
            raise BundleError(f"{file}: schema_version {plain['schema_version']} is not {SCHEMA_VERSION}")
        found = sha256_of_file(folder / WEIGHTS)
        if plain["files"][WEIGHTS] != found:
            raise BundleError(
                f"{folder / WEIGHTS}: was changed after {MANIFEST} was written (sha256 {found})"
            )
        with np.load(folder / WEIGHTS, allow_pickle=False) as arrays:
            return _model(folder, plain, arrays["zone"], arrays["map"])
    except OSError as error:
        raise BundleError(f"{folder}: can't be read ({error.strerror or error})") from error
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise BundleError(f"{file}: is not a valid severity model ({error})") from error


_READ = frozenset(
    {
        *("schema_version", "name", "version", "features", "coverage", "widths", "files"),
        *("zone", "extent", "opacity"),
    }
)
"""What of a manifest is no other fact."""


def _model(folder: Path, plain: Mapping[str, Any], zone: FloatArray, cells: FloatArray) -> SeverityModel:
    if zone.ndim != 1 or zone.shape != cells.shape:
        raise ValueError(f"{WEIGHTS}: zone and map must be two rows of the same length")
    widths = {name: _widths(plain["widths"][name]) for name in MOST}
    return SeverityModel(
        folder=folder,
        name=plain["name"],
        version=plain["version"],
        features={key: str(plain["features"][key]) for key in ("name", "version", "sha256")},
        zone=_hinge(plain["zone"]),
        extent=_hinge(plain["extent"]),
        opacity=_hinge(plain["opacity"]),
        widths=widths,
        coverage=float(plain["coverage"]),
        zone_weights=np.asarray(zone, dtype=np.float32),
        map_weights=np.asarray(cells, dtype=np.float32),
        facts={name: value for name, value in plain.items() if name not in _READ},
    )


def _hinge(plain: Mapping[str, float]) -> Hinge:
    slope, threshold = float(plain["slope"]), float(plain["threshold"])
    if not (slope >= 0 and isfinite(slope) and isfinite(threshold)):
        raise ValueError("a slope must not be below 0, and a threshold must be a number")
    return Hinge(slope, threshold)


def _widths(plain: Mapping[str, Sequence[float]]) -> Widths:
    edges, widths = tuple(map(float, plain["edges"])), tuple(map(float, plain["widths"]))
    if len(widths) != len(edges) + 1 or list(edges) != sorted(edges):
        raise ValueError("widths must be one more than edges, which must increase")
    if not all(width >= 0 for width in widths):
        raise ValueError("a width must not be below 0")
    return Widths(edges, widths)
