"""A simulated chest CT: synthetic, of no patient, different with every seed; with the truth about its lesions.

For demonstrations, tests and trainings that need a known truth. It looks like a chest CT to a person and to a lung
finder; it is no model of CT physics and no evidence about disease.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from types import MappingProxyType

import cv2
import numpy as np
import numpy.typing as npt

from pulmoscope.core.types import BoolArray, Bytes, FloatArray
from pulmoscope.phantoms.ct.acquisition import Acquisition, Value, check_nuisances, draw_nuisances
from pulmoscope.phantoms.ct.anatomy import AIR, FAT, MUSCLE, Chest, Organs, organs
from pulmoscope.phantoms.ct.fields import Grid, cover, smoothstep
from pulmoscope.phantoms.ct.grades import GRADES, graded
from pulmoscope.phantoms.ct.lesions import LABELS, LOBES, Disease, Everyday, disease, everyday, lobar
from pulmoscope.phantoms.ct.tubes import Balls, Trees, bones, join, paint, trees, tube

MIN_INFECTED_MM2 = 100.0
"""A slice is infected when at least so much area of lesion lies in it."""
RIGHT, LEFT = 1, 2
_SLICES = 60
_MARGINS_MM = ((8.0, 30.0), (6.0, 22.0))
_WIDE_MARGINS_MM = ((15.0, 60.0), (10.0, 35.0))  # where the step is given, as in a survey with thick steps


def _lobar(lobe: str, chest: Chest, body: Organs, grid: Grid, rng: np.random.Generator) -> Disease:
    return lobar(lobe, body, grid, rng)


_DISEASES: Mapping[str, Callable[[Chest, Organs, Grid, np.random.Generator], Disease | None]] = (
    MappingProxyType(
        {label: partial(disease, label) for label in LABELS}
        | {grade: partial(graded, grade) for grade in GRADES}
        | {lobe: partial(_lobar, lobe) for lobe in LOBES}
    )
)


@dataclass(frozen=True)
class CtPhantom:
    """A synthetic chest CT and the truth about it. Slices feet to head, rows to the back, columns to the left.

    Attributes:
        hu: int16 (slices, rows, columns).
        spacing_mm: (slice, row, column).
        label: ``Normal``, ``COVID`` or ``CAP``; a grade, ``CT-0`` … ``CT-4``; or an airless lobe.
        lungs: uint8 like ``hu``: 0 outside, 1 right lung, 2 left lung; lesions belong to the lungs.
        lesions: bool like ``hu``.
        affected: how much of both lungs together is lesion, percent, counted in the masks.
        affected_right, affected_left: how much of each lung is, likewise.
        infected: per slice, whether at least :data:`MIN_INFECTED_MM2` of lesion lie in it.
        nuisances: how it was scanned (see :data:`pulmoscope.phantoms.ct.acquisition.NUISANCES`).
    """

    hu: npt.NDArray[np.int16]
    spacing_mm: tuple[float, float, float]
    label: str
    lungs: Bytes
    lesions: BoolArray
    affected: float
    affected_left: float
    affected_right: float
    infected: tuple[bool, ...]
    nuisances: Mapping[str, Value]


def draw(
    label: str,
    seed: int | tuple[int, ...],
    *,
    slices: int | None = None,
    step_mm: float | None = None,
    size: int = 256,
    nuisances: Mapping[str, Value] | None = None,
) -> CtPhantom:
    """Draw a synthetic chest CT with its truth. Equal arguments give equal voxels.

    Person, scan and noise depend on the seed only: the same seed with another label is the same chest, ill or well.

    Args:
        label: see :data:`pulmoscope.phantoms.ct.lesions.LABELS`, :data:`pulmoscope.phantoms.ct.grades.GRADES` and
            :data:`pulmoscope.phantoms.ct.lesions.LOBES`.
        seed: a number, or several.
        slices: how many, 60 by default; from below the lungs to above them, so that more are nearer to each other.
        step_mm: how far apart instead; then the size of the chest says how many.
        size: rows and columns; at least 64.
        nuisances: some or all of them; the others are drawn.

    Raises:
        ValueError: an unknown label or nuisance; too few slices, too long a step, or both given; too small a size.
    """
    _check(label, slices, step_mm, size)
    check_nuisances(nuisances or {})
    person, scanning, illness, daily, physics = np.random.default_rng(seed).spawn(5)
    chest = Chest.draw(person)
    settings = {**draw_nuisances(scanning), **(nuisances or {})}
    z_mm = _heights(chest, slices or _SLICES, step_mm, scanning)
    grid = _grid(chest, settings, z_mm, size)
    body = organs(chest, grid, person)
    ill = _DISEASES[label](chest, body, grid, illness)
    picture = _Picture.prepare(chest, grid, body, ill, everyday(chest, body, grid, daily), person)
    acquisition = Acquisition.prepare(settings, grid, physics)
    table = acquisition.table(_back_mm(grid, body))
    hu = np.empty((len(z_mm), size, size), dtype=np.int16)
    lungs = np.empty(hu.shape, dtype=np.uint8)
    lesions = np.empty(hu.shape, dtype=np.bool_)
    for index in range(len(z_mm)):
        clean, lungs[index], lesions[index] = picture.slice(index, table)
        shoulders = float(smoothstep(grid.z_mm[index] / chest.height, 0.8, 1.0))
        hu[index] = acquisition.store(acquisition.scan(clean, shoulders, physics))
    step = float(step_mm or grid.z_mm[1] - grid.z_mm[0])
    area = lesions.sum(axis=(1, 2)) * grid.pixel_mm**2
    return CtPhantom(
        hu,
        (step, grid.pixel_mm, grid.pixel_mm),
        label,
        lungs,
        lesions,
        affected=_share(lungs > 0, lesions),
        affected_left=_share(lungs == LEFT, lesions),
        affected_right=_share(lungs == RIGHT, lesions),
        infected=tuple(bool(one >= MIN_INFECTED_MM2) for one in area),
        nuisances=MappingProxyType(settings),
    )


def _check(label: str, slices: int | None, step_mm: float | None, size: int) -> None:
    """Refuse what can't be drawn (ValueError)."""
    if label not in _DISEASES:
        raise ValueError(f"a CT phantom is one of {', '.join(_DISEASES)} (found: {label})")
    if slices is not None and step_mm is not None:
        raise ValueError(
            f"a CT phantom's slices follow from its step (found: {slices} slices and {step_mm} mm)"
        )
    if (slices is not None and slices < 8) or size < 64:
        raise ValueError(f"a CT phantom has at least 8 slices of 64 px (found: {slices} of {size})")
    if step_mm is not None and not 0.5 <= step_mm <= 20:
        raise ValueError(f"a CT phantom's slices lie 0.5 to 20 mm apart (found: {step_mm})")


