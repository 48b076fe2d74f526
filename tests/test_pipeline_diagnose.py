from __future__ import annotations

import csv
import hashlib
import json
import signal
import subprocess
import sys
import zipfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import cv2
import jsonschema
import numpy as np
import pytest

import pulmoscope
from bundles import quadrants, tiny_bundle
from pulmoscope.core.errors import OutputExistsError, PulmoscopeError, UnreadableError
from pulmoscope.core.types import Decision, Flag, FlagLevel, Modality, Quality, Scan, SourceFile, Subject
from pulmoscope.inference.decision import decide
from pulmoscope.io import entries, studies
from pulmoscope.io.studies import paths
from pulmoscope.phantoms.xray.folder import write_phantoms
from pulmoscope.pipeline import outputs
from pulmoscope.pipeline.choice import Models
from pulmoscope.pipeline.diagnose import diagnose, diagnose_many
from pulmoscope.pipeline.names import BY_CONTENT, Naming
from pulmoscope.pipeline.runs.run import Outcome, Reports, Run
from pulmoscope.report.diagnosis import to_json
from pulmoscope.runtime.bundle import Thresholds
from pulmoscope.runtime.model import Model
from refusals import refused

SCHEMAS = Path(__file__).resolve().parents[1] / "docs" / "schemas"
SIDE = 256


def picture(path: Path, *brightness: float) -> Path:
    """A picture whose quadrants have these brightnesses."""
    path.parent.mkdir(parents=True, exist_ok=True)
    assert cv2.imwrite(str(path), np.rint(quadrants(brightness, SIDE) * 255).astype(np.uint8))
    return path


def folder_of(folder: Path, count: int) -> Path:
    """Pictures by turns of COVID (upper left bright) and Normal (upper right), each a little different."""
    for number in range(count):
        bright = 0.8 + number / 1000
        picture(
            folder / f"{number:03d}.png", *((bright, 0.1) if number % 2 == 0 else (0.1, bright)), 0.4, 0.4
        )
    return folder


def named(path: Path) -> str:
    """What a film is called by its content."""
    return f"xray-{hashlib.sha256(path.read_bytes()).hexdigest()[:12]}"


def run(
    inputs: Path,
    model: Model,
    out: Path,
    reports: Reports = "all",
    force: bool = False,
    naming: Naming = BY_CONTENT,
) -> list[Outcome]:
    listed = list(entries([inputs]))
    job = Run(Models.only(model), out, reports, naming=naming)
    return list(diagnose_many(studies(listed), job, paths(listed), force=force))


def without_timings(path: Path) -> dict[str, object]:
    plain: dict[str, object] = json.loads(path.read_text(encoding="utf-8"))
    plain.pop("timings_s")
    return plain


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_bundle(tmp_path_factory.mktemp("bundle")).folder


@pytest.fixture(scope="module")
def model(bundle: Path) -> Model:
    return Model.load(bundle)


def test_one_file_is_diagnosed(tmp_path: Path, bundle: Path) -> None:
    found = pulmoscope.diagnose(picture(tmp_path / "chest.png", 0.8, 0.7, 0.4, 0.4), bundle)
    # logit k is gain / 4 = 10 times the mean brightness of quadrant k; 8-bit grey values
    difference = 10 * (np.rint(0.8 * 255) - np.rint(0.7 * 255)) / 255
    assert found.prediction.label == "COVID"
    assert found.prediction.probabilities["COVID"] == pytest.approx(1 / (1 + np.exp(-difference)), abs=1e-5)
    assert sum(found.prediction.probabilities.values()) == pytest.approx(1, abs=1e-5)
    assert found.model["name"] == "tiny"
    assert set(found.timings_s) == {"read", "look", "predict", "explain"}


