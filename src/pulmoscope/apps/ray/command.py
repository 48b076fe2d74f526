"""``pulmoscope diagnose --on ray``: what the command line asks for, as a run on many machines."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any, cast

from pulmoscope.apps.ray.cluster import connect
from pulmoscope.apps.ray.diagnose import Archive
from pulmoscope.apps.ray.results import FolderResults, results_at
from pulmoscope.apps.ray.worker import Settings
from pulmoscope.core.errors import PulmoscopeError
from pulmoscope.core.files import sha256_of
from pulmoscope.core.types import Modality
from pulmoscope.core.version import VERSION
from pulmoscope.pipeline.runs.run import Run
from pulmoscope.runtime.network import Runtime


@contextmanager
def on_cluster(
    on: str, run: Run, out: str, model: str, device: str, runtime: str, severity: str
) -> Iterator[Archive]:
    """A cluster that diagnoses the studies of a run.

    Args:
        on: which cluster (see :func:`pulmoscope.apps.ray.cluster.connect`).
        run: what the studies share; its folder counts for nothing.
        out: where the results go: a folder that all nodes share, or an address.
        model, device, runtime, severity: what the nodes are to open.

    Yields:
        What diagnoses studies.

    Raises:
        PulmoscopeError: something is asked for that is for one machine.
        ResourceError: the cluster can't be reached.
    """
    if run.earlier is not None:
        raise PulmoscopeError("--earlier compares one scan with another; it needs no cluster: leave --on out")
    results = results_at(out)
    if isinstance(results, FolderResults):
        results = FolderResults(results.out.absolute())
    settings = Settings(
        results,
        _from_root(model),
        cast(Runtime, runtime),
        device,
        _from_root(severity),
        run.reports,
        run.series,
        run.naming,
        run.show_date,
        run.values,
        run.objects,
        run.pdf,
    )
    with connect(on) as ray:
        yield Archive(ray, run, settings, _identity(run, settings))


def _identity(run: Run, settings: Settings) -> str:
    """A checksum of all that results depend on beside the files."""
    models = [run.models.expected(modality) for modality in Modality]
    scorer, values = run.models.severity, run.values
    objects = None if run.objects is None else sorted(report.uid for report in run.objects.reports)
    settings_used: list[Any] = [
        VERSION,
        [model and dict(model.identity) for model in models],
        scorer and dict(scorer.model.identity),
        [settings.runtime, settings.device, run.reports, run.series, run.show_date, asdict(run.naming)],
        [objects, run.pdf],
    ]
    if values is not None:
        outcome = "" if values.outcome is None else values.outcome.sha256
        settings_used += [values.file.sha256, asdict(values.window), values.header, values.only, outcome]
    return sha256_of(json.dumps(settings_used, sort_keys=True, default=str).encode())


def _from_root(name: str) -> str:
    """A bundle's folder from the root; a built-in model's name as it is."""
    return str(Path(name).absolute()) if Path(name).is_dir() else name
