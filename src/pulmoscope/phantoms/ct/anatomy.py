"""The organs of a simulated chest on CT: what varies from person to person, and where each surface lies.

Coordinates in mm in the chest's own frame: x to the patient's left, y to the back, both from the middle of the rib
cage; z to the head, from the lowest point of the lungs.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from pulmoscope.core.types import FloatArray
from pulmoscope.phantoms.ct.fields import Grid, bumps, cover, radial, smoothstep

_CAGE = 2.35  # the rib cage's cross-section is fuller than an ellipse
AIR, FAT, MUSCLE, BLOOD, LIVER = -1000.0, -100.0, 50.0, 40.0, 58.0


@dataclass(frozen=True)
class Chest:
    """What varies from person to person; lengths in mm.

    Attributes:
        half_width, half_depth, height: of the rib cage inside, and from the lowest sulcus to the apex.
        heart: size of the heart, 1 is usual.
        muscle, fat: thickness of the chest wall's layers.
        breast: how far the breasts stand out; 0 for none.
        dome_right, dome_left: how high the diaphragm's domes stand, as a fraction of ``height``.
        mediastinum: its width, 1 is usual.
        arms_down: the arms lie beside the body instead of above the head.
        turn, lean, shift: see :class:`pulmoscope.phantoms.ct.fields.Grid`.
        lung_hu: of healthy lung in the middle; ``gravity_hu``: how much denser it is at the back than in front.
        fissure: slope and height of the oblique fissures, one pair a side (right, left).
    """

    half_width: float
    half_depth: float
    height: float
    heart: float
    muscle: float
    fat: float
    breast: float
    dome_right: float
    dome_left: float
    mediastinum: float
    arms_down: bool
    turn: float
    lean: float
    shift: float
    lung_hu: float
    gravity_hu: float
    fissure: tuple[tuple[float, float], tuple[float, float]]

    @classmethod
    def draw(cls, rng: np.random.Generator) -> Chest:
        """A random person; women-like chests are smaller and have breasts, all else overlaps."""
        female, size = rng.random() < 0.5, rng.normal(0, 1)
        dome = rng.uniform(0.25, 0.36)
        return cls(
            half_width=float(np.clip(132 - 8 * female + 6 * size + rng.normal(0, 4), 108, 152)),
            half_depth=float(np.clip(95 - 6 * female + 3 * size + rng.normal(0, 6), 74, 114)),
            height=float(np.clip(228 - 18 * female + 9 * size + rng.normal(0, 10), 175, 270)),
            heart=float(rng.uniform(0.86, 1.18)),
            muscle=float(rng.uniform(9, 17)),
            fat=float(rng.gamma(3.0, 5.5) + 3),
            breast=float(rng.uniform(5, 26) if female else 0),
            dome_right=float(dome + rng.uniform(0.0, 0.06)),
            dome_left=float(dome),
            mediastinum=float(rng.uniform(0.85, 1.2)),
            arms_down=bool(rng.random() < 0.25),
            turn=float(rng.normal(0, 0.04)),
            lean=float(rng.normal(0, 0.025)),
            shift=float(rng.normal(0, 7)),
            lung_hu=float(rng.uniform(-893, -823)),
            gravity_hu=float(rng.uniform(15, 75)),
            fissure=(
                (float(rng.uniform(0.85, 1.15)), float(rng.normal(0.40, 0.025))),
                (float(rng.uniform(0.90, 1.20)), float(rng.normal(0.42, 0.025))),
            ),
        )

    def cage_axes(
        self, z_mm: npt.NDArray[np.floating]
    ) -> tuple[npt.NDArray[np.floating], npt.NDArray[np.floating], npt.NDArray[np.floating]]:
        """The rib cage's inner half width, half depth and its centre's y at these heights."""
        up = z_mm / self.height
        narrow = np.clip((up - 0.12) / 0.95, 0, 0.985) ** 2.3
        shallow = np.clip((up - 0.22) / 0.97, 0, 0.96) ** 2.2
        width = self.half_width * np.sqrt(1 - narrow)
        depth = self.half_depth * np.sqrt(1 - 0.88 * shallow)
        return width, depth, 0.26 * self.half_depth * smoothstep(up, 0.55, 1.05)

    def cage_points(
        self, angle: npt.NDArray[np.float64], z_mm: npt.NDArray[np.float64], out_mm: float
    ) -> npt.NDArray[np.float64]:
        """Points ``out_mm`` outside the inner cage; ``angle`` 0 is the back, π/2 the patient's left; (n, 3)."""
        width, depth, middle = self.cage_axes(z_mm)
        along = np.stack([np.sin(angle), np.cos(angle)], axis=-1)
        relative = (np.abs(along[:, 0]) / width) ** _CAGE + (np.abs(along[:, 1]) / depth) ** _CAGE
        reach = relative ** (-1 / _CAGE) + out_mm
        return np.stack([along[:, 0] * reach, along[:, 1] * reach + middle, z_mm], axis=-1)

    @property
    def arm(self) -> tuple[float, float]:
        """An upper arm's radius, and how far from the middle it lies when it lies beside the body."""
        radius = 34 + 0.5 * self.fat
        return radius, self.half_width + self.muscle + 1.1 * self.fat + radius + 9

    @property
    def spine_y(self) -> float:
        """Where the middle of the vertebral bodies lies."""
        return 0.70 * self.half_depth

    @property
    def carina(self) -> npt.NDArray[np.float64]:
        """Where the windpipe divides; float64 (3)."""
        return np.array([0.0, 0.16 * self.half_depth, 0.62 * self.height])

    def hilum(self, side: int) -> npt.NDArray[np.float64]:
        """The root of the right (-1) or left (1) lung; float64 (3)."""
        return np.array(
            [
                side * 0.29 * self.half_width,
                0.12 * self.half_depth,
                (0.55 if side < 0 else 0.57) * self.height,
            ]
        )


