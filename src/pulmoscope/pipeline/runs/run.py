"""A run of ``diagnose``: what its inputs share, and what became of each."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from pulmoscope.core.errors import InputError
from pulmoscope.core.types import Flag
from pulmoscope.io import Study
from pulmoscope.pipeline import outputs as files
from pulmoscope.pipeline.change.earlier import Earlier
from pulmoscope.pipeline.choice import Models
from pulmoscope.pipeline.clinical.values import Values
from pulmoscope.pipeline.drift.survey import Place, Survey
from pulmoscope.pipeline.film_studies import StudyAnswer
from pulmoscope.pipeline.names import BY_CONTENT, Naming, without_path
from pulmoscope.pipeline.objects.write import ObjectMaker
from pulmoscope.report.diagnosis import diagnosed_entry, refused_entry

Reports = Literal["all", "positive", "none"]
"""Whose page and heat maps are written: everyone's, those of positive or referred images, or no one's."""


@dataclass(frozen=True)
class Outcome:
    """What became of one input of a run.

    Attributes:
        name: what the input is called in results: its folder's name within the run's.
        path: as the user named it; may name a patient, and is for the user alone.
        plain: its ``diagnosis.json``; None where it was refused.
        report: its page; None where none was written.
        error: why it was refused.
        kept: whether an interrupted run had already diagnosed it.
    """

    name: str
    path: str = field(repr=False)
    plain: Mapping[str, Any] | None = None
    report: Path | None = None
    error: InputError | None = None
    kept: bool = False

    @property
    def refusal(self) -> str:
        """Why it was refused, without its path; empty where it was not."""
        return "" if self.error is None else without_path(self.error.reason, self.path, self.name)

    def entry(self) -> dict[str, Any]:
        """This outcome in ``index.json``."""
        if self.error is not None:
            finding = without_path(self.error.finding, self.path, self.name)
            return refused_entry(self.name, self.error, finding)
        assert self.plain is not None
        report = f"{self.name}/{files.REPORT}" if self.report else None
        return diagnosed_entry(self.name, self.name, self.plain, report)


@dataclass(frozen=True)
class Run:
    """What all inputs of a run share.

    Attributes:
        models: which model reads what.
        out: the folder of the results.
        reports: whose page is written.
        series: the SeriesInstanceUID to read of DICOM studies; empty: chosen by the rules.
        naming: what the inputs are called in the results.
        earlier: an earlier scan, which the run's only input is compared with.
        survey: looks at the places that the inputs are of, before they are diagnosed; None: nobody asks.
        show_date: pages of CTs tell the date of the study, which may identify a patient.
        values: the patients' values that are linked to the inputs.
        objects: makes objects for other systems; None: there are to be none.
        pdf: pages are written as PDF, too.
        answers: of each study of several radiographs one, once the run is complete.
    """

    models: Models
    out: Path
    reports: Reports = "all"
    series: str = ""
    naming: Naming = BY_CONTENT
    earlier: Earlier | None = None
    survey: Survey | None = None
    show_date: bool = False
    values: Values | None = None
    objects: ObjectMaker | None = None
    pdf: bool = False
    answers: list[StudyAnswer] = field(default_factory=list)

    @property
    def places(self) -> tuple[Place, ...]:
        """The places that the inputs are of, as far as anyone has looked."""
        return () if self.survey is None else self.survey.places

    def limits(self, study: Study) -> tuple[Flag, ...]:
        """What there is to know of the place that an input is of."""
        return () if self.survey is None else self.survey.flags(study)
