"""How ill a radiograph is: the severity model on the features that the diagnosis has computed anyway."""

from __future__ import annotations

import threading
from pathlib import Path

import cv2
import numpy as np

from pulmoscope.core.errors import BundleError
from pulmoscope.core.types import Box, FloatArray, Scan
from pulmoscope.core.xray_severity import ZONES, XraySeverity, Zone
from pulmoscope.inference.image import SeenImage
from pulmoscope.runtime.model import Model, Outputs
from pulmoscope.runtime.xray_severity import BUILT_IN, SeverityModel, load
from pulmoscope.segment.xray_zones import LungZones, lung_zones, nearness, zone_weights

MAP_SIDE = 40
"""Side of the map of opacities, cells: that of the network is far coarser, but the lungs' border is not."""


class SeverityReader:
    """A severity model and the X-ray model whose features it reads. Thread-safe.

    The X-ray model is opened when an image comes that was diagnosed by another one: its features have to be computed
    for the severity alone.
    """

    def __init__(self, model: SeverityModel) -> None:
        self.model = model
        self._identity = model.identity
        self._lock = threading.Lock()
        self._features: Model | None = None

    @classmethod
    def open(cls, model: str | Path = BUILT_IN) -> SeverityReader:
        """The built-in severity model, or a folder's (errors: BundleError)."""
        return cls(load(model))

    def estimate(
        self, scan: Scan, model: Model, seen: SeenImage, outputs: Outputs, index: int = 0
    ) -> XraySeverity | None:
        """The severity of a radiograph whose quality allows a prediction; None where no lungs are seen.

        Args:
            model: that has diagnosed it, from ``seen``, to ``outputs``.
            index: of the radiograph in the batch of ``outputs``.

        Raises:
            BundleError: the X-ray model whose features are read is not there.
        """
        if self._reads(model):
            prepared, features = seen.prepared, outputs.features[index]
        else:
            reader = self.open_features()
            prepared = reader.prepare(scan.pixels[0])
            features = reader.predict(prepared.tensor[None]).features[0]
        rows, columns = scan.pixels.shape[1:]
        zones = None if prepared.lungs is None else lung_zones(prepared.lungs, rows, columns)
        if zones is None:
            return None
        box = prepared.framed.box
        weights = zone_weights(zones, box, (rows, columns), (features.shape[1], features.shape[2]))
        scores = self.model.scores(np.asarray(features, dtype=np.float32), weights)
        return XraySeverity(
            extent=self.model.estimate("extent", scores.extent),
            opacity=self.model.estimate("opacity", scores.opacity),
            brixia=self.model.estimate("brixia", scores.brixia),
            zones={
                zone: Zone(
                    self.model.estimate("zone", float(score)),
                    *(zones.boxes[zone].top, zones.boxes[zone].left),
                    *(zones.boxes[zone].height, zones.boxes[zone].width),
                )
                for zone, score in zip(ZONES, scores.zones, strict=True)
            },
            coverage=self.model.coverage,
            model=self._identity,
            cells=near_lungs(scores.cells, zones, box, (rows, columns)),
            box=(box.top, box.left, box.height, box.width),
            limits=_limits(zones),
        )

    def _reads(self, model: Model) -> bool:
        """Whether a model's features are those that the severity model learnt from."""
        return model.bundle.files.get(model.bundle.network) == self.model.features["sha256"]

    def open_features(self) -> Model:
        """The X-ray model whose features are read, opened when it is first asked for.

        Raises:
            BundleError: it is not there, or another network is.
        """
        with self._lock:
            if self._features is None:
                name, version, sha256 = (self.model.features[key] for key in ("name", "version", "sha256"))
                try:
                    opened = Model.load(name)
                except BundleError as error:
                    raise BundleError(
                        f"{self.model.folder}: reads the features of {name} {version}, by which the radiographs "
                        f"must be diagnosed, too (--model): {error}"
                    ) from error
                if not self._reads(opened):
                    raise BundleError(
                        f"{self.model.folder}: reads the features of {name} {version} (network {sha256[:12]}); "
                        f"{name} {opened.bundle.version} here has another network"
                    )
                self._features = opened
            return self._features


def near_lungs(cells: FloatArray, zones: LungZones, box: Box, shape: tuple[int, int]) -> FloatArray:
    """A map of opacities as far as it lies in the lungs or at their rim: float32 (MAP_SIDE, MAP_SIDE) over the box.

    Args:
        cells: float32 (rows, columns), as the severity model gives it.
        zones: of the radiograph, whose size is ``shape``.
    """
    fine = cv2.resize(cells, (MAP_SIDE, MAP_SIDE), interpolation=cv2.INTER_LINEAR)
    return np.asarray(fine * nearness(zones, box, shape, MAP_SIDE), dtype=np.float32)


def _limits(zones: LungZones) -> tuple[str, ...]:
    """What the scores of this radiograph lack."""
    if not zones.unseen:
        return ()
    which = ", ".join(zones.unseen)
    return (
        f"In zone{'s' * (len(zones.unseen) > 1)} {which} the lung finder sees no lung, which may be dense or hidden; "
        "what lies there was scored.",
    )
