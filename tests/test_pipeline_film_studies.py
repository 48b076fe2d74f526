from __future__ import annotations

import hashlib
import json
import re
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import cv2
import jsonschema
import numpy as np
import pytest
from pydicom.uid import generate_uid

import pulmoscope
from bundles import quadrants, tiny_bundle
from pulmoscope.core.errors import InputError, UnsuitableError
from pulmoscope.core.types import Decision, Diagnosis
from pulmoscope.io import entries, studies
from pulmoscope.io.studies import paths
from pulmoscope.pipeline.choice import Models
from pulmoscope.pipeline.diagnose import diagnose_many
from pulmoscope.pipeline.film_studies import MOST_FILMS, FilmResult, StudyAnswer, study_answer
from pulmoscope.pipeline.runs.run import Outcome, Run
from pulmoscope.runtime.bundle import Thresholds
from pulmoscope.runtime.model import Model
from radiographs import dicom_file
from refusals import figures, refused

SIDE = 256
STUDY = re.compile(r'<p class="card study">(.*?)</p>', re.DOTALL)
SCHEMA = Path(__file__).resolve().parents[1] / "docs/schemas/index.schema.json"
LOWER = (0.95, 0.95)  # darker above: no film on its head
COVID, MILD, NORMAL = (0.9, 0.6, *LOWER), (0.7, 0.65, *LOWER), (0.6, 0.9, *LOWER)


def film(
    path: Path, brightness: tuple[float, ...] = COVID, study: str | None = "1.2.3", **elements: Any
) -> Path:
    """A radiograph of a study, each with a SOPInstanceUID of its own."""
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.rint(quadrants(brightness, SIDE) * 255).astype(np.uint8)
    own = {"SOPInstanceUID": generate_uid(entropy_srcs=[str(path)])}
    if study is not None:
        own["StudyInstanceUID"] = study
    return dicom_file(path, pixels, **{**own, **elements})


def share(brightness: tuple[float, ...]) -> float:
    """COVID's probability: logit k is 10 times the mean brightness of quadrant k, in 8 bits."""
    first, second = (np.rint(255 * value) / 255 for value in brightness[:2])
    return float(1 / (1 + np.exp(-10 * (first - second))))


def run(inputs: Path, model: Model, out: Path) -> tuple[list[Outcome], list[StudyAnswer]]:
    listed = list(entries([inputs]))
    job = Run(Models.only(model), out)
    return list(diagnose_many(studies(listed), job, paths(listed))), job.answers


def named(path: Path) -> str:
    """What a film is called by its content."""
    return f"xray-{hashlib.sha256(path.read_bytes()).hexdigest()[:12]}"


def told(out: Path) -> list[dict[str, Any]]:
    """The studies of a run, by its index, which keeps its schema."""
    index = json.loads((out / "index.json").read_text(encoding="utf-8"))
    jsonschema.validate(index, json.loads(SCHEMA.read_text()), jsonschema.Draft202012Validator)
    found: list[dict[str, Any]] = index["studies"]
    return found


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_bundle(tmp_path_factory.mktemp("bundle"), confidence=0.8).folder


@pytest.fixture(scope="module")
def model(bundle: Path) -> Model:
    return Model.load(bundle)


def test_two_frontal_films_are_one_answer_from_their_mean(tmp_path: Path, model: Model) -> None:
    film(tmp_path / "in/a.dcm", COVID)
    film(tmp_path / "in/b.dcm", MILD)
    outcomes, answers = run(tmp_path / "in", model, tmp_path / "out")
    mean = (share(COVID) + share(MILD)) / 2
    assert share(MILD) < 0.8 < share(COVID)
    assert mean < 0.8
    (study,) = told(tmp_path / "out")
    assert [entry["used"] for entry in study["films"]] == [True, True]
    assert study["films"][0] == {
        "input": named(tmp_path / "in/a.dcm"),
        "folder": named(tmp_path / "in/a.dcm"),
        "used": True,
        "code": None,
        "reason": None,
    }
    assert study["probabilities"]["COVID"] == pytest.approx(mean, abs=1e-5)
    assert sum(study["probabilities"].values()) == pytest.approx(1, abs=1e-5)
    assert (study["label"], study["decision"]) == ("COVID", "refer")
    assert f"{100 * mean:.0f} %" in study["reason"]
    assert [answer.entry() for answer in answers] == [study]
    # Each film keeps its own answer.
    assert [outcome.plain and outcome.plain["prediction"]["decision"] for outcome in outcomes] == [
        "report",
        "refer",
    ]


