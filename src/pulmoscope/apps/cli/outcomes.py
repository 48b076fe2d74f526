"""What ``pulmoscope diagnose`` says while it runs and at its end."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import PurePath
from typing import TYPE_CHECKING

import typer

from pulmoscope.apps.cli.console import progress_bar

if TYPE_CHECKING:
    from pulmoscope.apps.ray.diagnose import Archive
    from pulmoscope.io import Study
    from pulmoscope.pipeline.drift.survey import Place
    from pulmoscope.pipeline.film_studies import StudyAnswer
    from pulmoscope.pipeline.runs.run import Outcome, Run


def counted(outcomes: Iterable[Outcome], *, silent: bool, alone: bool) -> Tally:
    """Count the outcomes, and say of each what became of it; where ``silent``, only of those that were refused."""
    tally = Tally()
    for outcome in outcomes:
        tally.add(outcome)
        if outcome.error is not None:
            typer.echo(f"pulmoscope: refused: {outcome.path}: {outcome.error.reason}", err=True)
        elif not silent:
            _tell(outcome, alone=alone)
            _tell_objects(outcome)
    return tally


class Tally:
    """How many inputs came to what, and which path each name stands for."""

    def __init__(self) -> None:
        self.diagnosed = self.referred = self.refused = self.kept = self.unlinked = 0
        self.paths: dict[str, str] = {}

    def add(self, outcome: Outcome) -> None:
        """Count one."""
        self.refused += outcome.error is not None
        self.kept += outcome.kept
        self.paths[outcome.name] = outcome.path
        if outcome.plain is not None:
            self.diagnosed += 1
            self.referred += outcome.plain["prediction"]["decision"] == "refer"
            values = outcome.plain.get("values")
            self.unlinked += values is not None and not values["used"]

    def line(self) -> str:
        """For people."""
        before = f" ({self.kept} by the interrupted run)" if self.kept else ""
        values = f"; {self.unlinked} of them without any of the values" if self.unlinked else ""
        return f"{self.diagnosed} diagnosed{before}, {self.referred} of them referred{values}; {self.refused} refused"

    def exit_code(self) -> int:
        """0: all diagnosed; 3: some refused; 4: all refused."""
        if not self.refused:
            return 0
        return 3 if self.diagnosed else 4


def _tell(outcome: Outcome, alone: bool) -> None:
    """Say what became of one input: in a few lines where it is the only one, else in one."""
    from pulmoscope.report.page import brief, summary

    assert outcome.plain is not None
    if alone:
        for line in summary(outcome.plain):
            typer.echo(line)
        if outcome.report is not None:
            typer.echo(f"Report          {outcome.report}")
        typer.echo("Research use only; a physician must read the image.")
        return
    where = f"  {outcome.report}" if outcome.report else ""
    typer.echo(f"{outcome.path}  {brief(outcome.plain)}{where}")


def _tell_objects(outcome: Outcome) -> None:
    """Say on stderr which DICOM objects could not be written, and what of the sources was mended for them."""
    from pulmoscope.pipeline.objects.write import remarks

    for remark in remarks(outcome.plain or {}):
        typer.echo(f"pulmoscope: {outcome.path}: {remark}", err=True)


def tell_run(run: Run, tally: Tally, archive: Archive | None, *, few: bool, alone: bool) -> None:
    """Say what became of the run as a whole: of its studies (of few inputs), its places, how many came to what."""
    if few:
        _tell_studies(run.answers, tally.paths)
    if not alone:
        _tell_places(run.places)
        typer.echo(f"{tally.line()}; {run.out / 'index.json' if archive is None else archive.where}")
    for line in () if archive is None else archive.nodes.lines():
        typer.echo(f"pulmoscope: {line}", err=True)


def _tell_studies(answers: Iterable[StudyAnswer], paths: Mapping[str, str]) -> None:
    """Say what became of each study of several radiographs."""
    from pulmoscope.report.html import percent
    from pulmoscope.report.names import DECISIONS

    for answer in answers:
        used = sum(radiograph.used for radiograph in answer.films)
        names = ", ".join(PurePath(paths[radiograph.name]).name for radiograph in answer.films)
        prediction = answer.prediction
        outcome = (
            "no answer"
            if prediction is None
            else f"{prediction.label} {percent(prediction.probabilities[prediction.label])}"
        )
        typer.echo(
            f"Study of {len(answer.films)} radiographs ({names}), {used} used  {outcome}  "
            f"{DECISIONS[answer.decision].title.lower()}"
        )


def _tell_places(places: Sequence[Place]) -> None:
    """Say which places are strange to the model; or that nobody could look."""
    from pulmoscope.quality.drift import LEAST_IMAGES

    for place in places:
        if place.verdict == "strange":
            typer.echo(f"{place.name} ({place.folder}, {place.images} images): {place.reason}")
    if places and all(place.verdict == "not-told" for place in places):
        typer.echo(
            "Whether these images are of a hospital that the model knows was not looked for: at least "
            f"{LEAST_IMAGES} of one folder or device are needed"
        )


class Shown:
    """A progress bar on stderr that counts files, as the number of studies shows only at the end."""

    def __init__(self, files: int, silent: bool) -> None:
        self._files, self._silent = files, silent
        self._sizes: deque[int] = deque()

    def studies(self, listed: Iterable[Study]) -> Iterator[Study]:
        """The same studies, their sizes noted."""
        for study in listed:
            self._sizes.append(len(study.entries) + study.others + study.broken)
            yield study

    def outcomes(self, stream: Iterable[Outcome]) -> Iterator[Outcome]:
        """The same outcomes, under the bar."""
        if self._silent:
            yield from stream
            return
        with progress_bar("Diagnosing") as progress:
            done = 0
            for outcome in stream:
                done += self._sizes.popleft()
                progress(min(done, self._files), self._files)
                yield outcome
