"""The shapes of a simulated chest: where lungs, heart, bones and vessels lie on a frontal radiograph.

Everything is laid out on a unit square, x to the right, y down, and then moved by one affine map per phantom.
Left and right are those of the image; the patient's right lung is on the image's left.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

from pulmoscope.core.types import FloatArray

Points = npt.NDArray[np.float64]

_SUBPIXEL_BITS = 4


@dataclass(frozen=True)
class Canvas:
    """Draws shapes given on the unit square onto a square image.

    Attributes:
        size: side of the image, px.
        placement: affine map of the unit square, float64 (2, 3).
    """

    size: int
    placement: Points

    def _pixels(self, points: Points) -> npt.NDArray[np.int32]:
        placed = points @ self.placement[:, :2].T + self.placement[:, 2]
        return np.asarray(np.rint((placed * self.size - 0.5) * 2**_SUBPIXEL_BITS), dtype=np.int32)

    def area(self, outline: Points) -> FloatArray:
        """A filled smooth outline; float32 (size, size), 1 inside."""
        mask = np.zeros((self.size, self.size), dtype=np.uint8)
        cv2.fillPoly(mask, [self._pixels(outline)], 255, cv2.LINE_AA, _SUBPIXEL_BITS)
        return mask.astype(np.float32) / np.float32(255)

    def lines(self, paths: Sequence[Points], widths: Sequence[float]) -> FloatArray:
        """Lines of the given widths (fractions of the side); float32 (size, size), 1 on a line."""
        mask = np.zeros((self.size, self.size), dtype=np.uint8)
        for path, width in zip(paths, widths, strict=True):
            strength, thickness = 255, max(1, round(width * self.size))
            if width * self.size < 1:  # a line thinner than a pixel is fainter instead
                strength = round(255 * width * self.size)
            cv2.polylines(mask, [self._pixels(path)], False, strength, thickness, cv2.LINE_AA, _SUBPIXEL_BITS)
        return mask.astype(np.float32) / np.float32(255)

    def blur(self, field: FloatArray, sigma: float) -> FloatArray:
        """Gaussian blur; ``sigma`` is a fraction of the side."""
        return np.asarray(cv2.GaussianBlur(field, (0, 0), max(0.3, sigma * self.size)), dtype=np.float32)

    def depth(self, area: FloatArray, reach: float) -> FloatArray:
        """How thick a rounded body with this outline is: rises like a circle's chord, flat beyond ``reach``."""
        inside = np.asarray(area > 0.5, dtype=np.uint8)
        distance = cv2.distanceTransform(inside, cv2.DIST_L2, 3) / (reach * self.size)
        chord = np.sqrt(1 - np.square(1 - np.clip(distance, 0, 1)))
        return self.blur(np.asarray(chord, dtype=np.float32), 0.003)


def smooth(points: Sequence[tuple[float, float]] | Points, closed: bool = True, steps: int = 12) -> Points:
    """A curve through the points (Catmull-Rom spline); float64 (points drawn, 2)."""
    knots = np.asarray(points, dtype=np.float64)
    padded = np.vstack([knots[-1], knots, knots[:2]]) if closed else np.vstack([knots[0], knots, knots[-1]])
    t = np.linspace(0, 1, steps, endpoint=False)[:, None]
    pieces = [
        0.5 * (2 * b + (c - a) * t + (2 * a - 5 * b + 4 * c - d) * t**2 + (3 * b - a - 3 * c + d) * t**3)
        for a, b, c, d in zip(padded[:-3], padded[1:-2], padded[2:-1], padded[3:], strict=True)
    ]
    return np.vstack([*pieces, padded[-2][None]])