def _share(lung: BoolArray, lesions: BoolArray) -> float:
    """Percent of a lung that is lesion."""
    return 100.0 * float(np.count_nonzero(lung & lesions)) / max(1, int(np.count_nonzero(lung)))


def _heights(chest: Chest, slices: int, step_mm: float | None, rng: np.random.Generator) -> FloatArray:
    """The slices' z, from below the lungs to above them; steps are whole hundredths of a mm."""
    below, above = _MARGINS_MM if step_mm is None else _WIDE_MARGINS_MM
    low, high = -rng.uniform(*below), chest.height + rng.uniform(*above)
    if step_mm is not None:
        return np.asarray(np.arange(low, high + step_mm, step_mm), dtype=np.float32)
    step = round((high - low) / (slices - 1), 2)
    return np.asarray(low + step * np.arange(slices), dtype=np.float32)


def _grid(chest: Chest, nuisances: Mapping[str, Value], z_mm: FloatArray, size: int) -> Grid:
    return Grid(
        size=size,
        pixel_mm=round(float(nuisances["fov_mm"]) / size, 4),
        z_mm=z_mm,
        thickness_mm=float(nuisances["thickness_mm"]),
        turn=chest.turn,
        shift_mm=(chest.shift, float(nuisances["height_mm"])),
        lean=chest.lean,
        middle_mm=chest.height / 2,
    )


def _back_mm(grid: Grid, body: Organs) -> float:
    """How far below the image's middle the body's lowest point lies."""
    rows = np.flatnonzero((np.minimum(body.skin, body.arms) < 0).any(axis=(0, 2)))
    return float((rows[-1] + 1) / grid.coarse - 0.5) * grid.pixel_mm * grid.size


