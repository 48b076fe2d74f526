"""What is long and thin in a simulated chest: vessels, windpipe and bronchi, ribs and other bones, as rows of balls."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

from pulmoscope.core.types import BoolArray, FloatArray
from pulmoscope.phantoms.ct.anatomy import Chest
from pulmoscope.phantoms.ct.fields import Grid

Points = npt.NDArray[np.float64]
_BITS = 4
_LEAVES = 420  # ends of one tree of vessels in one lung
_ROOT_MM = 4.7
_BRONCHUS = 0.62  # a bronchus is narrower inside than the artery beside it is wide
_MURRAY = 0.40  # a branch's radius goes with its fraction of the ends to this power


@dataclass(frozen=True)
class Balls:
    """Balls along tubes, in the chest's own frame.

    Attributes:
        centre: float64 (n, 3), mm. radius: float64 (n), mm.
        level: float64 (n), how much of its z direction a tube covers there for each mm of its width, at least 1: a
            tube that runs upright fills a slice, one that lies in it does only in part.
    """

    centre: Points
    radius: npt.NDArray[np.float64]
    level: npt.NDArray[np.float64]

    def resized(self, by_mm: float, least_mm: float) -> Balls:
        """The same tubes ``by_mm`` wider, or narrower: those whose radius then is more than ``least_mm``."""
        radius = self.radius + by_mm
        keep = radius > least_mm
        return Balls(self.centre[keep], radius[keep], self.level[keep])


def join(parts: Sequence[Balls]) -> Balls:
    """All balls of several tubes."""
    if not parts:
        return Balls(np.zeros((0, 3)), np.zeros(0), np.zeros(0))
    return Balls(
        np.concatenate([part.centre for part in parts]),
        np.concatenate([part.radius for part in parts]),
        np.concatenate([part.level for part in parts]),
    )


def tube(path: Points, radius: Sequence[float] | npt.NDArray[np.float64], step: float = 0.7) -> Balls:
    """Balls along a path (n, 3) whose radius goes evenly from point to point; ``step`` in radii."""
    radii = np.asarray(radius, dtype=np.float64)
    return tubes(path[:-1], path[1:], radii[:-1], radii[1:], step)


def tubes(
    start: Points,
    stop: Points,
    first: npt.NDArray[np.float64],
    last: npt.NDArray[np.float64],
    step: float = 0.7,
) -> Balls:
    """Balls along straight pieces, from ``start`` to ``stop`` (n, 3) with radius ``first`` to ``last`` (n)."""
    along = stop - start
    length = np.linalg.norm(along, axis=1)
    count = 1 + np.ceil(length / (step * np.maximum(np.minimum(first, last), 0.6))).astype(int)
    piece = np.repeat(np.arange(len(count)), count)
    t = (np.arange(len(piece)) - np.repeat(np.cumsum(count) - count, count)) / np.maximum(count - 1, 1)[piece]
    rise = np.abs(along[:, 2]) / np.maximum(length, 1e-6)
    level = 1 / np.sqrt(np.clip(1 - rise**2, 1e-4, 1))
    return Balls(
        start[piece] + t[:, None] * along[piece], first[piece] + t * (last - first)[piece], level[piece]
    )


def paint(balls: Balls, grid: Grid, z_mm: float) -> FloatArray:
    """How much of each pixel of the slice at ``z_mm`` the balls fill, 0 … 1; float32 (size, size)."""
    image = np.zeros((grid.size, grid.size), dtype=np.uint8)
    half = grid.thickness_mm / 2
    gap = np.maximum(np.abs(balls.centre[:, 2] - z_mm) - half, 0)
    near = np.flatnonzero(gap < balls.radius)
    if not len(near):
        return image.astype(np.float32)
    radius = np.sqrt(balls.radius[near] ** 2 - gap[near] ** 2)
    strength = np.minimum(1, 2 * balls.radius[near] * balls.level[near] / grid.thickness_mm)
    pixels = radius / grid.pixel_mm
    # Thinner than a pixel: fainter instead. A line loses width, an upright tube width and length.
    strength = strength * np.minimum(1, pixels / 0.7) ** (2 - 1 / balls.level[near])
    centres = np.rint(grid.pixels(balls.centre[near]) * 2**_BITS).astype(np.int64)
    sizes = np.rint(np.maximum(pixels, 0.7) * 2**_BITS).astype(np.int64)
    greys = np.rint(255 * strength).astype(np.int64)
    border = (grid.size + 40) << _BITS
    for index in np.argsort(greys, kind="stable"):
        column, row = int(centres[index, 0]), int(centres[index, 1])
        if -border < column < border and -border < row < border:
            cv2.circle(image, (column, row), int(sizes[index]), int(greys[index]), -1, cv2.LINE_AA, _BITS)
    return image.astype(np.float32) / np.float32(255)


def _at(points: Points, left: float, back: float, up: float) -> Points:
    """The points moved by so many mm."""
    return np.asarray(points + np.array([left, back, up]))


@dataclass(frozen=True)
class Trees:
    """Tubes of one chest.

    Attributes:
        vessels: arteries and veins of both lungs.
        windpipe: with the main bronchi, by its inner radius.
        bronchi: within the lungs, by their inner radius.
    """

    vessels: Balls
    windpipe: Balls
    bronchi: Balls


def trees(chest: Chest, targets: Sequence[Points], rng: np.random.Generator) -> Trees:
    """Grow the vessels and the bronchi.

    Args:
        targets: for the right and the left lung, places (n, 3) that a branch may end at.
    """
    vessels: list[Balls] = []
    bronchi: list[Balls] = []
    windpipe = [tube(np.stack([_at(chest.carina, 0, -14, 150), chest.carina]), [8.5, 8.5])]
    for side, points in zip((-1, 1), targets, strict=True):
        hilum = chest.hilum(side)
        windpipe.append(tube(np.stack([chest.carina, _at(hilum, 0, 2, 2)]), [6.6, 5.4]))
        if not len(points):
            continue
        for vein in (False, True):
            ends = points[rng.integers(0, len(points), _LEAVES)]
            tree = _Branches.grow(hilum + np.array([0, -9, -14]) * vein, ends, rng)
            vessels.append(tree.tubes())
            if not vein:
                bronchi.append(tree.bronchi(side).tubes())
        # the pulmonary artery, out of the mediastinum and down to the lower lobe
        root = np.stack([_at(hilum, -side * 24, -6, 2), hilum, _at(hilum, side * 5, 10, -42)])
        vessels.append(tube(root, [9.0, 8.0, 5.0]))
    return Trees(join(vessels), join(windpipe), join(bronchi))


@dataclass(frozen=True)
class _Branches:
    """The pieces of a tree: where each starts and stops, how far its middle lies aside, its radius at both ends.

    ``order`` is how many forks lie before it. float64 (n, 3) and (n).
    """

    start: Points
    stop: Points
    aside: Points
    first: npt.NDArray[np.float64]
    last: npt.NDArray[np.float64]
    order: npt.NDArray[np.float64]

    @classmethod
    def grow(cls, root: Points, ends: Points, rng: np.random.Generator) -> _Branches:
        """Grow a tree that reaches all ``ends`` (n, 3)."""
        rows: list[tuple[Points, Points, float, float, int]] = []
        waiting = [(root, ends, 0)]
        while waiting:
            start, served, order = waiting.pop()
            radius = _ROOT_MM * (len(served) / len(ends)) ** _MURRAY
            if len(served) == 1:
                rows.append((start, served[0], radius, 0.36, order))
                continue
            middle = served.mean(axis=0)
            stop = start + (0.32 if order == 0 else 0.46) * (middle - start)
            rows.append((start, stop, radius, 0.86 * radius, order))
            halves = _halves(served - middle, rng)
            waiting += [(stop, served[half], order + 1) for half in (halves, ~halves)]
        starts, stops, first, last, orders = (
            np.array(column, dtype=np.float64) for column in zip(*rows, strict=True)
        )
        aside = rng.normal(0, 0.06, starts.shape) * np.linalg.norm(stops - starts, axis=1)[:, None]
        return cls(starts, stops, aside, first, last, orders)

    def bronchi(self, side: int) -> _Branches:
        """The airways beside the wider ones of these arteries."""
        wide = (self.order <= 6) & (self.first > 1.0)
        apart = 2.0 * np.array([-side * 0.4, 0.6, 0.4])
        first, last = self.first[wide], self.last[wide]
        return _Branches(
            self.start[wide] + first[:, None] * apart,
            self.stop[wide] + last[:, None] * apart,
            self.aside[wide],
            _BRONCHUS * first,
            _BRONCHUS * last,
            self.order[wide],
        )

    def tubes(self) -> Balls:
        """The pieces as slightly bent tubes."""
        parts = []
        for low, high in ((0.0, 0.25), (0.25, 0.5), (0.5, 0.75), (0.75, 1.0)):
            ends = [
                self.start + t * (self.stop - self.start) + 4 * t * (1 - t) * self.aside for t in (low, high)
            ]
            radii = [self.first + t * (self.last - self.first) for t in (low, high)]
            parts.append(tubes(ends[0], ends[1], radii[0], radii[1]))
        return join(parts)


def _halves(offsets: Points, rng: np.random.Generator) -> BoolArray:
    """Part points about across their longest direction; True for one part, none is empty."""
    farthest = offsets[np.argmax((offsets**2).sum(axis=1))]
    along = offsets @ farthest
    half = along > rng.normal(0, 0.12) * np.abs(along).max()
    if half.all() or not half.any():
        half = np.arange(len(offsets)) % 2 == 0
    return np.asarray(half)


def bones(chest: Chest, rng: np.random.Generator) -> tuple[Balls, Balls]:
    """Ribs, breastbone, collar bones, shoulder blades and vertebral arches: what has marrow, and the rib cartilage."""
    parts: list[Balls] = []
    cartilage: list[Balls] = []
    drop = rng.uniform(0.24, 0.32) * chest.height
    for number in range(12):
        top = (1.03 - 0.083 * number) * chest.height
        whole = np.pi * (0.62 + 0.05 * min(number, 6)) if number < 9 else np.pi * (0.75 - 0.15 * (number - 8))
        angle = np.linspace(0.13 * np.pi, whole, 60)
        height = top - drop * (1 - np.cos(angle)) / 2 * min(1, 0.45 + 0.15 * number)
        for side in (-1, 1):
            path = chest.cage_points(side * angle, height, 5.0)
            parts.append(tube(path, np.full(len(path), 5.2), 0.5))
            if number < 8:
                front = np.array([side * 14.0, -chest.half_depth - 2, height[-1] + 12])
                cartilage.append(tube(np.stack([path[-1], front]), [5.0, 4.5]))
        spine = np.array([0.0, chest.spine_y, top + 6])
        parts.append(tube(np.stack([_at(spine, 0, 24, 0), _at(spine, 0, 50, -18)]), [3.5, 4.0]))
        for side in (-1, 1):
            arch = np.stack(
                [_at(spine, side * 11, 12, 0), _at(spine, side * 12, 24, 0), _at(spine, side * 33, 32, 2)]
            )
            parts.append(tube(arch, [4.5, 4.0, 4.0]))
            lamina = np.stack([_at(spine, side * 12, 22, -3), _at(spine, 0, 31, -8)])
            parts.append(tube(lamina, [3.0, 3.0]))
    parts.append(_breastbone(chest))
    for side in (-1, 1):
        parts.append(_collar(chest, side))
        parts.append(_blade(chest, side, rng))
        if chest.arms_down:
            arm = np.array([side * chest.arm[1], 12.0, 0.0])
            parts.append(tube(np.stack([_at(arm, 0, 0, -60), _at(arm, 0, 0, 330)]), [11.0, 11.0]))
    return join(parts), join(cartilage)


def _breastbone(chest: Chest) -> Balls:
    tall = np.linspace(0.38, 0.94, 40) * chest.height
    front = chest.cage_points(np.full(len(tall), np.pi), tall, 6.0)
    return join(
        [tube(_at(front, across, 0, 0), np.full(len(tall), 5.0), 0.6) for across in (-12, -6, 0, 6, 12)]
    )


def _collar(chest: Chest, side: int) -> Balls:
    top = chest.cage_points(np.array([np.pi]), np.array([0.97 * chest.height]), 4.0)[0]
    path = np.stack(
        [
            _at(top, side * 18, 2, 0),
            _at(top, side * 70, -4, 12),
            _at(top, side * 120, 28, 26),
        ]
    )
    return tube(path, [7.0, 5.5, 6.0])


def _blade(chest: Chest, side: int, rng: np.random.Generator) -> Balls:
    """A thin plate behind the ribs, with its spine and the socket."""
    parts = []
    tilt = rng.uniform(-0.08, 0.08)
    for up in np.arange(0.56, 0.98, 0.02):
        angle = np.linspace((0.24 + tilt + 0.10 * (0.98 - up)) * np.pi, (0.44 + tilt * 0.5) * np.pi, 18)
        path = chest.cage_points(side * angle, np.full(len(angle), up * chest.height), 21.0)
        path[:, 0] += side * 12 * np.linspace(0, 1, len(angle)) * (up - 0.5) * 2
        parts.append(tube(path, np.full(len(angle), 2.4), 0.9))
    ridge = chest.cage_points(
        side * np.linspace(0.22, 0.42, 12) * np.pi, np.linspace(0.86, 0.99, 12) * chest.height, 31.0
    )
    parts.append(tube(ridge, np.full(12, 3.6)))
    return join(parts)
