"""A run over a folder notices a station that the model does not know."""

from __future__ import annotations

import csv
import json
import shutil
from collections.abc import Iterable
from pathlib import Path

import jsonschema
import numpy as np
import pytest

import pulmoscope
from pulmoscope.core.errors import BundleError
from pulmoscope.inference.hospitals import hospitals_of
from pulmoscope.inference.image import look_at_image
from pulmoscope.io import entries, read_study, studies
from pulmoscope.io.studies import paths
from pulmoscope.pipeline.choice import Models
from pulmoscope.pipeline.diagnose import diagnose_many
from pulmoscope.pipeline.drift.survey import SAMPLE, STRANGE, Place, Survey
from pulmoscope.pipeline.names import Naming
from pulmoscope.pipeline.runs.run import Outcome, Run
from pulmoscope.quality.drift import LEAST_IMAGES
from pulmoscope.runtime.bundle import Bundle, load
from pulmoscope.runtime.model import Model
from radiographs import dicom_file
from stations import knowing_bundle, radiograph, station, training_data

SCHEMA = Path(__file__).resolve().parents[1] / "docs" / "schemas" / "index.schema.json"


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    folder = tmp_path_factory.mktemp("knowing")
    return knowing_bundle(folder / "bundle", training_data(folder / "data"))


@pytest.fixture(scope="module")
def model(bundle: Bundle) -> Model:
    return Model(bundle)


def survey(model: Model, *inputs: Path) -> tuple[Place, ...]:
    looked = Survey(list(entries(inputs)))
    looked.take(Models.only(model))
    return looked.places


def run(
    inputs: Path, model: Model, out: Path, *, strict: bool = False, naming: Naming | None = None
) -> list[Outcome]:
    listed = list(entries([inputs]))
    job = Run(
        Models.only(model), out, "none", naming=naming or Naming(), survey=Survey(listed, strict=strict)
    )
    return list(diagnose_many(studies(listed), job, paths(listed)))


def index(out: Path) -> dict[str, list[dict[str, object]]]:
    plain = json.loads((out / "index.json").read_text(encoding="utf-8"))
    jsonschema.Draft202012Validator(json.loads(SCHEMA.read_text())).validate(plain)
    return dict(plain)


def flags(outcomes: Iterable[Outcome]) -> list[list[tuple[str, str]]]:
    """Code and level of what is said of each input's place."""
    return [
        [(flag["code"], flag["level"]) for flag in outcome.plain["limits"] if flag["code"] == STRANGE]
        for outcome in outcomes
        if outcome.plain is not None
    ]


def test_a_bundle_knows_its_hospitals(bundle: Bundle) -> None:
    known = hospitals_of(load(bundle.folder))
    assert known is not None
    assert known.names == ("north",)
    assert known.usual is not None
    assert known.usual.predicted == pytest.approx({"COVID": 0.5, "Normal": 0.5}, abs=0.05)


@pytest.mark.parametrize(
    ("change", "verdict"),
    [
        ({}, "known"),
        ({"sick": 0.9}, "known"),  # another prevalence alone is no drift
        ({"gamma": 0.8}, "strange"),
        ({"blur": 0.8}, "strange"),
    ],
    ids=["same", "sicker", "brighter", "blurred"],
)
def test_a_station_that_changed_is_strange(
    tmp_path: Path, model: Model, change: dict[str, float], verdict: str
) -> None:
    station(tmp_path / "in", range(300, 336), **change)
    (place,) = survey(model, tmp_path / "in")
    assert (place.verdict, place.images) == (verdict, 36)
    assert place.comparison is not None
    assert place.comparison.nearest == "north"
    codes = {one.code for one in place.comparison.differences}
    expected = {"gamma": "brightness", "blur": "detail"}
    assert all(any(expected[name] in code for code in codes) for name in change if name != "sick")


def test_29_images_are_too_few(tmp_path: Path, model: Model) -> None:
    station(tmp_path / "in", range(300, 300 + LEAST_IMAGES - 1), gamma=0.8)
    (place,) = survey(model, tmp_path / "in")
    assert (place.verdict, place.images, place.sampled) == ("not-told", 29, 0)
    assert flags(run(tmp_path / "in", model, tmp_path / "out")) == [[]] * 29
    assert index(tmp_path / "out")["places"] == [place.entry()]