@dataclass(frozen=True)
class _Picture:
    """All that a slice is put together from."""

    chest: Chest
    grid: Grid
    body: Organs
    ill: Disease | None
    daily: Everyday
    trees: Trees
    walls: Balls
    bones: Balls
    marrow: Balls
    cartilage: Balls
    small: Balls
    grain: FloatArray
    net: FloatArray
    middle: FloatArray

    @classmethod
    def prepare(
        cls,
        chest: Chest,
        grid: Grid,
        body: Organs,
        ill: Disease | None,
        daily: Everyday,
        rng: np.random.Generator,
    ) -> _Picture:
        """Grow vessels and bones; draw the textures that slices take pieces of."""
        depth = np.maximum(body.pleura, body.dome_mm[None] - grid.z_mm[:, None, None])
        targets = []
        for side in (-1, 1):
            candidates = np.argwhere((depth < -3) & (body.middle * side > 0))
            candidates = candidates[rng.permutation(len(candidates))[:1500]]
            rows, columns = grid.axes(grid.coarse)[1], body.middle
            targets.append(
                np.stack(
                    [
                        columns[candidates[:, 0], candidates[:, 1], candidates[:, 2]],
                        rows[candidates[:, 1], candidates[:, 2]],
                        grid.z_mm[candidates[:, 0]],
                    ],
                    axis=1,
                ).astype(np.float64)
            )
        hard, soft = bones(chest, rng)
        small = [tube(np.stack([one[:3], one[:3]]), [one[3], one[3]]) for one in daily.nodules]
        if daily.scar is not None:
            small.append(tube(daily.scar, [1.0, 0.8]))
        grown = trees(chest, targets, rng)
        return cls(
            chest=chest,
            grid=grid,
            body=body,
            ill=ill,
            daily=daily,
            trees=grown,
            walls=grown.bronchi.resized(1.0, least_mm=2.2),
            bones=hard,
            marrow=hard.resized(-1.5, least_mm=1.2),
            cartilage=soft,
            small=join(small),
            grain=_pattern(rng, grid, 2.6),
            net=_pattern(rng, grid, 5.0),
            middle=grid.axes(grid.size)[0],
        )

    def slice(self, index: int, table: FloatArray) -> tuple[FloatArray, Bytes, BoolArray]:
        """One slice before it is scanned: HU, lungs, lesions; each (size, size)."""
        grid, body = self.grid, self.body
        hu = self._wall(index, table)
        lung = grid.edge(body.pleura[index])
        z = float(grid.z_mm[index])
        lung = np.minimum(lung, cover(grid.fine(body.dome_mm) - z, max(grid.thickness_mm, grid.pixel_mm)))
        inside, lesion = self._lung(index, lung)
        hu += lung * (inside - hu)
        self._tubes(z, lung, hu)
        self._bone(index, lung, hu)
        if self.daily.motion_mm:
            hu = self._moved(z, hu)
        right = self.middle < self.chest.lean * (z - grid.middle_mm)
        sides = np.where(right, RIGHT, LEFT).astype(np.uint8)
        return hu, np.where(lung > 0.5, sides, 0).astype(np.uint8), lesion & (lung > 0.5)

    def _wall(self, index: int, table: FloatArray) -> FloatArray:
        """Air, table, skin, fat, muscle, and what the cage is filled with."""
        grid, body = self.grid, self.body
        hu = table.copy()
        arms = grid.fine(body.arms[index])
        skin = grid.fine(body.skin[index])
        outer = cover(np.minimum(skin, arms), grid.pixel_mm)
        fat = FAT + 8 * _piece(self.grain, grid.size, index)
        hu += outer * (fat - hu)
        muscle = np.maximum(grid.fine(body.wall[index]), skin + 2.5)
        if self.chest.arms_down:
            muscle = np.minimum(muscle, arms + 5 + 0.35 * self.chest.fat)
        # a thin layer of dense skin
        rim = outer * cover(-np.minimum(skin, arms) - 1.8, grid.pixel_mm)
        firm = np.maximum(cover(muscle, 1.5 * grid.pixel_mm), rim)
        hu += firm * (MUSCLE - hu)
        cage = grid.edge(body.cage[index])
        hu += cage * (grid.fine(body.inside_hu[index]) - hu)
        return np.asarray(hu, dtype=np.float32)

    def _lung(self, index: int, lung: FloatArray) -> tuple[FloatArray, BoolArray]:
        """The lung's own density with fissures and lesions, and where the lesions are."""
        grid, body = self.grid, self.body
        hu = grid.fine(self.daily.lung_hu[index]) + 11 * _piece(self.grain, grid.size, 7 * index + 3)
        oblique, level = grid.fine(body.oblique[index]), grid.fine(body.level[index])
        width = max(grid.pixel_mm, 0.8)
        fissure = np.clip(1 - np.abs(oblique) / width, 0, 1)
        flat = np.clip(1 - np.abs(level) / max(width, 0.5 * grid.thickness_mm), 0, 1) * (oblique > 0)
        right = self.middle < self.chest.lean * (float(grid.z_mm[index]) - grid.middle_mm)
        hu = hu + 110 * np.maximum(fissure, 0.5 * flat * right)
        if self.ill is None or not self.ill.opacity[index].any():
            return np.asarray(hu, dtype=np.float32), np.zeros(lung.shape, dtype=np.bool_)
        opacity = grid.fine(self.ill.opacity[index])
        # a lesion's border is frayed
        frayed = 1.4 * opacity * (1 - opacity) * _piece(self.grain, grid.size, 13 * index + 7)
        opacity = np.clip(opacity + frayed, 0, 1)
        if self.ill.bound is not None:
            opacity = np.minimum(opacity, cover(grid.fine(self.ill.bound[index]), 1.5 * grid.pixel_mm))
        lines = np.exp(-np.square(_piece(self.net, grid.size, 5 * index + 1) / 0.22))
        target = grid.fine(self.ill.hu[index]) + grid.fine(self.ill.lines[index]) * (lines - 0.3)
        target = target + 38 * _piece(self.grain, grid.size, 11 * index + 5) * (target < -100)
        hu += opacity * (target - hu)
        return np.asarray(hu, dtype=np.float32), opacity > 0.5

    def _tubes(self, z: float, lung: FloatArray, hu: FloatArray) -> None:
        """Lay vessels, nodules, scars and airways over a slice in place."""
        vessels = np.maximum(paint(self.trees.vessels, self.grid, z), paint(self.small, self.grid, z)) * lung
        hu += vessels * np.maximum(38 - hu, 0)
        hu += 0.6 * lung * paint(self.walls, self.grid, z) * np.maximum(10 - hu, 0)
        air = np.maximum(
            paint(self.trees.windpipe, self.grid, z), lung * paint(self.trees.bronchi, self.grid, z)
        )
        hu += air * (AIR + 45 - hu)

    def _bone(self, index: int, lung: FloatArray, hu: FloatArray) -> None:
        """Lay cartilage, bones and vertebrae over a slice in place; none reaches into the lung."""
        grid, z = self.grid, float(self.grid.z_mm[index])
        wall = 1 - lung
        hu += wall * paint(self.cartilage, grid, z) * (110 - hu)
        hu += wall * paint(self.bones, grid, z) * (620 - hu)
        hu += wall * paint(self.marrow, grid, z) * (210 - hu)
        vertebra = grid.fine(self.body.vertebra[index])
        tall = 0.083 * self.chest.height
        disc = float(smoothstep(abs(((z / tall) % 1) - 0.5), 0.30, 0.40))  # 1 within the disc
        spongy = 190 + 45 * _piece(self.grain, grid.size, 3 * index + 2)
        body = spongy + cover(-vertebra - 1.8, grid.pixel_mm) * (560 - spongy)
        hu += cover(vertebra, grid.pixel_mm) * (body + disc * (85 - body) - hu)

    def _moved(self, z: float, hu: FloatArray) -> FloatArray:
        """Double contours where the heart moved."""
        grid, chest = self.grid, self.chest
        near = np.array([[0.45 * chest.half_width, -0.1 * chest.half_depth, z]])
        column, row = grid.pixels(near)[0]
        line = np.arange(grid.size, dtype=np.float32)
        reach = 38 / grid.pixel_mm
        spot = (
            np.exp(-np.square((line - column) / reach))[None]
            * np.exp(-np.square((line - row) / reach))[:, None]
        )
        weight = 0.5 * spot * np.exp(-(((z / chest.height - 0.35) / 0.16) ** 2))
        pixels = self.daily.motion_mm / grid.pixel_mm
        move = np.array([[1, 0, pixels], [0, 1, 0.4 * pixels]], dtype=np.float32)
        moved = cv2.warpAffine(hu, move, (grid.size, grid.size), borderMode=cv2.BORDER_REPLICATE)
        return np.asarray(hu + weight * (moved - hu), dtype=np.float32)


def _pattern(rng: np.random.Generator, grid: Grid, grain_mm: float) -> FloatArray:
    """A sheet of smooth noise larger than a slice; zero mean, unit spread."""
    side = grid.size + 96
    cells = max(4, round(side * grid.pixel_mm / grain_mm))
    knots = rng.standard_normal((cells, cells), dtype=np.float32)
    sheet = cv2.resize(knots, (side, side), interpolation=cv2.INTER_CUBIC)
    return np.asarray((sheet - sheet.mean()) / sheet.std(), dtype=np.float32)


def _piece(sheet: FloatArray, size: int, number: int) -> FloatArray:
    """A slice's own piece of a sheet: another number, another place."""
    spare = len(sheet) - size
    down, across = (37 * number) % spare, (53 * number + 11) % spare
    return sheet[down : down + size, across : across + size]
