"""The parts of a recipe: networks, losses, phases, slices, votes. Plain data: reading it needs no torch."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated, Literal

from pulmoscope.core.limits import Limits
from pulmoscope.recipes.gan_specs import AnoGanSettings, MisGanSettings


@dataclass(frozen=True)
class ModelSpec:
    """The network: a backbone, global average pooling, and a head.

    Attributes:
        backbone: a timm name, or ``cnn`` for system E's baseline.
        pretrained: take the backbone's weights from timm's hub (ignored where ``weights`` is given).
        weights: a local safetensors file of the backbone, or a run's ``weights.safetensors``; or ``package:NAME`` (see
            :mod:`pulmoscope.models.packaged`); empty: none.
        backbone_options: further arguments of ``timm.create_model``, e.g. ``{"pad_type": "same"}``.
        stages: 1 pools the last feature maps; 3 also those of the two stages before, as system B does: lesions are of
            all sizes, and Grad-CAM can be drawn at each stage.
        hidden: units of the ReLU layer between pooling and output; 0: none.
        dropout: before the output layer.
        output: ``softmax`` has a logit per class; ``sigmoid`` a single one, that of the second of two classes.
        filters: base number of filters of ``cnn``.
    """

    backbone: str
    pretrained: bool = True
    weights: str = ""
    backbone_options: Mapping[str, str] = field(default_factory=dict)
    stages: Literal[1, 3] = 1
    hidden: Annotated[int, Limits(0)] = 0
    dropout: Annotated[float, Limits(0, 0.99)] = 0.0
    output: Literal["softmax", "sigmoid"] = "softmax"
    filters: Annotated[int, Limits(1)] = 32

    @property
    def from_hub(self) -> bool:
        """Whether the backbone's weights come from timm's hub."""
        return self.pretrained and not self.weights and self.backbone != "cnn"


@dataclass(frozen=True)
class LightSpec:
    """What makes a network small: channels pruned away before it is trained, and a teacher beside the labels.

    Attributes:
        start: a finished run of the same network and classes, which training begins with, its head too; empty: the
            backbone's weights.
        prune: fraction of the channels of every layer but the last that are removed before training (see
            :mod:`pulmoscope.training.light.prune`); 0: none. Weights and arithmetic shrink with its square.
        teacher: a model, by its name or folder, whose answers are learnt, too; it has the same classes and is shown the
            same images; empty: none.
        temperature: that both answers are softened by.
        weight: of the teacher's part of the loss; the labels' has the rest.
    """

    start: str = ""
    prune: Annotated[float, Limits(0, 0.9)] = 0.0
    teacher: str = ""
    temperature: Annotated[float, Limits(0.1, 100)] = 4.0
    weight: Annotated[float, Limits(0, 1)] = 0.5

    @property
    def reshapes(self) -> bool:
        """Whether the network's widths may be others than the backbone's."""
        return bool(self.prune or self.start)


@dataclass(frozen=True)
class LossSpec:
    """What is made small; see :mod:`pulmoscope.models.losses`.

    Attributes:
        kind: ``cross-entropy``, ``focal`` or ``ldam``.
        gamma: of the focal loss.
        largest_margin, scale: of LDAM: the rarest class's margin, and what logits are multiplied by.
        beta: of the class-balanced weights, which any kind can have; 0: none.
        deferred: the weights are switched on when this fraction of the training is done (DRW: 0.8).
    """

    kind: Literal["cross-entropy", "focal", "ldam"] = "cross-entropy"
    gamma: Annotated[float, Limits(0, 100)] = 2.0
    largest_margin: Annotated[float, Limits(0, 10)] = 0.5
    scale: Annotated[float, Limits(0.001, 1000)] = 30.0
    beta: Annotated[float, Limits(0, 0.9999999)] = 0.0
    deferred: Annotated[float, Limits(0, 1)] = 0.0


@dataclass(frozen=True)
class Phase:
    """One stretch of training the image network, with its own learning rate and frozen part.

    Attributes:
        name: unique within the recipe.
        epochs: the most epochs (0 where ``epochs_of`` is given).
        epochs_of: take as many epochs as this earlier phase needed to reach its best.
        learning_rate, optimizer, weight_decay, momentum: of this phase (momentum for ``sgd`` only).
        schedule: ``constant``, or ``cosine`` with a warm-up.
        frozen: ``none``; ``backbone`` (its BatchNorm statistics too); ``early``: likewise, but only the layers up to
            the stage that shrinks a side to an eighth, which take most of the time and see edges and textures alone;
            ``norm``: BatchNorm, statistics and weights.
        variants: with a frozen backbone, so many augmented variants of each image go through it, once, and the epochs
            take what it made of them by turns; 0: new variants in every epoch.
        patience: epochs without a better ``monitor`` before stopping; 0: no early stopping.
        monitor: the figure of the validation split whose best epoch is kept: ``loss`` or ``accuracy``; ``none``: the
            last epoch is kept, as what is held out chooses nothing.
        train_on: the splits that are learnt from. With ``val`` among them nothing is held out: the last is kept.
        restart: begin from the initial weights instead of those of the phase before.
        learn: which slices of studies: ``labelled``: those whose label is known; ``pretrain``: the data set
            ``slices.pretrain``; ``picked``: the labelled ones and those that the network itself has picked of patients
            without slice labels.
    """

    name: str
    epochs: Annotated[int, Limits(0)] = 0
    epochs_of: str = ""
    learning_rate: Annotated[float, Limits(0)] = 1e-3
    optimizer: Literal["adam", "adamw", "sgd"] = "adam"
    weight_decay: Annotated[float, Limits(0)] = 0.0
    momentum: Annotated[float, Limits(0, 0.9999)] = 0.0
    schedule: Literal["constant", "cosine"] = "constant"
    frozen: Literal["none", "norm", "early", "backbone"] = "none"
    variants: Annotated[int, Limits(0)] = 0
    patience: Annotated[int, Limits(0)] = 0
    monitor: Literal["loss", "accuracy", "none"] = "loss"
    train_on: tuple[str, ...] = ("train",)
    restart: bool = False
    learn: Literal["labelled", "pretrain", "picked"] = "labelled"


@dataclass(frozen=True)
class SliceSpec:
    """How the image network learns from slices of studies.

    Attributes:
        per_epoch: so many slices an epoch, drawn anew, as many of each class; 0: all of them, classes weighted.
        per_study: so many of each study's slices an epoch, drawn anew; 0: all.
        interpolate: how many slices become of one along z, for training; 1: none are added.
        sure: of a patient without slice labels those slices are picked to which the network gives at least this
            probability of not being of the class ``normal``.
        pretrain: a data set of labelled slices, for the phases that learn from it; empty: these are skipped.
    """

    per_epoch: Annotated[int, Limits(0)] = 0
    per_study: Annotated[int, Limits(0)] = 0
    interpolate: Annotated[int, Limits(1)] = 1
    sure: Annotated[float, Limits(0)] = 0.5
    pretrain: str = ""


IMPUTERS = Literal["none", "mean", "linear", "navier-stokes", "misgan"]


@dataclass(frozen=True)
class QualitySpec:
    """Quality control of studies before their slices are learnt from.

    Attributes:
        imputer: what fills missing regions: ``none`` leaves damage as it is, in training and diagnosis, and does not
            look for it; ``misgan`` is trained on the training patients; the others are in ``quality.imputation``.
        anomalies: whether an AnoGAN is trained on the training patients of the class ``normal``, the first one.
        misgan, anogan: how these two networks are built and trained.
    """

    imputer: IMPUTERS = "none"
    anomalies: bool = False
    misgan: MisGanSettings = field(default_factory=MisGanSettings)
    anogan: AnoGanSettings = field(default_factory=AnoGanSettings)


@dataclass(frozen=True)
class VoteSpec:
    """From a patient's slices to the patient.

    Attributes:
        votes: all that are computed and compared: ``majority`` and ``mean`` of the slices' answers; ``attention`` and
            ``regression`` on their features; or classifiers of :data:`CLASSIFIERS`.
        decides: whose answer is the patient's: one of the votes, or the ``ensemble`` of several.
        epochs, learning_rate, batch_size, l1, l2: of each network that votes; ``l1`` and ``l2`` are of all weight
            matrices.
        lstm_units: of each direction.
    """

    votes: tuple[str, ...] = ("maxpool", "maxpool-weighted", "bilstm", "bilstm-weighted", "attention")
    decides: str = "ensemble"
    epochs: Annotated[int, Limits(1)] = 25
    learning_rate: Annotated[float, Limits(0)] = 1e-3
    batch_size: Annotated[int, Limits(1)] = 64
    l1: Annotated[float, Limits(0)] = 1e-5
    l2: Annotated[float, Limits(0)] = 1e-4
    lstm_units: Annotated[int, Limits(1)] = 512


@dataclass(frozen=True)
class EnsembleSpec:
    """A network on the probabilities of several votes.

    Attributes:
        of: whose probabilities it gets, in this order.
        scores: what it learns from. ``train``: what the classifiers say of the patients that they have learnt from, as
            in the paper. ``folds``: what classifiers say that were trained without them, one of ``folds`` each; how
            sure a classifier is of patients that it knows says little about others.
        folds: how many.
        hidden: units of its ReLU layer.
        epochs, learning_rate, batch_size, l1, l2: as in :class:`VoteSpec`.
    """

    of: tuple[str, ...] = ("maxpool", "maxpool-weighted", "bilstm", "bilstm-weighted")
    scores: Literal["train", "folds"] = "train"
    folds: Annotated[int, Limits(2)] = 5
    hidden: Annotated[int, Limits(1)] = 10
    epochs: Annotated[int, Limits(1)] = 200
    learning_rate: Annotated[float, Limits(0)] = 1e-3
    batch_size: Annotated[int, Limits(1)] = 64
    l1: Annotated[float, Limits(0)] = 1e-5
    l2: Annotated[float, Limits(0)] = 1e-4


@dataclass(frozen=True)
class PatientSpec:
    """One patient-level classifier.

    Attributes:
        pooling: how slices become one vector.
        weighted: whether a slice's vector is taken once for every class, times that class's probability.
        hidden: units of the ReLU layer behind the pooling.
    """

    pooling: Literal["max", "lstm", "attention", "attention-max"]
    weighted: bool
    hidden: int


CLASSIFIERS: Mapping[str, PatientSpec] = {
    "maxpool": PatientSpec("max", False, 512),
    "maxpool-weighted": PatientSpec("max", True, 512),
    "bilstm": PatientSpec("lstm", False, 1024),
    "bilstm-weighted": PatientSpec("lstm", True, 1024),
    "attention": PatientSpec("attention", False, 512),
    "attention-max": PatientSpec("attention-max", False, 256),
}
"""All patient-level classifiers there are; the paper's four first."""
