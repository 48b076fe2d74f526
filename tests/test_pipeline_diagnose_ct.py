from __future__ import annotations

import json
import re
import shutil
import threading
from pathlib import Path
from typing import Any

import jsonschema
import numpy as np
import pytest
import SimpleITK

import pulmoscope
from bundles import quadrants, slice_model, tiny_bundle
from chests import chest
from ct_series import drawn_hu, slice_datasets, write_series, write_slices
from pulmoscope.core.errors import UnsuitableError
from pulmoscope.core.threads import SWITCH
from pulmoscope.core.types import Decision, Diagnosis, Modality, Scan, SourceFile, Units
from pulmoscope.io import ReadResult, Study, entries, read_scan, read_study, studies
from pulmoscope.io.studies import paths
from pulmoscope.phantoms.ct.draw import draw
from pulmoscope.pipeline.choice import Models
from pulmoscope.pipeline.diagnose import diagnose_many
from pulmoscope.pipeline.diagnose_ct import diagnose_ct
from pulmoscope.pipeline.runs import lanes
from pulmoscope.pipeline.runs import study as one_study
from pulmoscope.pipeline.runs.run import Outcome, Run
from pulmoscope.preprocess.ct_slice import SlicePreprocess
from pulmoscope.runtime.model import Model
from radiographs import encoded
from refusals import figures, refused

SCHEMAS = Path(__file__).resolve().parents[1] / "docs" / "schemas"
SLICES = 40
"""4 mm apart: 160 mm of a chest, with about two litres of lung."""


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Model:
    return slice_model(tmp_path_factory.mktemp("bundle"))


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("studies") / "chest"
    write_series(folder, ill(drawn_hu(SLICES)))
    return folder


@pytest.fixture(scope="module")
def diagnosis(model: Model, study: Path) -> Diagnosis:
    return diagnose_ct(read_scan(study), model)


def ill(hu: np.ndarray) -> np.ndarray:
    """Slices 10 to 14 get denser in the upper right quarter of the picture."""
    hu = hu.copy()
    half = hu.shape[1] // 2
    hu[10:15, 8:half, half : half + 24] = np.maximum(hu[10:15, 8:half, half : half + 24], -100)
    return hu


def run(inputs: list[Path], models: Models, out: Path) -> list[Outcome]:
    listed = list(entries(inputs))
    return list(diagnose_many(studies(listed), Run(models, out), paths(listed)))


def test_every_slice_has_its_result_from_the_feet_to_the_head(diagnosis: Diagnosis) -> None:
    assert [own.index for own in diagnosis.slices] == list(range(SLICES))
    heights = [own.z_mm for own in diagnosis.slices]
    np.testing.assert_allclose(heights, -300 + 4 * np.arange(SLICES))
    assert [own.file for own in diagnosis.slices] == [file.name for file in diagnosis.scan.files]
    assert all(own.lung_fraction is not None for own in diagnosis.slices)


def test_dense_slices_stand_out_and_are_shown(diagnosis: Diagnosis) -> None:
    scores = np.array([own.probabilities["COVID"] for own in diagnosis.slices if own.probabilities])
    assert len(scores) == SLICES
    assert scores[10:15].min() > np.delete(scores, range(10, 15)).max()
    shown = [own.index for own in diagnosis.explanations]
    assert len(shown) == 4
    assert all(own.target == "COVID" for own in diagnosis.explanations)
    assert set(shown[:2]) <= set(range(10, 15))
    assert all(own.heat.shape == (64, 64) for own in diagnosis.explanations)


