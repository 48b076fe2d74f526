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

from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from pulmoscope.core.errors import DatasetError
from pulmoscope.core.files import sha256_of
from pulmoscope.core.types import FloatArray
from pulmoscope.models.anogan import AnomalyNetwork, Discriminator, Encoder, Generator, reduced
from pulmoscope.recipes.gan_specs import AnoGanSettings
from pulmoscope.training import curves
from pulmoscope.training.anogan.batches import NormalSlices
from pulmoscope.training.hardware import fabric_of
from pulmoscope.training.loop import Outcome, Stage, fit
from pulmoscope.training.optimizers import average_of
from pulmoscope.training.progress import Reporter
from pulmoscope.training.slice_sheet import write_sheet
from pulmoscope.training.state import PhaseState, begin

REAL = 0.9
"""What the discriminator is to answer for a real slice."""
AVERAGED = 0.995
"""Decay of the generator's running average."""
PENALISED_EVERY = 4
"""Batches from one gradient penalty to the next."""
SHOWN = 8
"""Slices a row of a sheet."""
SHOWN_EVERY = 5
"""Epochs between two sheets."""
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
    images: FloatArray, settings: AnoGanSettings, folder: Path, device: torch.device, reporter: Reporter
) -> AnoGan:
    """Train on normal slices, from where the folder's checkpoints say training stands.

    Args:
        images: float32 (n, size, size) in [0, 1], standardised slices of CT-0 studies inside the fold; the size is a
            multiple of the settings' side.
        folder: of checkpoints, curves and sheets; made where it is not there.

    Raises:
        DatasetError: the slices are no such array, or fewer than two.
        RecipeError: the folder's checkpoints are of other slices or settings; or a loss became NaN.
    """
    check_slices(images, settings.side)
    if len(images) < 2:
        raise DatasetError(f"AnoGAN: at least 2 normal slices are needed (found: {len(images)})")
    folder.mkdir(parents=True, exist_ok=True)
    asked = (
        "weight",
        "steps",
        "search_rate",
    )  # how the networks are asked changes nothing about their training
    known = {**asdict(settings), "betas": list(settings.betas)}
    begin(
        folder / SETTINGS,
        {
            "settings": {name: value for name, value in known.items() if name not in asked},
            "slices": len(images),
            "size": images.shape[-1],
            "sha256": sha256_of(np.ascontiguousarray(images).tobytes()),
        },
    )
    slices = NormalSlices(
        reduced(torch.from_numpy(images)[:, None], images.shape[-1] // settings.side),
        settings.batches,
        settings.batch_size,
        settings.shift * settings.side // 64,
        settings.brightness,
        settings.seed,
    )
    gan = _Gan(slices, settings, folder, device)
    fabric = fabric_of(device)
    fit(gan.stage(), folder, fabric, reporter)
    generator, discriminator = gan.kept()
    encoding = _Encoding(slices, settings, folder, generator, discriminator)
    fit(encoding.stage(), folder, fabric, reporter)
    return AnoGan(
        settings, images.shape[-1], generator, discriminator, encoding.encoder.requires_grad_(False)
    )


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


def _channels_last(network: nn.Module) -> None:
    network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # missing in torch's stubs


class _Gan:
    """The first stage: one step of the discriminator and one of the generator a batch (Radford 2016)."""

    def __init__(
        self, slices: NormalSlices, settings: AnoGanSettings, folder: Path, device: torch.device
    ) -> None:
        self.slices, self.settings, self.folder, self.device = slices, settings, folder, device
        size = slices.images.shape[-1]
        slices.seeded(0)
        self.generator = Generator(size, settings.latent, settings.width)
        self.discriminator = Discriminator(size, settings.width)
        self.networks = nn.ModuleDict({"generator": self.generator, "discriminator": self.discriminator})
        _channels_last(self.networks)
        self.average = average_of(self.generator, AVERAGED).requires_grad_(False)
        self.optimizers = {
            name: torch.optim.Adam(network.parameters(), settings.learning_rate, settings.betas)
            for name, network in self.networks.items()
        }
        self.networks["average"] = self.average

    def stage(self) -> Stage:
        return Stage(
            name="gan",
            epochs=self.settings.epochs,
            seed=(self.settings.seed, 0),
            network=self.networks,
            optimizers=self.optimizers,
            batches=lambda epoch: self.slices.batches(0, epoch),
            steps=self.settings.batches,
            step=self.step,
            after=self.show,
        )

    def kept(self) -> tuple[Generator, Discriminator]:
        """The running average of the generator, and the discriminator, both for good."""
        generator = self.average.module
        assert isinstance(generator, Generator)
        return generator, self.discriminator.requires_grad_(False)

    def prior(self, count: int) -> Tensor:
        """Latent vectors (count, latent, 1, 1), uniform in [-1, 1]; the same on every device."""
        return (2 * torch.rand(count, self.settings.latent, 1, 1) - 1).to(self.device)

    def step(self, _: nn.Module, real: Tensor, done: float) -> Outcome:
        """Losses of Goodfellow 2014; the discriminator's with R1 now and then."""
        generator, discriminator, settings = self.generator, self.discriminator, self.settings
        number = round(done * settings.epochs * settings.batches)
        penalised = number % PENALISED_EVERY == 0
        real.requires_grad_(penalised)
        generated = generator(self.prior(len(real)))
        real_logits, generated_logits = discriminator(real), discriminator(generated.detach())
        apart = _apart(real_logits, REAL) + _apart(generated_logits, 0)
        penalty = settings.penalty * PENALISED_EVERY * _slope(real_logits, real) if penalised else 0
        _descend(self.optimizers["discriminator"], apart + penalty)
        discriminator.requires_grad_(False)  # its gradients are not needed for the generator's step
        taken = _apart(discriminator(generated), 1)
        _descend(self.optimizers["generator"], taken)
        discriminator.requires_grad_(True)
        self.average.update_parameters(generator)
        figures = {
            "discriminator_loss": apart,
            "generator_loss": taken,
            "real_taken_for_real": real_logits.sigmoid().mean(),
            "drawn_taken_for_real": generated_logits.sigmoid().mean(),
        }
        return Outcome({name: float(value.detach()) for name, value in figures.items()})

    def show(self, state: PhaseState) -> None:
        """The curves, and now and then a sheet of synthetic slices."""
        curves.write_table(state.rows, self.folder / "gan.csv")
        if state.finished or state.epochs % SHOWN_EVERY == 0:
            self.slices.seeded(0, self.settings.epochs)
            with torch.no_grad():
                generated = self.average.eval()(self.prior(SHOWN * SHOWN))
            file = self.folder / f"drawn-{state.epochs:03d}.png"
            write_sheet(generated[:, 0].cpu().numpy(), SHOWN, file)


def _apart(logits: Tensor, wanted: float) -> Tensor:
    return functional.binary_cross_entropy_with_logits(logits, torch.full_like(logits, wanted))


def _slope(logits: Tensor, slices: Tensor) -> Tensor:
    """R1: half the squared gradient of the logits by the slices, mean over the batch."""
    (slope,) = torch.autograd.grad(logits.sum(), slices, create_graph=True)
    return slope.square().sum((1, 2, 3)).mean() / 2


def _descend(optimizer: torch.optim.Optimizer, loss: Tensor) -> None:
    optimizer.zero_grad()
    loss.backward()  # type: ignore[no-untyped-call]
    optimizer.step()


class _Encoding:
    """The second stage: the encoder, by the generator and the discriminator as they are."""

    def __init__(
        self,
        slices: NormalSlices,
        settings: AnoGanSettings,
        folder: Path,
        generator: Generator,
        discriminator: Discriminator,
    ) -> None:
        self.slices, self.settings, self.folder = slices, settings, folder
        self.generator, self.discriminator = generator, discriminator
        slices.seeded(1)
        self.encoder = Encoder(slices.images.shape[-1], settings.latent, settings.width)
        _channels_last(self.encoder)

    def stage(self) -> Stage:
        settings = self.settings
        optimizer = torch.optim.Adam(self.encoder.parameters(), settings.learning_rate, settings.betas)
        return Stage(
            name="encoder",
            epochs=settings.encoder_epochs,
            seed=(settings.seed, 1),
            network=self.encoder,
            optimizers={"encoder": optimizer},
            batches=lambda epoch: self.slices.batches(1, epoch),
            steps=settings.batches,
            step=self.step,
            after=self.show,
        )

    def step(self, encoder: nn.Module, slices: Tensor, done: float) -> Outcome:
        """izi_f: MSE of slices, and κ times that of features, between a slice and what its latent vector draws."""
        generated = self.generator(encoder(slices))
        residual = functional.mse_loss(generated, slices)
        features = functional.mse_loss(
            self.discriminator.features(generated), self.discriminator.features(slices)
        )
        figures = {"residual": float(residual.detach()), "features": float(features.detach())}
        return Outcome(figures, loss=residual + self.settings.kappa * features)

    def show(self, state: PhaseState) -> None:
        """The curves, and now and then a sheet of slices and what is rebuilt of them."""
        curves.write_table(state.rows, self.folder / "encoder.csv")
        if not state.finished and state.epochs % SHOWN_EVERY:
            return
        images = self.slices.images
        chosen = torch.linspace(0, len(images) - 1, 4 * SHOWN).long()
        slices = images[chosen].to(next(self.encoder.parameters()).device)
        with torch.no_grad():
            rebuilt = self.generator(self.encoder.eval()(slices))
        pairs = torch.stack([slices, rebuilt], 1).reshape(4, SHOWN, 2, *slices.shape[2:]).transpose(1, 2)
        sheet = pairs.reshape(-1, *slices.shape[2:]).cpu().numpy()
        write_sheet(sheet, SHOWN, self.folder / f"rebuilt-{state.epochs:03d}.png")
