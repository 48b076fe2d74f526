"""How a simulated chest is scanned: dose, kernel, field of view, slice thickness, scanner; and what each does to it.

These are nuisances: they say nothing about disease. Drawn independently of the class they are harmless; tied to it,
a network can learn them instead of the lungs.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType

import cv2
import numpy as np
import scipy.fft

from pulmoscope.core.types import BoolArray, FloatArray
from pulmoscope.phantoms.ct.fields import Grid

Value = float | str
RANGES: Mapping[str, tuple[float, float]] = MappingProxyType(
    {
        "dose": (0.3, 2.0),
        "fov_mm": (320.0, 460.0),
        "thickness_mm": (1.0, 6.0),
        "height_mm": (-35.0, 35.0),
    }
)
"""Nuisances that are numbers: relative dose; side of the image; slice thickness; how high the table stands."""


@dataclass(frozen=True)
class Scanner:
    """One make of scanner, invented.

    Attributes:
        offset_hu: what it adds to every value.
        rings, streaks: how strongly they show, HU.
        table: ``curved`` or ``flat``.
        padded: outside the circle that it reconstructs stands -2000; else it reconstructs the whole square.
    """

    offset_hu: float
    rings: float
    streaks: float
    table: str
    padded: bool


SCANNERS: Mapping[str, Scanner] = MappingProxyType(
    {
        "Alder 16": Scanner(-4, 5, 14, "curved", True),
        "Birch 64": Scanner(2, 2, 6, "curved", False),
        "Cedar 128": Scanner(0, 1, 4, "flat", False),
        "Dogwood 40": Scanner(5, 4, 10, "flat", True),
    }
)


@dataclass(frozen=True)
class Kernel:
    """A reconstruction kernel.

    Attributes:
        noise_hu: s.d. of the noise in the middle of the body at dose 1 and 2 mm.
        peak: spatial frequency at which the noise is strongest, 1/mm.
        blur_mm: Gaussian blur of the image. sharpen: how much is added of what a wider blur takes away.
    """

    noise_hu: float
    peak: float
    blur_mm: float
    sharpen: float


KERNELS: Mapping[str, Kernel] = MappingProxyType(
    {
        "soft": Kernel(14, 0.16, 0.75, 0.0),
        "standard": Kernel(24, 0.24, 0.50, 0.0),
        "lung": Kernel(46, 0.42, 0.30, 0.45),
    }
)
CHOICES: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {"kernel": tuple(KERNELS), "scanner": tuple(SCANNERS)}
)
"""Nuisances that are names."""
NUISANCES: tuple[str, ...] = ("dose", "kernel", "fov_mm", "thickness_mm", "scanner", "height_mm")
PADDING_HU = -2000


def draw_nuisances(
    rng: np.random.Generator, tied: Sequence[str] = (), position: int = 0, classes: int = 1
) -> dict[str, Value]:
    """Draw every nuisance, each on its own.

    Args:
        tied: those that go with the class: each class has a value or a narrow range to itself.
        position, classes: which class of how many it is.

    Raises:
        ValueError: a tied name is no nuisance.
    """
    unknown = [name for name in tied if name not in NUISANCES]
    if unknown:
        raise ValueError(f"nuisances are {', '.join(NUISANCES)} (found: {unknown[0]})")
    values: dict[str, Value] = {}
    for name in NUISANCES:
        part = rng.random()  # one number each, so that tying one changes no other
        if name in tied:
            # the middle half of the class's part of the range
            part = (position + 0.25 + 0.5 * part) / classes
        if name in RANGES:
            low, high = RANGES[name]
            values[name] = round(low + part * (high - low), 3)
        elif name in tied:
            values[name] = CHOICES[name][position % len(CHOICES[name])]
        else:
            values[name] = CHOICES[name][int(part * len(CHOICES[name]))]
    return values


def check_nuisances(values: Mapping[str, Value]) -> None:
    """Refuse what can't be drawn.

    Raises:
        ValueError: an unknown name, an unknown choice, or a number outside its range.
    """
    for name, value in values.items():
        if name not in NUISANCES:
            raise ValueError(f"nuisances are {', '.join(NUISANCES)} (found: {name})")
        if name in CHOICES:
            if value not in CHOICES[name]:
                raise ValueError(f"{name} is one of {', '.join(CHOICES[name])} (found: {value})")
        else:
            low, high = RANGES[name]
            if not isinstance(value, int | float) or not low <= value <= high:
                raise ValueError(f"{name} lies in {low:g} to {high:g} (found: {value})")


@dataclass(frozen=True)
class Acquisition:
    """One scan's physics, ready to be laid over slices.

    Attributes:
        grid: where the voxels are.
        kernel, scanner: what scanned it.
        noise_hu: s.d. in the middle of the body.
        texture: noise of unit spread with the kernel's grain, larger than a slice; its pieces serve all slices.
        spread: how much stronger or weaker the noise is at each pixel.
        rings: HU at each pixel.
        outside: what lies outside the circle.
    """

    grid: Grid
    kernel: Kernel
    scanner: Scanner
    noise_hu: float
    texture: FloatArray
    spread: FloatArray
    rings: FloatArray
    outside: BoolArray

    @classmethod
    def prepare(cls, nuisances: Mapping[str, Value], grid: Grid, rng: np.random.Generator) -> Acquisition:
        """Draw what all slices of a scan share."""
        kernel, scanner = KERNELS[str(nuisances["kernel"])], SCANNERS[str(nuisances["scanner"])]
        noise = kernel.noise_hu * np.sqrt(2.0 / (float(nuisances["dose"]) * float(nuisances["thickness_mm"])))
        line = (np.arange(grid.size) - (grid.size - 1) / 2) * grid.pixel_mm
        away = np.hypot(line[:, None], line[None, :]).astype(np.float32)
        circles = rng.standard_normal(400).astype(np.float32) * np.exp(-np.arange(400) / 90, dtype=np.float32)
        rings = np.interp(away, np.arange(400) * 1.0, circles).astype(np.float32)
        return cls(
            grid,
            kernel,
            scanner,
            float(noise),
            _texture(rng, grid, kernel),
            np.asarray(0.55 + 0.55 * np.exp(-((away / 140) ** 2)), dtype=np.float32),
            np.asarray(scanner.rings * rings, dtype=np.float32),
            away > grid.size / 2 * grid.pixel_mm,
        )

    def scan(self, hu: FloatArray, shoulders: float, rng: np.random.Generator) -> FloatArray:
        """Lay blur, noise, rings and streaks over one slice (size, size).

        Args:
            shoulders: how much bone the rays cross sideways, 0 … 1; there the noise is streaky.
        """
        kernel, size = self.kernel, self.grid.size
        blur = max(kernel.blur_mm / self.grid.pixel_mm, 0.35)
        seen = cv2.GaussianBlur(hu, (0, 0), blur)
        if kernel.sharpen:
            seen += np.float32(kernel.sharpen) * (seen - cv2.GaussianBlur(hu, (0, 0), 2.2 * blur))
        down, across = rng.integers(0, len(self.texture) - size, 2)
        piece = self.texture[down : down + size, across : across + size]
        seen += piece * self.spread * np.float32(self.noise_hu * (1 + 0.7 * shoulders))
        streaks = np.float32(self.scanner.streaks * shoulders)
        rows = cv2.GaussianBlur(rng.standard_normal((size, 4)).astype(np.float32), (1, 5), 0.8)
        seen += streaks * cv2.resize(rows, (size, size), interpolation=cv2.INTER_LINEAR)
        seen += self.rings + np.float32(self.scanner.offset_hu)
        return np.asarray(seen, dtype=np.float32)

    def store(self, seen: FloatArray) -> FloatArray:
        """What the scanner stores of a slice: nothing below -1024 but its padding."""
        kept = np.clip(np.rint(seen), -1024, 3071)
        if self.scanner.padded:
            kept[self.outside] = PADDING_HU
        return np.asarray(kept, dtype=np.float32)

    def table(self, back_mm: float) -> FloatArray:
        """The table under a patient whose back lies at ``back_mm`` below the image's middle; HU (size, size)."""
        size, pixel = self.grid.size, self.grid.pixel_mm
        line = ((np.arange(size) - (size - 1) / 2) * pixel).astype(np.float32)
        across, down = line[None, :], line[:, None]
        curve = np.float32(-0.0016 if self.scanner.table == "curved" else -0.0)
        depth = down - (back_mm + 6 + curve * across**2)
        thick = 24.0 if self.scanner.table == "curved" else 42.0
        hu = np.full((size, size), -1000, dtype=np.float32)
        inside = (np.abs(across) < 215) & (depth > 0) & (depth < thick)
        hu[inside] = -940
        shell = np.minimum(np.abs(depth), np.abs(depth - thick))
        rim = np.clip(1.2 - shell / np.float32(1.6), 0, 1) * (np.abs(across) < 215)
        return np.asarray(hu + rim * (120 - hu), dtype=np.float32)


def _texture(rng: np.random.Generator, grid: Grid, kernel: Kernel) -> FloatArray:
    """Noise whose power rises with frequency to the kernel's peak and falls beyond it; unit spread."""
    side = scipy.fft.next_fast_len(grid.size + max(64, grid.size // 4), real=True)
    spectrum = scipy.fft.rfft2(rng.standard_normal((side, side), dtype=np.float32))
    along = scipy.fft.fftfreq(side, grid.pixel_mm).astype(np.float32)[:, None]
    across = scipy.fft.rfftfreq(side, grid.pixel_mm).astype(np.float32)[None, :]
    frequency = np.hypot(along, across)
    spectrum *= np.sqrt(frequency) * np.exp(-0.25 * (frequency / np.float32(kernel.peak)) ** 2)
    noise = scipy.fft.irfft2(spectrum, (side, side))
    return np.asarray(noise / noise.std(), dtype=np.float32)
