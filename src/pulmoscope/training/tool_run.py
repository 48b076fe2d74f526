"""A run that trains a network which recipes share (lung finder, view network): begun, gone on with, and ended."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

from pulmoscope.core.files import claim_folder, write_json
from pulmoscope.training.hardware import clear_about_resources
from pulmoscope.training.state import read_json


def tool_run(
    run: Path,
    marker: str,
    train: Callable[[Path], dict[str, Any]],
    *,
    resume: bool,
    force: bool,
    relief: str,
) -> dict[str, Any]:
    """Train, and write what is said of it.

    Args:
        marker: the file in ``run`` that says it is finished.
        train: gets the folder for checkpoints, which is removed at the end; returns what the marker is to hold.
        resume: go on where the run in this folder was killed; a finished one is returned.
        force: replace what is in the folder.
        relief: what would help where memory runs out.

    Raises:
        OutputExistsError: ``run`` holds a finished run already.
        ResourceError: memory or disk ran out.
    """
    if resume and (run / marker).is_file():
        return read_json(run / marker)
    claim_folder(run, marker, force)
    checkpoints = run / "checkpoints"
    if not resume:
        shutil.rmtree(checkpoints, ignore_errors=True)
    with clear_about_resources(f"training {run}", relief=relief):
        result = train(checkpoints)
        write_json(run / marker, result)
        shutil.rmtree(checkpoints)
        return result
