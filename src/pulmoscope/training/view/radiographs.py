"""Training pictures for the view network: real ones, varied, and what can be made of frontal radiographs.

Two radiographs in one picture, parts, turned radiographs, negatives, radiographs under a heat map, and synthetic
pictures of no radiograph at all are made anew for every batch; the rest is real. Everything is varied: aspect, place,
exposure, sharpness, noise, letters and frames.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import cv2
import numpy as np
import numpy.typing as npt

from pulmoscope.core.types import FloatArray
from pulmoscope.preprocess.views import VIEWS, view_input
from pulmoscope.training.view import simulated as view_drawn

STORED = 160
"""Longest side, px, at which pictures are kept in memory."""

Picture = npt.NDArray[np.uint8]


def stored(pixels: FloatArray) -> Picture:
    """A picture (rows, columns) in [0, 1] as it is kept: uint8, at most :data:`STORED` a side."""
    scale = STORED / max(pixels.shape)
    if scale < 1:
        rows, columns = (max(1, round(side * scale)) for side in pixels.shape)
        pixels = cv2.resize(pixels, (columns, rows), interpolation=cv2.INTER_AREA)
    return np.rint(np.clip(pixels, 0, 1) * 255).astype(np.uint8)


class ViewFilms:
    """Draws batches of varied pictures.

    Args:
        pictures: view → pictures of it, uint8 (rows, columns); ``frontal`` must be among them.
        shares: view → its fraction of a batch. Of a view without pictures that can't be made none is drawn.
        seed: of every draw; the same seed gives the same batches.
    """

    def __init__(
        self, pictures: Mapping[str, Sequence[Picture]], shares: Mapping[str, float], seed: int
    ) -> None:
        self.pictures = pictures
        self.random = np.random.default_rng(seed)
        self.made: Mapping[str, Callable[[], FloatArray]] = {
            "two-films": self._two,
            "part": self._part,
            "turned": self._turned,
            "negative": lambda: 1 - self._film(),
            "heat-map": lambda: view_drawn.heat_map(self._film(), self.random),
            "other": self._other,
        }
        self.views = [name for name in VIEWS if name in self.made or pictures.get(name)]
        weights = np.array([shares[name] for name in self.views])
        self.weights = weights / weights.sum()

    def batch(self, size: int) -> tuple[FloatArray, npt.NDArray[np.int64]]:
        """Pictures (size, 1, side, side) as ``preprocess.views.view_input`` gives them, and their views' numbers."""
        chosen = self.random.choice(len(self.views), size, p=self.weights)
        images = np.stack([view_input(self.picture(self.views[number])) for number in chosen])
        return images, np.array([VIEWS.index(self.views[number]) for number in chosen], dtype=np.int64)

    def picture(self, view: str) -> FloatArray:
        """One varied picture of a view, float32 (rows, columns) in [0, 1]."""
        if view in ("frontal", "child"):
            image = self._varied(self._real(view), 12, (0.8, 1.12))
        elif view == "lateral":
            image = self._varied(self._real(view), 15, (0.6, 1.25))
        elif view in ("body-part", "ct"):
            turn = 180 if view == "body-part" else 20
            image = self._varied(self._real(view), turn, (0.6, 1.4))
            image = 1 - image if self._coin(0.1) else image
        else:
            image = self.made[view]()
        image = self._exposed(image)
        self._clutter(image)
        return image

    def _film(self) -> FloatArray:
        """A frontal radiograph, gently varied."""
        view = "child" if self.pictures.get("child") and self._coin(0.12) else "frontal"
        return self._varied(self._real(view), 8, (0.9, 1.1))

    def _real(self, view: str) -> FloatArray:
        pictures = self.pictures[view]
        return np.asarray(pictures[self._whole(0, len(pictures) - 1)], dtype=np.float32) / np.float32(255)

    def _two(self) -> FloatArray:
        """Two or more radiographs in one picture, side by side or one above the other."""
        side = STORED
        count = 2 if self._coin(0.85) else self._whole(3, 4)
        first = self._film()
        parts = [first] + [first if self._coin(0.2) else self._any_film() for _ in range(count - 1)]
        aspect = self.random.uniform(0.75, 1.25)
        gap = round(self.random.choice([0, 0, 0.02, 0.06]) * side)
        grey = self.random.choice([0.0, 0.0, 0.5, 1.0])
        parts = [cv2.resize(each, (round(side * aspect), side)) for each in parts]
        parts = [cv2.copyMakeBorder(each, 0, 0, 0, gap, cv2.BORDER_CONSTANT, value=grey) for each in parts]
        if count == 4:
            image = np.vstack([np.hstack(parts[:2]), np.hstack(parts[2:])])
        elif self._coin(0.7):
            image = np.hstack(parts)
        else:
            image = np.vstack(parts)
        if self._coin(0.3):  # squeezed to the shape of one radiograph
            image = cv2.resize(image, (side, side), interpolation=cv2.INTER_AREA)
        return np.asarray(image, dtype=np.float32)

    def _any_film(self) -> FloatArray:
        if self.pictures.get("lateral") and self._coin(0.2):
            return self._varied(self._real("lateral"), 8, (0.9, 1.1))
        return self._film()

    def _part(self) -> FloatArray:
        """A half of a radiograph, or a smaller part of it."""
        image = self._film()
        rows, columns = image.shape
        if self._coin(0.75):
            keep = self.random.uniform(0.38, 0.58)
            edge = self._whole(0, 3)
            high, wide = (round(keep * rows), columns) if edge < 2 else (rows, round(keep * columns))
            top, left = (rows - high if edge == 1 else 0), (columns - wide if edge == 3 else 0)
        else:
            keep = self.random.uniform(0.22, 0.5)
            high, wide = round(keep * rows), round(keep * columns)
            top, left = (self._whole(0, spare) for spare in (rows - high, columns - wide))
        part = image[top : top + high, left : left + wide]
        if self._coin(0.3):  # as if it were a whole radiograph
            part = cv2.resize(part, (columns, rows))
        elif self._coin(0.25):  # the rest is black
            black = np.zeros_like(image)
            black[top : top + high, left : left + wide] = part
            part = black
        return np.ascontiguousarray(part, dtype=np.float32)

    def _turned(self) -> FloatArray:
        image = self._film()
        how = self._whole(0, 5)
        if how < 3:
            return np.ascontiguousarray(np.rot90(image, how + 1))
        if how == 3:
            return np.ascontiguousarray(image[::-1])
        angle = self.random.uniform(28, 150) * self.random.choice([-1, 1])
        return self._moved(image, angle, 1.0, 0, 0)

    def _other(self) -> FloatArray:
        """A photograph or the like where there is one, or a drawn picture."""
        if self.pictures.get("other") and self._coin(0.4):
            image = self._varied(self._real("other"), 30, (0.6, 1.6))
            return image[::-1].copy() if self._coin(0.2) else image
        return view_drawn.picture(self._film(), self.random)

    def _varied(self, image: FloatArray, turn: float, scales: tuple[float, float]) -> FloatArray:
        """Turned by up to ``turn`` degrees, squeezed, scaled and shifted; mirrored in half of the cases."""
        angle = self.random.uniform(-turn, turn)
        squeeze = np.exp(self.random.uniform(-0.22, 0.22))
        scale = np.exp(self.random.uniform(*np.log(scales)))
        rows, columns = image.shape
        image = cv2.resize(
            image,
            (max(8, round(columns * squeeze)), max(8, round(rows / squeeze))),
            interpolation=cv2.INTER_LINEAR,
        )
        across, down = self.random.uniform(-0.06, 0.06, 2)
        image = self._moved(image, angle, scale, across, down)
        return image[:, ::-1].copy() if self._coin(0.5) else image

    def _moved(self, image: FloatArray, angle: float, scale: float, across: float, down: float) -> FloatArray:
        rows, columns = image.shape
        matrix = cv2.getRotationMatrix2D(((columns - 1) / 2, (rows - 1) / 2), angle, scale)
        matrix[:, 2] += across * columns, down * rows
        border = float(self.random.choice([0, 0, 0, self.random.random()]))
        mode = cv2.BORDER_REPLICATE if self._coin(0.3) else cv2.BORDER_CONSTANT
        moved = cv2.warpAffine(image, matrix, (columns, rows), borderMode=mode, borderValue=border)
        return np.asarray(moved, dtype=np.float32)

    def _exposed(self, image: FloatArray) -> FloatArray:
        """Gamma, local contrast, brightness, sharpness, blur and noise."""
        image = np.clip(image, 0, 1) ** np.float32(np.exp(self.random.uniform(-0.7, 0.7)))
        if self._coin(0.25):
            mean = cv2.blur(image, (31, 31))
            spread = np.sqrt(cv2.blur((image - mean) ** 2, (31, 31)) + 1e-3)
            local = self.random.uniform(0.3, 1)
            image = image * (1 - local) + local * (0.5 + 0.2 * (image - mean) / spread)
        if self._coin(0.3):
            across, down = self.random.uniform(-0.3, 0.3, 2).astype(np.float32)
            slope = np.linspace(-across, across, image.shape[1], dtype=np.float32)[None]
            image = image + slope + np.linspace(-down, down, image.shape[0], dtype=np.float32)[:, None]
        image = image * self.random.uniform(0.4, 1.25) + self.random.uniform(-0.15, 0.3)
        if self._coin(0.3):
            image = image + (image - cv2.blur(image, (3, 3))) * self.random.uniform(0, 1.5)
        elif self._coin(0.4):
            image = cv2.GaussianBlur(image, (0, 0), self.random.uniform(0.4, 2.5))
        if self._coin(0.3):
            noise = self.random.standard_normal(image.shape, dtype=np.float32)
            image = image + noise * np.float32(self.random.uniform(0, 0.06))
        return np.asarray(np.clip(image, 0, 1), dtype=np.float32)

    def _clutter(self, image: FloatArray) -> None:
        """Boxes like markers, letters, and flat bars along the borders."""
        rows, columns = image.shape
        if self._coin(0.3):
            for _ in range(self._whole(1, 3)):
                high, wide = self._whole(2, 2 + rows // 10), self._whole(2, 2 + columns // 6)
                top, left = self._whole(0, rows - high - 1), self._whole(0, columns - wide - 1)
                image[top : top + high, left : left + wide] = self.random.choice([0, 0.5, 1.0])
        if self._coin(0.3):
            position = (self._whole(0, columns - 1), self._whole(0, rows - 1))
            size = float(self.random.uniform(0.3, 1.0))
            text = "".join(self.random.choice(list("LRDIAP 0123")) for _ in range(self._whole(1, 5)))
            view_drawn.write(image, text, position, size, 1.0)
        if self._coin(0.2):
            bar = self._whole(1, 1 + min(rows, columns) // 12)
            grey = self.random.choice([0.0, 0.0, 1.0])
            lying = image if self._coin(0.5) else image.T
            lying[:bar] = lying[-bar:] = grey

    def _whole(self, low: int, high: int) -> int:
        """A whole number from ``low`` to ``high``, both of them possible."""
        return int(self.random.integers(low, high + 1))

    def _coin(self, probability: float) -> bool:
        return bool(self.random.random() < probability)
