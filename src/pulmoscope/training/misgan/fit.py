"""Training MisGAN on slices with missing regions (Li, Jiang, Marlin, «MisGAN: Learning from Incomplete Data with
Generative Adversarial Networks», ICLR 2019), in the paper's stages: data and mask generators first, then the imputer
with them. Never needs a complete slice. Killed and called again, it goes on to the same weights.
"""

from __future__ import annotations

import io
import time
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from pulmoscope.core.errors import RecipeError
from pulmoscope.core.files import csv_text, write_bytes, write_text
from pulmoscope.core.types import FloatArray
from pulmoscope.models.misgan import Generator, Imputer
from pulmoscope.recipes.gan_specs import MisGanSettings
from pulmoscope.training.misgan.data import Bools, Pool
from pulmoscope.training.misgan.sheets import write_sheets
from pulmoscope.training.misgan.steps import Figures, Networks, Step
from pulmoscope.training.three_level.course import Teller

CHECKPOINT = "misgan.ckpt"
INTERVAL = 50
"""Steps between two rows of the curves, and two checkpoints."""
STAGES = ("generate", "impute")
FIGURES = ("data_distance", "mask_distance", "imputer_distance", "reconstruction")


@dataclass(frozen=True)
class MisGan:
    """What was trained, in eval mode on the CPU.

    Attributes:
        settings: of the training.
        side: of the slices, px.
        data, masks: the generators.
        imputer: of missing pixels.
        rows: the curves: stage, step, seconds, and the means of :data:`FIGURES` since the row before.
    """

    settings: MisGanSettings
    side: int
    data: Generator
    masks: Generator
    imputer: Imputer
    rows: tuple[Mapping[str, Any], ...]


@dataclass
class _State:
    """All that going on needs."""

    settings: dict[str, Any]
    side: int
    stage: int = 0
    step: int = 0
    rows: list[dict[str, Any]] = field(default_factory=list)
    networks: dict[str, Tensor] = field(default_factory=dict)
    optimizers: dict[str, Any] = field(default_factory=dict)


def fit_misgan(
    images: FloatArray,
    missing: Bools,
    study: npt.ArrayLike,
    settings: MisGanSettings,
    folder: Path,
    device: torch.device,
    teller: Teller,
    shown: Bools | None = None,
) -> MisGan:
    """Train on slices, or go on where the folder's checkpoint stands.

    Args:
        images: float32 (n, side, side) in [0, 1]; what is missing may hold anything.
        missing: bool alike.
        study: (n,) whose slice each is; a study's slices lie together, from the feet to the head.
        shown: bool as ``images``: which pixels show the patient; what is black on purpose is neither learnt from nor
            filled. None: all do.
        folder: gets ``misgan.ckpt``, ``curves.csv`` and the sheets of ``misgan_sheets`` every :data:`INTERVAL` steps.

    Raises:
        DatasetError: the slices can't be learnt from (see ``misgan_data``).
        RecipeError: the checkpoint is damaged, or of other settings; or a loss is no number any more.
    """
    pool = Pool.of(images, missing, study, shown)
    side = images.shape[1]
    state = _load(folder / CHECKPOINT, settings, side)
    torch.manual_seed(_seed(settings.seed, len(STAGES), 0))
    networks = Networks(side, settings).to(device)
    optimizers = networks.optimizers(settings)
    if state.networks:
        networks.load_state_dict(state.networks)
        for name, own in optimizers.items():
            own.load_state_dict(state.optimizers[name])
    networks.train()
    step = Step(networks, optimizers, settings)
    while state.stage < len(STAGES):
        _interval(step, pool, state, teller)
        state.networks = networks.state_dict()
        state.optimizers = {name: own.state_dict() for name, own in optimizers.items()}
        write_sheets(networks, pool, folder, bool(state.rows[-1]["stage"] == STAGES[1]), settings.seed)
        write_text(folder / "curves.csv", csv_text(list(state.rows[0]), (r.values() for r in state.rows)))
        _save(state, folder / CHECKPOINT)
        _tell(state, teller)
    networks.cpu().eval()
    return MisGan(settings, side, networks.data, networks.masks, networks.imputer, tuple(state.rows))


