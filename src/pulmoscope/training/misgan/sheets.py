"""Pictures of how far MisGAN has come: what it draws, and what it fills."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch

from pulmoscope.core.types import FloatArray
from pulmoscope.models.misgan import MIDDLE, composite, middle
from pulmoscope.training.misgan.data import Batch, Pool
from pulmoscope.training.misgan.steps import Networks
from pulmoscope.training.slice_sheet import write_sheet

COUNT = 10
"""Columns of a sheet."""


def write_sheets(networks: Networks, pool: Pool, folder: Path, imputing: bool, seed: int) -> None:
    """Write ``generated.png`` and, while the imputer trains, ``imputed.png``; the networks end in training mode.

    ``generated.png``: rows of synthetic data, synthetic masks and, to compare, real data (black where missing) and real
    masks. ``imputed.png``: what is really missing, damaged and filled; then with known pixels hidden too, damaged,
    filled and true (black where nobody knows). What was not shown to the imputer is grey.
    """
    device = next(networks.parameters()).device
    batch = pool.draw(2 * COUNT, np.random.default_rng(seed))
    first = batch.first(COUNT)
    noise = torch.Generator().manual_seed(seed)
    codes = torch.randn(2, COUNT, networks.data.latent, generator=noise).to(device)
    networks.eval()
    with torch.no_grad():
        generated, masks = networks.data(codes[0]), networks.masks(codes[1])
    rows = [_middle(generated), _middle(masks), _middle(first.x), _middle(first.m)]
    write_sheet(np.concatenate(rows), COUNT, folder / "generated.png")
    if imputing:
        blank = torch.rand(first.x.shape, generator=noise)
        rows = _fillings(networks, first, blank, device)
        write_sheet(np.concatenate(rows), COUNT, folder / "imputed.png")
    networks.train()


def _fillings(
    networks: Networks, batch: Batch, noise: torch.Tensor, device: torch.device
) -> list[FloatArray]:
    rows: list[FloatArray] = []
    for other in (torch.ones_like(batch.other), batch.other):
        shown = batch.observed * other
        x = composite(batch.slices, shown, noise)
        with torch.no_grad():
            raw = networks.imputer(x.to(device), shown.to(device)).cpu()
        seen = middle(batch.m * other)
        known = middle(batch.x)
        rows += [composite(known, seen, torch.full_like(raw, 0.5))[:, 0].numpy()]
        rows += [composite(known, seen, raw)[:, 0].numpy()]
    return [*rows, _middle(batch.x)]


def _middle(stacks: torch.Tensor) -> FloatArray:
    return np.asarray(stacks[:, MIDDLE].cpu().numpy(), dtype=np.float32)
