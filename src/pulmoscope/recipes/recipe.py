"""A recipe: one system as data. Frozen dataclasses; the resolved recipe is saved with every run.

    preprocess → [quality networks] → image network → [votes of a patient's slices] → [ensemble]

A classifier of single images has the second step and no other; what a system lacks is None. Every setting's type,
limits and meaning stand with its field; :mod:`pulmoscope.recipes.rules` says how settings go together.
"""

from __future__ import annotations

import itertools
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Annotated, ClassVar, Literal, Self, TypeVar

from pulmoscope.core.errors import RecipeError
from pulmoscope.core.limits import Limits
from pulmoscope.preprocess.augment import Augmentation
from pulmoscope.preprocess.ct import CtPreprocess
from pulmoscope.preprocess.ct_augment import CtAugmentation
from pulmoscope.preprocess.ct_slice import SlicePreprocess
from pulmoscope.preprocess.ct_standard import Standardisation
from pulmoscope.preprocess.kinds import ImagePreprocess
from pulmoscope.preprocess.xray import XrayPreprocess
from pulmoscope.recipes.specs import (
    EnsembleSpec,
    LightSpec,
    LossSpec,
    ModelSpec,
    Phase,
    QualitySpec,
    SliceSpec,
    VoteSpec,
)

P = TypeVar("P")
Grid = Mapping[str, tuple[float | int | str, ...]]


_OF_STUDIES = ("normal", "drop", "quality", "patient", "ensemble")
_OF_GRADES = ("drop", "quality")
_OF_IMAGES = (
    "positive",
    "normalise",
    "unread",
    "class_weights",
    "balance",
    "robust",
    "locate",
    "opacity_classes",
    "light",
)


TOGETHER = ("--processes", "--on", "torchrun")
"""What has several processes train together."""


@dataclass(frozen=True, kw_only=True)
class Named:
    """What every recipe has, of a system or of a tool.

    Attributes:
        name, title: what it is called.
        paper: the source and its section.
        deviations: where the recipe differs from the source, and why.
        published: the figures that the source reports, e.g. ``{"accuracy": 0.8233}``.
        seed: decides the first weights and all that is drawn.
        grid: what ``tune`` tries: dotted setting → values.
    """

    name: str
    title: str
    paper: str = ""
    deviations: str = ""
    published: Mapping[str, float] = field(default_factory=dict)
    seed: Annotated[int, Limits(0, 2**32 - 1)] = 20
    grid: Grid = field(default_factory=dict)

    untunable: ClassVar = ""
    """Why its settings can't be compared; empty: they can."""
    joins_data: ClassVar = True
    """Whether it learns from several data sets as from one, in which no image is twice."""
    tabular: ClassVar = False
    """Whether it learns from a table of patients' values instead of images."""

    @property
    def refused_options(self) -> tuple[tuple[str, ...], str]:
        """Options of ``train`` that make no sense for this recipe, and why."""
        return (), ""

    @property
    def idle(self) -> tuple[str, ...]:
        """Settings that do nothing for this recipe, and can't be changed."""
        return ()

    @property
    def hub_backbone(self) -> str:
        """The backbone whose weights timm's hub is asked for; empty: it is not asked."""
        return ""

    @property
    def reported_epochs(self) -> int:
        """How many epochs at most give a validation figure."""
        return 0

    def shortened(self, epochs: int | None) -> Self:
        """The recipe with no phase longer than ``epochs``, and without those after which nothing is held out.

        Raises:
            RecipeError: the first phase learns from ``val``, or it does not learn in epochs.
        """
        if epochs is not None:
            raise RecipeError(f"{self.name}: --epochs can't be given; it learns in steps (--set steps=…)")
        return self


