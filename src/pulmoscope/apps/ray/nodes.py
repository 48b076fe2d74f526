"""What each node has done: for the terminal alone, as a host's name has no place in results."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass


@dataclass
class _Node:
    studies: int = 0
    seconds: float = 0.0


class Nodes:
    """Counts studies and seconds by node."""

    def __init__(self) -> None:
        self._nodes: defaultdict[str, _Node] = defaultdict(_Node)

    def add(self, node: str, seconds: float) -> None:
        """Count a study; ``seconds``: of one processor."""
        self._nodes[node].studies += 1
        self._nodes[node].seconds += seconds

    @property
    def seconds(self) -> float:
        """Of all nodes' processors."""
        return sum(node.seconds for node in self._nodes.values())

    def lines(self) -> list[str]:
        """A line for each node, by name."""
        return [
            f"{name}: {node.studies} studies, {node.seconds:.1f} s of a processor, "
            f"{node.seconds / node.studies:.2f} s each"
            for name, node in sorted(self._nodes.items())
        ]
