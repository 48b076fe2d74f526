"""What trained AnoGAN networks say of slices: scores by search (AnoGAN) or in one pass (f-AnoGAN), and their file."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from pulmoscope.core.types import FloatArray
from pulmoscope.models.anogan import enlarged, reduced, scores
from pulmoscope.training.anogan.fit import AnoGan
from pulmoscope.training.onnx.file import write_onnx
from pulmoscope.training.progress import Reporter

BATCH = 64
CHECKED = 16
"""Slices that an exported file is checked with."""


def search_scores(
    anogan: AnoGan,
    images: FloatArray,
    *,
    batch_size: int = BATCH,
    seed: int = 0,
    reporter: Reporter | None = None,
) -> tuple[FloatArray, FloatArray]:
    """AnoGAN (Schlegl 2017, section 2.2): for every slice the latent vector that draws it best, by gradient descent.

    The descent starts at a random vector of the prior and minimises the score itself. After every step the vector is
    put back into [-1, 1], the prior's support: outside of it the generator draws what it never learnt to.

    Args:
        images: float32 (n, size, size) in [0, 1], of the size that was trained on.
        batch_size: slices that are searched for at a time; it changes speed and memory, no result but by rounding.
        seed: of the random vectors, which are drawn slice after slice.

    Returns:
        scores float32 (n,), see :func:`pulmoscope.models.anogan.scores`; residual maps |x − G(z)|, float32 like
        ``images``.

    Raises:
        DatasetError: the slices are no such array.
    """
    anogan.check(images)
    random = torch.Generator().manual_seed(seed)
    starts = 2 * torch.rand(len(images), anogan.settings.latent, 1, 1, generator=random) - 1
    parts = []
    starting = range(0, len(images), batch_size)
    for start in (reporter or Reporter()).track(starting, "Searching latent vectors", len(starting)):
        part = slice(start, start + batch_size)
        slices = torch.from_numpy(images[part])[:, None].to(anogan.device)
        parts.append(_searched(anogan, slices, starts[part].to(anogan.device)))
    return _joined(parts, images)


def _searched(anogan: AnoGan, slices: Tensor, latent: Tensor) -> tuple[Tensor, Tensor]:
    settings = anogan.settings
    slices = reduced(slices, anogan.factor)
    latent = latent.clone().requires_grad_()
    optimizer = torch.optim.Adam([latent], settings.search_rate)
    with torch.no_grad():
        features = anogan.discriminator.features(slices)
    for _ in range(settings.steps):
        generated = anogan.generator(latent)
        each = scores(slices, generated, features, anogan.discriminator.features(generated), settings.weight)
        optimizer.zero_grad()
        each.sum().backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        with torch.no_grad():
            latent.clamp_(-1, 1)
    with torch.no_grad():
        generated = anogan.generator(latent)
        each = scores(slices, generated, features, anogan.discriminator.features(generated), settings.weight)
    return each, enlarged((slices - generated).abs(), anogan.factor)


def encoder_scores(
    anogan: AnoGan, images: FloatArray, *, batch_size: int = BATCH
) -> tuple[FloatArray, FloatArray]:
    """f-AnoGAN (Schlegl 2019): the same score and map with the encoder's latent vector, in one pass.

    Args, Returns, Raises: see :func:`search_scores`.
    """
    anogan.check(images)
    network = anogan.network()
    parts = []
    for start in range(0, len(images), batch_size):
        slices = torch.from_numpy(images[start : start + batch_size])[:, None].to(anogan.device)
        with torch.inference_mode():
            parts.append(network.explainable(slices))
    return _joined(parts, images)


def _joined(parts: list[tuple[Tensor, Tensor]], images: FloatArray) -> tuple[FloatArray, FloatArray]:
    if not parts:
        return np.empty(0, dtype=np.float32), np.empty_like(images)
    each, maps = (torch.cat(part).cpu().numpy() for part in zip(*parts, strict=True))
    return each, maps[:, 0]


def export_anomaly(anogan: AnoGan, path: Path) -> Mapping[str, float]:
    """Write encoder, generator and features as one ONNX file, checked against torch on every installed runtime.

    Input ``slices`` (n, 1, size, size) in [0, 1]; outputs ``score`` (n,) and ``residual`` (n, 1, size, size).

    Returns:
        runtime → largest difference found, in standard deviations (see ``training/onnx/file.py``).

    Raises:
        BundleError: the file's outputs differ from torch's.
    """
    random = torch.Generator().manual_seed(anogan.settings.seed)
    latent = 2 * torch.rand(CHECKED, anogan.settings.latent, 1, 1, generator=random) - 1
    with torch.no_grad():
        generated = enlarged(anogan.generator(latent.to(anogan.device)).cpu(), anogan.factor)
    # From slices that look normal to noise, so that scores are spread as they are in use.
    fraction = torch.linspace(0, 1, CHECKED)[:, None, None, None]
    checked = generated + fraction * (torch.rand(generated.shape, generator=random) - generated)
    return write_onnx(anogan.network().cpu(), path, checked.numpy())
