"""Where the CTs of a run are diagnosed: one in this process, and one in each process that helps."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from threading import Condition
from types import TracebackType

from pulmoscope.io import Study
from pulmoscope.pipeline.runs.helper import Helper, helpers
from pulmoscope.pipeline.runs.run import Run

SMALL_VOXELS = 80 * 2**20
"""Of a CT that is in memory beside others, at most: 300 slices, 160 MiB of whole HU. A larger one is there alone."""


@dataclass
class Lane:
    """A place for a CT.

    Attributes:
        helper: the process that diagnoses it; None: this one.
        reading, begun: whether this process reads it, and whether it has begun to diagnose it.
    """

    helper: Helper | None
    reading: bool = False
    begun: bool = False


class Lanes:
    """The lanes of a run, which its CTs take in their order.

    In this process one CT is diagnosed at a time, while the next is read.
    """

    def __init__(self, run: Run) -> None:
        self._helpers = helpers(run)
        self._idle = list(reversed(self._helpers))
        self._changed = Condition()
        self._entered = 0
        self._reading = self._diagnosing = False
        self._helped = 0  # CTs that are diagnosed in other processes

    def __enter__(self) -> Lanes:
        return self

    def __exit__(self, *_: type[BaseException] | BaseException | TracebackType | None) -> None:
        for helper in self._helpers:
            helper.close()

    @contextmanager
    def lane(self, place: int, study: Study) -> Iterator[Lane]:
        """Wait until a CT may be in memory, and hold its place meanwhile; ``place``: which CT it is, from 0."""
        large = _voxels(study) > SMALL_VOXELS
        with self._changed:
            self._changed.wait_for(lambda: self._entered == place and self._is_free(large))
            self._entered += 1
            helper = None if large or not (self._reading or self._diagnosing) else self._helper()
            lane = Lane(helper, reading=helper is None)
            self._reading = self._reading or lane.reading
            self._helped += helper is not None
            self._changed.notify_all()
        try:
            yield lane
        finally:
            with self._changed:
                self._helped -= helper is not None
                if lane.helper is not None:
                    self._idle.append(lane.helper)
                if lane.begun:
                    self._diagnosing = False
                if lane.reading:
                    self._reading = False
                self._changed.notify_all()

    def begin(self, lane: Lane) -> None:
        """Wait until this process may diagnose the CT that it has read."""
        if lane.helper is None:
            with self._changed:
                self._changed.wait_for(lambda: not self._diagnosing)
                self._diagnosing = lane.begun = True
                if lane.reading:
                    self._reading = lane.reading = False
                self._changed.notify_all()

    @contextmanager
    def spare(self) -> Iterator[Helper | None]:
        """A process for a radiograph; None where all are busy."""
        with self._changed:
            helper = self._helper()
        try:
            yield helper
        finally:
            with self._changed:
                if helper in self._helpers:
                    self._idle.append(helper)
                    self._changed.notify_all()

    def lost(self, helper: Helper) -> None:
        """Do without a process that has ended. What it was to do is done in this one.

        A CT is then read at once: the next one may be waiting for this one's name, and so can't be waited for.
        """
        helper.close()
        with self._changed:
            self._helpers.remove(helper)

    def _is_free(self, large: bool) -> bool:
        if large:
            return not (self._reading or self._diagnosing or self._helped)
        return not self._reading or bool(self._idle)

    def _helper(self) -> Helper | None:
        return self._idle.pop() if self._idle else None


def _voxels(study: Study) -> float:
    """How many voxels a study has, by its headers; infinite where they don't say."""
    storages = [header.storage for header in study.headers]
    if not storages:
        return float("inf")
    return sum(one.rows * one.columns for one in storages if one is not None)
