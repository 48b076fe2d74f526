"""AnoGAN and f-AnoGAN: a DCGAN and an encoder that learn from normal slices alone (system A, arXiv 2507.04252).

First the DCGAN (Radford 2016; Schlegl 2017), then, both its networks frozen, the encoder (f-AnoGAN's izi_f; Schlegl
2019, section 2.2). The folder holds ``gan.ckpt`` and ``encoder.ckpt``, their figures as CSV, and sheets of drawn and
of rebuilt slices. A training that was interrupted goes on from there to the same weights.

Where we leave the papers, so that thousands of steps on hundreds of slices do, where they took many more: the
discriminator has a penalty on its gradients at real slices instead of BatchNorm (R1; Mescheder et al. 2018, every
fourth batch, four times as strong, as Karras et al. 2020 do it), which allows a learning rate of 0.001 in place of
0.0002; real slices count as 0.9 (one-sided smoothing, Salimans et al. 2016); and the generator that is kept is the
running average of its weights (Yazici et al. 2019), as the last step's weights swing.
"""

from __future__ import annotations

import copy
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from pulmoscope.core.errors import DatasetError, RecipeError
from pulmoscope.core.files import sha256_of, write_json
from pulmoscope.core.types import FloatArray
from pulmoscope.models.anogan import AnomalyNetwork, Discriminator, Encoder, Generator, reduced
from pulmoscope.recipes.gan_specs import AnoGanSettings
from pulmoscope.training import curves
from pulmoscope.training.anogan.batches import NormalSlices
from pulmoscope.training.slice_sheet import write_sheet
from pulmoscope.training.state import PhaseState, read_json
from pulmoscope.training.three_level.course import Teller

REAL = 0.9
"""What the discriminator is to answer for a real slice."""
AVERAGED = 0.995
"""Share of the former average in the new one, after every batch; less in the first ones."""
PENALISED_EVERY = 4
"""Batches from one gradient penalty to the next."""
SHOWN = 8
"""Slices a row of a sheet."""
SAVED_EVERY = 5
"""Epochs between two checkpoints and sheets."""
SETTINGS = "anogan.json"


@dataclass(frozen=True)
class AnoGan:
    """Trained networks, in eval mode and without gradients of their own.

    Attributes:
        size: side of the slices, px; the networks' own side is that of the settings.
    """

    settings: AnoGanSettings
    size: int
    generator: Generator
    discriminator: Discriminator
    encoder: Encoder

    @property
    def device(self) -> torch.device:
        """Where the networks are."""
        return next(self.generator.parameters()).device

    @property
    def factor(self) -> int:
        """How many times smaller the networks' side is than the slices'."""
        return self.size // self.settings.side

    def network(self) -> AnomalyNetwork:
        """Encoder, generator and features as one network."""
        return AnomalyNetwork(
            self.generator, self.discriminator, self.encoder, self.settings.weight, self.factor
        )

    def check(self, images: FloatArray) -> None:
        """Refuse slices that are not of the side that was trained on.

        Raises:
            DatasetError: they are not, or are no slices at all.
        """
        check_slices(images, self.settings.side)
        if images.shape[-1] != self.size:
            raise DatasetError(
                f"AnoGAN: slices must have the side that was trained on, {self.size} px (found: {images.shape[-1]})"
            )


