"""What the view network's answer means: is the picture one whole frontal radiograph of an adult's chest?"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from pulmoscope.core.types import Flag, FlagLevel
from pulmoscope.preprocess.views import View

FLAGS: Mapping[str, tuple[str, str]] = {
    "lateral": ("not-frontal", "a lateral or oblique view"),
    "body-part": ("not-frontal", "another part of the body"),
    "ct": ("not-frontal", "a CT slice"),
    "heat-map": ("not-frontal", "a radiograph under a heat map"),
    "other": ("not-frontal", "something that is no radiograph"),
    "two-films": ("two-films", "two or more radiographs"),
    "part": ("half-chest", "a part of a chest only"),
    "turned": ("rotated", "a radiograph that is turned"),
    "negative": ("looks-inverted", "a negative"),
}
"""View → code of the flag, and how its finding names what is seen."""

LIKE_CHILD = "looks-like-child"
"""A child by the picture; by the file's own words it is ``child`` (``io.patient_age``)."""

CHILDREN = 0.02
"""A model knows children where at least this fraction of every class that it has learnt from are children's images."""

_RULE = "one whole frontal radiograph of a chest is expected"


def check(view: View | None) -> tuple[Flag, ...]:
    """At most one flag: what the picture shows instead of a frontal radiograph of an adult's chest.

    Args:
        view: None where the model has no view network.
    """
    if view is None or (view.is_chest and view.name != "child"):
        return ()
    if view.is_chest:
        finding = (
            f"the radiograph looks like a child's, with a probability of {100 * view.probabilities[1]:.0f} %"
        )
        return (Flag(LIKE_CHILD, FlagLevel.REFUSE, finding, "an adult's is expected"),)
    if view.chest >= 0.5:
        finding = (
            f"the image looks unlike all known chest radiographs, at {view.distance:.2f} times the limit"
        )
        return (Flag("not-frontal", FlagLevel.REFUSE, finding, _RULE),)
    code, named = FLAGS[view.name]
    finding = (
        f"the image looks like {named}; the probability of a chest radiograph is {100 * view.chest:.0f} %"
    )
    return (Flag(code, FlagLevel.REFUSE, finding, _RULE),)


def known_children(
    flags: Sequence[Flag], views: Mapping[str, Any], classes: Sequence[str]
) -> tuple[Flag, ...]:
    """Only warn of what looks like a child where the model has learnt from children, ill and well.

    Where one class alone has children, as in collections whose viral pneumonia is a children's hospital's, the model
    may tell children apart instead of the disease: then they are referred.

    Args:
        views: of the model's images: class → view → how many; empty where it isn't known.
        classes: of the model; one that ``views`` says nothing of is none whose children are known.
    """
    counts = [views.get(name, {}) for name in classes]
    fractions = [by_view.get("child", 0) / max(1, sum(by_view.values())) for by_view in counts]
    if not fractions or min(fractions) < CHILDREN:
        return tuple(flags)
    return tuple(replace(flag, level=FlagLevel.WARN) if flag.code == LIKE_CHILD else flag for flag in flags)