@dataclass(frozen=True, kw_only=True)
class Tool(Named):
    """A network that recipes share; trained as a whole, with AdamW and one cycle of the learning rate.

    Attributes:
        steps, batch_size, learning_rate, weight_decay: of its training.
    """

    batch_size: Annotated[int, Limits(1)] = 32
    steps: Annotated[int, Limits(1)] = 500
    learning_rate: Annotated[float, Limits(0)] = 1e-3
    weight_decay: Annotated[float, Limits(0)] = 0.0

    @property
    def refused_options(self) -> tuple[tuple[str, ...], str]:
        """Options of ``train`` that make no sense for this recipe, and why."""
        names = (
            "--leave-out",
            "--labels",
            "--folds",
            "--terms",
            "--release",
            "--workers",
            *TOGETHER,
            "--device",
        )
        return names, "it is trained as a whole"


@dataclass(frozen=True, kw_only=True)
class Recipe(Named):
    """One system, whole.

    Attributes:
        modality: what is read.
        classes: the class list in order of the logits; empty: whatever the data has. A single logit is that of
            ``positive`` (moved to second place), or of the second class.
        positive: the class that a single logit stands for.
        normal: the class whose patients have no disease, and so no infected slice; empty: none is named.
        drop: classes whose studies are left out, with a word in the log.
        preprocess, augment, model, phases: see there; of the image network.
        normalise: ``fixed`` uses ``preprocess.mean`` and ``std``; ``data`` measures them on train + val (E).
        labels: what other labels of the data are to this recipe: label → class, or → fractions of classes,
            ``COVID 0.4, Normal 0.6`` (see :mod:`pulmoscope.datasets.labels`). Other labels are left out, and said.
        unread: classes that an image whose label nobody read from it may show instead, each with its fraction: of
            radiographs that are COVID by a test alone, about a fifth show no pneumonia.
        wording: class → what is said of it where a person reads: no more than the labels mean.
        left_out: hospitals whose images are learnt from in no folder (see :mod:`pulmoscope.datasets.hospitals`).
        loss: what is made small, and class-balanced weights; where studies are graded, it counts patients, not slices.
        class_weights: weigh the cross-entropy by inverse class frequency.
        label_smoothing: of the cross-entropy.
        mixup: every batch is mixed with itself in another order, images and labels alike, in fractions drawn from
            Beta(mixup, mixup) (Zhang et al., «mixup: Beyond Empirical Risk Minimization», ICLR 2018); 0: not.
        balance: how far hospitals and classes are drawn equally often: an image's chance is its group's size to the
            power of minus this (a group: one class of one hospital); 0: every image once an epoch, 1: fully.
        robust: step size of group DRO (see :class:`pulmoscope.models.losses.GroupRisk`); 0: the plain mean.
        locate: weight of a second task, to tell where the opacities are, from readers' boxes; 0: none.
        opacity_classes: what simulated opacities (``augment.opacities``) in both lungs and in one are labelled as.
        light: what makes the network small: what it begins with, how many channels are pruned, who teaches it.
        average: exponential moving average of the weights with this decay; 0: none.
        batch_size: of images or slices.
        slices: how slices of studies are learnt from; None: the recipe is of single images.
        quality: quality control of studies; None: none.
        patient: how a patient's slices become one answer.
        ensemble: what learns from several votes; None: one of them decides.
        cache: a folder for framed images, or for prepared slices, features and quality networks, which several runs may
            share; empty: the run's own, removed when it is done. ``none``: of single images nothing is kept.
        precision: ``auto`` takes bf16 where the hardware has it, else fp32.
    """

    model: ModelSpec
    phases: tuple[Phase, ...]
    modality: Literal["XRAY", "CT"] = "XRAY"
    classes: tuple[str, ...] = ()
    positive: str = "COVID"
    normal: str = ""
    drop: tuple[str, ...] = ()
    preprocess: XrayPreprocess | SlicePreprocess | CtPreprocess | Standardisation = XrayPreprocess()
    augment: Augmentation | CtAugmentation = Augmentation()
    normalise: Literal["fixed", "data"] = "fixed"
    labels: Mapping[str, str] = field(default_factory=dict)
    unread: Mapping[str, float] = field(default_factory=dict)
    wording: Mapping[str, str] = field(default_factory=dict)
    left_out: tuple[str, ...] = ()
    loss: LossSpec = LossSpec()
    class_weights: bool = False
    label_smoothing: Annotated[float, Limits(0, 0.99)] = 0.0
    mixup: Annotated[float, Limits(0, 10)] = 0.0
    balance: Annotated[float, Limits(0, 1)] = 0.0
    robust: Annotated[float, Limits(0, 1)] = 0.0
    locate: Annotated[float, Limits(0, 100)] = 0.0
    opacity_classes: tuple[str, ...] = ("COVID", "Other pneumonia")
    light: LightSpec = LightSpec()
    average: Annotated[float, Limits(0, 0.99999)] = 0.0
    batch_size: Annotated[int, Limits(2)] = 32  # BatchNorm needs two
    slices: SliceSpec | None = None
    quality: QualitySpec | None = None
    patient: VoteSpec | None = None
    ensemble: EnsembleSpec | None = None
    cache: str = ""
    precision: Literal["auto", "32", "bf16"] = "auto"

    @property
    def refused_options(self) -> tuple[tuple[str, ...], str]:
        """Options of ``train`` that make no sense for this recipe, and why."""
        if self.slices is None:
            return (), ""
        return ("--workers", *TOGETHER), "it learns from studies, whose slices are prepared before"

    @property
    def hub_backbone(self) -> str:
        """The backbone whose weights timm's hub is asked for; empty: it is not asked."""
        return self.model.backbone if self.model.from_hub and not self.light.start else ""

    @property
    def learns_from(self) -> str:
        """What it is about, in words."""
        return "single images" if self.slices is None else "graded studies" if self.grades else "studies"

    @property
    def idle(self) -> tuple[str, ...]:
        """Settings that do nothing for this recipe, and can't be changed."""
        if self.slices is None:
            return _OF_STUDIES
        return _OF_IMAGES if self.grades else (*_OF_IMAGES, *_OF_GRADES)

    @property
    def grades(self) -> bool:
        """Whether it grades whole studies: every slice has its study's grade, and what is held out chooses nothing."""
        return self.slices is not None and self.ensemble is None

    @property
    def reported_epochs(self) -> int:
        """How many epochs at most give a validation figure."""
        longest: dict[str, int] = {}
        for phase in self.phases:
            if phase.monitor != "none":
                longest[phase.name] = longest.get(phase.epochs_of, phase.epochs)
        return sum(longest.values())

    def shortened(self, epochs: int | None) -> Self:
        """See :meth:`Named.shortened`."""
        measured = tuple(itertools.takewhile(lambda phase: "val" not in phase.train_on, self.phases))
        if not measured:
            raise RecipeError(
                f"{self.name}: its first phase learns from val; nothing is left to compare trials by"
            )
        most = sys.maxsize if epochs is None else epochs
        phases = tuple(replace(phase, epochs=min(phase.epochs, most)) for phase in measured)
        return replace(self, phases=phases)

    @property
    def framing(self) -> ImagePreprocess:
        """The preprocessing of a recipe of single images."""
        assert isinstance(self.preprocess, ImagePreprocess)
        return self.preprocess

    @property
    def augmentation(self) -> Augmentation:
        """The augmentation of a recipe of single images."""
        return expected(self.augment, Augmentation)

    @property
    def controls(self) -> QualitySpec:
        """The quality control; without networks where there is none."""
        return self.quality or QualitySpec()


def expected(value: object, kind: type[P]) -> P:
    """A part of a recipe that its rules promise to be of this type."""
    assert isinstance(value, kind)
    return value


def travelling(recipe: Recipe) -> Recipe:
    """The recipe as a bundle names it: no folders of the machine that it was trained on."""
    model = replace(recipe.model, weights=Path(recipe.model.weights).name)
    slices = recipe.slices and replace(recipe.slices, pretrain=Path(recipe.slices.pretrain).name)
    light = replace(
        recipe.light, start=Path(recipe.light.start).name, teacher=Path(recipe.light.teacher).name
    )
    return replace(recipe, model=model, slices=slices, light=light, cache="")
