"""Processes that diagnose CTs for a run, each one at a time and in one thread, as threads share one interpreter.

A CT's way from its files to its page is Python for the most part, so threads of one process would mostly wait for each
other. A process has a model and memory of its own, which is why there are no more of them than memory allows.
"""

from __future__ import annotations

import os
import pickle
import re
import signal
import subprocess
import sys
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from queue import SimpleQueue
from threading import Thread
from typing import IO, Any

from pulmoscope.core.errors import PulmoscopeError
from pulmoscope.core.threads import ONE_THREAD, cores
from pulmoscope.core.types import Flag, Modality
from pulmoscope.io import Study
from pulmoscope.pipeline.runs.run import Outcome, Run
from pulmoscope.pipeline.runs.study import Job, diagnosed

MEMORY = 2 * 2**30
"""bytes that a process may need, for a CT of 300 slices; as much is left to the one that is helped."""
_MEMINFO, _LIMIT, _USED = (
    Path("/proc/meminfo"),
    Path("/sys/fs/cgroup/memory.max"),
    Path("/sys/fs/cgroup/memory.current"),
)
_BEGIN = f"from {__name__} import help_out; help_out()"


class HelperLostError(Exception):
    """A process has ended without an answer: it was killed, say, as memory was short."""


@dataclass(frozen=True)
class _Content:
    """A question: what a study with this content is called in results."""

    content: str


class Helper:
    """A process that helps; it is started when it is first asked."""

    def __init__(self, run: Run) -> None:
        self._run = run
        self._process: subprocess.Popen[bytes] | None = None

    def diagnosed(self, study: Study, limits: tuple[Flag, ...], name_of: Callable[[str], str]) -> Outcome:
        """What :func:`pulmoscope.pipeline.runs.study.diagnosed` gives.

        Raises:
            HelperLostError: the process has ended.
            PulmoscopeError: as of the function.
        """
        try:
            self._tell((study, limits))
            while isinstance(answer := self._answer(), _Content):
                self._tell(name_of(answer.content))
        except (OSError, EOFError, pickle.UnpicklingError) as error:
            raise HelperLostError from error
        if isinstance(answer, Exception):
            raise answer
        found: Outcome = answer
        return found

    def close(self) -> None:
        """End the process, whatever it does."""
        if self._process is not None:
            self._process.kill()
            with suppress(OSError):  # what was not yet written to a process that has ended
                self._process.__exit__(None, None, None)

    def _tell(self, what: object) -> None:
        if self._process is None:
            self._process = subprocess.Popen(
                [sys.executable, "-P", "-c", _BEGIN],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                env={**os.environ, **ONE_THREAD},
            )
            self._tell(replace(self._run, survey=None))
        assert self._process.stdin is not None
        _put(what, self._process.stdin)

    def _answer(self) -> Any:
        assert self._process is not None
        assert self._process.stdout is not None
        return pickle.load(self._process.stdout)


def helpers(run: Run) -> list[Helper]:
    """As many as processors and memory allow beside this process; none started yet."""
    if not sys.executable or not run.models.reopenable:
        return []
    return [Helper(run) for _ in range(max(0, min(cores(), _memory() // MEMORY) - 1))]


def help_out() -> None:
    """What such a process does until the one that it helps ends, or has no more to ask."""
    from pulmoscope.runtime.process import collect_less_often, keep_freed_memory, one_thread_in_opencv

    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # what libraries print is no answer
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches both, and ends this one by the other
    told: SimpleQueue[Any] = SimpleQueue()
    Thread(target=_listen, args=(told,), daemon=True).start()
    collect_less_often()
    keep_freed_memory()
    one_thread_in_opencv()
    run: Run = told.get()

    def name_of(content: str) -> str:
        _put(_Content(content), answers)
        return str(told.get())

    while True:
        study, limits = told.get()
        run.models.expect(Modality.XRAY if study.kind == "image" else Modality.CT)
        try:
            _put(diagnosed(run, Job(study, name_of, limits)), answers)
        except PulmoscopeError as error:
            _put(error, answers)
        except Exception:  # an error of ours: the process that is helped meets it, too, and tells it
            os._exit(1)


def _listen(told: SimpleQueue[Any]) -> None:
    """Take what is told; end at once where nobody is there any more, so that no one else's results are touched."""
    with suppress(BaseException):
        while True:
            told.put(pickle.load(sys.stdin.buffer))
    os._exit(0)


def _put(what: object, stream: IO[bytes]) -> None:
    pickle.dump(what, stream)
    stream.flush()


def _memory() -> int:
    """bytes that this process may still take, by the system and by the limit of a container; 0 where neither says."""
    try:
        found = re.search(r"^MemAvailable:\s*(\d+) kB", _MEMINFO.read_text(encoding="ascii"), re.MULTILINE)
    except (OSError, ValueError):
        return 0
    free = 1024 * int(found[1]) if found else 0
    with suppress(OSError, ValueError):  # no container, or one without a limit
        free = min(free, int(_LIMIT.read_text(encoding="ascii")) - int(_USED.read_text(encoding="ascii")))
    return free