def test_images_that_cannot_be_compared_do_not_count(tmp_path: Path, model: Model) -> None:
    files = station(tmp_path / "in", range(300, 335))
    for path in files[:6]:
        path.write_bytes(b"no image")
    (place,) = survey(model, tmp_path / "in")
    assert (place.verdict, place.images) == ("not-told", 35)
    assert 20 < place.sampled <= 29


def test_of_many_images_some_are_chosen_evenly(tmp_path: Path, model: Model) -> None:
    """The second half of the folder is another station's: half of what is chosen."""
    first = station(tmp_path / "first", range(300, 364))
    second = station(tmp_path / "second", range(400, 464), gamma=0.7)
    (tmp_path / "in").mkdir()
    for number, path in enumerate([*first, *second]):
        shutil.move(path, tmp_path / "in" / f"{number:03d}.png")
    (place,) = survey(model, tmp_path / "in")
    assert place.verdict == "strange"
    assert 50 < place.sampled <= SAMPLE


def test_every_image_of_a_strange_place_says_so(tmp_path: Path, model: Model) -> None:
    station(tmp_path / "in" / "known", range(300, 332))
    station(tmp_path / "in" / "strange", range(400, 432), gamma=0.8)
    outcomes = run(tmp_path / "in", model, tmp_path / "out")
    warned = flags(outcomes)
    assert warned == [[]] * 32 + [[(STRANGE, "warn")]] * 32
    assert all(outcome.plain and outcome.plain["prediction"]["decision"] == "report" for outcome in outcomes)
    told = index(tmp_path / "out")
    assert [(place["name"], place["verdict"]) for place in told["places"]] == [
        ("place-1", "known"),
        ("place-2", "strange"),
    ]
    with (tmp_path / "out/local-names.csv").open(encoding="utf-8") as stream:
        local = {row[0]: row[1] for row in csv.reader(stream) if len(row) == 2}
    assert Path(local["place-2"]) == tmp_path / "in" / "strange"
    shared = [path.read_text() for path in (tmp_path / "out").rglob("*.json")]
    assert not any(str(tmp_path) in text for text in shared)


def test_strict_refers_all_of_a_strange_place_with_the_reason(tmp_path: Path, model: Model) -> None:
    station(tmp_path / "in" / "known", range(300, 332))
    station(tmp_path / "in" / "strange", range(400, 432), gamma=0.8)
    outcomes = run(tmp_path / "in", model, tmp_path / "out", strict=True)
    assert flags(outcomes) == [[]] * 32 + [[(STRANGE, "refuse")]] * 32
    decisions = [outcome.plain["prediction"]["decision"] for outcome in outcomes if outcome.plain]
    assert decisions == ["report"] * 32 + ["refer"] * 32
    last = outcomes[-1].plain
    assert last is not None
    assert "place-2" in last["prediction"]["reason"]


def test_a_killed_run_says_the_same_when_it_goes_on(tmp_path: Path, model: Model) -> None:
    station(tmp_path / "in", range(400, 432), gamma=0.8)
    run(tmp_path / "in", model, tmp_path / "whole")
    shutil.copytree(tmp_path / "whole", tmp_path / "out")
    (tmp_path / "out/index.json").unlink()  # as a killed run leaves it
    for folder in sorted((tmp_path / "out").glob("xray-*"))[:10]:
        shutil.rmtree(folder)
    outcomes = run(tmp_path / "in", model, tmp_path / "out")
    assert sum(outcome.kept for outcome in outcomes) == 22
    for name in ("index.json", "local-names.csv"):
        assert (tmp_path / "out" / name).read_text() == (tmp_path / "whole" / name).read_text()
    (tmp_path / "out/index.json").unlink()
    strict = run(tmp_path / "in", model, tmp_path / "out", strict=True)
    assert [outcome.kept for outcome in strict] == [False] * 32


def test_what_was_seen_of_an_image_serves_its_diagnosis_once(tmp_path: Path, model: Model) -> None:
    station(tmp_path / "in", range(500, 532))
    listed = list(entries([tmp_path / "in"]))
    looked = Survey(listed)
    looked.take(Models.only(model))
    first, second, *_ = studies(listed)
    scan = read_study(first).scan
    assert scan is not None
    seen, again = looked.seen(first, scan), look_at_image(scan, model)
    assert seen is not None
    assert np.array_equal(seen.prepared.tensor, again.prepared.tensor)
    assert seen.flags == again.flags
    assert looked.seen(first, scan) is None
    shutil.copy(first.name, second.name)  # another image since then
    changed = read_study(second).scan
    assert changed is not None
    assert looked.seen(second, changed) is None