def test_the_evidence_is_shown_where_it_is(tmp_path: Path, model: Model) -> None:
    found = diagnose(picture(tmp_path / "chest.png", 0.8, 0.7, 0.4, 0.4), model)
    covid, normal = found.explanations  # 0.73 and 0.27: both are in play, the more probable one first
    assert (covid.target, normal.target) == ("COVID", "Normal")
    assert covid.heat.shape == (SIDE, SIDE)
    half = SIDE // 2
    assert covid.heat[: half - 40, : half - 40].min() == pytest.approx(1, abs=0.01)
    assert covid.heat[half + 40 :].max() == 0
    assert normal.heat[: half - 40, half + 40 :].min() == pytest.approx(1, abs=0.01)


def test_only_classes_in_play_are_explained_and_only_when_asked(tmp_path: Path, model: Model) -> None:
    path = picture(tmp_path / "chest.png", 0.1, 0.9, 0.4, 0.4)
    assert [shown.target for shown in diagnose(path, model).explanations] == ["Normal"]
    assert diagnose(path, model, explain=False).explanations == ()


@pytest.mark.parametrize(
    ("sources", "decision"),
    [({"hospital": 9}, "refer"), ({"phantom": 9}, "report"), ({"unknown": 9}, "report")],
)
def test_a_drawn_film_is_left_to_models_that_learnt_from_drawn_ones(
    tmp_path: Path, sources: dict[str, int], decision: str
) -> None:
    bare = tiny_bundle(tmp_path / "bundle")
    known = replace(bare, training_data={"sources": sources}).save()
    write_phantoms(tmp_path / "phantoms", 1, ("COVID",), size=256)
    (film,) = (tmp_path / "phantoms").rglob("*.png")
    found = diagnose(film, Model(known), explain=False)
    assert found.prediction.decision == decision
    drawn = [(flag.level.value, flag.subject) for flag in found.quality.all_flags if flag.code == "synthetic"]
    assert drawn == [("refuse", Subject.MODEL) if decision == "refer" else ("info", Subject.IMAGE)]
    assert found.quality.verdict == "pass"


def test_a_scan_that_was_read_already_is_taken(model: Model) -> None:
    pixels = quadrants((0.1, 0.9, 0.4, 0.4), SIDE)[None]
    scan = Scan("mine", Modality.XRAY, pixels, (SourceFile("mine.png", "00" * 32),))
    assert diagnose(scan, model).prediction.label == "Normal"


def test_the_runtime_that_was_used_is_told_and_no_other(bundle: Path) -> None:
    import onnxruntime  # noqa: F401  (loaded in this process, and yet not used by OpenVINO's answer)

    scan = Scan("mine", Modality.XRAY, quadrants((0.1, 0.9, 0.4, 0.4), SIDE)[None], ())
    assert "onnxruntime" not in diagnose(scan, Model.load(bundle)).software
    assert "onnxruntime" in diagnose(scan, Model.load(bundle, "onnx")).software


def test_an_unreadable_file_is_refused(tmp_path: Path, model: Model) -> None:
    (tmp_path / "empty.png").write_bytes(b"")
    with refused(UnreadableError, "empty-file") as caught:
        diagnose(tmp_path / "empty.png", model)
    assert Path(caught.value.file).name == "empty.png"


REFUSED = Flag("rotated", FlagLevel.REFUSE, "tilted by 30°", "at most 20°")
WARNED = Flag("underexposed", FlagLevel.WARN, "bright parts reach 30 %", "45 % and more")
UNTRAINED = Flag("unlike-normal", FlagLevel.REFUSE, "1.86 times as far", subject=Subject.MODEL)
UNCHECKED = Flag("patient-rule", FlagLevel.WARN, "checked on 3 patients", subject=Subject.MODEL)


