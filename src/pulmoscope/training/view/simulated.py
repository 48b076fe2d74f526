"""Synthetic pictures that show no chest, and radiographs under a heat map, for the view network to know."""

from __future__ import annotations

import cv2
import numpy as np

from pulmoscope.core.types import FloatArray

SIDE = 128


def picture(radiograph: FloatArray, random: np.random.Generator) -> FloatArray:
    """Noise, clouds, gradients, pages of text, shapes, bodies that are no chest, or a radiograph beyond recognition.

    Args:
        radiograph: a radiograph, whose texture some of the pictures have; float32 (rows, columns) in [0, 1].
        random: what decides.

    Returns:
        float32 (rows, columns) in [0, 1].
    """
    draws = (_noise, _clouds, _gradient, _text, _shapes, _body, _body, _body, _tiles, _warped)
    image = draws[int(random.integers(len(draws)))](radiograph, random)
    return np.asarray(np.clip(image, 0, 1), dtype=np.float32)


def heat_map(radiograph: FloatArray, random: np.random.Generator) -> FloatArray:
    """A radiograph under the heat map of ``explain.overlay``, turned grey: spots of inferno's brightness."""
    rows, columns = radiograph.shape
    across, down = np.meshgrid(np.linspace(-1, 1, columns), np.linspace(-1, 1, rows))
    heat = np.zeros_like(radiograph)
    for _ in range(random.integers(1, 4)):
        x, y = random.uniform(-0.6, 0.6, 2)
        wide, high = random.uniform(0.2, 0.6, 2)
        heat = np.maximum(heat, np.exp(-(((across - x) / wide) ** 2) - ((down - y) / high) ** 2))
    heat /= heat.max()
    colour = cv2.applyColorMap(np.rint(heat * 255).astype(np.uint8), cv2.COLORMAP_INFERNO)
    bright = cv2.cvtColor(colour, cv2.COLOR_BGR2GRAY).astype(np.float32) / 255
    fraction = heat * random.uniform(0.4, 1.0)
    return np.asarray(radiograph + fraction * (bright - radiograph), dtype=np.float32)


def write(image: FloatArray, text: str, start: tuple[int, int], size: float, grey: float) -> None:
    """Write into an image (rows, columns), from ``start`` (column, row) on."""
    letters = np.zeros(image.shape, dtype=np.uint8)  # OpenCV writes into bytes only
    cv2.putText(letters, text, start, cv2.FONT_HERSHEY_SIMPLEX, size, 255, 1)
    image[letters > 127] = grey


def _noise(_radiograph: FloatArray, random: np.random.Generator) -> FloatArray:
    size = tuple(int(side) for side in random.integers(8, SIDE, 2))
    noise = random.random(size, dtype=np.float32) ** random.uniform(0.5, 3)
    how = int(random.choice([cv2.INTER_NEAREST, cv2.INTER_LINEAR]))
    return np.asarray(cv2.resize(noise, (SIDE, SIDE), interpolation=how), dtype=np.float32)


def _clouds(_radiograph: FloatArray, random: np.random.Generator) -> FloatArray:
    return _fractal(random, random.uniform(0.8, 2.5))


def _fractal(random: np.random.Generator, power: float) -> FloatArray:
    """Noise whose amplitude falls as frequency to the ``power``, stretched to [0, 1]."""
    frequency = np.hypot(np.fft.fftfreq(SIDE)[:, None], np.fft.rfftfreq(SIDE)[None])
    frequency[0, 0] = 1
    spectrum = np.fft.rfft2(random.standard_normal((SIDE, SIDE))) / frequency**power
    clouds = np.fft.irfft2(spectrum, (SIDE, SIDE))
    low, high = np.percentile(clouds, (1, 99))
    return np.asarray(np.clip((clouds - low) / (high - low), 0, 1), dtype=np.float32)


def _gradient(_radiograph: FloatArray, random: np.random.Generator) -> FloatArray:
    across, down = np.meshgrid(np.linspace(-1, 1, SIDE), np.linspace(-1, 1, SIDE))
    steep = random.uniform(-1, 1, 3)
    slope = across * steep[0] + down * steep[1] + np.hypot(across, down) * steep[2]
    return np.asarray(0.5 + slope / 2 + random.normal(0, 0.02, slope.shape), dtype=np.float32)


