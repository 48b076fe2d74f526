"""All radiographs of one study from Python: each one's diagnosis, and the study's one answer."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from pulmoscope.core.errors import InputError, UnsuitableError
from pulmoscope.core.types import Diagnosis, Modality
from pulmoscope.io import Study, content_of, entries, read_study, studies
from pulmoscope.io.inputs import unique
from pulmoscope.pipeline.choice import Models
from pulmoscope.pipeline.diagnose import diagnose
from pulmoscope.pipeline.film_studies import FilmResult, StudyAnswer, study_answer
from pulmoscope.report.diagnosis import to_json
from pulmoscope.runtime.model import Model


@dataclass(frozen=True)
class StudyDiagnosis:
    """What is said about the radiographs of one study.

    Attributes:
        answer: the study's, and which radiographs it rests on.
        films: of each radiograph, in the order of ``answer.films``, its diagnosis or why it was refused.
    """

    answer: StudyAnswer
    films: tuple[Diagnosis | InputError, ...]


def diagnose_films(
    source: str | Path | Sequence[str | Path], model: str | Path | Model = "auto", *, explain: bool = True
) -> StudyDiagnosis:
    """Diagnose the radiographs of one study (PA and lateral, repeats), and the study by those that have a prediction.

    Args:
        source: a folder or zip of the study's DICOM files, or several paths.
        model: as of :func:`pulmoscope.diagnose`.
        explain: as of :func:`pulmoscope.diagnose`.

    Raises:
        UnsuitableError: the files are not the radiographs of one study, by StudyInstanceUID and PatientID.
        BundleError: there is no such bundle, or it is damaged.
        ResourceError: the runtime is not there.
    """
    paths = [Path(source)] if isinstance(source, str | Path) else [Path(path) for path in source]
    inputs = list(studies(entries(paths)))
    ids = {study.film.study if study.film else None for study in inputs}
    if len(ids) != 1 or None in ids:
        names = " ".join(map(str, paths[:1]))
        finding = f"{len(inputs)} inputs of {len(ids - {None})} studies"
        others = ", and others" if None in ids else ""
        rule = "the files are the radiographs of one study in DICOM"
        raise UnsuitableError(names, "not-one-study", finding + others, rule)
    models = Models(str(model)) if isinstance(model, str | Path) else Models.only(model)
    diagnoses, results = [], []
    taken: set[str] = set()
    for number, study in enumerate(inputs, start=1):
        diagnosis, result = _film(
            study, unique(content_of(study) or f"input-{number}", taken), models, explain
        )
        diagnoses.append(diagnosis)
        results.append(result)
    thresholds = models.of(Modality.XRAY, inputs[0].name).bundle.thresholds
    return StudyDiagnosis(study_answer(results, thresholds), tuple(diagnoses))


def _film(
    study: Study, name: str, models: Models, explain: bool
) -> tuple[Diagnosis | InputError, FilmResult]:
    """One radiograph: its diagnosis or why it was refused, and what that is to its study."""
    instance = study.film.instance if study.film else ""
    read = read_study(study)
    try:
        if read.error is not None:
            raise read.error
        assert read.scan is not None
        scan = replace(read.scan, name=name)
        diagnosis = diagnose(scan, models.of(Modality.XRAY, read.name), explain=explain)
    except InputError as error:
        return error, FilmResult(name, None, None, error.reason, instance)
    return diagnosis, FilmResult(name, name, to_json(diagnosis), instance=instance)
