"""As if another machine had made the radiograph and another clinic had stored it."""

from __future__ import annotations

import cv2
import numpy as np
from scipy import fft

from pulmoscope.core.types import FloatArray


def mixed_amplitude(image: FloatArray, other: FloatArray, fraction: float) -> FloatArray:
    """Blend the Fourier amplitude with another image's, and keep the phase: another style of radiograph, the same
    anatomy.

    After Xu et al., «A Fourier-based Framework for Domain Generalization», CVPR 2021, equation 5.

    Args:
        image, other: float32 (rows, columns) of one shape.
        fraction: of the other's amplitude, 0 … 1.

    Returns:
        float32 (rows, columns), clipped to [0, 1].
    """
    spectrum, foreign = fft.rfft2(image), np.abs(fft.rfft2(other))
    amplitude = np.abs(spectrum)
    scale = (1 - fraction) + fraction * foreign / np.maximum(amplitude, np.float32(1e-6))
    mixed = fft.irfft2(spectrum * scale, s=image.shape)
    return np.asarray(np.clip(mixed, 0, 1), dtype=np.float32)


def another_film(image: FloatArray, strength: float, rng: np.random.Generator) -> FloatArray:
    """Change exposure, sharpness, resolution, local contrast, noise and compression, each with some probability.

    Args:
        image: float32 (side, side) in [0, 1].
        strength: what the probabilities are multiplied by; at 1 a change happens to a third of the films.
        rng: what is drawn comes from it alone.
    """
    image = _sharpness(image, strength, rng)
    if rng.random() < 0.15 * strength:
        image = _local_contrast(image, rng)
    image = _exposure(image, strength, rng)
    if rng.random() < 0.3 * strength:
        noise = rng.standard_normal(image.shape, dtype=np.float32) * rng.uniform(0.005, 0.035)
        image = image + (cv2.GaussianBlur(noise, (0, 0), 0.8) * 1.8 if rng.random() < 0.4 else noise)
    image = np.clip(image, 0, 1).astype(np.float32)
    if rng.random() < 0.3 * strength:
        quality = [cv2.IMWRITE_JPEG_QUALITY, int(rng.integers(25, 91))]
        _, stored = cv2.imencode(".jpg", np.rint(image * 255).astype(np.uint8), quality)
        image = np.asarray(cv2.imdecode(stored, cv2.IMREAD_GRAYSCALE), dtype=np.float32) / np.float32(255)
    return image


def _sharpness(image: FloatArray, strength: float, rng: np.random.Generator) -> FloatArray:
    """Fewer pixels or blur, then unsharp masking."""
    side = image.shape[0]
    if rng.random() < 0.3 * strength:
        small = max(24, int(side * rng.uniform(0.25, 0.9)))
        reduced = cv2.resize(image, (small, small), interpolation=cv2.INTER_AREA)
        image = np.asarray(cv2.resize(reduced, image.shape[::-1], interpolation=cv2.INTER_CUBIC))
    elif rng.random() < 0.3 * strength:
        image = np.asarray(cv2.GaussianBlur(image, (0, 0), rng.uniform(0.3, 2.5)))
    if rng.random() < 0.25 * strength:
        soft = cv2.GaussianBlur(image, (0, 0), rng.uniform(0.6, 2.5))
        image = image + rng.uniform(0.2, 1.5) * (image - soft)
    return image


def _local_contrast(image: FloatArray, rng: np.random.Generator) -> FloatArray:
    """Contrast-limited adaptive histogram equalisation (Zuiderveld 1994), as some workstations apply it."""
    tiles = int(rng.integers(2, 9))
    equalise = cv2.createCLAHE(clipLimit=float(rng.uniform(0.5, 3)), tileGridSize=(tiles, tiles))
    grey = np.rint(np.clip(image, 0, 1) * 255).astype(np.uint8)
    return np.asarray(equalise.apply(grey), dtype=np.float32) / np.float32(255)


def _exposure(image: FloatArray, strength: float, rng: np.random.Generator) -> FloatArray:
    """A slope of brightness, gamma, an S-curve, window and level."""
    if rng.random() < 0.3 * strength:
        slope = np.linspace(-1, 1, image.shape[0], dtype=np.float32)
        image = image + slope * rng.uniform(-0.25, 0.25) + slope[:, None] * rng.uniform(-0.25, 0.25)
    if rng.random() < 0.8 * strength:
        gamma = float(np.exp(rng.uniform(-0.55, 0.55)))
        image = np.asarray(cv2.pow(np.clip(image, 0, 1), gamma))  # ten times as fast as NumPy's power
    if rng.random() < 0.3 * strength:
        image = np.clip(image, 0, 1)
        image = image + rng.uniform(-1.2, 1.2) * image * (1 - image) * (2 * image - 1)
    if rng.random() < 0.5 * strength:
        image = (image - 0.5) * rng.uniform(0.5, 1.3) + 0.5 + rng.uniform(-0.15, 0.15)
    return np.asarray(image, dtype=np.float32)