def test_a_slice_of_clear_lung_is_not_called_infected(model: Model, tmp_path: Path) -> None:
    drawn = chest(noise=0)  # 5 mm apart, 2.5 mm a pixel; dense at the right ribs in nine of 60 slices
    write_series(tmp_path / "chest", drawn.hu.astype(np.int16), PixelSpacing=[2.5, 2.5], SliceThickness=5.0)
    found = diagnose_ct(read_scan(tmp_path / "chest"), model, wanted=lambda _: False)
    ill = drawn.consolidation.any(axis=(1, 2))
    judged = [own for own in found.slices if own.probabilities is not None]
    assert len(judged) > 40
    for own in judged:
        assert own.probabilities is not None
        assert own.dense_fraction is not None
        assert sum(own.probabilities.values()) == pytest.approx(1)
        assert own.network is not None
        lowered = own.network["COVID"] * min(1, own.dense_fraction / 0.02)
        assert own.probabilities["COVID"] == pytest.approx(lowered, abs=1e-4)
        if not ill[own.index]:
            assert own.dense_fraction < 0.002
    assert max(own.probabilities["COVID"] for own in judged if own.probabilities) > 0.1


@pytest.mark.parametrize("classes", [("Normal", "emphysema"), ("COVID", "CAP")])
def test_only_pneumonia_among_others_is_held_to_density(classes: tuple[str, str], tmp_path: Path) -> None:
    preprocess = SlicePreprocess(size=32, region="full", window=False)
    tiny_bundle(tmp_path / "bundle", classes, preprocess=preprocess, modality="CT", confidence=0.5)
    write_series(tmp_path / "chest", chest(noise=0).hu.astype(np.int16), PixelSpacing=[2.5, 2.5])
    found = diagnose_ct(
        read_scan(tmp_path / "chest"), Model.load(tmp_path / "bundle"), wanted=lambda _: False
    )
    assert all(own.network is None and own.dense_fraction is not None for own in found.slices)


def test_a_refused_ct_names_no_model(tmp_path: Path) -> None:
    write_series(tmp_path / "in/short", drawn_hu(4))
    models = Models()
    (refused,) = run([tmp_path / "in"], models, tmp_path / "out")
    assert refused.error is not None
    for thread in threading.enumerate():
        if thread.name == "loading":
            thread.join()
    assert models.used == []  # one was opened ahead, but nothing was read by it


