"""The end of a run of ``diagnose``: the answers of its studies, the names of its inputs, and its index."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from pulmoscope import __version__
from pulmoscope.core.types import Modality
from pulmoscope.pipeline import outputs as files
from pulmoscope.pipeline.film_studies import FilmStudies
from pulmoscope.pipeline.names import write_local_names
from pulmoscope.pipeline.runs.run import Run
from pulmoscope.report.diagnosis import to_index
from pulmoscope.runtime.bundle import Thresholds


def completed(
    run: Run, listed: Sequence[Mapping[str, Any]], local: Iterable[tuple[str, str]], radiographs: FilmStudies
) -> None:
    """Write what is said of all inputs together; the index last.

    Args:
        listed: the entry of every input, in order.
        local: of every input, in order, its name and its path.
        radiographs: those of the run, by study.

    Raises:
        ResourceError: the disk is full or broken.
    """
    run.answers[:] = radiographs.answers(run.out, lambda: _thresholds(run))
    write_local_names(run.out, local, [(place.name, place.folder) for place in run.places])
    answers, places = [answer.entry() for answer in run.answers], [place.entry() for place in run.places]
    files.complete(run.out, to_index(run.models.used, listed, __version__, answers, places))


def _thresholds(run: Run) -> Thresholds:
    """The threshold of referral of the model that reads X-rays."""
    return run.models.of(Modality.XRAY, "").bundle.thresholds
