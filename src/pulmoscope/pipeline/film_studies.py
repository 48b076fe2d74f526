"""One answer for a study of several radiographs: PA and lateral, or a repeat.

Every radiograph keeps its own diagnosis. The study's answer is the mean of the calibrated probabilities over the
radiographs that have a prediction; it is decided as for a single radiograph
(:func:`pulmoscope.inference.decision.decide`), with all their quality flags. Radiographs that differ in their label
refer the study. A radiograph does not count that was refused, that a quality rule refers (lateral, not a chest,
rotated …), or that is another's copy. What says that the patient is a child, in the file or in the picture, holds for
the whole study.

Which radiographs belong together is decided by StudyInstanceUID and PatientID, which are compared and never written.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pulmoscope.core.files import write_bytes, write_text
from pulmoscope.core.types import Decision, Flag, FlagLevel, Prediction, Quality
from pulmoscope.inference.decision import decide
from pulmoscope.io.patient_age import CHILD
from pulmoscope.io.studies import Film
from pulmoscope.pipeline import outputs as files
from pulmoscope.quality.views import LIKE_CHILD
from pulmoscope.report.archive import read_diagnosis
from pulmoscope.report.diagnosis import flags_of
from pulmoscope.report.names import DECISIONS
from pulmoscope.report.page import in_study
from pulmoscope.report.pdf import to_pdf
from pulmoscope.runtime.bundle import Thresholds

if TYPE_CHECKING:
    from pulmoscope.pipeline.runs.run import Outcome

MOST_FILMS = 30
"""More radiographs with one StudyInstanceUID and one PatientID are no study: someone wrote the same ids into all
files."""


@dataclass(frozen=True)
class FilmResult:
    """What became of one radiograph of a study.

    Attributes:
        name: what it is called in results.
        folder: of its results within the run's; None where it was refused.
        plain: its ``diagnosis.json``; None where it was refused.
        refusal: why it was refused, in one line; empty where it was not.
        instance: its SOPInstanceUID, for comparing only.
    """

    name: str
    folder: str | None
    plain: Mapping[str, Any] | None
    refusal: str = ""
    instance: str = field(default="", repr=False)


@dataclass(frozen=True)
class StudyFilm:
    """A radiograph's part in its study's answer: used, or the reason why not.

    ``code`` is a flag's, ``refused``, ``duplicate`` or ``too-many``; None where the radiograph is used, as ``reason``
    is.
    """

    name: str
    folder: str | None
    code: str | None = None
    reason: str | None = None

    @property
    def used(self) -> bool:
        """Whether the study's answer rests on it."""
        return self.code is None


@dataclass(frozen=True)
class StudyAnswer:
    """What is said about a study of several radiographs.

    Attributes:
        films: all of them, in the order of the inputs.
        decision, reason: whether the answer is reported.
        quality: of the radiographs that are used.
        prediction: the mean over them, and its decision; None where no radiograph has one, and the study is
            referred.
    """

    films: tuple[StudyFilm, ...]
    decision: Decision
    reason: str
    quality: Quality
    prediction: Prediction | None = None

    def entry(self) -> dict[str, Any]:
        """This answer in ``index.json``."""
        prediction = self.prediction
        return {
            "films": [
                {
                    "input": film.name,
                    "folder": film.folder,
                    "used": film.used,
                    "code": film.code,
                    "reason": film.reason,
                }
                for film in self.films
            ],
            "label": None if prediction is None else prediction.label,
            "probabilities": None if prediction is None else dict(prediction.probabilities),
            "decision": self.decision.value,
            "reason": self.reason,
            "quality": self.quality.verdict,
        }


def study_answer(images: Sequence[FilmResult], thresholds: Thresholds) -> StudyAnswer:
    """The answer of one study.

    Args:
        images: its radiographs, at least one.
        thresholds: of the model's referral.
    """
    if len(images) > MOST_FILMS:
        finding = f"{len(images)} radiographs have the same ids (a study has at most {MOST_FILMS})"
        named = tuple(StudyFilm(image.name, image.folder, "too-many", finding) for image in images)
        return StudyAnswer(named, Decision.REFER, f"The study can't be judged: {finding}.", Quality())
    parts = _parts(images)
    used = [
        image.plain
        for image, part in zip(images, parts, strict=True)
        if part.used and image.plain is not None
    ]
    children = [
        flag for image in images if image.plain for flag in flags_of(image.plain) if _of_a_child(flag)
    ]
    quality = Quality(
        tuple(dict.fromkeys((*(flag for plain in used for flag in flags_of(plain)), *children)))
    )
    if not used:
        reason = f"No radiograph of the study can be judged; the first: {parts[0].reason}."
        return StudyAnswer(tuple(parts), Decision.REFER, reason, quality)
    probabilities = [plain["prediction"]["probabilities"] for plain in used]
    mean = {
        label: round(sum(row[label] for row in probabilities) / len(probabilities), 6)
        for label in probabilities[0]
    }
    prediction = decide(mean, quality, thresholds)
    labels = Counter(plain["prediction"]["label"] for plain in used)
    if len(labels) > 1 and not quality.refusals:
        counts = ", ".join(f"{count} {label}" for label, count in labels.items())
        prediction = replace(prediction, decision=Decision.REFER, reason=f"The radiographs differ: {counts}.")
    elif prediction.decision is Decision.REPORT and not any(_may_be(one, prediction.label) for one in used):
        reason = f"Every radiograph rules {prediction.label} out, though it is the most probable on average."
        prediction = replace(prediction, decision=Decision.REFER, reason=reason)
    elif len(used) > 1:
        reason = f"Mean of {len(used)} radiographs: {prediction.reason[0].lower()}{prediction.reason[1:]}"
        prediction = replace(prediction, reason=reason)
    return StudyAnswer(tuple(parts), prediction.decision, prediction.reason, quality, prediction)