def _text(_radiograph: FloatArray, random: np.random.Generator) -> FloatArray:
    paper, ink = random.choice([(1.0, 0.0), (0.0, 1.0), (0.8, 0.2)])
    page = np.full((SIDE, SIDE), paper, dtype=np.float32)
    step = int(random.integers(7, 20))
    for row in range(step, SIDE, step):
        words = "".join(random.choice(list("abcdefghij  klmnopqrstuvwxyz  ")) for _ in range(28))
        write(page, words, (int(random.integers(2, 30)), row), step / 35, float(ink))
    return page


def _shapes(_radiograph: FloatArray, random: np.random.Generator) -> FloatArray:
    page = np.full((SIDE, SIDE), random.random(), dtype=np.float32)
    for _ in range(random.integers(2, 25)):
        one, other = (tuple(int(v) for v in random.integers(0, SIDE, 2)) for _ in range(2))
        grey, kind = float(random.random()), random.integers(3)
        if kind == 0:
            cv2.rectangle(page, one, other, grey, int(random.choice([-1, 1, 3])))
        elif kind == 1:
            cv2.circle(page, one, int(random.integers(2, 50)), grey, int(random.choice([-1, 1, 3])))
        else:
            cv2.line(page, one, other, grey, int(random.integers(1, 12)))
    return page


def _body(radiograph: FloatArray, random: np.random.Generator) -> FloatArray:
    """Something soft and bright with bars or a core in it on a dark ground: any part of a body but the chest."""
    shape = np.zeros((SIDE, SIDE), dtype=np.float32)
    at_border = random.random() < 0.4
    centre = (
        int(random.choice([0, SIDE])) if at_border else int(random.integers(40, 88)),
        int(random.integers(30, 98)),
    )
    axes = tuple(int(v) for v in random.integers(18, 75, 2))
    cv2.ellipse(shape, centre, axes, float(random.uniform(0, 180)), 0, 360, 1.0, -1)
    if random.random() < 0.3:
        cv2.ellipse(shape, centre, tuple(round(v * 0.8) for v in axes), 0, 0, 360, 0.5, -1)
    inner = _fractal(random, random.uniform(1, 2)) * random.uniform(0.1, 0.6) + random.uniform(0.2, 0.5)
    if random.random() < 0.3:
        rows, columns = radiograph.shape
        top, left = random.integers(0, rows // 2), random.integers(0, columns // 2)
        inner = cv2.resize(radiograph[top : top + rows // 3, left : left + columns // 3], (SIDE, SIDE))
    for _ in range(random.integers(0, 5)):
        bone = np.zeros_like(shape)
        one, other = (tuple(int(v) for v in random.integers(0, SIDE, 2)) for _ in range(2))
        cv2.line(bone, one, other, 1.0, int(random.integers(3, 16)))
        inner = inner + cv2.GaussianBlur(bone, (0, 0), random.uniform(0.6, 2)) * random.uniform(0.1, 0.5)
    soft = cv2.GaussianBlur(shape, (0, 0), random.uniform(0.8, 4))
    return np.asarray(soft * inner + random.uniform(0, 0.15) * (1 - soft), dtype=np.float32)


def _tiles(radiograph: FloatArray, random: np.random.Generator) -> FloatArray:
    """A radiograph cut into tiles, shuffled."""
    count = int(random.integers(2, 6))
    side = SIDE // count
    whole = cv2.resize(radiograph, (side * count, side * count))
    tiles = [
        whole[r * side : (r + 1) * side, c * side : (c + 1) * side]
        for r in range(count)
        for c in range(count)
    ]
    order = random.permutation(len(tiles))
    if (order == np.arange(len(tiles))).all():
        order = order[::-1]
    return np.vstack(
        [np.hstack([tiles[n] for n in order[r * count : (r + 1) * count]]) for r in range(count)]
    )


def _warped(radiograph: FloatArray, random: np.random.Generator) -> FloatArray:
    """A radiograph bent so far that no lungs are left."""
    whole = cv2.resize(radiograph, (SIDE, SIDE))
    across, down = np.meshgrid(np.arange(SIDE, dtype=np.float32), np.arange(SIDE, dtype=np.float32))
    reach = random.uniform(50, 110)
    shifts = [(_fractal(random, 1.8) - 0.5) * reach for _ in range(2)]
    warped = cv2.remap(
        whole, across + shifts[0], down + shifts[1], cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT
    )
    return np.asarray(warped, dtype=np.float32)