def test_a_sure_mean_is_reported(tmp_path: Path, model: Model) -> None:
    film(tmp_path / "in/a.dcm", COVID)
    film(tmp_path / "in/b.dcm", (0.95, 0.6, *LOWER))
    run(tmp_path / "in", model, tmp_path / "out")
    (study,) = told(tmp_path / "out")
    assert (study["label"], study["decision"], study["quality"]) == ("COVID", "report", "pass")


def test_films_that_differ_are_referred_and_it_is_said(tmp_path: Path, model: Model) -> None:
    film(tmp_path / "in/a.dcm", (0.95, 0.3, *LOWER))
    film(tmp_path / "in/b.dcm", (0.7, 0.72, *LOWER))
    film(tmp_path / "in/c.dcm", (0.95, 0.2, *LOWER))
    run(tmp_path / "in", model, tmp_path / "out")
    (study,) = told(tmp_path / "out")
    assert study["probabilities"]["COVID"] > 0.8  # a sure mean, but for the one that differs
    assert (study["decision"], study["reason"]) == ("refer", "The radiographs differ: 2 COVID, 1 Normal.")


def test_films_that_do_not_count_are_named_with_the_reason(tmp_path: Path, model: Model) -> None:
    film(tmp_path / "in/a.dcm", COVID)
    film(tmp_path / "in/b.dcm", NORMAL, ViewPosition="LL")
    film(tmp_path / "in/c.dcm", NORMAL, BodyPartExamined="ABDOMEN")
    (tmp_path / "in/d.dcm").write_bytes((tmp_path / "in/a.dcm").read_bytes())
    film(tmp_path / "in/e.dcm", COVID, PatientComments="the same pixels, another SOPInstanceUID")
    run(tmp_path / "in", model, tmp_path / "out")
    (study,) = told(tmp_path / "out")
    first, *others = (named(tmp_path / f"in/{name}.dcm") for name in "abce")
    assert [(entry["input"], entry["code"]) for entry in study["films"]] == [
        (first, None),
        (others[0], "lateral"),
        (others[1], "refused"),
        (f"{first}-2", "duplicate"),
        (others[2], "duplicate"),
    ]
    reasons = [entry["reason"] for entry in study["films"]]
    assert "LL" in reasons[1]
    assert "ABDOMEN" in reasons[2]
    assert str(tmp_path) not in reasons[2]
    assert study["films"][2]["folder"] is None
    assert reasons[3] == reasons[4] == f"the same radiograph as {first}"
    assert study["probabilities"]["COVID"] == pytest.approx(share(COVID), abs=1e-5)
    assert (study["decision"], study["label"]) == ("report", "COVID")
    assert not study["reason"].startswith("Mean")


def test_without_a_film_that_can_be_judged_the_study_is_referred(tmp_path: Path, model: Model) -> None:
    film(tmp_path / "in/a.dcm", COVID, ViewPosition="LL")
    film(tmp_path / "in/b.dcm", COVID, ViewPosition="RL")
    film(tmp_path / "refused/a.dcm", COVID, BodyPartExamined="ABDOMEN")
    film(tmp_path / "refused/b.dcm", COVID, BodyPartExamined="ABDOMEN")
    run(tmp_path / "in", model, tmp_path / "out")
    run(tmp_path / "refused", model, tmp_path / "none")
    for out in ("out", "none"):
        (study,) = told(tmp_path / out)
        assert (study["label"], study["probabilities"], study["decision"]) == (None, None, "refer")
        assert study["reason"].startswith("No radiograph of the study can be judged; the first: ")


def test_a_child_is_a_child_on_every_film(tmp_path: Path, model: Model) -> None:
    film(tmp_path / "in/a.dcm", COVID, PatientAge="009Y")
    film(tmp_path / "in/b.dcm", (0.95, 0.6, *LOWER))
    run(tmp_path / "in", model, tmp_path / "out")
    (study,) = told(tmp_path / "out")
    assert [entry["code"] for entry in study["films"]] == ["child", None]
    assert (study["decision"], study["quality"]) == ("refer", "refuse")
    child = json.loads(
        (tmp_path / "out" / named(tmp_path / "in/a.dcm") / "diagnosis.json").read_text(encoding="utf-8")
    )["quality"]["flags"][0]
    assert child["code"] == "child"
    assert child["finding"] in study["reason"]


@pytest.mark.parametrize(("level", "decision"), [("refuse", "refer"), ("warn", "report")])
def test_what_looks_like_a_child_on_one_film_holds_for_the_study(level: str, decision: str) -> None:
    flag = {"code": "looks-like-child", "level": level, "finding": "a child's chest", "rule": ""}
    shares = {"label": "COVID", "probabilities": {"COVID": 0.99, "Normal": 0.01}}
    films = [
        FilmResult(
            name,
            name,
            {
                "prediction": shares,
                "quality": {"flags": flags},
                "limits": [],
                "input": {"pixels_sha256": name},
            },
        )
        for name, flags in (("a", [flag]), ("b", []))
    ]
    answer = study_answer(films, Thresholds())
    assert answer.decision.value == decision