def _may_be(plain: Mapping[str, Any], label: str) -> bool:
    """Whether a radiograph's set of classes holds this one, where it has a set."""
    fitting = plain["prediction"].get("set")
    return fitting is None or label in fitting["classes"]


def _parts(images: Sequence[FilmResult]) -> list[StudyFilm]:
    """Each radiograph's part: the first reason against it, if there is one."""
    parts: list[StudyFilm] = []
    seen: dict[str, str] = {}  # of the radiographs that are used: instance and pixels → name
    for image in images:
        if image.plain is None:
            parts.append(StudyFilm(image.name, image.folder, "refused", image.refusal))
            continue
        against = next(iter(Quality(flags_of(image.plain)).refusals), None)
        marks = [mark for mark in (image.instance, image.plain["input"]["pixels_sha256"]) if mark]
        first = next((seen[mark] for mark in marks if mark in seen), None)
        if against is not None:
            parts.append(StudyFilm(image.name, image.folder, against.code, against.message))
        elif first is not None:
            parts.append(StudyFilm(image.name, image.folder, "duplicate", f"the same radiograph as {first}"))
        else:
            seen |= dict.fromkeys(marks, image.name)
            parts.append(StudyFilm(image.name, image.folder))
    return parts


def _of_a_child(flag: Flag) -> bool:
    """Whether a flag says that the patient is a child whom the model has not learnt to predict."""
    return flag.code == CHILD or (flag.code == LIKE_CHILD and flag.level is FlagLevel.REFUSE)


@dataclass(frozen=True)
class _Saved:
    """Where a radiograph's results are; they are read again when its study is complete."""

    name: str
    refusal: str
    instance: str
    page: bool
    kept: bool


class FilmStudies:
    """The radiographs of a run by study: ids and names are held, nothing else, so that thousands need little memory."""

    def __init__(self) -> None:
        self._studies: dict[tuple[str, str], list[_Saved]] = {}

    def add(self, film: Film | None, outcome: Outcome) -> None:
        """Note what became of a radiograph; ``film``: its ids, None for what is none of a study."""
        if film is not None:
            saved = _Saved(
                outcome.name, outcome.refusal, film.instance, outcome.report is not None, outcome.kept
            )
            self._studies.setdefault(film.study, []).append(saved)

    def several(self) -> list[str]:
        """The names of the radiographs that are read again: those of studies of several."""
        return [
            saved.name
            for of_study in self._studies.values()
            if 1 < len(of_study) <= MOST_FILMS
            for saved in of_study
            if not saved.refusal
        ]

    def answers(self, out: Path, thresholds: Callable[[], Thresholds]) -> list[StudyAnswer]:
        """The answer of every study of at least two radiographs, in the order of their first; the
        radiographs' pages say it, too.

        Args:
            out: the run's folder.
            thresholds: gives those of the model's referral; asked only where one of several radiographs is predicted.

        Raises:
            ResourceError: a page can't be written.
        """
        answers = []
        for of_study in self._studies.values():
            answer = None
            if len(of_study) > MOST_FILMS:
                # Nothing of them is read again: there may be thousands.
                answers.append(study_answer([_unread(saved) for saved in of_study], Thresholds()))
                continue
            if len(of_study) > 1:
                answered = any(not saved.refusal for saved in of_study)
                results = [_result(out, saved) for saved in of_study]
                answer = study_answer(results, thresholds() if answered else Thresholds())
                answers.append(answer)
            for number, saved in enumerate(of_study, start=1):
                # A killed run may have told of a study that has lost its other radiographs since.
                if saved.page and (answer is not None or saved.kept):
                    _tell(out / saved.name / files.REPORT, answer, number)
        return answers


def _unread(saved: _Saved) -> FilmResult:
    return FilmResult(saved.name, None if saved.refusal else saved.name, None, saved.refusal, saved.instance)


def _result(out: Path, saved: _Saved) -> FilmResult:
    """A radiograph's result, read again."""
    if saved.refusal:
        return _unread(saved)
    plain = read_diagnosis(out / saved.name / files.DIAGNOSIS)
    return FilmResult(saved.name, saved.name, plain, instance=saved.instance)


def _tell(report: Path, answer: StudyAnswer | None, number: int) -> None:
    """Say on a radiograph's page what its study comes to; take back what a killed run has said where it is alone
    now."""
    before = report.read_text(encoding="utf-8")
    after = in_study(before, "" if answer is None else sentence(answer, number))
    if after != before:
        write_text(report, after)
        if (paper := report.with_name(files.PDF)).exists():
            write_bytes(paper, to_pdf(after))


def sentence(answer: StudyAnswer, number: int) -> str:
    """What a radiograph's page says of its study; ``number``: which of its radiographs it is, counted from 1."""
    used = sum(film.used for film in answer.films)
    this = answer.films[number - 1]
    part = "" if this.used else " This one does not count."
    outcome = "none"
    if answer.prediction is not None:
        best = answer.prediction.probabilities[answer.prediction.label]
        outcome = f"{answer.prediction.label}, {100 * best:.1f} %"
    return (
        f"Radiograph {number} of {len(answer.films)} of a study, whose answer rests on {used}: "
        f"{outcome}; {DECISIONS[answer.decision].title.lower()}. {answer.reason}{part}"
    )