@pytest.mark.parametrize(
    ("flags", "best", "decision", "told"),
    [
        ((), 0.7, Decision.REPORT, ("COVID", "70 %", "60 %")),
        ((), 0.6, Decision.REPORT, ("COVID", "60 %")),
        ((), 0.513, Decision.REFER, ("COVID", "51 %", "60 %")),
        ((), 0.599, Decision.REFER, ("COVID", "59.9 %", "60.0 %")),  # not 60 % against 60 %
        ((WARNED,), 0.9, Decision.REPORT, ("90 %", "60 %")),
        ((UNCHECKED,), 0.9, Decision.REPORT, ("90 %", "60 %")),
        ((WARNED, REFUSED), 0.99, Decision.REFER, (REFUSED.message,)),
        ((UNTRAINED,), 0.99, Decision.REFER, (UNTRAINED.message,)),
        ((UNTRAINED, UNCHECKED, REFUSED), 0.99, Decision.REFER, (REFUSED.message, "one more")),
    ],
)
def test_the_decision_has_its_reason(
    flags: tuple[Flag, ...], best: float, decision: Decision, told: tuple[str, ...]
) -> None:
    found = decide({"COVID": best, "Normal": 1 - best}, Quality(flags), Thresholds(0.6))
    assert found.decision is decision
    assert all(word in found.reason for word in told)
    assert found.reason.endswith(".")
    assert "\n" not in found.reason


def test_what_is_about_the_model_is_no_image_quality() -> None:
    found = Quality((UNTRAINED, WARNED, UNCHECKED))
    assert (found.flags, found.limits) == ((WARNED,), (UNTRAINED, UNCHECKED))
    assert (found.verdict, found.refusals) == ("warn", (UNTRAINED,))
    assert Quality((UNTRAINED,)).verdict == "pass"


def test_an_image_unlike_the_training_images_is_referred(tmp_path: Path) -> None:
    bundle = tiny_bundle(tmp_path / "bundle", distance=3.0)
    found = diagnose(picture(tmp_path / "chest.png", 0.9, 0.1, 0.4, 0.4), bundle.folder)
    assert "out-of-distribution" in [flag.code for flag in found.quality.limits]
    assert found.prediction.decision is Decision.REFER


def test_a_batch_says_what_single_images_get(tmp_path: Path, model: Model) -> None:
    images = folder_of(tmp_path / "in", 19)
    outcomes = run(images, model, tmp_path / "out")
    assert [Path(outcome.path).name for outcome in outcomes] == [f"{number:03d}.png" for number in range(19)]
    for outcome in outcomes:
        alone = to_json(diagnose(outcome.path, model))
        assert outcome.name.startswith(alone["input"]["name"])  # a number behind it where films are equal
        alone["input"]["name"] = outcome.name
        assert outcome.plain is not None
        for part in ("input", "model", "quality", "prediction", "explanations", "software", "notice"):
            assert outcome.plain[part] == alone[part]
        assert outcome.plain == json.loads((tmp_path / "out" / outcome.name / "diagnosis.json").read_text())


def test_a_run_writes_what_its_schemas_say(tmp_path: Path, model: Model) -> None:
    images = folder_of(tmp_path / "in", 3)
    (images / "empty.png").write_bytes(b"")
    run(images, model, tmp_path / "out")
    index = json.loads((tmp_path / "out/index.json").read_text(encoding="utf-8"))
    validate(index, "index")
    assert index["counts"] | {"report": 0, "refer": 0} == {
        "inputs": 4,
        "diagnosed": 3,
        "refused": 1,
        "report": 0,
        "refer": 0,
    }
    refused = index["inputs"][3]
    assert refused["input"] == named(images / "empty.png")
    assert (refused["code"], refused["rule"]) == ("empty-file", "")
    assert refused["message"] == f"{refused['input']}: {refused['finding']}"
    for entry in index["inputs"][:3]:
        validate(json.loads((tmp_path / "out" / entry["folder"] / "diagnosis.json").read_text()), "diagnosis")
        assert (tmp_path / "out" / entry["report"]).is_file()


def validate(plain: object, name: str) -> None:
    schema = json.loads((SCHEMAS / f"{name}.schema.json").read_text(encoding="utf-8"))
    jsonschema.validate(plain, schema, jsonschema.Draft202012Validator)