def fit_anogan(
    images: FloatArray, settings: AnoGanSettings, folder: Path, device: torch.device, teller: Teller
) -> AnoGan:
    """Train on normal slices, from where the folder's checkpoints say training stands.

    Args:
        images: float32 (n, size, size) in [0, 1], standardised slices of CT-0 studies inside the fold; the size is a
            multiple of the settings' side.
        folder: of checkpoints, curves and sheets; made where it is not there.

    Raises:
        DatasetError: the slices are no such array, or fewer than two.
        RecipeError: the folder's checkpoints are of other slices or settings; or a loss is no number any more.
    """
    check_slices(images, settings.side)
    if len(images) < 2:
        raise DatasetError(f"AnoGAN: at least 2 normal slices are needed (found: {len(images)})")
    folder.mkdir(parents=True, exist_ok=True)
    _claim(folder / SETTINGS, images, settings)
    slices = NormalSlices(
        reduced(torch.from_numpy(images)[:, None], images.shape[-1] // settings.side),
        settings.batches,
        settings.batch_size,
        settings.shift * settings.side // 64,
        settings.brightness,
        settings.seed,
    )
    learning = _Learning(slices, settings, folder, device, teller)
    generator, discriminator = _fit_gan(learning)
    encoder = _fit_encoder(learning, generator, discriminator)
    return AnoGan(settings, images.shape[-1], generator, discriminator, encoder)


def check_slices(images: FloatArray, side: int) -> None:
    """Refuse what is no float32 (n, size, size) in [0, 1] with a size that is a multiple of the networks' side.

    Raises:
        DatasetError: it is something else.
    """
    sizes = images.shape[1:]
    if images.ndim != 3 or sizes[0] != sizes[1] or sizes[0] % side or images.dtype != np.float32:
        raise DatasetError(
            f"AnoGAN: slices are float32 (n, size, size), size a multiple of {side} "
            f"(found: {images.dtype} {images.shape})"
        )
    if len(images) and not (images.min() >= 0 and images.max() <= 1):
        raise DatasetError(
            f"AnoGAN: slices have values in [0, 1] (found: {images.min():.3g} to {images.max():.3g})"
        )


def _claim(file: Path, images: FloatArray, settings: AnoGanSettings) -> None:
    """Write what is trained here; refuse to go on with something else."""
    own = {
        "settings": {**asdict(settings), "betas": list(settings.betas)},
        "slices": len(images),
        "size": images.shape[-1],
        "sha256": sha256_of(np.ascontiguousarray(images).tobytes()),
    }
    if not file.exists():
        write_json(file, own)
        return
    found = read_json(file, *own)
    asked = (
        "weight",
        "steps",
        "search_rate",
    )  # how the networks are asked changes nothing about their training
    for content in (own, found):
        content["settings"] = {
            name: value for name, value in content["settings"].items() if name not in asked
        }
    if found != own:
        other = next(name for name in own if found[name] != own[name])
        raise RecipeError(f"{file}: training began with other {other}; take another folder")


@dataclass(frozen=True)
class _Learning:
    """What both trainings share."""

    slices: NormalSlices
    settings: AnoGanSettings
    folder: Path
    device: torch.device
    teller: Teller

    @property
    def size(self) -> int:
        return self.slices.images.shape[-1]

    def batches(self, stage: int, epoch: int) -> Iterator[Tensor]:
        """An epoch's slices, on the device."""
        return (batch.to(self.device) for batch in self.slices.batches(stage, epoch))

    def prior(self, count: int) -> Tensor:
        """Latent vectors (count, latent, 1, 1), uniform in [-1, 1]; the same on every device."""
        return (2 * torch.rand(count, self.settings.latent, 1, 1) - 1).to(self.device)

    def adam(self, network: nn.Module) -> torch.optim.Adam:
        return torch.optim.Adam(network.parameters(), self.settings.learning_rate, self.settings.betas)


def _fit_gan(learning: _Learning) -> tuple[Generator, Discriminator]:
    settings = learning.settings
    learning.slices.seeded(0)
    generator = Generator(learning.size, settings.latent, settings.width)
    discriminator = Discriminator(learning.size, settings.width)
    networks = nn.ModuleDict({"generator": generator, "discriminator": discriminator}).to(learning.device)
    networks.to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # missing in torch's stubs
    average = copy.deepcopy(generator).requires_grad_(False)
    state = PhaseState.load(learning.folder / "gan.ckpt")
    if state.epochs:
        networks.load_state_dict(state.network)
        average.load_state_dict(state.average)
    optimizers = {name: learning.adam(network) for name, network in networks.items()}
    for name, optimizer in optimizers.items() if state.epochs else ():
        optimizer.load_state_dict(state.optimizer[name])
    while not state.finished:
        began = time.perf_counter()
        row = _gan_epoch(learning, networks, average, optimizers, state.epochs)
        state.network, state.average = networks.state_dict(), average.state_dict()
        state.optimizer = {name: optimizer.state_dict() for name, optimizer in optimizers.items()}
        if _keep(learning, state, "gan", row, began):
            learning.slices.seeded(0, settings.epochs)
            with torch.no_grad():
                drawn = average.eval()(learning.prior(SHOWN * SHOWN))
            write_sheet(drawn[:, 0].cpu().numpy(), SHOWN, learning.folder / f"drawn-{state.epochs:03d}.png")
    return average.eval(), discriminator.eval().requires_grad_(False)


def _gan_epoch(
    learning: _Learning,
    networks: nn.ModuleDict,
    average: nn.Module,
    optimizers: dict[str, torch.optim.Adam],
    epoch: int,
) -> dict[str, float]:
    """One step of the discriminator and one of the generator a batch (Radford 2016; losses of Goodfellow 2014)."""
    generator, discriminator = networks["generator"].train(), networks["discriminator"].train()
    sums = np.zeros(4)
    title = f"gan {epoch + 1}/{learning.settings.epochs}"
    batches = learning.teller.track(learning.batches(0, epoch), title, learning.settings.batches)
    for done, real in enumerate(batches, epoch * learning.settings.batches):
        penalised = done % PENALISED_EVERY == 0
        real.requires_grad_(penalised)
        drawn = generator(learning.prior(len(real)))
        real_logits, drawn_logits = discriminator(real), discriminator(drawn.detach())
        told = _apart(real_logits, REAL) + _apart(drawn_logits, 0)
        penalty = learning.settings.penalty * PENALISED_EVERY * _slope(real_logits, real) if penalised else 0
        _step(optimizers["discriminator"], told + penalty)
        discriminator.requires_grad_(False)  # its gradients are not needed for the generator's step
        taken = _apart(discriminator(drawn), 1)
        _step(optimizers["generator"], taken)
        discriminator.requires_grad_(True)
        _follow(average, generator, min(AVERAGED, (done + 1) / (done + 10)))
        with torch.no_grad():
            shares = real_logits.sigmoid().mean(), drawn_logits.sigmoid().mean()
            sums += [float(value) for value in (told.detach(), taken.detach(), *shares)]
    names = ("discriminator_loss", "generator_loss", "real_taken_for_real", "drawn_taken_for_real")
    return dict(zip(names, (sums / learning.settings.batches).tolist(), strict=True))


def _apart(logits: Tensor, wanted: float) -> Tensor:
    return functional.binary_cross_entropy_with_logits(logits, torch.full_like(logits, wanted))


def _slope(logits: Tensor, slices: Tensor) -> Tensor:
    """R1: half the squared gradient of the logits by the slices, mean over the batch."""
    (slope,) = torch.autograd.grad(logits.sum(), slices, create_graph=True)
    return slope.square().sum((1, 2, 3)).mean() / 2


def _step(optimizer: torch.optim.Optimizer, loss: Tensor) -> None:
    optimizer.zero_grad()
    loss.backward()  # type: ignore[no-untyped-call]
    optimizer.step()


@torch.no_grad()
def _follow(average: nn.Module, network: nn.Module, kept: float) -> None:
    """Move the average towards the network, but for the share ``kept``: weights and BatchNorm's statistics."""
    own = network.state_dict()
    for name, value in average.state_dict().items():
        if value.is_floating_point():
            value.lerp_(own[name], 1 - kept)
        else:
            value.copy_(own[name])


def _fit_encoder(learning: _Learning, generator: Generator, discriminator: Discriminator) -> Encoder:
    settings = learning.settings
    learning.slices.seeded(1)
    encoder = Encoder(learning.size, settings.latent, settings.width).to(learning.device)
    encoder.to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # missing in torch's stubs
    state = PhaseState.load(learning.folder / "encoder.ckpt")
    optimizer = learning.adam(encoder)
    if state.epochs:
        encoder.load_state_dict(state.network)
        optimizer.load_state_dict(state.optimizer)
    while not state.finished:
        began = time.perf_counter()
        row = _encoder_epoch(learning, encoder, generator, discriminator, optimizer, state.epochs)
        state.network, state.optimizer = encoder.state_dict(), optimizer.state_dict()
        if _keep(learning, state, "encoder", row, began):
            chosen = torch.linspace(0, len(learning.slices.images) - 1, 4 * SHOWN).long()
            slices = learning.slices.images[chosen].to(learning.device)
            with torch.no_grad():
                rebuilt = generator(encoder.eval()(slices))
            pairs = torch.stack([slices, rebuilt], 1).reshape(4, SHOWN, 2, *slices.shape[2:]).transpose(1, 2)
            sheet = pairs.reshape(-1, *slices.shape[2:]).cpu().numpy()
            write_sheet(sheet, SHOWN, learning.folder / f"rebuilt-{state.epochs:03d}.png")
    return encoder.eval().requires_grad_(False)


def _encoder_epoch(
    learning: _Learning,
    encoder: Encoder,
    generator: Generator,
    discriminator: Discriminator,
    optimizer: torch.optim.Adam,
    epoch: int,
) -> dict[str, float]:
    """izi_f: MSE of slices, and κ times that of features, between a slice and what its latent vector draws."""
    encoder.train()
    sums = np.zeros(2)
    title = f"encoder {epoch + 1}/{learning.settings.encoder_epochs}"
    for slices in learning.teller.track(learning.batches(1, epoch), title, learning.settings.batches):
        drawn = generator(encoder(slices))
        residual = functional.mse_loss(drawn, slices)
        features = functional.mse_loss(discriminator.features(drawn), discriminator.features(slices))
        _step(optimizer, residual + learning.settings.kappa * features)
        sums += [float(residual.detach()), float(features.detach())]
    return dict(zip(("residual", "features"), (sums / learning.settings.batches).tolist(), strict=True))


def _keep(learning: _Learning, state: PhaseState, name: str, figures: dict[str, float], began: float) -> bool:
    """Count an epoch and tell of it; whether it was saved, which every few epochs and the last one are.

    Raises:
        RecipeError: a figure is no number any more.
    """
    if not np.isfinite(list(figures.values())).all():
        raise RecipeError(
            f"{name}: a loss is no number any more in epoch {state.epochs + 1}; try a smaller learning_rate"
        )
    epochs = learning.settings.epochs if name == "gan" else learning.settings.encoder_epochs
    seconds = time.perf_counter() - began
    state.epochs += 1
    state.rows.append({"phase": name, "epoch": state.epochs, **figures, "seconds": round(seconds, 2)})
    state.finished = state.epochs >= epochs
    told = ", ".join(f"{key.replace('_', ' ')} {value:.4f}" for key, value in figures.items())
    learning.teller.line(f"{name} {state.epochs}/{epochs}: {told}  ({seconds:.0f} s)")
    saved = state.finished or state.epochs % SAVED_EVERY == 0
    if saved:
        state.save(learning.folder / f"{name}.ckpt")
        curves.write_table(state.rows, learning.folder / f"{name}.csv")
    return saved
