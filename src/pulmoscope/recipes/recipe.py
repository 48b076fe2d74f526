"""A recipe: one published system as data. Frozen dataclasses; the resolved recipe is saved with every run."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from pulmoscope.preprocess.augment import Augmentation
from pulmoscope.preprocess.kinds import ImagePreprocess
from pulmoscope.preprocess.xray import XrayPreprocess
from pulmoscope.recipes.specs import LossSpec
from pulmoscope.recipes.specs import ModelSpec as ModelSpec


@dataclass(frozen=True)
class Phase:
    """One stretch of training with its own learning rate and frozen part.

    Attributes:
        name: unique within the recipe.
        epochs: the most epochs (0 where ``epochs_of`` is given).
        epochs_of: take as many epochs as this earlier phase needed to reach its best.
        learning_rate, optimizer, weight_decay, momentum: of this phase (momentum for ``sgd`` only).
        schedule: ``constant``, or ``cosine`` with a warm-up over the first tenth.
        frozen: ``none``; ``backbone`` (its BatchNorm statistics too); ``early``: likewise, but only the layers up to
            the stage that shrinks a side to an eighth. They take most of the time and see edges and textures alone.
        patience: epochs without a better ``monitor`` before stopping; 0: no early stopping.
        monitor: ``loss`` or ``accuracy``, of the validation split.
        train_on: the splits that are learnt from. With ``val`` among them nothing is held out: the last is kept.
        restart: begin from the initial weights instead of those of the phase before.
    """

    name: str
    epochs: int = 0
    epochs_of: str = ""
    learning_rate: float = 1e-3
    optimizer: Literal["adam", "adamw", "sgd"] = "adam"
    weight_decay: float = 0.0
    momentum: float = 0.0
    schedule: Literal["constant", "cosine"] = "constant"
    frozen: Literal["none", "early", "backbone"] = "none"
    patience: int = 0
    monitor: Literal["loss", "accuracy"] = "loss"
    train_on: tuple[str, ...] = ("train",)
    restart: bool = False


@dataclass(frozen=True)
class Recipe:
    """One system, whole.

    Attributes:
        name, title: what it is called.
        paper: the source and its section; ``deviations``: where the recipe differs, and why.
        published: the figures that the source reports, e.g. ``{"accuracy": 0.8233}``.
        classes: the class list in order of the logits; empty: whatever the data has. A single logit is that of
            ``positive`` (moved to second place), or of the second class.
        modality: what is read; ``CT``: single slices. Says of which class ``preprocess`` is (``preprocess.kinds``).
        preprocess, augment, model, phases: see there.
        normalise: ``fixed`` uses ``preprocess.mean`` and ``std``; ``data`` measures them on train + val (E).
        labels: what other labels of the data are to this recipe: label → class, or → shares of classes,
            ``COVID 0.4, Normal 0.6`` (see :mod:`pulmoscope.datasets.labels`). Other labels are left out, and said.
        unread: classes that an image whose label nobody read from it may show instead, each with its share: of films
            that are COVID by a test alone, about a fifth show no pneumonia.
        wording: class → what is said of it where a person reads: no more than the labels mean.
        left_out: hospitals whose images are learnt from in no folder (see :mod:`pulmoscope.datasets.hospitals`).
        loss: what is made small, and class-balanced weights.
        class_weights: weigh the cross-entropy by inverse class frequency.
        label_smoothing: of the cross-entropy.
        mixup: every batch is mixed with itself in another order, images and labels alike, in shares drawn from
            Beta(mixup, mixup) (Zhang et al., «mixup: Beyond Empirical Risk Minimization», ICLR 2018); 0: not.
        balance: how far hospitals and classes are drawn equally often: an image's chance is its group's size to the
            power of minus this (a group: one class of one hospital); 0: every image once an epoch, 1: fully.
        robust: step size of group DRO (see :class:`pulmoscope.models.losses.GroupRisk`); 0: the plain mean.
        locate: weight of a second task, to tell where the opacities are, from readers' boxes; 0: none.
        opacity_classes: what simulated opacities (``augment.opacities``) in both lungs and in one are labelled as.
        average: exponential moving average of the weights with this decay; 0: none.
        precision: ``auto`` takes bf16 where the hardware has it, else fp32.
        grid: what ``tune`` tries: dotted setting → values.
    """

    name: str
    title: str
    paper: str
    model: ModelSpec
    phases: tuple[Phase, ...]
    deviations: str = ""
    published: Mapping[str, float] = field(default_factory=dict)
    modality: Literal["XRAY", "CT"] = "XRAY"
    classes: tuple[str, ...] = ()
    positive: str = "COVID"
    preprocess: ImagePreprocess = XrayPreprocess()
    augment: Augmentation = Augmentation()
    normalise: Literal["fixed", "data"] = "fixed"
    labels: Mapping[str, str] = field(default_factory=dict)
    unread: Mapping[str, float] = field(default_factory=dict)
    wording: Mapping[str, str] = field(default_factory=dict)
    left_out: tuple[str, ...] = ()
    loss: LossSpec = LossSpec()
    class_weights: bool = False
    label_smoothing: float = 0.0
    mixup: float = 0.0
    balance: float = 0.0
    robust: float = 0.0
    locate: float = 0.0
    opacity_classes: tuple[str, ...] = ("COVID", "Other pneumonia")
    average: float = 0.0
    batch_size: int = 32
    precision: Literal["auto", "32", "bf16"] = "auto"
    seed: int = 20
    grid: Mapping[str, tuple[float | int | str, ...]] = field(default_factory=dict)