def test_pages_are_written_for_whom_they_were_asked(tmp_path: Path) -> None:
    # a bundle that is never too unsure, on images that no quality rule refuses
    folder = tiny_bundle(tmp_path / "bundle").folder
    model = Model.load(folder)
    images = folder_of(tmp_path / "in", 2)
    for reports in ("all", "positive", "none"):
        outcomes = run(images, model, tmp_path / reports, reports=reports)
        for outcome in outcomes:
            assert outcome.plain is not None
            prediction = outcome.plain["prediction"]
            positive = prediction["label"] == "COVID" or prediction["decision"] == "refer"
            wanted = reports == "all" or (reports == "positive" and positive)
            assert (outcome.report is not None) == wanted
            assert sorted(path.suffix for path in (tmp_path / reports / outcome.name).iterdir()) == (
                [".html", ".json", ".npz", ".png"] if wanted else [".json"]
            )


def test_a_complete_run_is_not_overwritten_without_force(tmp_path: Path, model: Model) -> None:
    images, out = folder_of(tmp_path / "in", 3), tmp_path / "out"
    run(images, model, out)
    with pytest.raises(OutputExistsError, match=r"index\.json"):
        run(images, model, out)
    gone = named(images / "002.png")
    assert (out / gone).is_dir()
    (images / "002.png").unlink()
    outcomes = run(images, model, out, force=True)
    assert [outcome.kept for outcome in outcomes] == [False, False]
    left = {outcome.name for outcome in outcomes}
    assert {path.name for path in out.iterdir()} == left | {"index.json", "results.csv", "local-names.csv"}


KILLED = """
import os, signal, sys
from pathlib import Path
from pulmoscope.io import entries, studies
from pulmoscope.io.studies import paths
from pulmoscope.pipeline.choice import Models
from pulmoscope.pipeline.diagnose import diagnose_many
from pulmoscope.pipeline.runs.run import Run

images, bundle, out = map(Path, sys.argv[1:])
listed = list(entries([images]))
run = Run(Models(str(bundle)), out)
for number, _ in enumerate(diagnose_many(studies(listed), run, paths(listed))):
    if number == 4:
        os.kill(os.getpid(), signal.SIGKILL)
"""


def test_a_killed_run_goes_on(tmp_path: Path, bundle: Path, model: Model) -> None:
    images, out = folder_of(tmp_path / "in", 40), tmp_path / "out"
    child = subprocess.run([sys.executable, "-c", KILLED, str(images), str(bundle), str(out)])
    assert child.returncode == -signal.SIGKILL
    assert not (out / "index.json").exists()
    written = {path: path.stat().st_mtime_ns for path in out.glob("*/diagnosis.json")}
    assert 5 <= len(written) < 40
    outcomes = run(images, model, out)
    assert sum(outcome.kept for outcome in outcomes) == len(written)
    assert all(path.stat().st_mtime_ns == then for path, then in written.items())
    run(images, model, tmp_path / "unbroken")
    assert (out / "index.json").read_text() == (tmp_path / "unbroken/index.json").read_text()
    for path in (tmp_path / "unbroken").glob("*/diagnosis.json"):
        assert without_timings(path) == without_timings(out / path.relative_to(tmp_path / "unbroken"))


def test_what_a_killed_run_left_of_other_inputs_is_not_mixed_in(tmp_path: Path, model: Model) -> None:
    images, other, out = (
        folder_of(tmp_path / "in", 3),
        picture(tmp_path / "other.png", 0.2, 0.8),
        tmp_path / "out",
    )
    run(images, model, out)
    (out / "index.json").unlink()  # as a killed run leaves it
    with pytest.raises(OutputExistsError, match="holds 3 results of an unfinished run over other inputs"):
        run(other, model, out)
    assert len(list(out.glob("*/diagnosis.json"))) == 3
    assert all(outcome.kept for outcome in run(images, model, out))
    (out / "index.json").unlink()
    run(other, model, out, force=True)
    assert [path.parent.name for path in out.glob("*/diagnosis.json")] == [named(other)]


