"""A radiograph beside an earlier one: how the change gets into its diagnosis, and what is drawn of both."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from time import perf_counter

import cv2
import numpy as np

from pulmoscope.core.change import ScoredXray, XrayChange
from pulmoscope.core.types import Box, Diagnosis
from pulmoscope.core.xray_severity import Estimate
from pulmoscope.inference.change.xray import change_of, to_compare
from pulmoscope.pipeline.change.earlier import about_earlier
from pulmoscope.pipeline.pictures.xray import data_jpeg, grey
from pulmoscope.preprocess.framing import crop
from pulmoscope.report.change.words import signed
from pulmoscope.report.change.xray import DrawnXray, DrawnZone, XrayPair

_WIDTH = 420
"""Of a picture, px."""
_MARGIN = 0.12
"""Around the lungs, of their width."""
_TALLEST = 1.6
"""Of a picture, times its width: of lungs with an impossible shape the middle is shown."""


def compared(diagnosis: Diagnosis, earlier: Callable[[], Diagnosis]) -> Diagnosis:
    """A radiograph's diagnosis with what has changed since an earlier one.

    Args:
        earlier: diagnoses the earlier one, in the same way.

    Raises:
        InputError: one of the two can't be compared.
    """
    start = perf_counter()
    now = to_compare(diagnosis)
    with about_earlier(diagnosis.scan):
        before = to_compare(earlier())
    change = change_of(now, before)
    return replace(
        diagnosis, change=change, timings_s={**diagnosis.timings_s, "compare": perf_counter() - start}
    )


def xray_pair(change: XrayChange) -> XrayPair:
    """Both radiographs with their zones, in equal frames in which the lungs are equally wide.

    Their width is the scale, as few files say how large a pixel is, and how deep a patient has breathed in changes the
    lungs' height.
    """
    both = change.earlier, change.now
    tall = min(_TALLEST, (max(one.lungs[2] / one.lungs[3] for one in both) + 2 * _MARGIN) / (1 + 2 * _MARGIN))
    earlier, now = (_Frame.of(one, tall) for one in both)
    return XrayPair(earlier.drawn({}), now.drawn(change.zones))


@dataclass(frozen=True)
class _Frame:
    """The part of a radiograph that is shown: around the middle of the lungs."""

    xray: ScoredXray
    box: Box

    @classmethod
    def of(cls, xray: ScoredXray, tall: float) -> _Frame:
        """So many times as tall as wide."""
        top, left, height, width = xray.lungs
        columns = round(width * (1 + 2 * _MARGIN))
        rows = round(columns * tall)
        return cls(xray, Box(top + (height - rows) // 2, left + (width - columns) // 2, rows, columns))

    def drawn(self, changes: Mapping[str, Estimate]) -> DrawnXray:
        """The picture, with each zone's score and, where there is one, its difference."""
        scale = _WIDTH / self.box.width
        size = _WIDTH, round(self.box.height * scale)
        method = cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR
        pixels = cv2.resize(crop(self.xray.scan.pixels[0], self.box), size, interpolation=method)
        zones = tuple(
            DrawnZone(
                name,
                scale * (zone.left - self.box.left),
                scale * (zone.top - self.box.top),
                scale * zone.width,
                scale * zone.height,
                _label(zone.score, changes.get(name)),
            )
            for name, zone in self.xray.severity.zones.items()
        )
        return DrawnXray(data_jpeg(grey(np.asarray(pixels, dtype=np.float32))), *size, zones)


def _label(score: Estimate, change: Estimate | None) -> str:
    """A score, and how it has changed."""
    return f"{score.value:.1f}" if change is None else signed(f"{score.value:.1f} ({change.value:+.1f})")