def test_single_films_and_films_of_other_patients_are_no_studies(tmp_path: Path, model: Model) -> None:
    film(tmp_path / "in/a.dcm", study="1.1")
    film(tmp_path / "in/b.dcm", study="1.2")
    film(tmp_path / "in/c.dcm", study="1.2", PatientID="ANOTHER")
    film(tmp_path / "in/d.dcm", study="1.1", Modality="SR", BodyPartExamined=None)  # a report beside the film
    film(tmp_path / "in/e.dcm", study=None)
    film(tmp_path / "in/f.dcm", study=None)
    for name in ("g", "h"):
        assert cv2.imwrite(str(tmp_path / f"in/{name}.png"), np.rint(quadrants(COVID, SIDE) * 255))
    outcomes, answers = run(tmp_path / "in", model, tmp_path / "out")
    assert len(outcomes) == 8
    assert answers == []
    assert told(tmp_path / "out") == []


def test_a_scanned_film_is_one_of_its_study(tmp_path: Path, model: Model) -> None:
    film(tmp_path / "in/a.dcm", COVID)
    film(tmp_path / "in/b.dcm", MILD, Modality="OT")
    run(tmp_path / "in", model, tmp_path / "out")
    (study,) = told(tmp_path / "out")
    assert [entry["used"] for entry in study["films"]] == [True, True]


def test_films_of_a_study_need_not_be_neighbours(tmp_path: Path, model: Model) -> None:
    for number in range(30):
        bright = 0.8 + number / 1000
        film(tmp_path / f"in/{number % 3}/{number:02}.dcm", (bright, 0.5), study=f"1.2.{number % 10}")
    outcomes, _ = run(tmp_path / "in", model, tmp_path / "out")
    stems = {outcome.name: Path(outcome.path).stem for outcome in outcomes}
    found = [[stems[entry["input"]] for entry in study["films"]] for study in told(tmp_path / "out")]
    # 00, 10 and 20 are of one study and lie in the folders 0, 1 and 2.
    expected = [sorted((f"{n:02}" for n in (k, k + 10, k + 20)), key=lambda s: int(s) % 3) for k in range(10)]
    assert sorted(found) == sorted(expected)
    assert found[0] == ["00", "10", "20"]


KILLED = """
import os, signal, sys
from pathlib import Path
from pulmoscope.io import entries, studies
from pulmoscope.io.studies import paths
from pulmoscope.pipeline.choice import Models
from pulmoscope.pipeline.diagnose import diagnose_many
from pulmoscope.pipeline.runs.run import Run

films, bundle, out = map(Path, sys.argv[1:])
listed = list(entries([films]))
run = Run(Models(str(bundle)), out)
for number, _ in enumerate(diagnose_many(studies(listed), run, paths(listed))):
    if number == 4:
        os.kill(os.getpid(), signal.SIGKILL)
"""


def test_a_killed_run_comes_to_the_same_answers(tmp_path: Path, bundle: Path, model: Model) -> None:
    for number in range(40):
        bright = 0.8 + number / 1000
        film(tmp_path / f"in/{number:02}.dcm", (bright, 0.5), study=f"1.2.{number % 20}")
    child = subprocess.run(
        [sys.executable, "-c", KILLED, str(tmp_path / "in"), str(bundle), str(tmp_path / "out")]
    )
    assert child.returncode == -signal.SIGKILL
    outcomes, _ = run(tmp_path / "in", model, tmp_path / "out")
    assert 5 <= sum(outcome.kept for outcome in outcomes) < 40
    run(tmp_path / "in", model, tmp_path / "unbroken")
    assert len(told(tmp_path / "out")) == 20
    assert told(tmp_path / "out") == told(tmp_path / "unbroken")


def test_the_films_pages_tell_of_their_study(tmp_path: Path, model: Model) -> None:
    film(tmp_path / "in/a.dcm", COVID)
    film(tmp_path / "in/b.dcm", NORMAL, ViewPosition="LL")
    film(tmp_path / "in/c.dcm", study="1.2.4")
    out = tmp_path / "out"
    run(tmp_path / "in", model, out)
    a, b, c = (out / named(tmp_path / f"in/{name}.dcm") for name in "abc")
    first, second, alone = ((folder / "report.html").read_text(encoding="utf-8") for folder in (a, b, c))
    told = {
        name: said.group(1) for name, text in (("a", first), ("b", second)) if (said := STUDY.search(text))
    }
    assert f"1 of 2 of a study, whose answer rests on 1: COVID, {100 * share(COVID):.1f} %;" in told["a"]
    assert "2 of 2 of a study" in told["b"]
    assert not STUDY.search(alone)
    # Said once, also when a killed run goes on; taken back when the other film has gone.
    (out / "index.json").unlink()
    run(tmp_path / "in", model, out)
    assert (a / "report.html").read_text(encoding="utf-8") == first
    (out / "index.json").unlink()
    (tmp_path / "in/b.dcm").unlink()
    for file in b.iterdir():
        file.unlink()
    outcomes, _ = run(tmp_path / "in", model, out)
    assert [outcome.kept for outcome in outcomes] == [True, True]
    assert not b.exists()
    assert not STUDY.search((a / "report.html").read_text(encoding="utf-8"))


