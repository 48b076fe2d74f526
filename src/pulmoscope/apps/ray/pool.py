"""Work spread over a cluster: a few tasks more under way than it has processors, each tried again where it was lost.

Ray does a task at least once, and so does this: whatever work does must come to the same when it is done twice.
"""

from __future__ import annotations

import platform
import signal
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from time import monotonic, perf_counter
from typing import Any, Generic, TypeVar

from pulmoscope.core.errors import PulmoscopeError

TRIES = 3
"""Times that a task is tried whose process ends without an answer; then it is given up."""
MOST_LOSSES = 10
"""Times that a task is tried again whose node was lost: no fault of the task, as a rule."""
LONGEST_S = 3600.0
"""That a task may take; then its process is killed, as it hangs, and the task is tried again."""
_REFRESH_S = 5.0
_STEP = 512 * 2**20
"""bytes: memory is asked for in such steps, so that tasks of a kind share their processes."""

_In = TypeVar("_In")
_Out = TypeVar("_Out")


class WorkError(Exception):
    """Work has failed by an error of ours: the name of its class, and nothing of its message."""


@dataclass(frozen=True)
class Done(Generic[_In, _Out]):
    """A task that is over.

    Attributes:
        item: what it was about.
        value: its answer; None where it was given up.
        lost: why it was given up; empty where it was not.
        node: where it was done: a host's name, and the beginning of its id in the cluster.
        seconds: that it took there.
    """

    item: _In
    value: _Out | None
    lost: str = ""
    node: str = ""
    seconds: float = 0.0


@dataclass
class _Task(Generic[_In]):
    item: _In
    deaths: Counter[str] = field(default_factory=Counter)


class Pool:
    """A cluster's processors.

    Args:
        ray: the module, connected.
    """

    def __init__(self, ray: Any) -> None:
        self._ray = ray
        self._call = ray.remote(max_retries=0, num_cpus=1)(_timed)
        self._seen = -_REFRESH_S
        self._limit, self._largest = 4, 0

    def spread(
        self, work: Callable[[_In], _Out], items: Iterable[_In], memory: Callable[[_In], int] = lambda _: 0
    ) -> Iterator[Done[_In, _Out]]:
        """Do work on every item, as it comes, and give its answers as they come.

        Args:
            work: a function that the nodes can import, or a partial of one.
            items: taken one by one, when there is room for another task.
            memory: bytes that an item needs; no more are under way on a node than fit into it.

        Raises:
            PulmoscopeError: the work has raised it: the run can't go on.
        """
        pending: dict[Any, _Task[_In]] = {}
        source = iter(items)
        more = True
        try:
            while more or pending:
                while more and len(pending) < self._most():
                    try:
                        task = _Task(next(source))
                    except StopIteration:
                        more = False
                        break
                    pending[self._submitted(work, task, memory)] = task
                ready, _ = self._ray.wait(list(pending), timeout=1.0) if pending else ([], [])
                for reference in ready:
                    task = pending.pop(reference)
                    done: Done[_In, _Out] | None = self._answer(reference, task)
                    if done is None:
                        pending[self._submitted(work, task, memory)] = task
                    else:
                        yield done
        finally:  # an error, or no one takes any more
            for reference in pending:
                self._ray.cancel(reference, force=True)

    def _submitted(self, work: Callable[[_In], _Out], task: _Task[_In], memory: Callable[[_In], int]) -> Any:
        needed = -(-memory(task.item) // _STEP) * _STEP
        self._most()
        asked = min(needed, self._largest) if self._largest else needed
        call = self._call.options(memory=asked) if asked else self._call
        return call.remote(work, task.item, LONGEST_S)

    def _answer(self, reference: Any, task: _Task[_In]) -> Done[_In, _Out] | None:
        """A task's answer; None where it is to be tried again."""
        errors = self._ray.exceptions
        try:
            value, node, seconds = self._ray.get(reference)
            return Done(task.item, value, "", node, seconds)
        except errors.NodeDiedError:
            task.deaths["node"] += 1
            reason = "the nodes that it was read on were lost"
        except errors.OutOfMemoryError:
            task.deaths["worker"] += 1
            reason = "it does not fit into the memory of a node"
        except errors.RayTaskError as error:
            if isinstance(error.cause, PulmoscopeError):
                raise error.cause from None
            task.deaths["worker"] += 1
            name = str(error.cause) if isinstance(error.cause, WorkError) else type(error.cause).__name__
            reason = f"reading it failed with an error of ours ({name})"
        except errors.RayError as error:
            task.deaths["worker"] += 1
            longest = f"{LONGEST_S / 60:g} minutes"
            reason = (
                f"the process that read it was killed, or took longer than {longest} ({type(error).__name__})"
            )
        if task.deaths["worker"] < TRIES and task.deaths["node"] < MOST_LOSSES:
            return None
        return Done(task.item, None, f"{reason}, {task.deaths.total()} times")

    def _most(self) -> int:
        """How many tasks may be under way: twice as many as there are processors now; nodes come and go."""
        if monotonic() - self._seen >= _REFRESH_S:
            self._seen = monotonic()
            self._limit = 2 * int(self._ray.cluster_resources().get("CPU", 1)) + 2
            memory = [node["Resources"].get("memory", 0) for node in self._ray.nodes() if node["Alive"]]
            self._largest = int(max(memory, default=0))
        return self._limit


def _timed(work: Callable[[Any], Any], item: Any, longest_s: float) -> tuple[Any, str, float]:
    """On a node: the work's answer, which node it is, and the seconds it took.

    The system itself ends a process that takes longer than ``longest_s`` (SIGALRM), also where native code hangs that
    lets no other thread of Python run.

    Raises:
        PulmoscopeError: the work's own.
        WorkError: any other, by its class alone: Ray logs what is raised, and a message may name a patient.
    """
    import ray

    start = perf_counter()
    signal.setitimer(signal.ITIMER_REAL, longest_s)
    try:
        answer = work(item)
    except PulmoscopeError as error:
        raise error from None
    except Exception as error:
        raise WorkError(type(error).__name__) from None
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
    node = f"{platform.node()} ({ray.get_runtime_context().get_node_id()[:6]})"
    return answer, node, perf_counter() - start