@dataclass(frozen=True)
class Anatomy:
    """What varies from chest to chest, in units of the side.

    Attributes:
        heart: how far the left heart border reaches beyond its usual place.
        dome_left, dome_right: how much lower than usual the two diaphragm domes stand (image's left and right).
        wall: how far the lateral lung borders lie outside their usual place.
        apex: how much lower than usual the lung tips are.
        rib_drop: how steeply the ribs fall towards the side.
        wobble: small shifts of the outlines' points, float64 (32, 2).
    """

    heart: float
    dome_left: float
    dome_right: float
    wall: float
    apex: float
    rib_drop: float
    wobble: Points

    @classmethod
    def draw(cls, rng: np.random.Generator) -> Anatomy:
        """A random chest."""
        dome = np.clip(rng.normal(0, 0.03), -0.07, 0.06)
        return cls(
            heart=float(np.clip(rng.normal(0, 0.022), -0.04, 0.05)),
            dome_left=float(dome + rng.normal(0, 0.008)),
            dome_right=float(dome + 0.014 + rng.normal(0, 0.008)),
            wall=float(np.clip(rng.normal(0, 0.012), -0.025, 0.02)),
            apex=float(rng.normal(0, 0.01)),
            rib_drop=float(rng.uniform(0.06, 0.13)),
            wobble=rng.normal(0, 0.0035, (32, 2)),
        )

    def left_lung(self) -> Points:
        """The lung on the image's left: three lobes, the liver's dome below it."""
        w, d, a = self.wall, self.dome_left, self.apex
        knots = [
            (0.360, 0.125 + a), (0.408, 0.160 + a), (0.432, 0.240), (0.430, 0.330), (0.424, 0.420),
            (0.418, 0.500), (0.400, 0.590), (0.396, 0.660), (0.400, 0.715 + d), (0.345, 0.690 + d),
            (0.275, 0.678 + d), (0.200, 0.705 + d), (0.148, 0.752 + d), (0.112 - w, 0.812 + d),
            (0.098 - w, 0.740 + d), (0.092 - w, 0.620), (0.100 - w, 0.500), (0.122 - w, 0.380),
            (0.162 - w, 0.275), (0.222 - w / 2, 0.190), (0.295, 0.138 + a),
        ]  # fmt: skip
        return smooth(np.asarray(knots) + self.wobble[: len(knots)])

    def right_lung(self) -> Points:
        """The lung on the image's right: notched by the aortic arch and the heart."""
        w, d, a, h = self.wall, self.dome_right, self.apex, self.heart
        knots = [
            (0.640, 0.125 + a), (0.705, 0.138 + a), (0.778 + w / 2, 0.190), (0.838 + w, 0.275),
            (0.878 + w, 0.380), (0.900 + w, 0.500), (0.908 + w, 0.620), (0.904 + w, 0.740 + d),
            (0.890 + w, 0.822 + d), (0.850, 0.760 + d), (0.805, 0.715 + d), (0.755 + h / 2, 0.700 + d),
            (0.712 + h, 0.712 + d), (0.704 + h, 0.655), (0.678 + h, 0.580), (0.636 + h / 2, 0.500),
            (0.596, 0.425), (0.580, 0.370), (0.588, 0.315), (0.572, 0.265), (0.566, 0.215),
            (0.592, 0.160 + a),
        ]  # fmt: skip
        return smooth(np.asarray(knots) + self.wobble[: len(knots)])

    def heart_shadow(self) -> Points:
        """Heart with the great vessels' pedicle above it."""
        h, d = self.heart, (self.dome_left + self.dome_right) / 2
        knots = [
            (0.452, 0.230), (0.440, 0.330), (0.434, 0.430), (0.414, 0.520), (0.394, 0.610),
            (0.398, 0.710 + d), (0.470, 0.765 + d), (0.580, 0.775 + d), (0.680 + h, 0.745 + d),
            (0.714 + h, 0.690 + d), (0.690 + h, 0.595), (0.640 + h / 2, 0.500), (0.594, 0.420),
            (0.578, 0.365), (0.592, 0.310), (0.570, 0.262), (0.545, 0.225),
        ]  # fmt: skip
        return smooth(knots)

    def body(self) -> Points:
        """Neck, shoulders with upper arms, chest wall and waist; runs out of the picture."""
        w = self.wall
        half = [
            (0.440, -0.10), (0.428, 0.000), (0.395, 0.055), (0.290, 0.082), (0.150, 0.095),
            (0.020, 0.122), (-0.120, 0.200), (-0.300, 0.400), (-0.340, 1.000), (-0.180, 1.000),
            (-0.075, 0.760), (-0.008 - w, 0.535), (0.026 - w, 0.610), (0.030 - w, 0.750),
            (0.024 - w, 0.900), (0.016 - w, 1.150),
        ]  # fmt: skip
        return smooth([*half, *[(1 - x, y) for x, y in reversed(half)]])

    def abdomen(self) -> Points:
        """What lies below the two diaphragm domes."""
        left, right = self.dome_left, self.dome_right
        knots = [
            (0.000, 0.86 + left), (0.105, 0.820 + left), (0.200, 0.712 + left), (0.275, 0.684 + left),
            (0.360, 0.700 + left), (0.440, 0.745 + left), (0.560, 0.755 + right), (0.680, 0.725 + right),
            (0.760, 0.706 + right), (0.810, 0.722 + right), (0.895, 0.830 + right), (1.000, 0.87 + right),
            (1.150, 1.200), (-0.150, 1.200),
        ]  # fmt: skip
        return smooth(knots)

    def posterior_ribs(self) -> list[Points]:
        """Ten pairs of back ribs: level at the spine, falling towards the side."""
        s = np.linspace(0, 1, 16)
        ribs = []
        for number in range(10):
            start = 0.135 + 0.062 * number
            reach = 0.150 + 0.245 * np.sqrt(min(1.0, (number + 0.4) / 5)) + self.wall
            fall = self.rib_drop * (0.7 + 0.13 * number)
            y = start - 0.026 * np.sin(np.pi * np.minimum(1, s * 1.4)) + fall * s**1.9
            x = 0.035 + reach * np.sin(s * np.pi / 2) ** 0.92
            ribs += [np.stack([0.5 + side * x, y], axis=1) for side in (-1, 1)]
        return ribs

    def anterior_ribs(self) -> list[Points]:
        """Six pairs of front ribs: from the side downwards to the middle, ending where cartilage begins."""
        s = np.linspace(0, 1, 12)
        ribs = []
        for number in range(6):
            start = 0.255 + 0.078 * number
            wide = 0.300 + 0.110 * np.sqrt((number + 0.3) / 6) + self.wall
            end = 0.115 + 0.022 * number
            x = wide + (end - wide) * s
            y = start + 0.105 * s**0.85 + 0.02 * np.sin(np.pi * s)
            ribs += [np.stack([0.5 + side * x, y], axis=1) for side in (-1, 1)]
        return ribs

    def clavicles(self) -> list[Points]:
        """The two collar bones, each a flat S from the breast bone outwards."""
        half = [(0.032, 0.215), (0.110, 0.194), (0.200, 0.174), (0.290, 0.146), (0.385, 0.142)]
        return [smooth([(0.5 + side * x, y) for x, y in half], closed=False) for side in (-1, 1)]

    def arms(self) -> list[Points]:
        """The two upper arm bones: from the head in the shoulder joint down and out of the picture."""
        return [
            np.array([[0.5 + side * x, y] for x, y in ((0.425, 0.165), (0.470, 0.240), (0.545, 0.620))])
            for side in (-1, 1)
        ]

    def scapulae(self) -> list[Points]:
        """The inner edges of the two shoulder blades."""
        half = [
            (0.300, 0.170),
            (0.350, 0.260),
            (0.392, 0.360),
            (0.410, 0.455),
            (0.440, 0.400),
            (0.455, 0.300),
        ]
        return [smooth([(0.5 + side * x, y) for x, y in half], closed=False) for side in (-1, 1)]


