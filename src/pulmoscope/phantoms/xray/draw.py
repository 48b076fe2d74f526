"""A simulated chest radiograph: synthetic, of no patient, different with every seed; with its truth masks.

For demonstrations, tests and tiny trainings. It looks like a radiograph to a person and to a lung finder; it is no
model of X-ray physics and no evidence about disease.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

import cv2
import numpy as np

from pulmoscope.core.types import BoolArray, FloatArray
from pulmoscope.phantoms.xray.anatomy import Anatomy, Canvas, vessels
from pulmoscope.phantoms.xray.lesions import lesions

Finding = Literal["Normal", "COVID", "Viral Pneumonia", "Tuberculosis"]
FINDINGS: tuple[Finding, ...] = get_args(Finding)
HILA = ((0.415, 0.440), (0.598, 0.415))


@dataclass(frozen=True)
class XrayPhantom:
    """A synthetic radiograph and the truth about it; all (size, size).

    Attributes:
        image: float32 in [0, 1], air dark.
        lungs: bool, the two lung fields.
        lesions: float32 in [0, 1], how dense the drawn disease is at each pixel; 0 outside the lungs.
    """

    image: FloatArray
    lungs: BoolArray
    lesions: FloatArray


def xray_phantom(seed: int | np.random.Generator, finding: Finding = "Normal", size: int = 512) -> FloatArray:
    """A synthetic chest radiograph; float32 (size, size) in [0, 1]. See :func:`draw_xray`."""
    return draw_xray(seed, finding, size).image


def draw_xray(seed: int | np.random.Generator, finding: Finding = "Normal", size: int = 512) -> XrayPhantom:
    """Draw a synthetic chest radiograph with its truth masks. Equal seeds give equal anatomy and equal exposure.

    Args:
        seed: a number, or a generator to go on with.
        finding: ``COVID``: ground glass on both sides, peripheral, lower zones; ``Viral Pneumonia``: haze and lines
            around the hila; ``Tuberculosis``: upper-zone opacities, often with a cavity.
        size: side, px; at least 64.

    Raises:
        ValueError: an unknown finding, or too small a size.
    """
    if finding not in FINDINGS:
        raise ValueError(f"finding must be one of {', '.join(FINDINGS)} (found: {finding})")
    if size < 64:
        raise ValueError(f"size must be at least 64 px (found: {size})")
    # Anatomy, disease and radiograph each have their own stream, so that the same chest can be drawn ill and well.
    chest, disease, detector = np.random.default_rng(seed).spawn(3)
    canvas = Canvas(size, _placement(chest))
    anatomy = Anatomy.draw(chest)
    lungs = np.maximum(canvas.area(anatomy.left_lung()), canvas.area(anatomy.right_lung()))
    tissue = _tissue(canvas, anatomy, lungs, chest)
    opacity = lesions(canvas, lungs, finding, disease)
    tissue += opacity * 0.24
    return XrayPhantom(_film(canvas, tissue, detector), lungs > 0.5, opacity)


def _placement(rng: np.random.Generator) -> np.ndarray:
    """How the patient stands before the detector: a little turned, shifted, nearer or farther."""
    angle, wide, high = rng.normal(0, 0.035), rng.uniform(0.84, 1.08), rng.uniform(0.84, 1.08)
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    linear = turn @ np.array([[wide, rng.normal(0, 0.012)], [0, high]])
    centre = np.array([0.5, 0.47])
    shift = centre + rng.normal(0, 0.025, 2) - linear @ centre
    return np.hstack([linear, shift[:, None]])


def _tissue(canvas: Canvas, anatomy: Anatomy, lungs: FloatArray, rng: np.random.Generator) -> FloatArray:
    """How much the rays pass through, summed over body, organs and bones; float32 (size, size), about 0 … 1."""
    size = canvas.size
    body = canvas.area(anatomy.body())
    down = np.linspace(0, 1, size, dtype=np.float32)[:, None]
    thickness = canvas.depth(body, 0.09) * (0.56 + 0.12 * down)
    air = canvas.depth(lungs, 0.075)
    tissue = thickness - air * (0.43 - 0.04 * down)
    tissue += 0.13 * canvas.depth(canvas.area(anatomy.heart_shadow()), 0.13)
    tissue += 0.13 * canvas.blur(canvas.depth(canvas.area(anatomy.abdomen()), 0.05), 0.016) * body
    tissue += _middle(canvas, rng)
    tissue += _bones(canvas, anatomy, lungs)
    tissue += _lung_markings(canvas, lungs, rng)
    tissue += _soft_parts(canvas, anatomy, rng) * body
    return np.asarray(tissue, dtype=np.float32)


def _middle(canvas: Canvas, rng: np.random.Generator) -> FloatArray:
    """Spine with its discs, less the windpipe and the main bronchi."""
    line = [np.array([[0.5, -0.05], [0.5, 1.1]])]
    spine = canvas.blur(canvas.lines(line, [0.07]), 0.014)
    heights = np.arange(0.02, 1.0, 0.047)
    discs = canvas.lines([np.array([[0.468, y], [0.532, y]]) for y in heights], [0.007] * len(heights))
    bend = rng.normal(0, 0.005)
    windpipe = [
        np.array([[0.5, -0.05], [0.5 - bend, 0.2], [0.497, 0.345]]),
        np.array([[0.497, 0.345], [0.445, 0.415]]),
        np.array([[0.497, 0.345], [0.560, 0.400]]),
    ]
    airway = canvas.blur(canvas.lines(windpipe, [0.034, 0.018, 0.017]), 0.005)
    return np.asarray(0.13 * spine - 0.03 * canvas.blur(discs, 0.003) - 0.11 * airway, dtype=np.float32)


def _bones(canvas: Canvas, anatomy: Anatomy, lungs: FloatArray) -> FloatArray:
    """Ribs, collar bones and shoulder blades; a bone's rim is denser than its marrow."""
    cage = np.asarray(
        cv2.dilate(lungs, np.ones((3, 3), np.uint8), iterations=max(1, round(0.011 * canvas.size)))
    )
    cage = canvas.blur(cage, 0.006)

    def bone(paths: list[np.ndarray], width: float, rim: float) -> FloatArray:
        whole = canvas.lines(paths, [width] * len(paths))
        marrow = canvas.lines(paths, [width * 0.6] * len(paths))
        return canvas.blur(whole - (1 - rim) * marrow, 0.0022)

    back = bone(anatomy.posterior_ribs(), 0.022, 0.62)
    front = bone(anatomy.anterior_ribs(), 0.020, 0.7)
    collar = bone(anatomy.clavicles(), 0.025, 0.75)
    arms = canvas.lines(
        [*anatomy.arms(), *[path[:1].repeat(2, 0) for path in anatomy.arms()]], [0.04] * 2 + [0.085] * 2
    )
    blades = canvas.blur(canvas.lines(anatomy.scapulae(), [0.012] * 2), 0.003)
    return np.asarray(
        cage * (0.105 * back + 0.05 * front)
        + 0.095 * collar
        + 0.05 * blades
        + 0.075 * canvas.blur(arms, 0.006),
        dtype=np.float32,
    )


