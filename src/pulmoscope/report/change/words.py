"""Words that the changes of CTs and of radiographs share."""

from __future__ import annotations


def since(days: int | None) -> str:
    """How long ago; empty where that is not known."""
    return "" if days is None else f", {days} day{'s' * (days != 1)} before"


def signed(text: str) -> str:
    """Figures with a minus sign in place of a hyphen."""
    return text.replace("-", "−")
