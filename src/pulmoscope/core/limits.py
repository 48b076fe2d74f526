"""Limits that stand with a setting, in its type: ``size: Annotated[int, Limits(32, 4096)] = 224``."""

from __future__ import annotations

import math
from dataclasses import dataclass


@dataclass(frozen=True)
class Limits:
    """The smallest and the largest value of a setting, or of each of its items; both are allowed, infinity is not."""

    low: float
    high: float = math.inf
