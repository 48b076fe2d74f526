"""The view network's recipe: not a published system, but a tool that the X-ray recipes share, as the lung finder is.

Which view a picture shows is stated here, by its label, source or patient, and is not read from the pictures.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated, ClassVar

from pulmoscope.core.limits import Limits
from pulmoscope.recipes.recipe import Tool


@dataclass(frozen=True)
class Kind:
    """Pictures of which the view is known: those that have one of the labels, sources or beginnings of a patient's id.

    Attributes:
        view: one of ``preprocess.views.VIEWS``; empty: left out.
        labels, sources, patients: what a picture must have of each that is given.
    """

    view: str
    labels: tuple[str, ...] = ()
    sources: tuple[str, ...] = ()
    patients: tuple[str, ...] = ()

    def holds(self, label: str, source: str, patient: str) -> bool:
        """Whether a picture with these is of this kind."""
        return (
            (not self.labels or label in self.labels)
            and (not self.sources or source in self.sources)
            and (not self.patients or patient.startswith(self.patients))
        )


KINDS = (
    Kind("child", patients=("ker_",)),
    Kind("", labels=("Viral Pneumonia",)),
    Kind("", labels=("chest, frontal (control)",)),
    Kind("ct", sources=("sars-cov-2-ct", "ucsd-covid-ct")),
    Kind("ct", labels=("CT slice",)),
    Kind("lateral", labels=("chest, lateral or oblique",)),
    Kind("other", labels=("photograph", "breast ultrasound")),
    Kind(
        "body-part",
        labels=(
            *("elbow or forearm", "foot or ankle", "hand or wrist", "knee", "knee or leg", "neck or spine"),
            *("pelvis or hip", "shoulder", "whole spine"),
        ),
    ),
)
"""The first that holds counts; what none holds is a frontal radiograph of an adult's chest.

Kermany's patients (``ker_``) are children of one hospital; of the other viral pneumonias nobody knows the age.
"""


GROUPS: Mapping[str, tuple[str, ...]] = {
    "lateral or oblique": ("chest, lateral or oblique",),
    "arm or foot": ("elbow or forearm", "foot or ankle", "hand or wrist"),
    "knee, pelvis or shoulder": ("knee", "knee or leg", "pelvis or hip", "shoulder"),
    "spine": ("neck or spine", "whole spine"),
    "no radiograph": ("photograph", "breast ultrasound", "CT slice"),
}
"""Labels that no radiograph has; each group is left out once, to see whether it is refused unseen."""


@dataclass(frozen=True, kw_only=True)
class ViewRecipe(Tool):
    """How the view network is trained, by cross-entropy.

    It begins without any of ``groups``; from there it learns all of them, and in turn all but one.

    Attributes:
        more_steps, fold_steps: with all of the groups, then with all but one; ``steps`` are without them.
        dimensions: of the space that the distance from frontal radiographs is measured in.
        weights: safetensors of timm's ``mobilenetv2_100`` to begin with; empty: from scratch.
        shares: of each view in a batch.
        kinds: which view a picture shows.
        groups: name → labels.
        halved: sources whose split ``test`` is learnt from, too, as they have no other: every other patient.
        asked: fractions of the validation radiographs that may be refused for their view, and for their distance, and
            that may be taken for a child's.
    """

    untunable: ClassVar = (
        "its validation images set its limits and the groups left out test it, so no images are left to compare "
        "settings by"
    )
    joins_data: ClassVar = False
    more_steps: Annotated[int, Limits(1)] = 300
    fold_steps: Annotated[int, Limits(1)] = 100
    dimensions: Annotated[int, Limits(1)] = 48
    weights: str = ""
    shares: Mapping[str, float] = field(
        default_factory=lambda: {
            **{
                "frontal": 0.40,
                "child": 0.06,
                "lateral": 0.07,
                "body-part": 0.11,
                "ct": 0.06,
                "two-films": 0.06,
            },
            **{"part": 0.08, "turned": 0.05, "negative": 0.03, "heat-map": 0.02, "other": 0.06},
        }
    )
    kinds: tuple[Kind, ...] = KINDS
    groups: Mapping[str, tuple[str, ...]] = field(default_factory=lambda: dict(GROUPS))
    halved: tuple[str, ...] = ("ieee8023", "nih")
    asked: tuple[float, float, float] = (0.006, 0.004, 0.004)


RECIPE = ViewRecipe(
    name="xray-view",
    title="View network: what a picture shows, a frontal radiograph of a chest or something else",
    steps=500,
    batch_size=32,
    learning_rate=2e-3,
    weight_decay=0.02,
)