def test_what_another_model_or_image_left_is_done_anew(tmp_path: Path, model: Model) -> None:
    images, out = folder_of(tmp_path / "in", 3), tmp_path / "out"
    run(images, model, out)
    (out / "index.json").unlink()
    picture(images / "001.png", 0.9, 0.1, 0.3, 0.3)
    assert [outcome.kept for outcome in run(images, model, out)] == [True, False, True]
    (out / "index.json").unlink()
    other = Model.load(tiny_bundle(tmp_path / "other", temperature=2.0).folder)
    assert [outcome.kept for outcome in run(images, other, out)] == [False] * 3


def test_pages_that_are_missing_are_made_up_for(tmp_path: Path, model: Model) -> None:
    images, out = folder_of(tmp_path / "in", 2), tmp_path / "out"
    run(images, model, out, reports="none")
    (out / "index.json").unlink()
    outcomes = run(images, model, out, reports="all")
    assert [outcome.kept for outcome in outcomes] == [False, False]
    assert all(outcome.report is not None and outcome.report.is_file() for outcome in outcomes)


def test_a_damaged_result_of_a_killed_run_is_done_anew(tmp_path: Path, model: Model) -> None:
    images, out = folder_of(tmp_path / "in", 1), tmp_path / "out"
    (done,) = run(images, model, out)
    (out / "index.json").unlink()
    (out / done.name / "diagnosis.json").write_text("[1, 2", encoding="utf-8")
    assert [outcome.kept for outcome in run(images, model, out)] == [False]


def test_files_that_a_power_cut_left_empty_are_written_anew(tmp_path: Path, model: Model) -> None:
    images, out = folder_of(tmp_path / "in", 3), tmp_path / "out"
    first, second, _ = run(images, model, out)
    (out / "index.json").write_bytes(b"")
    (out / first.name / "report.html").write_bytes(b"")
    (out / second.name / "diagnosis.json").write_bytes(b"")
    outcomes = run(images, model, out)
    assert [outcome.kept for outcome in outcomes] == [False, False, True]
    assert all(path.stat().st_size for path in out.rglob("*.*"))