@dataclass(frozen=True)
class Organs:
    """Distances (mm, inside < 0) and densities (HU) on the coarse grid; float32 (slices, n, n) unless told.

    Attributes:
        skin: the body without arms. arms: both arms.
        wall: the outer surface of the chest wall's muscle. cage: its inner surface.
        pleura: the lungs as chest wall, mediastinum and spine bound them, without the diaphragm.
        dome_mm: the height of the diaphragm, (n, n).
        inside_hu: what fills the cage where there is no lung.
        vertebra: the vertebral bodies.
        middle: x, negative in the right lung.
        oblique: distance to the oblique fissure, negative in the lower lobe.
        level: distance to the horizontal fissure of the right lung, negative below it.
    """

    skin: FloatArray
    arms: FloatArray
    wall: FloatArray
    cage: FloatArray
    pleura: FloatArray
    dome_mm: FloatArray
    inside_hu: FloatArray
    vertebra: FloatArray
    middle: FloatArray
    oblique: FloatArray
    level: FloatArray


def organs(chest: Chest, grid: Grid, rng: np.random.Generator) -> Organs:
    """Lay out a chest; ``rng`` gives the small unevenness of its surfaces."""
    x, y, z = grid.frame()
    up = z / chest.height
    uneven, fine = bumps(rng, grid, 55.0), bumps(rng, grid, 22.0)
    width, depth, middle = chest.cage_axes(z)
    cage = radial((x, width), (y - middle, depth), power=_CAGE) + 1.8 * uneven
    vertebra = radial((x, 17.0), (y - chest.spine_y, 15.5))
    heart = _heart(chest, x, y, z) + 1.5 * uneven
    trunk = _trunk(chest, x, y, up) + 1.2 * uneven + 0.7 * fine
    aorta = _aorta(chest, x, y, z)
    behind = radial((x, 30.0), (y - chest.half_depth - 8, 27.0))
    between = np.minimum(np.minimum(heart, trunk), np.minimum(aorta, np.minimum(vertebra - 3, behind)))
    beside = np.square(np.abs(x) - 0.36 * chest.half_width) / chest.half_width
    tip = z - chest.height + 0.9 * (beside + np.square(y - middle) / chest.half_depth)
    pleura = np.maximum(np.maximum(cage, tip), np.maximum(-between, 1.2 - np.abs(x)))
    dome = _dome(chest, grid) + 2.0 * uneven[len(uneven) // 2]
    slope, rise = zip(*chest.fissure, strict=True)
    steep, level = np.where(x < 0, slope[0], slope[1]), np.where(x < 0, rise[0], rise[1])
    oblique = (z - level * chest.height) - steep * 1.15 * (y + 0.1 * chest.half_depth) + 4 * uneven
    return Organs(
        skin=_skin(chest, x, y, up) + uneven,
        arms=_arms(chest, x, y, uneven),
        wall=cage - _muscle(chest, x, y, up) - 2.0 * fine,
        cage=cage,
        pleura=np.asarray(pleura, dtype=np.float32),
        dome_mm=np.asarray(dome, dtype=np.float32),
        inside_hu=_inside(chest, (x, y, z), np.minimum(heart, aorta), (trunk, dome), (uneven, fine)),
        vertebra=vertebra,
        middle=x,
        oblique=np.asarray(oblique / np.sqrt(2.3), dtype=np.float32),
        level=np.asarray(
            z - 0.50 * chest.height + 0.12 * (y + 0.3 * chest.half_depth) + 3 * fine, dtype=np.float32
        ),
    )


def _heart(chest: Chest, x: FloatArray, y: FloatArray, z: FloatArray) -> FloatArray:
    """An ellipsoid that points to the left, the front and down."""
    dx = x - 0.17 * chest.half_width
    dy = y + 0.27 * chest.half_depth
    dz = z - 0.37 * chest.height
    long = 0.80 * dx - 0.42 * dy - 0.43 * dz
    across = 0.47 * dx + 0.88 * dy
    steep = 0.38 * dx - 0.20 * dy + 0.90 * dz
    size = chest.heart * chest.half_width / 132
    return radial((long, 64 * size), (across, 44 * size), (steep, 56 * size))


def _trunk(chest: Chest, x: FloatArray, y: FloatArray, up: FloatArray) -> FloatArray:
    """Great vessels, windpipe, gullet and the fat around them: from the breastbone to the spine."""
    heights = [-0.2, 0.15, 0.35, 0.55, 0.66, 0.80, 0.92, 1.0, 1.2]
    half = np.interp(up, heights, [22, 22, 27, 39, 39, 34, 36, 42, 60]).astype(np.float32)
    half = half * np.float32(chest.mediastinum * chest.half_width / 132)
    half = half * (0.42 + 0.58 * smoothstep(y / chest.half_depth, -0.85, -0.05))  # narrow in front
    shift = np.float32(4) * smoothstep(up, 0.75, 0.5)
    back = 0.12 * chest.half_depth * smoothstep(up, 0.6, 1.0)
    return radial((x - shift, half), (y - back, 0.80 * chest.half_depth), power=2.0)


def _aorta(chest: Chest, x: FloatArray, y: FloatArray, z: FloatArray) -> FloatArray:
    """The descending aorta, left of the spine, and the arch's knob above it."""
    tall = 0.70 * chest.height
    reach = np.maximum(z - tall, 0)
    position = (x - 24, y - chest.spine_y + 13, reach)
    return radial(*((offset, 13.5 * np.sqrt(chest.mediastinum)) for offset in position))


def _dome(chest: Chest, grid: Grid) -> FloatArray:
    """How high the diaphragm stands above each point; it falls away towards the chest wall."""
    x, y = grid.axes(grid.coarse)
    right, left = (
        height * chest.height
        - 0.62
        * chest.height
        * (
            ((x - side * 0.42 * chest.half_width) / chest.half_width) ** 2
            + (
                (y + 0.35 * chest.half_depth)
                / (np.where(y < -0.35 * chest.half_depth, 1.75, 1.30) * chest.half_depth)
            )
            ** 2
        )
        for side, height in ((-1, chest.dome_right), (1, chest.dome_left))
    )
    return np.asarray(np.maximum(np.maximum(right, left), 0), dtype=np.float32)


def _skin(chest: Chest, x: FloatArray, y: FloatArray, up: FloatArray) -> FloatArray:
    """The body's surface: trunk, shoulders, breasts."""
    shoulders = smoothstep(up, 0.66, 1.0)
    wide = chest.half_width + chest.muscle + 1.1 * chest.fat + shoulders * (26 if chest.arms_down else 38)
    deep = chest.half_depth + chest.muscle + 4 + 0.7 * chest.fat - 0.20 * chest.half_depth * shoulders
    skin = radial((x, wide), (y - 4 - 4 * shoulders, deep), power=2.5)
    if chest.breast:
        front = -chest.half_depth - chest.muscle
        for side in (-1, 1):
            one = radial(
                (x - side * 0.60 * chest.half_width, 0.58 * chest.half_width),
                (y - front, 0.6 * chest.fat + chest.breast),
                ((up - 0.42) * chest.height, 78.0),
            )
            skin = np.minimum(skin, one)
    return skin


def _arms(chest: Chest, x: FloatArray, y: FloatArray, uneven: FloatArray) -> FloatArray:
    """Both upper arms beside the body, or nothing."""
    if not chest.arms_down:
        return np.full_like(x, 1e3)
    radius, beside = chest.arm
    return radial((np.abs(x) - beside, radius), (y - 12, radius)) + uneven


def _muscle(chest: Chest, x: FloatArray, y: FloatArray, up: FloatArray) -> FloatArray:
    """How thick the muscle over the ribs is: more at the shoulder blades, the pectorals and beside the spine."""
    high = smoothstep(up, 0.45, 0.75)
    back = smoothstep(y / chest.half_depth, -0.1, 0.5)
    aside = smoothstep(np.abs(x) / chest.half_width, 0.35, 0.65)
    front = smoothstep(-y / chest.half_depth, 0.3, 0.8) * smoothstep(np.abs(x) / chest.half_width, 0.15, 0.4)
    paraspinal = smoothstep(y / chest.half_depth, 0.6, 0.95) * (1 - aside)
    return np.asarray(
        chest.muscle + 20 * high * back * aside + 10 * high * front + 16 * paraspinal, dtype=np.float32
    )


def _inside(
    chest: Chest,
    position: tuple[FloatArray, FloatArray, FloatArray],
    blood: FloatArray,
    around: tuple[FloatArray, FloatArray],
    noise: tuple[FloatArray, FloatArray],
) -> FloatArray:
    """Density of what fills the cage besides the lungs: heart and vessels in fat above the diaphragm, organs below."""
    (x, y, z), (trunk, dome), (uneven, fine) = position, around, noise
    soft = smoothstep(fine + 0.8 * smoothstep(-trunk, 0, 15), -0.6, 0.2)
    hu = _filled(FAT + 20 + (MUSCLE - 30 - FAT) * soft, blood, BLOOD)
    under = z - dome + 3
    hu = _filled(hu, under, FAT)
    stomach = radial(
        (x - 0.50 * chest.half_width, 48.0),
        (y + 0.18 * chest.half_depth, 42.0),
        (z - 0.10 * chest.height, 48.0),
    )
    stomach = np.maximum(stomach + 2 * uneven, under + 2)
    spleen = radial(
        (x - 0.68 * chest.half_width, 30.0),
        (y - 0.42 * chest.half_depth, 38.0),
        (z + 0.02 * chest.height, 45.0),
    )
    hu = _filled(hu, np.maximum(spleen, under), MUSCLE)
    hu = _filled(hu, stomach, 25 + 12 * fine)
    hu = _filled(hu, np.maximum(stomach + 3, y + 0.42 * chest.half_depth), AIR + 40)
    liver = (x + 0.5 * y - 0.25 * chest.half_width - 6 * uneven) / np.float32(1.1)
    return _filled(hu, np.maximum(liver, under), LIVER)


def _filled(hu: FloatArray, distance: FloatArray, with_hu: FloatArray | float) -> FloatArray:
    """The field with an organ laid over it; its border as sharp as the coarse grid is."""
    return np.asarray(hu + cover(distance, 3.5) * (with_hu - hu), dtype=np.float32)
