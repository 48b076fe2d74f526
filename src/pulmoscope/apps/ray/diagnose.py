"""``diagnose`` on many machines: a plan with names, a task for each study, one completion.

The driver lists the studies, looks at their headers, and plans; nodes read, diagnose and write. What a study is
diagnosed by, and what a run ends with, is what one machine does (:mod:`pulmoscope.pipeline.runs`).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any
from uuid import uuid4

from pulmoscope.apps.ray.nodes import Nodes
from pulmoscope.apps.ray.plan import Planner
from pulmoscope.apps.ray.pool import Done, Pool
from pulmoscope.apps.ray.results import FolderResults, Results
from pulmoscope.apps.ray.worker import (
    Planned,
    Settings,
    Shared,
    diagnose_planned,
    from_entry,
    look_at_place,
    sums_of,
    to_entry,
)
from pulmoscope.core.errors import UnreadableError
from pulmoscope.core.types import Modality
from pulmoscope.io import Study
from pulmoscope.pipeline import outputs as files
from pulmoscope.pipeline.drift.survey import Part, Place
from pulmoscope.pipeline.film_studies import FilmStudies
from pulmoscope.pipeline.names import local_path
from pulmoscope.pipeline.runs.completion import completed
from pulmoscope.pipeline.runs.run import Outcome, Run
from pulmoscope.report.results_table import line, table

XRAY_BYTES, CT_BYTES, VOXEL_BYTES = 768 * 2**20, 1024 * 2**20, 12
"""What a process needs, with its model: of a radiograph; of a CT, and for each voxel besides (docs/scale.md)."""
_CHUNK = 16
"""Studies whose checksums are one task."""


@dataclass(frozen=True)
class _Finished:
    """What the completion needs of a study that is done: small, as all of them are held."""

    entry: dict[str, Any]
    row: str
    outcome: Outcome
    planned: Planned


class Archive:
    """A run over many machines.

    Args:
        ray: the module, connected.
        run: what its inputs share; its folder is none.
        settings: the same for the nodes.
        identity: a checksum of all that results depend on beside the files.

    Attributes:
        nodes: what each node has done.
        where: the index, for people.
    """

    def __init__(self, ray: Any, run: Run, settings: Settings, identity: str) -> None:
        self._pool, self._run, self._identity = Pool(ray), run, identity
        self._results: Results = settings.results
        self._shared = Shared(uuid4().hex, ray.put(settings))
        self._finished: dict[int, _Finished] = {}
        self._named: dict[str, int] = {}
        self.nodes = Nodes()
        self.where = settings.results.shown

    def outcomes(self, studies: Iterable[Study], force: bool = False) -> Iterator[Outcome]:
        """Diagnose the studies, each on some node, and complete the run; outcomes come as they are done.

        Raises:
            OutputExistsError: there are results of another run, and ``force`` is not given.
            ResourceError: the results can't be written, or a store can't be reached.
        """
        goes_on = self._results.claim({"settings": self._identity}, force)
        if self._run.survey is not None:
            self._run.survey.take(self._run.models, self._places)
        planner = Planner(
            self._identity,
            self._run.naming,
            (place.name for place in self._run.places),
            self._run.limits,
            self._sums,
        )
        planned = planner.planned(studies)
        yield from self._done(planned, goes_on)
        self._complete()

    def _done(self, planned: Iterable[Planned], goes_on: bool) -> Iterator[Outcome]:
        """Every study's outcome: one that is there, or a node's."""
        kept: list[tuple[Planned, Outcome]] = []
        clashing: list[Planned] = []

        def to_do() -> Iterator[Planned]:
            for one in planned:
                entry = self._results.entry(one.key) if goes_on else None
                if entry is None or entry.get("stamp") != one.stamp:
                    yield one
                else:
                    kept.append((one, from_entry(entry, one.study, self._results)))

        work = partial(diagnose_planned, self._shared)
        for done in self._pool.spread(work, to_do(), _needed):
            while kept:
                yield self._noted(*kept.pop(), clashing)
            yield self._noted(done.item, self._outcome(done), clashing)
        for one in kept:
            yield self._noted(*one, clashing)
        # Names have the first digits of a checksum. Studies that share these have been writing into one folder.
        for done in self._pool.spread(work, [self._renamed(one) for one in clashing], _needed):
            self._noted(done.item, self._outcome(done), [])

    def _noted(self, planned: Planned, outcome: Outcome, clashing: list[Planned]) -> Outcome:
        """Note what becomes of a study."""
        first = self._named.setdefault(outcome.name, planned.number)
        if first != planned.number:
            clashing += [self._finished[first].planned, planned]
        # A CT's headers are many; whoever needs them again reads them again.
        held = replace(planned, study=replace(planned.study, headers=()))
        entry = outcome.entry()
        row = line(entry, outcome.plain)
        self._finished[planned.number] = _Finished(entry, row, replace(outcome, plain=None), held)
        if outcome.plain is not None:
            self._run.models.of(Modality(outcome.plain["input"]["modality"]), planned.study.name)
        return outcome

    def _outcome(self, done: Done[Planned, Outcome]) -> Outcome:
        """The outcome of a task; a refusal where it was given up."""
        one = done.item
        if done.value is not None:
            self.nodes.add(done.node, done.seconds)
            return done.value
        error = UnreadableError(one.study.name, "no-answer", done.lost)
        outcome = Outcome(one.name_of(""), one.study.name, error=error)
        self._results.put_entry(one.key, to_entry(outcome, one.stamp))
        return outcome

    def _complete(self) -> None:
        """Write what is said of all inputs together, in their order."""
        entries = [self._finished[number] for number in sorted(self._finished)]
        radiographs = FilmStudies()
        shared = isinstance(self._results, FolderResults)
        for one in entries:
            # In a store the pages of single radiographs are not fetched to see what a killed run has written there.
            radiographs.add(
                one.planned.study.film, one.outcome if shared else replace(one.outcome, kept=False)
            )
        self._results.stale({one.outcome.name for one in entries if one.outcome.error is None})
        with self._results.completing(radiographs.several()) as folder:
            out = replace(self._run, out=folder)
            with table(folder / files.RESULTS) as add:
                for one in entries:
                    add(one.row)
            local = ((one.outcome.name, local_path(one.planned.study)) for one in entries)
            completed(out, [one.entry for one in entries], local, radiographs)

    def _places(self, parts: Sequence[Part]) -> list[Place]:
        """The places, each compared on some node."""
        done = self._pool.spread(partial(look_at_place, self._shared), parts)
        found = {one.item.name: one.value for one in done}
        return [found[part.name] or Place(part.name, part.folder, part.images, 0, None) for part in parts]

    def _sums(self, studies: Sequence[Study]) -> list[str]:
        """The checksums of studies, asked for on the nodes."""
        chunks = [tuple(studies[at : at + _CHUNK]) for at in range(0, len(studies), _CHUNK)]
        indexed = list(enumerate(chunks))
        found = {one.item[0]: one.value for one in self._pool.spread(_sums_of_chunk, indexed)}
        return [checksum for index, chunk in indexed for checksum in found[index] or [""] * len(chunk)]

    def _renamed(self, planned: Planned) -> Planned:
        """A study that shares its name with another, under a name of its own; the first keeps its name."""
        base = name = self._finished[planned.number].outcome.name
        number = 1
        while self._named.get(name, planned.number) != planned.number:
            number += 1
            name = f"{base}-{number}"
        self._named[name] = planned.number
        return replace(planned, name=name)


def _sums_of_chunk(chunk: tuple[int, Sequence[Study]]) -> list[str]:
    return sums_of(chunk[1])


def _needed(planned: Planned) -> int:
    """bytes that diagnosing a study needs."""
    if planned.study.kind == "image":
        return XRAY_BYTES
    voxels = sum(
        header.storage.rows * header.storage.columns for header in planned.study.headers if header.storage
    )
    packed = sum(entry.size or 0 for entry in planned.study.entries)
    return CT_BYTES + VOXEL_BYTES * max(voxels, packed)