def vessels(
    rng: np.random.Generator, hilum: tuple[float, float], side: int
) -> tuple[list[Points], list[float]]:
    """Pulmonary vessels: a tree that leaves the hilum and thins out. ``side``: -1 image's left, +1 right."""
    paths: list[Points] = []
    widths: list[float] = []
    start = np.asarray(hilum)
    queue = [
        (start + rng.normal(0, 0.008, 2), angle + rng.normal(0, 0.12), rng.uniform(0.0065, 0.0105), 0)
        for angle in np.linspace(-1.25, 1.35, 7)
    ]
    while queue:
        point, angle, width, order = queue.pop()
        length = rng.uniform(0.05, 0.085) * 0.92**order
        turns = angle + np.cumsum(rng.normal(0, 0.12, 4))
        steps = np.stack([side * np.cos(turns), np.sin(turns)], axis=1) * length / 4
        path = np.concatenate([point[None], point + np.cumsum(steps, axis=0)])
        paths.append(path)
        widths.append(width)
        if order < 4:
            spread = rng.uniform(0.18, 0.5)
            queue.append((path[-1], angle + spread / 2, width * rng.uniform(0.62, 0.82), order + 1))
            if rng.random() < 0.62:
                queue.append((path[-1], angle - spread, width * rng.uniform(0.5, 0.7), order + 1))
    return paths, widths
