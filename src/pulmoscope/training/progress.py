"""What is seen while training: a bar that goes when it is full, and lines of figures, on standard error."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import TypeVar

from rich.console import Console
from rich.progress import track

from pulmoscope.training.state import PhaseState, Row

T = TypeVar("T")

NO_FIGURES = ("phase", "epoch", "learning_rate", "waited", "gpu_busy", "seconds")
MANY = 50
"""A line for each of more epochs than this would hide the others: every twentieth is reported."""


@dataclass(frozen=True)
class Reporter:
    """Bars and lines on standard error; silent where ``console`` is None.

    Attributes:
        after_epoch: gets the figures of the best epoch so far whenever one is saved; may raise to end the run.
    """

    console: Console | None = None
    after_epoch: Callable[[Row], None] | None = None

    @classmethod
    def of(cls, shown: bool, after_epoch: Callable[[Row], None] | None = None) -> Reporter:
        """One that shows, or one that does not."""
        return cls(Console(stderr=True, highlight=False) if shown else None, after_epoch)

    def track(self, items: Iterable[T], title: str, total: int | None = None) -> Iterator[T]:
        """The items, with a bar on a terminal."""
        if self.console is None or not self.console.is_terminal:
            yield from items
            return
        yield from track(items, title, total=total, console=self.console, transient=True)

    def line(self, text: str) -> None:
        """One line that stays."""
        if self.console is not None:
            self.console.print(text, soft_wrap=True, markup=False)

    def epoch(self, state: PhaseState, epochs: int, best: bool) -> None:
        """The figures of the epoch that has just been saved.

        Args:
            epochs: how many there are at most.
            best: say whether it is the best so far.
        """
        row = state.rows[-1]
        if epochs <= MANY or state.finished or state.epochs % 20 == 0:
            known = {name: value for name, value in row.items() if name not in NO_FIGURES}
            held_out = {name: value for name, value in known.items() if name.startswith("val_")}
            learnt = {name: value for name, value in known.items() if name not in held_out}
            text = f"{row['phase']} {row['epoch']}/{epochs}: {_list(learnt)}"
            text += f" | held out: {_list(held_out)}" if held_out else ""
            text += f"  ({', '.join(_cost(row))})"
            self.line(text + ("  best" if best and state.best_epoch == row["epoch"] else ""))
        if self.after_epoch is not None:
            self.after_epoch(state.rows[state.best_epoch - 1])


def _cost(row: Row) -> Iterator[str]:
    yield f"{row['seconds']:.0f} s"
    yield f"waited for data {row['waited']:.0%}"
    if "gpu_busy" in row:
        yield f"GPU busy {row['gpu_busy']:.0%}"


def _list(figures: Row) -> str:
    plain = {name.removeprefix("train_").removeprefix("val_"): value for name, value in figures.items()}
    return ", ".join(f"{name.replace('_', ' ')} {value:.4f}" for name, value in plain.items())