def test_the_images_of_a_device_are_one_place_wherever_they_lie(tmp_path: Path, model: Model) -> None:
    for number in range(64):
        is_second = number % 2
        pixels = np.rint(radiograph(300 + number, number % 4 < 2, gamma=0.8 if is_second else 1.0) * 255)
        names = {"Manufacturer": "Maker", "StationName": "ST ELSEWHERE" if is_second else "ROOM1"}
        path = tmp_path / "in" / f"patient-{number:02d}" / "image.dcm"
        path.parent.mkdir(parents=True)
        dicom_file(path, pixels.astype(np.uint8), **names)
    places = survey(model, tmp_path / "in")
    assert [(place.images, place.verdict) for place in places] == [(32, "known"), (32, "strange")]
    run(tmp_path / "in", model, tmp_path / "out")
    assert not any(b"ELSEWHERE" in path.read_bytes() for path in (tmp_path / "out").rglob("*.*"))


def test_small_folders_count_to_the_one_that_they_lie_in(tmp_path: Path, model: Model) -> None:
    """64 images as 4 in each of 16 folders, beside a folder that has enough of its own."""
    for number in range(16):
        station(tmp_path / "in" / "patients" / f"{number:02d}", range(300 + 4 * number, 304 + 4 * number))
    station(tmp_path / "in" / "other", range(400, 432), gamma=0.8)
    places = survey(model, tmp_path / "in")
    assert {(Path(place.folder).name, place.images, place.verdict) for place in places} == {
        ("patients", 64, "known"),
        ("other", 32, "strange"),
    }


def test_nothing_changes_for_a_model_that_knows_no_hospitals(tmp_path: Path, bundle: Bundle) -> None:
    shutil.copytree(bundle.folder, tmp_path / "plain")
    (tmp_path / "plain/hospitals.npz").unlink()
    manifest = json.loads((tmp_path / "plain/bundle.json").read_text())
    del manifest["files"]["hospitals.npz"]
    (tmp_path / "plain/bundle.json").write_text(json.dumps(manifest))
    station(tmp_path / "in", range(400, 432), gamma=0.8)
    model = Model.load(tmp_path / "plain")
    assert hospitals_of(model.bundle) is None
    assert flags(run(tmp_path / "in", model, tmp_path / "out", strict=True)) == [[]] * 32
    assert index(tmp_path / "out")["places"] == []


def test_a_single_image_has_no_place(tmp_path: Path, model: Model) -> None:
    (path,) = station(tmp_path / "in", range(300, 301))
    assert survey(model, path) == ()


def test_an_input_that_is_called_like_a_place_gets_another_name(tmp_path: Path, model: Model) -> None:
    station(tmp_path / "in", range(300, 302))
    (tmp_path / "in/000.png").rename(tmp_path / "in/place-1.png")
    outcomes = run(tmp_path / "in", model, tmp_path / "out", naming=Naming(keep=True))
    names = [outcome.name for outcome in outcomes]
    assert "place-1" not in names
    assert len(set(names)) == 2


def test_damaged_hospitals_are_a_bundle_error(tmp_path: Path, bundle: Bundle) -> None:
    shutil.copytree(bundle.folder, tmp_path / "bundle")
    (tmp_path / "bundle/hospitals.npz").write_bytes(b"changed")
    with pytest.raises(BundleError, match="sha256"):
        load(tmp_path / "bundle")
    sealed = Bundle(**{**vars(bundle), "folder": tmp_path / "bundle"}).save()
    station(tmp_path / "in", range(300, 302))
    with pytest.raises(BundleError):
        survey(Model(sealed), tmp_path / "in")


def test_from_python(tmp_path: Path, bundle: Bundle) -> None:
    station(tmp_path / "in", range(400, 432), gamma=0.8)
    (place,) = pulmoscope.survey_places([tmp_path / "in"], bundle.folder)
    assert (place.verdict, place.name) == ("strange", "place-1")