def _lung_markings(canvas: Canvas, lungs: FloatArray, rng: np.random.Generator) -> FloatArray:
    """Hila and vessels, and the lung's own fine texture."""
    inside = canvas.blur(lungs, 0.004)
    total = np.zeros_like(lungs)
    for hilum, side in zip(HILA, (-1, 1), strict=True):
        paths, widths = vessels(rng, hilum, side)
        total += canvas.blur(canvas.lines(paths, widths), 0.0018)
        knot = np.array(
            [[hilum[0] - side * 0.012, hilum[1] - 0.035], [hilum[0] + side * 0.008, hilum[1] + 0.05]]
        )
        total += 0.9 * canvas.blur(canvas.lines([knot], [0.035]), 0.014)
    texture = 0.5 * cloud(rng, canvas.size, 48) + 0.5 * cloud(rng, canvas.size, 110)
    return np.asarray(inside * (0.066 * np.minimum(total, 1.2) + 0.026 * texture), dtype=np.float32)


def _soft_parts(canvas: Canvas, anatomy: Anatomy, rng: np.random.Generator) -> FloatArray:
    """Breasts or chest muscles, gas in the stomach, and what is uneven in everybody."""
    soft = np.float32(0.03) * cloud(rng, canvas.size, 7)
    strength, drop = rng.uniform(0.0, 0.085), rng.uniform(0, 0.05)
    angle = np.linspace(0, 2 * np.pi, 40)
    for side in (-1, 1):
        outline = np.stack(
            [0.5 + side * 0.225 + 0.165 * np.cos(angle), 0.60 + drop + 0.15 * np.sin(angle)], axis=1
        )
        soft += np.float32(strength) * canvas.depth(canvas.area(outline), 0.14)
    if rng.random() < 0.6:
        wide, high = rng.uniform(0.03, 0.065), rng.uniform(0.018, 0.035)
        gas = np.stack(
            [0.745 + wide * np.cos(angle), 0.785 + anatomy.dome_right + high * np.sin(angle)], axis=1
        )
        soft -= np.float32(0.16) * canvas.blur(canvas.area(gas), 0.008)
    return np.asarray(soft, dtype=np.float32)


def _film(canvas: Canvas, tissue: FloatArray, rng: np.random.Generator) -> FloatArray:
    """From tissue to the picture: scatter, exposure, grain, and a border where the beam is cut off."""
    size = canvas.size
    scattered = 0.88 * tissue + 0.12 * canvas.blur(tissue, 0.05)
    exposed = np.clip(scattered * rng.uniform(0.85, 1.1) + rng.uniform(0.0, 0.05), 0, None)
    image = 1.04 * (1 - np.exp(-2.1 * exposed ** rng.uniform(1.15, 1.6)))
    grain = rng.standard_normal((size, size), dtype=np.float32)
    grain = cv2.GaussianBlur(grain, (0, 0), max(0.5, size / 640)) * np.float32(rng.uniform(0.005, 0.014))
    image += grain * (0.5 + image)
    if rng.random() < 0.4:
        edges = np.rint(rng.uniform(0, 0.035, 4) * size).astype(int)
        beam = np.zeros((size, size), dtype=np.float32)
        beam[edges[0] : size - edges[1], edges[2] : size - edges[3]] = 1
        image *= canvas.blur(beam, 0.0015)
    return np.asarray(np.clip(image, 0, 1), dtype=np.float32)


def cloud(rng: np.random.Generator, size: int, cells: int) -> FloatArray:
    """Smooth noise with ``cells`` bumps along a side, zero mean, unit spread; float32 (size, size)."""
    coarse = rng.standard_normal((cells, cells), dtype=np.float32)
    fine = cv2.resize(coarse, (size, size), interpolation=cv2.INTER_CUBIC)
    return np.asarray((fine - fine.mean()) / fine.std(), dtype=np.float32)
