"""Which network a recipe asks for. Plain data: reading it needs no torch."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal


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
    hidden: int = 0
    dropout: float = 0.0
    output: Literal["softmax", "sigmoid"] = "softmax"
    filters: int = 32

    @property
    def from_hub(self) -> bool:
        """Whether the backbone's weights come from timm's hub."""
        return self.pretrained and not self.weights and self.backbone != "cnn"


@dataclass(frozen=True)
class LossSpec:
    """What is made small; see :mod:`pulmoscope.models.losses`.

    Attributes:
        kind: ``cross-entropy``, ``focal`` or ``ldam``.
        gamma: of the focal loss.
        largest_margin, scale: of LDAM: the rarest class's margin, and what logits are multiplied by.
        beta: of the class-balanced weights, which any kind can have; 0: none.
        deferred: the weights are switched on when this share of the training is done (DRW: 0.8).
    """

    kind: Literal["cross-entropy", "focal", "ldam"] = "cross-entropy"
    gamma: float = 2.0
    largest_margin: float = 0.5
    scale: float = 30.0
    beta: float = 0.0
    deferred: float = 0.0


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
