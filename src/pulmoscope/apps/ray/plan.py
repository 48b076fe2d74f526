"""The plan of a run on many machines: what each study is called, and which are done already.

Results are named by content, which a node finds out. Only where studies may be copies of each other, by the sizes of
their files, are their checksums asked for before: so each copy has the number behind its name that it has on one
machine, whichever node is the first.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import islice

from pulmoscope.apps.ray.results import ENTRIES
from pulmoscope.apps.ray.worker import Planned
from pulmoscope.core.files import sha256_of
from pulmoscope.core.types import Flag
from pulmoscope.io import Study
from pulmoscope.io.inputs import unique
from pulmoscope.pipeline.names import TAKEN, Naming, local_path

WINDOW = 256
"""Studies that are planned at a time."""
_DIGITS = 32

Sums = Callable[[Sequence[Study]], list[str]]
"""Gives a checksum of all files of each study, by a look at these on a node; empty where one can't be read."""


class Planner:
    """Plans the studies of a run, in order.

    Args:
        settings: a checksum of what results depend on beside the files.
        naming: what results are called.
        reserved: names that none of them may have.
        limits: what there is to know of the place that a study is of.
        sums: asks for checksums.
    """

    def __init__(
        self,
        settings: str,
        naming: Naming,
        reserved: Iterable[str],
        limits: Callable[[Study], tuple[Flag, ...]],
        sums: Sums,
    ) -> None:
        self._settings, self._naming, self._limits, self._sums = settings, naming, limits, sums
        self._taken = {*TAKEN, ENTRIES, *reserved}
        self._first: dict[tuple[object, ...], Study | None] = {}
        self._copies: Counter[tuple[str, str]] = Counter()
        self._keys: set[str] = set()

    def planned(self, studies: Iterable[Study]) -> Iterator[Planned]:
        """Each study with its name and entry, a few at a time."""
        source, number = iter(studies), 0
        while window := list(islice(source, WINDOW)):
            for study, copy in zip(window, self._numbered(window), strict=True):
                number += 1
                yield self._planned(number, study, copy)

    def _planned(self, number: int, study: Study, copy: int) -> Planned:
        chosen = self._naming.name or (study.slug if self._naming.keep else "")
        name, limits = unique(chosen, self._taken) if chosen else "", self._limits(study)
        path = local_path(study)
        key = sha256_of(path.encode())[:_DIGITS]
        if key in self._keys:  # the same file was given twice
            key = sha256_of(f"{path} {number}".encode())[:_DIGITS]
        self._keys.add(key)
        settings = [self._settings, name, str(copy), *(f"{flag.level} {flag.finding}" for flag in limits)]
        settings += [
            study.kind,
            str(study.others),
            str(study.broken),
            *(flag.finding for flag in study.remarks),
        ]
        stamp = sha256_of("\n".join([*settings, *(entry.stamp() for entry in study.entries)]).encode())
        return Planned(number, study, key, stamp, name, copy, limits)

    def _numbered(self, window: Sequence[Study]) -> list[int]:
        """Of each study, which of those with the same content it is, counted from 1."""
        if self._naming.keep or self._naming.name:
            return [1] * len(window)
        asked: list[Study] = []
        of_copy: dict[int, int] = {}  # place in the window → place among those asked
        for index, study in enumerate(window):
            mark = _mark(study)
            if mark is None:
                continue
            if mark not in self._first:
                self._first[mark] = study
                continue
            first = self._first[mark]
            if first is not None:  # one of its size comes for the second time: the first was not asked yet
                self._first[mark] = None
                asked.append(first)
            of_copy[index] = len(asked)
            asked.append(study)
        sums = self._sums(asked) if asked else []
        numbers = [1] * len(window)
        own = {position: index for index, position in of_copy.items()}
        for position, (study, checksum) in enumerate(zip(asked, sums, strict=True)):
            kind = study.kind, checksum
            self._copies[kind] += bool(checksum)
            if position in own and checksum:
                numbers[own[position]] = self._copies[kind]
        return numbers


def _mark(study: Study) -> tuple[object, ...] | None:
    """What copies have in common, as far as it shows without reading them; None where nothing shows."""
    sizes = [entry.size for entry in study.entries]
    if None in sizes:
        return None
    headers = study.headers[:1]
    return study.kind, len(sizes), sum(filter(None, sizes)), *((one.series, one.instance) for one in headers)