def _interval(step: Step, pool: Pool, state: _State, teller: Teller) -> None:
    """The steps up to the next checkpoint; the state's stage, step and rows move on."""
    settings = step.settings
    total = (settings.steps, settings.imputing_steps)[state.stage]
    end = min(state.step + INTERVAL, total)
    began = time.perf_counter()
    seen: dict[str, list[float]] = defaultdict(list)
    for number in teller.track(range(state.step, end), f"misgan {STAGES[state.stage]} {end}/{total}"):
        figures = _generating(step, pool, number) if state.stage == 0 else _imputing(step, pool, number)
        for name, value in figures.items():
            seen[name].append(value)
    means = {name: float(np.mean(seen[name])) if seen[name] else None for name in FIGURES}
    if not all(value is None or np.isfinite(value) for value in means.values()):
        raise RecipeError(
            f"misgan: a loss is no number any more before step {end}; try a smaller learning_rate"
        )
    state.rows.append(
        {
            "stage": STAGES[state.stage],
            "step": end,
            "seconds": round(time.perf_counter() - began, 2),
            **means,
        }
    )
    state.step = end
    if end >= total:
        state.stage, state.step = state.stage + 1, 0


def _generating(step: Step, pool: Pool, number: int) -> Figures:
    """One step of the first stage."""
    figures = _criticising(step, pool, number, 0)
    return figures | step.generate(step.settings.batch, imputing=False)


def _imputing(step: Step, pool: Pool, number: int) -> Figures:
    """One step of the second stage."""
    settings = step.settings
    adversarial = number % settings.adversarial_every == 0
    figures: Figures = {}
    if adversarial:
        figures |= _criticising(step, pool, number, 1)
        figures |= step.generate(settings.batch, imputing=True)
    left = 1 - number / settings.imputing_steps
    for group in step.optimizers["imputer"].param_groups:
        falling = min(1.0, left / settings.settle) if settings.settle else 1.0
        group["lr"] = settings.imputer_learning_rate * falling
    return figures | step.impute(_batch(step, pool, 1, number, settings.critic_steps), adversarial)


def _criticising(step: Step, pool: Pool, number: int, stage: int) -> Figures:
    figures: Figures = {}
    for turn in range(step.settings.critic_steps):
        figures = step.criticise(_batch(step, pool, stage, number, turn), imputing=stage == 1)
    return figures


def _batch(step: Step, pool: Pool, stage: int, number: int, turn: int) -> Any:
    """A batch that stage, step and turn decide, as they decide what torch draws until the next."""
    seed = _seed(step.settings.seed, stage, number, turn)
    torch.manual_seed(seed)
    device = next(step.networks.parameters()).device
    return pool.draw(step.settings.batch, np.random.default_rng(seed)).to(device)


def _seed(*parts: int) -> int:
    return int(np.random.SeedSequence(parts).generate_state(1)[0])


def _save(state: _State, file: Path) -> None:
    stream = io.BytesIO()
    torch.save(vars(state), stream)
    write_bytes(file, stream.getvalue())


def _load(file: Path, settings: MisGanSettings, side: int) -> _State:
    """The state, a fresh one where there is none yet.

    Raises:
        RecipeError: the file is no state of this version, or of other settings.
    """
    wanted = asdict(settings)
    if not file.is_file():
        return _State(wanted, side)
    try:
        state = _State(**torch.load(file, map_location="cpu", weights_only=True))
    except Exception as error:
        # torch.load raises errors of several libraries for a file that is not its own.
        raise RecipeError(f"{file}: is not a checkpoint of this version; start anew with --force") from error
    if state.settings != wanted or state.side != side:
        raise RecipeError(
            f"{file}: was begun with other settings or slices of another size; take another folder"
        )
    return state


def _tell(state: _State, teller: Teller) -> None:
    row = state.rows[-1]
    shown = ", ".join(f"{name} {row[name]:.4g}" for name in FIGURES if row[name] is not None)
    teller.line(f"misgan {row['stage']} {row['step']}: {shown}  ({row['seconds']:.0f} s)")