def test_ids_are_written_nowhere(tmp_path: Path, model: Model) -> None:
    secrets = {"study": "1.2.47110815", "PatientID": "ZZSECRET"}
    film(tmp_path / "in/a.dcm", COVID, SOPInstanceUID="1.2.47110815.1", **secrets)
    film(tmp_path / "in/b.dcm", MILD, SOPInstanceUID="1.2.47110815.2", **secrets)
    outcomes, answers = run(tmp_path / "in", model, tmp_path / "out")
    assert len(answers) == 1
    listed = list(studies(entries([tmp_path / "in"])))
    written = [path.read_bytes() for path in (tmp_path / "out").rglob("*") if path.is_file()]
    for content in (repr(outcomes).encode(), repr(answers).encode(), repr(listed).encode(), *written):
        assert b"47110815" not in content
        assert b"ZZSECRET" not in content


def test_the_same_ids_in_all_files_are_no_study() -> None:
    films = [FilmResult(f"{n}.dcm", str(n), None) for n in range(MOST_FILMS + 1)]
    answer = study_answer(films, Thresholds(0.8))
    assert (answer.decision, answer.prediction) == (Decision.REFER, None)
    assert {part.code for part in answer.films} == {"too-many"}
    assert str(MOST_FILMS + 1) in answer.reason


def test_a_whole_collection_with_one_id_is_told(tmp_path: Path, model: Model) -> None:
    for number in range(MOST_FILMS + 1):
        film(tmp_path / f"in/{number:02}.dcm", (0.8 + number / 1000, 0.5))
    run(tmp_path / "in", model, tmp_path / "out")
    (study,) = told(tmp_path / "out")
    assert len(study["films"]) == MOST_FILMS + 1
    assert (study["decision"], study["label"]) == ("refer", None)


def test_in_python_the_films_of_one_study_are_one_call(tmp_path: Path, model: Model) -> None:
    film(tmp_path / "in/a.dcm", COVID)
    film(tmp_path / "in/b.dcm", NORMAL, ViewPosition="LL")
    film(tmp_path / "in/c.dcm", COVID, BodyPartExamined="ABDOMEN")
    found = pulmoscope.diagnose_films(tmp_path / "in", model, explain=False)
    first, second, third = found.films
    assert isinstance(first, Diagnosis)
    assert isinstance(second, Diagnosis)
    assert isinstance(third, InputError)
    assert first.prediction.label == "COVID"
    assert [part.code for part in found.answer.films] == [None, "lateral", "refused"]
    run(tmp_path / "in", model, tmp_path / "out")
    (study,) = told(tmp_path / "out")
    here = found.answer.entry()
    assert {key: here[key] for key in ("label", "probabilities", "decision", "reason", "quality")} == {
        key: study[key] for key in ("label", "probabilities", "decision", "reason", "quality")
    }


def test_in_python_several_studies_are_refused(tmp_path: Path, model: Model) -> None:
    film(tmp_path / "in/a.dcm", study="1.1")
    film(tmp_path / "in/b.dcm", study="1.2")
    with refused(UnsuitableError, "not-one-study") as caught:
        pulmoscope.diagnose_films(tmp_path / "in", model)
    assert figures(caught.value.finding) == (2, 2)  # inputs, studies
    with refused(UnsuitableError, "several-scans") as caught:
        pulmoscope.diagnose(tmp_path / "in", model)
    assert figures(caught.value.finding) == (2,)
    (tmp_path / "in/b.dcm").write_bytes(b"no image")
    with refused(UnsuitableError, "not-one-study") as caught:
        pulmoscope.diagnose_films(tmp_path / "in", model)
    assert figures(caught.value.finding) == (2, 1)


def test_in_python_one_scan_is_asked_for_and_the_other_call_named(tmp_path: Path, model: Model) -> None:
    film(tmp_path / "in/a.dcm")
    film(tmp_path / "in/b.dcm")
    with refused(UnsuitableError, "several-scans") as caught:
        pulmoscope.diagnose(tmp_path / "in", model)
    assert "pulmoscope.diagnose_films" in caught.value.finding
