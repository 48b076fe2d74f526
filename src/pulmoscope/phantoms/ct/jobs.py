"""Drawing many studies: several at a time, each whole or not there, and what is done is not done again."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import multiprocessing
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import cv2

from pulmoscope.core.errors import OutputExistsError, ResourceError
from pulmoscope.core.files import write_json
from pulmoscope.core.software import versions
from pulmoscope.core.types import Bytes
from pulmoscope.phantoms.ct.acquisition import Value
from pulmoscope.phantoms.ct.draw import CtPhantom
from pulmoscope.phantoms.ct.files import write_nifti

RECORDS = ".drawn"
"""The folder that says, until all are drawn, which studies are and from what."""
_FEW = 4  # so few studies are drawn before another process has started

_Truth = TypeVar("_Truth")
_Drawn = TypeVar("_Drawn")


@dataclass(frozen=True)
class Job:
    """One study to draw; jobs with equal settings draw the same, whatever ``out`` and ``force`` are."""

    out: str
    name: str
    seed: tuple[int, int]
    size: int
    force: bool
    nuisances: Mapping[str, Value]


_Job = TypeVar("_Job", bound=Job)


def all_drawn(
    draw: Callable[[_Job], _Truth],
    jobs: Sequence[_Job],
    processes: int | None,
    progress: Callable[[int, int], None] | None = None,
) -> list[_Truth]:
    """Draw every job, several at a time; their truths in the jobs' order.

    Args:
        draw: a function that another process can import.
        processes: how many draw at once; None: one a processor, but one for very few studies.
        progress: called with (studies done, studies in all).
    """
    truths = []
    for truth in _all(draw, jobs, processes):
        truths.append(truth)
        if progress is not None:
            progress(len(truths), len(jobs))
    return truths


def _all(draw: Callable[[_Job], _Truth], jobs: Sequence[_Job], processes: int | None) -> Iterator[_Truth]:
    if processes is None:
        processes = 1 if len(jobs) <= _FEW else os.cpu_count() or 1
    if processes == 1:
        yield from map(draw, jobs)
        return
    # A forked copy of a process that has run OpenCV may hang in its thread pool: spawn.
    with ProcessPoolExecutor(
        min(processes, len(jobs)), multiprocessing.get_context("spawn"), cv2.setNumThreads, (1,)
    ) as pool:
        yield from pool.map(draw, jobs)


def drawn_once(
    study: Path,
    record: Path,
    job: Job,
    draw: Callable[[], _Drawn],
    write: Callable[[_Drawn, Path], dict[str, str]],
) -> dict[str, str]:
    """Draw and write one study, unless an earlier call has; what is true of it.

    Args:
        study: its folder or file; with ``job.force`` one that is there, and no interrupted call's, is replaced.
        record: where it is noted that the study is there.
        write: writes what was drawn to a place beside ``study``, which becomes ``study`` when all is done.

    Raises:
        OutputExistsError: another's study is there, and the job has no ``force``.
        ResourceError: it can't be written.
    """
    known, fingerprint = _read_record(record), _fingerprint(job)
    if study.exists():
        if known is not None and known["job"] == fingerprint:
            return dict(known["truth"])
        if known is None and not job.force:
            raise OutputExistsError(study)
    result = draw()
    try:
        with beside(study) as unfinished:
            truth = write(result, unfinished)
            # An old study goes first and the new one comes last: finished is what has both, and they belong together.
            if study.is_dir():
                shutil.rmtree(study)
            else:
                study.unlink(missing_ok=True)
            write_json(record, {"job": fingerprint, "truth": truth})
            unfinished.replace(study)
    except (OSError, RuntimeError) as error:
        reason = getattr(error, "strerror", None) or error
        raise ResourceError(f"{study}: could not be written ({reason})") from error
    return truth


def _fingerprint(job: Job) -> str:
    """Equal for jobs that draw the same with the same software."""
    facts = {**dataclasses.asdict(job), "out": "", "force": False, "software": versions("scipy")}
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()


@contextmanager
def beside(path: Path) -> Iterator[Path]:
    """A place on the same disk for what becomes ``path`` when it is whole; cleared afterwards."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".", dir=path.parent) as folder:
        yield Path(folder) / path.name


def _read_record(path: Path) -> dict[str, Any] | None:
    """What an earlier call noted of a study; None where there is nothing that can be read."""
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return record if isinstance(record, dict) and {"job", "truth"} <= record.keys() else None


def write_whole(file: Path, voxels: Bytes, phantom: CtPhantom) -> None:
    """Write a mask, whole or not at all."""
    with beside(file) as unfinished:
        write_nifti(unfinished, voxels, phantom)
        unfinished.replace(file)
