"""A comparison: what is run by turns on the same inputs, and what came of it."""

from __future__ import annotations

import importlib.util
import shutil
import sys
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

from bench.figures import Spread, ratio
from measured import Measured, measured_together

OUT = "{out}"
"""In a command: where this run writes, a path that is not there yet."""

Role = Literal["ours", "peer", "also"]
Commands = Sequence[Sequence[str]]
"""Commands that run at once."""


@dataclass(frozen=True)
class Side:
    """One way to do it.

    Attributes:
        name: as tables have it.
        role: every ``peer`` is compared with the one that is ``ours``; ``also`` is told beside them.
        count: how many of the part's units a run does.
        commands: with :data:`OUT`.
        shown: the command as results have it, without paths.
        note: what must be known to read its figures.
        warm: what the first, uncounted run does instead, to warm the caches of disk and code; empty: there is none.
        most: at most so many rounds; None: as many as are asked for.
        needs: modules that must be installed.
        lacks: why it can't be run here; empty: it can.
    """

    name: str
    role: Role
    count: int
    commands: Commands
    shown: str
    note: str = ""
    warm: Commands | None = None
    most: int | None = None
    needs: Sequence[str] = ()
    lacks: str = ""

    def missing(self) -> str:
        """Why it can't be run here; empty where it can."""
        absent = [name for name in self.needs if importlib.util.find_spec(name) is None]
        return f"{', '.join(absent)} not installed" if absent else self.lacks


@dataclass(frozen=True)
class Part:
    """What is compared with one another.

    Attributes:
        key: unique among the parts, with the size in it: ratios of other sizes are others.
        unit: what is counted.
    """

    key: str
    title: str
    unit: str
    sides: Sequence[Side]


@dataclass
class Found:
    """What came of a side."""

    side: Side
    runs: list[Measured] = field(default_factory=list)
    skipped: str = ""


def run(part: Part, rounds: int, scratch: Path, progress: Callable[[str], None]) -> list[Found]:
    """Run the sides of a part by turns. A peer that fails is left out and told; ours that fails ends the benchmark."""
    found = [Found(side, skipped=side.missing()) for side in part.sides]
    for number in range(-1, rounds):
        for one in found:
            side = one.side
            commands = side.commands if number >= 0 or side.warm is None else side.warm
            if one.skipped or not commands or (side.most is not None and number >= side.most):
                continue
            out = scratch / f"{part.key}-out"
            try:
                ran = measured_together([[word.replace(OUT, str(out)) for word in line] for line in commands])
            except SystemExit as ended:
                if side.role == "ours":
                    raise
                print(ended, file=sys.stderr)  # has paths: for the terminal alone
                one.skipped, one.runs = "it failed here", []
                continue
            finally:
                for left in scratch.glob(f"{part.key}-out*"):
                    shutil.rmtree(left) if left.is_dir() else left.unlink()
            if number >= 0:
                one.runs.append(ran)
            progress(f"{part.key:20} {number + 1}/{rounds}  {side.name}: {ran.wall_s:.1f} s")
    return found


def described(part: Part, found: Sequence[Found]) -> dict[str, Any]:
    """A part in ``bench.json``."""
    return {
        "key": part.key,
        "title": part.title,
        "unit": part.unit,
        "sides": [_described(one) for one in found if one.runs],
        "skipped": [{"name": one.side.name, "reason": one.skipped} for one in found if one.skipped],
    }


def _described(found: Found) -> dict[str, Any]:
    side, runs = found.side, found.runs
    energies = [run.energy_j for run in runs if run.energy_j is not None]
    return {
        "name": side.name,
        "role": side.role,
        "count": side.count,
        "command": side.shown,
        "note": side.note,
        "wall_s": spread(run.wall_s for run in runs),
        "cpu_s": spread(run.cpu_s for run in runs),
        "peak_mib": spread(run.peak_mib for run in runs),
        "per_second": spread(side.count / run.wall_s for run in runs),
        "energy_j": spread(energies) if energies else None,
    }


def spread(values: Iterable[float]) -> dict[str, float]:
    """The spread of a figure's rounds in JSON."""
    return plain(Spread.of(values))


def plain(found: Spread) -> dict[str, float]:
    """A spread in JSON, rounded to what can be measured."""
    return {name: round(value, 4) for name, value in asdict(found).items()}


def ratios(part: Part, found: Sequence[Found]) -> list[dict[str, Any]]:
    """How many times each peer's costs are ours, in ``bench.json``."""
    ours = [one for one in found if one.side.role == "ours" and one.runs]
    measures: dict[str, Callable[[Measured], float]] = {
        "wall time": lambda run: run.wall_s,
        "processor time": lambda run: run.cpu_s,
        "peak memory": lambda run: run.peak_mib,
    }
    return [
        {"part": part.key, "against": peer.side.name, "of": name}
        | plain(ratio([cost(run) for run in peer.runs], [cost(run) for run in ours[0].runs]))
        for peer in found
        if ours and peer.side.role == "peer" and peer.runs
        for name, cost in measures.items()
    ]