def test_the_disk_holds_all_results_before_the_index_vouches_for_them(
    tmp_path: Path, model: Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    out, held = tmp_path / "out", []
    monkeypatch.setattr(outputs, "settle", lambda folder: held.append(sorted(folder.rglob("*.json"))))
    outcomes = run(folder_of(tmp_path / "in", 3), model, out)
    results = sorted(out / outcome.name / "diagnosis.json" for outcome in outcomes)
    assert held == [results, [out / "index.json", *results]]


def test_a_refused_input_keeps_no_older_diagnosis(tmp_path: Path, model: Model) -> None:
    images, out = folder_of(tmp_path / "in", 2), tmp_path / "out"
    run(images, model, out)
    (out / "index.json").unlink()  # as a killed run leaves it
    before = out / named(images / "001.png")
    (before / "notes.txt").write_text("mine", encoding="utf-8")
    (images / "001.png").write_bytes(b"no image any more")
    assert [outcome.error is None for outcome in run(images, model, out)] == [True, False]
    assert [path.name for path in before.iterdir()] == ["notes.txt"]


def test_results_are_named_by_content_and_the_path_stands_in_one_local_file(
    tmp_path: Path, model: Model
) -> None:
    images = folder_of(tmp_path / "MUELLER^HANS 1951", 2)
    (images / "copy.png").write_bytes((images / "000.png").read_bytes())
    (images / "cut.png").write_bytes((images / "001.png").read_bytes()[:200])
    with zipfile.ZipFile(images / "disc.zip", "w") as archive:
        archive.writestr("MUELLER/film.png", b"MUELLER" * 100)
    damaged = (images / "disc.zip").read_bytes().replace(b"MUELLER" * 100, b"M0ELLER" * 100)
    (images / "disc.zip").write_bytes(damaged)  # its checksum is wrong, and the error tells the member's name
    paths = [
        *(images / f"{name}.png" for name in ("000", "001", "copy", "cut")),
        images / "disc.zip/MUELLER/film.png",
    ]
    expected = [named(paths[0]), named(paths[1]), f"{named(paths[0])}-2", named(paths[3]), "input-5"]
    for attempt in range(3):  # of equal films the same one is the second in every run
        out = tmp_path / f"out{attempt}"
        outcomes = run(images, model, out)
        assert [outcome.name for outcome in outcomes] == expected
    written = [path for path in out.rglob("*") if path.is_file()]
    assert [path.name for path in written if b"MUELLER" in path.read_bytes()] == ["local-names.csv"]
    assert not [path for path in out.rglob("*") if "MUELLER" in path.name]
    with (out / "local-names.csv").open(encoding="utf-8", newline="") as stream:
        assert stream.readline().startswith("# ")
        assert list(csv.reader(stream)) == [
            ["name", "path"],
            *([n, str(p)] for n, p in zip(expected, paths, strict=True)),
        ]
    index = json.loads((out / "index.json").read_text(encoding="utf-8"))
    validate(index, "index")
    assert [entry["input"] for entry in index["inputs"]] == expected
    plain = json.loads((out / expected[2] / "diagnosis.json").read_text(encoding="utf-8"))
    assert plain["input"]["name"] == expected[2]
    assert plain["input"]["files"][0]["name"] == f"{plain['input']['sha256'][:12]}.png"


def test_the_user_may_name_results(tmp_path: Path, model: Model) -> None:
    images = folder_of(tmp_path / "ward 3", 2)
    for outcome, name in zip(
        run(images, model, tmp_path / "kept", naming=Naming(keep=True)), ("000", "001"), strict=True
    ):
        assert outcome.plain is not None
        assert (outcome.name, outcome.plain["input"]["name"]) == (name, name)
        assert outcome.plain["input"]["files"][0]["name"] == f"{name}.png"
    (chosen,) = run(images / "000.png", model, tmp_path / "chosen", naming=Naming("Case_7"))
    assert chosen.report == tmp_path / "chosen/Case_7/report.html"
    assert b"000.png" not in chosen.report.read_bytes()
    (tmp_path / "chosen/index.json").unlink()
    (again,) = run(images / "000.png", model, tmp_path / "chosen", naming=Naming("Case_7"))
    assert again.kept


@pytest.mark.parametrize(
    "name", ["../x", "a/b", ".hidden", "a b", "index.json", "Results.csv", "Local-Names.csv", "x" * 101, "a."]
)
def test_a_name_that_is_no_safe_folder_is_refused(name: str) -> None:
    with pytest.raises(PulmoscopeError):
        Naming(name)


def test_what_a_kill_left_of_files_under_way_is_removed_and_nothing_else(
    tmp_path: Path, model: Model
) -> None:
    images, out = folder_of(tmp_path / "in", 2), tmp_path / "out"
    names = [outcome.name for outcome in run(images, model, out)]
    (out / "index.json").unlink()
    ours = [out / ".pulmoscope-x1.part", out / names[0] / ".pulmoscope-x2.part"]
    others = [out / ".report.html.x3", out / names[1] / ".pulmoscope.swp"]
    for path in (*ours, *others):
        path.write_text("half", encoding="utf-8")
    assert [outcome.kept for outcome in run(images, model, out)] == [True, True]
    assert [path.exists() for path in (*ours, *others)] == [False, False, True, True]


def test_a_large_film_has_a_small_heat_map_that_leads_back_to_it(tmp_path: Path, model: Model) -> None:
    import scipy.ndimage

    rows, columns = 3000, 2400
    pixels = np.repeat(np.repeat(quadrants((0.8, 0.7, 0.4, 0.4), 300), 10, axis=0), 8, axis=1)
    assert cv2.imwrite(str(tmp_path / "film.png"), np.rint(pixels * 255).astype(np.uint8))
    (outcome,) = run(tmp_path / "film.png", model, tmp_path / "out")
    assert outcome.plain is not None
    shown = outcome.plain["explanations"][0]
    folder = tmp_path / "out" / outcome.name
    assert cv2.imread(str(folder / shown["file"])).shape == (2048, 1638, 3)
    assert (folder / shown["array"]).stat().st_size < 2**16
    with np.load(folder / shown["array"], allow_pickle=False) as stored:
        heat, affine = stored["heat"], stored["affine"]
    assert (heat.dtype, affine.shape) == (np.float16, (2, 3))
    # Back onto the film, as the documentation says: bilinear between the cells' centres.
    grid = np.mgrid[0:rows, 0:columns].astype(np.float64)
    cells = [(grid[axis] - affine[axis, 2]) / affine[axis, axis] for axis in (0, 1)]
    laid = scipy.ndimage.map_coordinates(heat.astype(np.float64), cells, order=1, mode="nearest")
    expected = diagnose(tmp_path / "film.png", model).explanations[0].heat
    np.testing.assert_allclose(laid, expected, atol=2e-3)


def tagged_film(path: Path, names: Sequence[str], part: str) -> None:
    """A small digital radiograph whose every patient tag carries a word to look for."""
    from pydicom.dataset import Dataset, FileMetaDataset
    from pydicom.uid import DigitalXRayImageStorageForPresentation, ExplicitVRLittleEndian, generate_uid

    dataset = Dataset()
    for name in names:
        setattr(dataset, name, "20010203" if name.endswith("Date") else "ZZTOPSECRET")
    dataset.SOPClassUID = DigitalXRayImageStorageForPresentation
    dataset.SOPInstanceUID = generate_uid()
    dataset.Modality, dataset.BodyPartExamined, dataset.ViewPosition = "DX", part, "PA"
    dataset.PhotometricInterpretation, dataset.SamplesPerPixel = "MONOCHROME2", 1
    dataset.Rows = dataset.Columns = SIDE
    dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit, dataset.PixelRepresentation = 16, 12, 11, 0
    ramp = np.linspace(0, 0.1, SIDE)
    pixels = np.rint((quadrants((0.8, 0.7, 0.4, 0.4), SIDE) + ramp) * 4095).astype(np.uint16)
    dataset.PixelData = pixels.tobytes()
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    dataset.file_meta.MediaStorageSOPClassUID = dataset.SOPClassUID
    dataset.file_meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID
    dataset.save_as(path, enforce_file_format=True)


PATIENT = ("PatientName", "PatientID", "PatientBirthDate", "OtherPatientIDs", "AccessionNumber", "StudyDate")
PLACE = ("InstitutionName", "ReferringPhysicianName", "OperatorsName", "StudyID", "StudyDescription")


@pytest.mark.parametrize(("part", "refused"), [("CHEST", False), ("ABDOMEN", True)])
def test_nothing_that_identifies_a_patient_is_written(
    tmp_path: Path, model: Model, part: str, refused: bool
) -> None:
    (tmp_path / "in").mkdir()
    tagged_film(tmp_path / "in" / "film.dcm", PATIENT + PLACE, part)
    (outcome,) = run(tmp_path / "in", model, tmp_path / "out")
    assert (outcome.error is not None) == refused
    written = [path for path in (tmp_path / "out").rglob("*") if path.is_file()]
    assert len(written) >= (1 if refused else 5)
    for content in (str(outcome).encode(), *(path.read_bytes() for path in written)):
        assert b"ZZTOPSECRET" not in content
        assert b"20010203" not in content
