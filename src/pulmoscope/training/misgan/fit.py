"""Training MisGAN on slices with missing regions (Li, Jiang, Marlin, «MisGAN: Learning from Incomplete Data with
Generative Adversarial Networks», ICLR 2019), in the paper's stages: data and mask generators first, then the imputer
with them. Never needs a complete slice. Killed and called again, it goes on to the same weights.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from pulmoscope.core.types import FloatArray
from pulmoscope.models.misgan import Generator, Imputer
from pulmoscope.recipes.gan_specs import MisGanSettings
from pulmoscope.training import curves
from pulmoscope.training.hardware import fabric_of
from pulmoscope.training.loop import Outcome, Stage, fit, in_steps
from pulmoscope.training.misgan.data import Batch, Bools, Pool
from pulmoscope.training.misgan.sheets import write_sheets
from pulmoscope.training.misgan.steps import Figures, Networks, Step
from pulmoscope.training.progress import Reporter
from pulmoscope.training.state import PhaseState, Row, begin

SETTINGS = "misgan.json"
INTERVAL = 50
"""Steps of an epoch: between two rows of the curves, and two states saved."""
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


def fit_misgan(
    images: FloatArray,
    missing: Bools,
    study: npt.ArrayLike,
    settings: MisGanSettings,
    folder: Path,
    device: torch.device,
    reporter: Reporter,
    shown: Bools | None = None,
) -> MisGan:
    """Train on slices, or go on where the folder's checkpoint stands.

    Args:
        images: float32 (n, side, side) in [0, 1]; what is missing may hold anything.
        missing: bool alike.
        study: (n,) whose slice each is; a study's slices lie together, from the feet to the head.
        shown: bool as ``images``: which pixels show the patient; what is black on purpose is neither learnt from nor
            filled. None: all do.
        folder: gets states, ``curves.csv`` and the sheets of :mod:`.sheets` every :data:`INTERVAL` steps.

    Raises:
        DatasetError: the slices can't be learnt from (see ``misgan_data``).
        RecipeError: a state is damaged, or the folder's of other settings; or a loss became NaN.
    """
    pool = Pool.of(images, missing, study, shown)
    side = images.shape[1]
    folder.mkdir(parents=True, exist_ok=True)
    begin(folder / SETTINGS, {"settings": {**asdict(settings), "betas": list(settings.betas)}, "side": side})
    torch.manual_seed(_seed(settings.seed, len(STAGES), 0))
    networks = Networks(side, settings)
    optimizers = networks.optimizers(settings)
    fabric = fabric_of(device)
    networks.to(fabric.device)
    rows: list[Row] = []
    for number, total in enumerate((settings.steps, settings.imputing_steps)):
        learning = _Learning(Step(networks, optimizers, settings), pool, folder, number, total, tuple(rows))
        state = fit(learning.stage(), folder, fabric, reporter)
        rows += learning.table(state)
    networks.cpu().eval()
    return MisGan(settings, side, networks.data, networks.masks, networks.imputer, tuple(rows))


@dataclass(frozen=True)
class _Learning:
    """One of the paper's stages. Its optimisers go on from the one before.

    Attributes:
        number: of the stage, from 0.
        total: its steps.
        before: the rows of the stage before.
    """

    one: Step
    pool: Pool
    folder: Path
    number: int
    total: int
    before: tuple[Row, ...]

    def stage(self) -> Stage:
        epochs, numbers = in_steps(self.total, INTERVAL)
        return Stage(
            name=f"misgan {STAGES[self.number]}",
            file=f"misgan-{STAGES[self.number]}",
            epochs=epochs,
            seed=(self.one.settings.seed, self.number),
            network=self.one.networks,
            optimizers=self.one.optimizers,
            batches=numbers,
            steps=INTERVAL,
            step=self.step,
            after=self.show,
        )

    def step(self, _: nn.Module, number: int, done: float) -> Outcome:
        """One step of the generators, or of the imputer, with the critics' before it."""
        return Outcome(self._impute(number) if self.number else self._generate(number))

    def _generate(self, number: int) -> Figures:
        figures = self._criticise(number)
        return figures | self.one.generate(self.one.settings.batch, imputing=False)

    def _impute(self, number: int) -> Figures:
        one, settings = self.one, self.one.settings
        adversarial = number % settings.adversarial_every == 0
        figures: Figures = {}
        if adversarial:
            figures |= self._criticise(number)
            figures |= one.generate(settings.batch, imputing=True)
        left = 1 - number / settings.imputing_steps
        for group in one.optimizers["imputer"].param_groups:
            falling = min(1.0, left / settings.settle) if settings.settle else 1.0
            group["lr"] = settings.imputer_learning_rate * falling
        return figures | one.impute(self._batch(number, settings.critic_steps), adversarial)

    def _criticise(self, number: int) -> Figures:
        figures: Figures = {}
        for turn in range(self.one.settings.critic_steps):
            figures = self.one.criticise(self._batch(number, turn), imputing=self.number == 1)
        return figures

    def _batch(self, number: int, turn: int) -> Batch:
        """A batch that stage, step and turn decide, as they decide what torch draws until the next."""
        seed = _seed(self.one.settings.seed, self.number, number, turn)
        torch.manual_seed(seed)
        device = next(self.one.networks.parameters()).device
        return self.pool.draw(self.one.settings.batch, np.random.default_rng(seed)).to(device)

    def table(self, state: PhaseState) -> list[Row]:
        """The curves of this stage."""
        return [
            {
                "stage": STAGES[self.number],
                "step": min(row["epoch"] * INTERVAL, self.total),
                "seconds": row["seconds"],
                **{name: row.get(name) for name in FIGURES},
            }
            for row in state.rows
        ]

    def show(self, state: PhaseState) -> None:
        """The curves so far, and sheets."""
        networks, seed = self.one.networks, self.one.settings.seed
        write_sheets(networks, self.pool, self.folder, self.number == 1, seed)
        curves.write_table([*self.before, *self.table(state)], self.folder / "curves.csv")


def _seed(*parts: int) -> int:
    return int(np.random.SeedSequence(parts).generate_state(1)[0])
