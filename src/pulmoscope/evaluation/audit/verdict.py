"""What a part of an audit comes to, in a word and a sentence."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, dataclass
from typing import Any, Literal

Level = Literal["good", "doubtful", "bad", "none"]
"""``none``: too little is known, or the figure is for comparison."""

LEVELS: tuple[Level, ...] = ("bad", "doubtful", "none", "good")
"""From the worst; what nobody knows is worse than what is good."""


@dataclass(frozen=True)
class Verdict:
    """What one question of an audit comes to.

    Attributes:
        code: a stable lower-case word such as ``reads-border``.
        level: how good that is.
        says: one sentence for people, with the figure in it.
    """

    code: str
    level: Level
    says: str

    def plain(self) -> dict[str, Any]:
        """For JSON."""
        return asdict(self)


def worst(levels: Iterable[Level]) -> Level:
    """The worst of several levels; ``none`` of none."""
    return min(levels, key=LEVELS.index, default="none")