@pytest.mark.parametrize(("ahead", "most"), [(lanes.SMALL_VOXELS, 2), (0, 1)])
def test_the_next_ct_is_read_while_one_is_diagnosed_but_for_a_large_one(
    ahead: int, most: int, model: Model, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folders = [tmp_path / f"in/{number}" for number in range(4)]
    for number, folder in enumerate(folders):
        write_series(folder, drawn_hu(SLICES, seed=number), StudyInstanceUID=f"1.2.3.{number}")
    lock, second = threading.Lock(), threading.Event()
    begun, held, most_held = 0, 0, 0

    def reading(study: Study, series: str) -> ReadResult:
        nonlocal begun, held, most_held
        with lock:
            begun, held = begun + 1, held + 1
            most_held = max(most_held, held)
            if begun == 2:
                second.set()
        return read_study(study, series)

    def diagnosed(*given: Any, **more: Any) -> Diagnosis:
        nonlocal held
        assert most == 1 or second.wait(60)
        try:
            return diagnose_ct(*given, **more)
        finally:
            with lock:
                held -= 1

    monkeypatch.setattr(lanes, "SMALL_VOXELS", ahead)
    monkeypatch.setattr(one_study, "read_study", reading)
    monkeypatch.setattr(one_study, "diagnose_ct", diagnosed)
    outcomes = run(folders, Models.only(model), tmp_path / "out")
    assert [Path(outcome.path).name for outcome in outcomes] == ["0", "1", "2", "3"]
    assert [outcome.error for outcome in outcomes] == [None] * 4
    assert most_held == most


def test_cts_that_are_refused_or_do_not_fit_into_memory_hold_up_no_other(
    model: Model, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folders = [tmp_path / f"in/{number}" for number in range(5)]
    for number, folder in enumerate(folders):
        hu = drawn_hu(4 if number == 1 else SLICES, seed=number)
        write_series(folder, hu, StudyInstanceUID=f"1.2.3.{number}")

    def reading(study: Study, series: str) -> ReadResult:
        if Path(study.name).name in ("2", "4"):
            raise MemoryError
        return read_study(study, series)

    monkeypatch.setattr(one_study, "read_study", reading)
    outcomes = run(folders, Models.only(model), tmp_path / "out")
    codes = [outcome.error and outcome.error.code for outcome in outcomes]
    assert codes == [None, "no-chest-series", "out-of-memory", None, "out-of-memory"]
    assert len({outcome.name for outcome in outcomes}) == 5
    assert (tmp_path / "out/index.json").stat().st_size


def test_the_patient_is_the_mean_of_the_highest_tenth_and_is_referred(diagnosis: Diagnosis) -> None:
    scores = sorted(own.probabilities["COVID"] for own in diagnosis.slices if own.probabilities)
    expected = np.mean(scores[-4:])  # a tenth of 40
    assert diagnosis.prediction.probabilities["COVID"] == pytest.approx(expected, abs=1e-5)
    assert sum(diagnosis.prediction.probabilities.values()) == pytest.approx(1)
    assert diagnosis.prediction.decision == "refer"
    assert re.search(r"\b3\b.*\b50\b", diagnosis.prediction.reason)
    assert [(flag.code, flag.level.value) for flag in diagnosis.quality.limits] == [("patient-rule", "warn")]
    assert "patient-rule" not in [flag.code for flag in diagnosis.quality.flags]
    assert diagnosis.card["calibration"] == {}  # it was the slices' that were calibrated


def test_batches_and_order_change_no_slice(model: Model, study: Path, tmp_path: Path) -> None:
    scan = read_scan(study)
    whole = diagnose_ct(scan, model, wanted=lambda _: False)
    shuffled = write_slices(tmp_path / "again", slice_datasets(ill(drawn_hu(SLICES))), seed=2)
    first = write_series(tmp_path / "first", ill(drawn_hu(SLICES)))
    assert [path.name for path in shuffled] != [path.name for path in first]
    again = diagnose_ct(read_scan(tmp_path / "again"), model, wanted=lambda _: False)
    assert [own.probabilities for own in again.slices] == [own.probabilities for own in whole.slices]
    for place in (0, 12, 39):
        pixels = model.bundle.preprocess.render(scan.pixels[place])  # type: ignore[union-attr]
        alone = model.predict(model.prepare(pixels).tensor[None]).probabilities[0]
        found = whole.slices[place].probabilities
        assert found is not None
        assert found["COVID"] == pytest.approx(float(alone[1]), abs=1e-6)


def test_a_missing_slice_is_found_and_the_study_goes_on(model: Model, study: Path, tmp_path: Path) -> None:
    write_series(tmp_path / "hole", ill(drawn_hu(SLICES)))
    whole = read_scan(tmp_path / "hole")
    assert whole.z_mm is not None
    paths_by_height = {height: file.path for height, file in zip(whole.z_mm, whole.files, strict=True)}
    for height in (-300 + 4 * 20, -300 + 4 * 21):
        Path(paths_by_height[height]).unlink()
    found = diagnose_ct(read_scan(tmp_path / "hole"), model)
    assert len(found.slices) == SLICES - 2
    (flag,) = [flag for flag in found.quality.flags if flag.code == "missing-slices"]
    assert re.search(r"\b2\b", flag.message)


def test_no_lungs_are_no_chest(model: Model, tmp_path: Path) -> None:
    hu = drawn_hu(SLICES)
    hu[(hu < -500) & (np.abs(np.arange(64) - 32) < 26)] = 40
    write_series(tmp_path / "belly", hu)
    with refused(UnsuitableError, "no-lungs") as caught:
        diagnose_ct(read_scan(tmp_path / "belly"), model)
    assert figures(caught.value.finding) == (0,)  # ml


def test_a_stretch_by_which_no_lungs_are_found_is_told(model: Model) -> None:
    drawn = draw("Normal", (4, 3), size=160, slices=48)
    hu = np.float32(1.25) * drawn.hu.astype(np.float32)
    scan = Scan("ct", Modality.CT, hu, (SourceFile("ct", "0"),), drawn.spacing_mm, Units.HU)
    with refused(UnsuitableError, "no-lungs") as caught:
        diagnose_ct(scan, model)
    lung_ml, percent, *_ = figures(caught.value.finding)
    assert lung_ml == 0
    assert percent == pytest.approx(125, abs=3)


def test_drawn_studies_and_real_models_do_not_go_together(model: Model, tmp_path: Path) -> None:
    real = tiny_bundle(
        tmp_path / "real",
        ("non-COVID", "COVID"),
        preprocess=SlicePreprocess(size=32, region="full", window=False),
        modality="CT",
        sources=("hospital",),
    )
    drawn = tiny_bundle(
        tmp_path / "drawn",
        ("non-COVID", "COVID"),
        preprocess=SlicePreprocess(size=32, region="full", window=False),
        modality="CT",
        sources=("phantom",),
    )
    write_series(tmp_path / "phantom", drawn_hu(SLICES), SeriesDescription="Synthetic chest CT, no patient")
    write_series(tmp_path / "patient", drawn_hu(SLICES))

    def refused(study: str, bundle: Path) -> list[str]:
        found = diagnose_ct(read_scan(tmp_path / study), Model.load(bundle), wanted=lambda _: False)
        return [flag.code for flag in found.quality.limits if flag.level == "refuse"]

    assert refused("phantom", real.folder) == ["synthetic"]
    assert refused("patient", drawn.folder) == ["real-among-drawn"]
    assert refused("phantom", drawn.folder) == refused("patient", real.folder) == []


@pytest.fixture(scope="module")
def films(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("mixed")
    picture = (np.kron(quadrants((0.9, 0.1, 0.4, 0.4)), np.ones((4, 4))) * 255).astype(np.uint8)
    (folder / "film.png").write_bytes(encoded(picture, "PNG"))
    write_series(folder / "a", drawn_hu(SLICES))
    other = {"StudyInstanceUID": "1.2.3", "SeriesInstanceUID": "1.2.3.4"}
    write_series(folder / "b", ill(drawn_hu(SLICES, seed=3)), **other)
    return folder


@pytest.fixture
def built_in(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, model: Model) -> Models:
    """`auto`, with small bundles in the place of those that come with the package."""
    xray = tiny_bundle(tmp_path / "xray", name="small-xray").folder
    names = {"XRAY": str(xray), "CT": str(model.bundle.folder)}
    monkeypatch.setattr("pulmoscope.pipeline.choice.BUILT_IN", names)
    monkeypatch.setenv(SWITCH, "1")  # another process would take those that come with the package
    return Models()


def test_a_run_takes_films_and_studies_each_with_its_model(
    films: Path, built_in: Models, tmp_path: Path
) -> None:
    outcomes = run([films], built_in, tmp_path / "out")
    assert [Path(outcome.path).name for outcome in outcomes] == ["a", "b", "film.png"]
    assert [outcome.name.partition("-")[0] for outcome in outcomes] == ["ct", "ct", "xray"]
    assert all(outcome.error is None for outcome in outcomes)
    index = json.loads((tmp_path / "out/index.json").read_text())
    jsonschema.validate(index, json.loads((SCHEMAS / "index.schema.json").read_text()))
    assert {own["modality"] for own in index["models"]} == {"XRAY", "CT"}
    assert [own["modality"] for own in index["inputs"]] == ["CT", "CT", "XRAY"]
    schema = json.loads((SCHEMAS / "diagnosis.schema.json").read_text())
    for name in (outcome.name for outcome in outcomes):
        plain = json.loads((tmp_path / "out" / name / "diagnosis.json").read_text())
        jsonschema.validate(plain, schema)
        assert (tmp_path / "out" / name / "report.html").stat().st_size > 1000
        assert len(plain["slices"]) == (0 if name.startswith("xray-") else SLICES)


def test_a_run_that_was_cut_off_goes_on_with_its_studies(
    films: Path, built_in: Models, tmp_path: Path
) -> None:
    listed = list(entries([films]))
    begun = diagnose_many(studies(listed), Run(built_in, tmp_path / "out"), paths(listed))
    assert [Path(next(begun).path).name for _ in range(2)] == ["a", "b"]
    begun.close()  # type: ignore[attr-defined]
    assert not (tmp_path / "out/index.json").exists()
    outcomes = run([films], built_in, tmp_path / "out")
    assert [outcome.kept for outcome in outcomes][:2] == [True, True]
    assert (tmp_path / "out/index.json").exists()


def test_a_finished_study_is_known_by_its_files_without_decoding_them(
    films: Path, built_in: Models, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    studied = tmp_path / "in"
    shutil.copytree(films, studied)
    first, *_ = run([studied], built_in, tmp_path / "out")
    decoded = []

    def watched(study: Study, series: str = "") -> ReadResult:
        decoded.append(Path(study.name).name)
        return read_study(study, series)

    monkeypatch.setattr("pulmoscope.pipeline.runs.study.read_study", watched)
    (tmp_path / "out/index.json").unlink()
    before = (tmp_path / "out" / first.name / "diagnosis.json").read_bytes()
    outcomes = run([studied], built_in, tmp_path / "out")
    assert decoded == []
    assert [outcome.kept for outcome in outcomes] == [True] * 3
    assert (tmp_path / "out" / first.name / "diagnosis.json").read_bytes() == before

    (tmp_path / "out/index.json").unlink()
    changed = sorted((studied / "b").iterdir())[20]
    content = bytearray(changed.read_bytes())
    content[-1] ^= 1  # the lowest bit of a voxel's upper byte
    changed.write_bytes(content)
    sorted((studied / "a").iterdir())[0].unlink()
    outcomes = run([studied], built_in, tmp_path / "out")
    assert sorted(decoded) == ["a", "b"]
    assert [outcome.kept for outcome in outcomes] == [False, False, True]


def test_a_study_with_a_damaged_slice_is_diagnosed_again(study: Path, model: Model, tmp_path: Path) -> None:
    shutil.copytree(study, tmp_path / "in")
    cut = sorted((tmp_path / "in").iterdir())[7]
    cut.write_bytes(cut.read_bytes()[:-3000])
    only = Models.only(model)
    (first,) = run([tmp_path / "in"], only, tmp_path / "out")
    assert first.plain is not None
    assert "bad-slice" in [flag["code"] for flag in first.plain["quality"]["flags"]]
    (tmp_path / "out/index.json").unlink()
    (again,) = run([tmp_path / "in"], only, tmp_path / "out")
    assert again.plain is not None
    assert not again.kept
    assert again.plain["slices"] == first.plain["slices"]


def test_a_study_that_has_got_a_broken_file_is_diagnosed_again(
    study: Path, model: Model, tmp_path: Path
) -> None:
    shutil.copytree(study, tmp_path / "in")
    only = Models.only(model)
    (first,) = run([tmp_path / "in"], only, tmp_path / "out")
    assert first.plain is not None
    (tmp_path / "out/index.json").unlink()
    (kept,) = run([tmp_path / "in"], only, tmp_path / "out")
    assert kept.kept
    (tmp_path / "out/index.json").unlink()
    slice_file = sorted((tmp_path / "in").iterdir())[3]
    (tmp_path / "in/more").write_bytes(slice_file.read_bytes()[:900])
    (again,) = run([tmp_path / "in"], only, tmp_path / "out")
    assert again.plain is not None
    assert not again.kept
    codes = [{flag["code"] for flag in one["quality"]["flags"]} for one in (first.plain, again.plain)]
    assert codes[1] - codes[0]


def test_a_model_of_the_other_kind_is_refused_in_one_line(
    films: Path, study: Path, model: Model, tmp_path: Path
) -> None:
    only = Models.only(model)
    (film, *_) = run([films / "film.png", study], only, tmp_path / "out")
    assert isinstance(film.error, UnsuitableError)
    assert film.error.code == "other-modality"


def test_from_python(study: Path, model: Model, diagnosis: Diagnosis) -> None:
    found = pulmoscope.diagnose(study, model.bundle.folder, explain=False)
    assert found.prediction == diagnosis.prediction
    with refused(UnsuitableError, "series-not-found"):
        pulmoscope.diagnose(study, model.bundle.folder, series="1.2.3")


def test_pictures_are_judged_as_they_are(model: Model, tmp_path: Path) -> None:
    rendered = model.bundle.preprocess.render(ill(drawn_hu(SLICES)).astype(np.float32))  # type: ignore[union-attr]
    for number, pixels in enumerate(rendered[5:20]):
        picture = (np.kron(pixels, np.ones((2, 2))) * 255).astype(np.uint8)
        (tmp_path / f"slice{number}.png").write_bytes(encoded(picture, "PNG"))
    scan = read_scan(tmp_path, "ct")
    assert scan.units is Units.GREY
    found = diagnose_ct(scan, model)
    assert len(found.slices) == 15
    assert all(own.probabilities and own.z_mm is None and own.lung_fraction is None for own in found.slices)
    scores = np.array([own.probabilities["COVID"] for own in found.slices if own.probabilities])
    assert set(np.argsort(-scores)[:5]) == {5, 6, 7, 8, 9}
    assert "pictures" in [flag.code for flag in found.quality.flags]


def test_severity_is_measured_and_written_with_its_masks(model: Model, tmp_path: Path) -> None:
    drawn = chest(noise=0)
    write_series(
        tmp_path / "in/chest", drawn.hu.astype(np.int16), PixelSpacing=[2.5, 2.5], SliceThickness=5.0
    )
    (outcome,) = run([tmp_path / "in"], Models.only(model), tmp_path / "out")
    assert outcome.plain is not None
    severity = outcome.plain["severity"]
    truth = 100 * drawn.consolidation.sum() / drawn.lungs.sum()
    assert severity["percent_affected"] == pytest.approx(truth, abs=0.4)
    assert severity["left"] == 0 < severity["right"]
    shares = np.array([own["lesion_fraction"] for own in outcome.plain["slices"]], dtype=np.float64)
    ill = drawn.consolidation.any(axis=(1, 2))
    assert shares[ill].max() > 0.02
    with_lung = np.array([own["lung_fraction"] > 0 for own in outcome.plain["slices"]])
    assert not with_lung.all()
    np.testing.assert_array_equal(np.isnan(shares), ~with_lung)
    assert not shares[~ill & with_lung].any()
    folder = outcome.report.parent if outcome.report else tmp_path
    for name, count in (("lungs", drawn.lungs.sum()), ("lesions", drawn.consolidation.sum())):
        image = SimpleITK.ReadImage(str(folder / f"{name}.nii.gz"))
        scan = read_scan(tmp_path / "in/chest")
        assert scan.geometry is not None
        assert image.GetOrigin() == pytest.approx(scan.geometry.origin_mm, abs=1e-3)
        mask = SimpleITK.GetArrayFromImage(image)
        assert mask.shape == scan.pixels.shape
        assert np.count_nonzero(mask) == pytest.approx(count, rel=0.15)


def test_a_network_that_grades_far_from_the_measure_is_referred(tmp_path: Path) -> None:
    preprocess = SlicePreprocess(size=32, region="full", window=False)
    tiny_bundle(tmp_path / "bundle", ("CT-0", "CT-3"), preprocess=preprocess, modality="CT", confidence=0.0)
    write_series(tmp_path / "chest", chest(noise=0).hu.astype(np.int16), PixelSpacing=[2.5, 2.5])
    found = diagnose_ct(
        read_scan(tmp_path / "chest"), Model.load(tmp_path / "bundle"), wanted=lambda _: False
    )
    assert found.prediction.label == "CT-3"
    assert found.severity is not None
    assert found.severity.grade == "CT-0"
    assert found.prediction.decision is Decision.REFER
    assert re.findall(r"CT-\d", found.prediction.reason) == ["CT-3", "CT-0"]
