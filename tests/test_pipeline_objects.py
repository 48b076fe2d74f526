"""Objects of a run: written all or none, made again where they are missing, known again, compared and succeeded."""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from dataclasses import replace
from io import BytesIO
from pathlib import Path
from typing import Any

import jsonschema
import numpy as np
import pytest

pytest.importorskip("highdicom", reason="needs the extra `results`")

from pydicom import dcmread
from pydicom.uid import DeflatedExplicitVRLittleEndian
from typer.testing import CliRunner

import image_objects
import pulmoscope
from bundles import tiny_bundle
from ct_series import drawn_hu, slice_datasets, write_slices
from diagnoses import a_diagnosis
from dicom_reports import (
    ct_diagnosis,
    ct_scan,
    groups,
    numbers,
    report,
    report_bytes,
    says_of_patient,
    texts,
    xray_diagnosis,
    xray_scan,
)
from pulmoscope.apps.cli.main import app
from pulmoscope.core.change import SinceReport
from pulmoscope.core.errors import InputError, ResourceError, UnreadableError, UnsuitableError
from pulmoscope.io import entries, read_scan, studies
from pulmoscope.io.inputs import Entry
from pulmoscope.io.studies import paths
from pulmoscope.pipeline.choice import Models
from pulmoscope.pipeline.diagnose import Outcome, Run, diagnose_many
from pulmoscope.pipeline.objects import write
from pulmoscope.pipeline.objects.read import reports_among, told
from pulmoscope.pipeline.objects.write import ObjectMaker, Objects, write_objects
from pulmoscope.report.change.report import since_lines, since_section
from pulmoscope.report.dicom.codes import of_class
from pulmoscope.report.dicom.earlier import predecessors, read_report, since
from pulmoscope.report.dicom.sources import read_sources
from radiographs import chest, dicom_file
from refusals import refused

SCHEMA = Path(__file__).resolve().parents[1] / "docs" / "schemas" / "diagnosis.schema.json"
UIDS = {"StudyInstanceUID": "1.2.3.4", "SeriesInstanceUID": "1.2.3.4.5"}


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Models:
    return Models(str(tiny_bundle(tmp_path_factory.mktemp("bundle")).folder), severity="none")


def run(
    inputs: Sequence[Path],
    models: Models,
    out: Path,
    *,
    dicom: bool = True,
    force: bool = False,
    page: bool = False,
) -> list[Outcome]:
    listed = list(entries(inputs, out))
    maker = ObjectMaker(reports_among(listed, out)) if dicom else None
    return list(
        diagnose_many(
            studies(listed),
            Run(models, out, objects=maker, reports="all" if page else "none"),
            paths(listed),
            force=force,
        )
    )


@pytest.fixture(scope="module")
def radiograph(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return dicom_file(tmp_path_factory.mktemp("radiograph") / "Secret.dcm", chest(256), **UIDS)


def test_a_run_writes_objects_that_its_diagnosis_names(
    models: Models, radiograph: Path, tmp_path: Path
) -> None:
    (outcome,) = run([radiograph], models, tmp_path / "out")
    folder = tmp_path / "out" / outcome.name
    plain = json.loads((folder / "diagnosis.json").read_text(encoding="utf-8"))
    assert outcome.plain == plain
    jsonschema.validate(plain, json.loads(SCHEMA.read_text(encoding="utf-8")))
    assert "dicom/report.dcm" in plain["dicom"]["files"]
    assert {f"dicom/{path.name}" for path in (folder / "dicom").iterdir()} | {"fhir.json"} == set(
        plain["dicom"]["files"]
    )
    assert plain["dicom"]["missing"] == []
    assert "StudyDate" in plain["dicom"]["mended"]
    assert dcmread(folder / "dicom" / "report.dcm").StudyInstanceUID == "1.2.3.4"
    assert not says_of_patient(json.dumps(plain))


def test_a_run_that_goes_on_makes_missing_objects(models: Models, radiograph: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    (first,) = run([radiograph], models, out)
    object_file = out / first.name / "dicom" / "report.dcm"
    content = object_file.read_bytes()

    def again(dicom: bool = True) -> bool:
        (out / "index.json").unlink()
        (outcome,) = run([radiograph], models, out, dicom=dicom)
        return outcome.kept

    assert again()
    object_file.write_bytes(b"")  # as a power cut leaves it
    assert not again()
    object_file.unlink()
    assert not again()
    assert object_file.read_bytes() == content
    assert not again(dicom=False)
    assert not object_file.parent.exists()


def test_from_python_objects_take_the_place_of_older_ones(tmp_path: Path) -> None:
    diagnosis = ct_diagnosis(ct_scan(tmp_path / "ct"))
    (tmp_path / "out" / "dicom").mkdir(parents=True)
    (tmp_path / "out" / "dicom" / "heat-map.dcm").write_bytes(b"an older one")
    assert pulmoscope.write_dicom(diagnosis, tmp_path / "out") == ()
    assert [path.name for path in (tmp_path / "out" / "dicom").iterdir()] == ["report.dcm"]
    assert (tmp_path / "out" / "dicom" / "report.dcm").read_bytes() == report_bytes(diagnosis)


def test_a_full_disk_leaves_no_object(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    written: list[str] = []

    def full(path: Path, content: bytes) -> None:
        if len(written) == 2:
            raise ResourceError(f"{path}: could not be written (No space left on device)")
        written.append(path.name)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)

    monkeypatch.setattr(write, "write_bytes", full)
    names = ("segmentation-lungs.dcm", "overlay-1.dcm", "report.dcm")
    with pytest.raises(ResourceError):
        write_objects(Objects(dict.fromkeys(names, b"object")), tmp_path)
    assert len(written) == 2
    assert list(tmp_path.iterdir()) == []


def test_files_of_other_people_are_kept(tmp_path: Path) -> None:
    write_objects(Objects({"report.dcm": b"object"}), tmp_path)
    (tmp_path / "dicom" / "mine.dcm").write_bytes(b"mine")
    write.clear_objects(tmp_path)
    assert [path.name for path in (tmp_path / "dicom").iterdir()] == ["mine.dcm"]


def test_a_picture_is_diagnosed_without_objects(models: Models, tmp_path: Path) -> None:
    import cv2

    cv2.imwrite(str(tmp_path / "chest.png"), chest(256))
    (outcome,) = run([tmp_path / "chest.png"], models, tmp_path / "out")
    assert outcome.plain is not None
    assert outcome.plain["dicom"]["files"] == ["fhir.json"]
    (line,) = write.remarks(outcome.plain)
    assert "no DICOM file" in line
    assert not (tmp_path / "out" / outcome.name / "dicom").exists()


@pytest.mark.parametrize("dicom", [True, False])
def test_a_bundle_that_can_not_be_made_is_a_line(
    dicom: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def not_valid(*_: object) -> bytes:
        raise ValueError("SECRET-ID")

    monkeypatch.setattr("pulmoscope.report.fhir.bundle.fhir_json", not_valid)
    scan = xray_scan(tmp_path)
    made = write.make_objects(
        xray_diagnosis(scan if dicom else replace(scan, files=a_diagnosis().scan.files))
    )
    assert made.fhir == b""
    assert ("report.dcm" in made.files) is dicom
    assert "FHIR Bundle" in made.missing[-1]
    assert not says_of_patient(made.missing[-1])


def test_our_own_objects_are_no_images(models: Models, radiograph: Path, tmp_path: Path) -> None:
    (outcome,) = run([radiograph], models, tmp_path / "out")
    study = tmp_path / "study"
    shutil.copytree(tmp_path / "out" / outcome.name / "dicom", study / "objects")
    shutil.copy(radiograph, study / "chest.dcm")
    left_out: list[str] = []
    found = list(
        studies(entries([study]), own=lambda ours: left_out.extend(Path(entry.name).name for entry in ours))
    )
    assert [Path(one.name).name for one in found] == ["chest.dcm"]
    assert sorted(left_out) == sorted(path.name for path in (study / "objects").iterdir())
    for path in (study / "objects").iterdir():
        with refused(UnsuitableError, "own-result"):
            read_scan(path)


def test_objects_beside_the_slices_of_a_ct_change_nothing(tmp_path: Path) -> None:
    scan = ct_scan(tmp_path / "ct")
    (tmp_path / "ct" / "report.dcm").write_bytes(report_bytes(ct_diagnosis(scan)))
    again = read_scan(tmp_path / "ct")
    assert [file.sha256 for file in again.files] == [file.sha256 for file in scan.files]
    assert again.remarks == scan.remarks


@pytest.fixture(scope="module")
def late(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A series without its two uppermost slices, and the same with them."""
    folder = tmp_path_factory.mktemp("late")
    slices = slice_datasets(drawn_hu(18), StudyDate="20200314")
    write_slices(folder / "first", slices[:16])
    write_slices(folder / "later", slices)
    return folder / "first", folder / "later"


def test_a_report_takes_the_place_of_one_on_fewer_slices(late: tuple[Path, Path]) -> None:
    first, later = (ct_diagnosis(read_scan(folder)) for folder in late)
    before = read_report(report(first))
    assert before is not None
    after = report(later, before)
    referred = after.PredecessorDocumentsSequence[0].ReferencedSeriesSequence[0].ReferencedSOPSequence[0]
    assert referred.ReferencedSOPInstanceUID == before.uid
    assert after.SOPInstanceUID != before.uid
    newer = read_report(after)
    assert newer is not None
    # Made again, each is as it was; a report on more slices is no predecessor.
    assert report(later, before, newer).SOPInstanceUID == after.SOPInstanceUID
    assert report(first, before, newer).SOPInstanceUID == before.uid
    assert predecessors([newer], first, read_sources(first.scan)) == ()


def test_the_same_images_by_another_model_are_succeeded(late: tuple[Path, Path]) -> None:
    first = ct_diagnosis(read_scan(late[0]))
    before = read_report(report(first))
    assert before is not None
    other = replace(first, model={**first.model, "sha256": "ee" * 32})
    assert [str(one.SOPInstanceUID) for one in predecessors([before], other, read_sources(first.scan))] == [
        before.uid
    ]


def test_what_has_changed_since_an_earlier_report(late: tuple[Path, Path]) -> None:
    first = ct_diagnosis(read_scan(late[0]))
    before = read_report(report(first))
    assert before is not None
    assert before.figures == {"affected": 15.0}
    assert first.scan.facts is not None
    assert first.severity is not None
    facts = replace(first.scan.facts, study_date="2020-03-26")
    more = replace(
        first, scan=replace(first.scan, facts=facts), severity=replace(first.severity, percent_affected=19.5)
    )
    sources = read_sources(first.scan)
    found = since([before], more, sources)
    assert found is not None
    covid = "Disease caused by SARS-CoV-2"
    assert found[1] == SinceReport(12, {"affected": 15.0}, {"affected": 19.5}, covid, covid)
    items = groups(report(more, before))["Change since the earlier report"]
    assert numbers(items)["Difference from the earlier scan of Percent of lung affected"] == (4.5, "%")
    assert numbers(items)["Time since the earlier scan"] == (12, "d")
    assert texts(items)["Most probable class in the earlier report"] == "Disease caused by SARS-CoV-2"
    # Not of another patient, nor of a later study, nor of one that is not dated.
    for other in (
        replace(facts, patient="another"),
        replace(facts, study_date="2020-03-13"),
        replace(facts, study_date=""),
    ):
        assert since([before], replace(more, scan=replace(more.scan, facts=other)), sources) is None
    # Nor where the report is a result of this very run.
    assert since([replace(before, own_result=True)], more, sources) is None


@pytest.mark.parametrize(
    ("keyword", "then", "now"),
    [("PatientBirthDate", "19500101", "19600101"), ("PatientSex", "F", "M"), ("IssuerOfPatientID", "A", "B")],
)
def test_patients_of_one_id_are_told_apart(keyword: str, then: str, now: str, tmp_path: Path) -> None:
    before = read_report(
        report(ct_diagnosis(ct_scan(tmp_path / "then", StudyDate="20200314", **{keyword: then})))
    )
    assert before is not None
    for number, (value, same) in enumerate(((then, True), (None, True), (now, False))):
        scan = ct_scan(tmp_path / str(number), **{keyword: value})
        assert scan.facts is not None
        later = replace(scan, facts=replace(scan.facts, study_date="2030-01-01"))
        assert (since([before], ct_diagnosis(later), read_sources(scan)) is not None) is same


def test_a_page_and_a_terminal_tell_of_an_earlier_report(models: Models, tmp_path: Path) -> None:
    ids = {"PatientID": "Secret", **UIDS}
    then = dicom_file(
        tmp_path / "then.dcm", chest(256), StudyDate="20200314", SOPInstanceUID="1.2.3.5", **ids
    )
    now = dicom_file(tmp_path / "now.dcm", chest(256), StudyDate="20200326", SOPInstanceUID="1.2.3.6", **ids)
    (first,) = run([then], models, tmp_path / "first", page=True)
    report_file = tmp_path / "first" / first.name / "dicom" / "report.dcm"
    second, *_ = run([now, report_file], models, tmp_path / "second", page=True)
    assert first.plain is not None
    assert second.plain is not None
    assert second.plain["dicom"]["since_report"] == {
        "days": 12,
        "differences": {},  # nothing scores these
        "label": str(of_class(first.plain["prediction"]["label"]).meaning),
    }
    pages = [
        (tmp_path / folder / one.name / "report.html").read_text(encoding="utf-8")
        for folder, one in (("first", first), ("second", second))
    ]
    assert ['id="since"' in page for page in pages] == [False, True]
    assert ["12 days before" in line for line in since_lines(second.plain["dicom"])] == [True]
    assert since_lines(first.plain["dicom"]) == since_lines(None) == []
    assert not says_of_patient(pages[1])


def test_the_section_on_an_earlier_report_has_both_values_and_the_difference() -> None:
    change = SinceReport(
        1, {"opacity": 2.0, "brixia": 7.04}, {"opacity": 1.5, "brixia": 9.0}, "Pneumonia", "Normal"
    )
    assert since_section(None) is None
    assert since_section(change) == {
        "ago": ", 1 day before",
        "rows": [
            ("Brixia score (0 to 18)", "7.0", "9.0", "+2.0"),
            ("Opacity (0 to 6)", "2.0", "1.5", "\N{MINUS SIGN}0.5"),
            ("Most probable class", "Pneumonia", "Normal", ""),
        ],
    }


def test_reports_are_found_among_inputs_and_results(late: tuple[Path, Path], tmp_path: Path) -> None:
    content = report_bytes(ct_diagnosis(read_scan(late[0])))
    (tmp_path / "study").mkdir()
    (tmp_path / "study" / "sr.dcm").write_bytes(content)
    (tmp_path / "study" / "broken.dcm").write_bytes(content[:5000])
    shutil.copy(next(late[0].iterdir()), tmp_path / "study" / "slice.dcm")
    (tmp_path / "out" / "ct-1" / "dicom").mkdir(parents=True)
    (tmp_path / "out" / "ct-1" / "dicom" / "report.dcm").write_bytes(content)
    found = reports_among(entries([tmp_path / "study"]), tmp_path / "out")
    assert len(found) == 2
    assert found[0].uid == found[1].uid
    assert [one.own_result for one in found] == [False, True]


def test_a_deflated_bomb_is_never_inflated(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pulmoscope.io.deflated.LARGEST_INFLATED", 4000)
    content = report_bytes(xray_diagnosis(xray_scan(tmp_path / "source"), xray_severity=None))
    dataset = dcmread(BytesIO(content))
    dataset.file_meta.TransferSyntaxUID = DeflatedExplicitVRLittleEndian
    path = tmp_path / "bomb.dcm"
    dataset.save_as(path)
    calls: list[object] = []
    monkeypatch.setattr("pydicom.filereader.zlib.decompress", lambda *_: calls.append(_))
    assert reports_among(entries([path]), tmp_path / "out") == ()
    with refused(UnreadableError, "decompression-bomb"):
        told(path)
    assert calls == []


def test_a_store_that_can_not_be_reached_ends_the_run(tmp_path: Path) -> None:
    class Unreachable:
        size = 1000

        def open(self) -> None:
            raise ResourceError("s3://bucket: can't be reached")

    entry = Entry("s3://bucket/x.dcm", "x", Unreachable())  # type: ignore[arg-type]
    with pytest.raises(ResourceError):
        reports_among([entry], tmp_path / "out")


def test_check_says_in_words_what_a_report_says(late: tuple[Path, Path], tmp_path: Path) -> None:
    path = tmp_path / "report.dcm"
    path.write_bytes(report_bytes(ct_diagnosis(read_scan(late[0]))))
    done = CliRunner().invoke(app, ["check", str(path)])
    assert done.exit_code == 0
    lines = done.output.splitlines()
    assert "Pulmoscope" in lines[0]
    assert "16 images" in lines[1]
    assert lines[lines.index("Both lungs") + 3] == "  Percent of lung affected: 15 %"
    assert "  Percent of lung affected: Measurement failure" in lines
    assert not says_of_patient(done.output)


def test_check_counts_images_and_not_what_is_made_with_the_report(tmp_path: Path) -> None:
    diagnosis = image_objects.ct_diagnosis(read_scan(image_objects.series(tmp_path / "study")))
    images = len(list((tmp_path / "study").iterdir()))
    assert pulmoscope.write_dicom(diagnosis, tmp_path) == ()
    assert len(list((tmp_path / "dicom").glob("*.dcm"))) > 1
    done = CliRunner().invoke(app, ["check", str(tmp_path / "dicom" / "report.dcm")])
    assert f" {images} images " in done.output.splitlines()[1]


def test_check_says_what_a_bundle_says(late: tuple[Path, Path], tmp_path: Path) -> None:
    assert pulmoscope.write_dicom(ct_diagnosis(read_scan(late[0])), tmp_path) == ()
    lines = told(tmp_path / "fhir.json")
    assert lines[0].startswith("FHIR Bundle, by Pulmoscope")
    assert "Percent of lung affected, Both lungs: 15 %" in lines
    assert not says_of_patient("\n".join(lines))
    for content in (b"{}", b'{"entry": []}', b"{broken"):
        (tmp_path / "fhir.json").write_bytes(content)
        with pytest.raises(InputError):
            told(tmp_path / "fhir.json")


@pytest.mark.parametrize(
    ("content", "code"), [(b"", "empty"), (b"no object at all", "not-an-object"), (None, "not-own")]
)
def test_check_refuses_what_is_not_ours(
    content: bytes | None, code: str, radiograph: Path, tmp_path: Path
) -> None:
    path = radiograph
    if content is not None:
        path = tmp_path / "file"
        path.write_bytes(content)
    with pytest.raises(InputError) as caught:
        told(path)
    assert caught.value.code == ("not-an-object" if code == "empty" else code)
    done = CliRunner().invoke(app, ["check", str(path)])
    assert done.exit_code == 4


def test_300_damaged_objects_are_told_of_or_refused_in_one_line(tmp_path: Path) -> None:
    diagnosis = xray_diagnosis(xray_scan(tmp_path), xray_severity=None)
    content = np.frombuffer(report_bytes(diagnosis), dtype=np.uint8)
    rng = np.random.default_rng(5)
    path = tmp_path / "object.dcm"
    refusals = 0
    for number in range(300):
        damaged = content.copy()
        damaged[rng.integers(132, len(content), 20)] = rng.integers(0, 256, 20)
        path.write_bytes(
            damaged.tobytes()[: int(rng.integers(200, len(content))) if number % 3 == 0 else None]
        )
        try:
            lines: list[Any] = told(path)
        except InputError as error:
            refusals += 1
            lines = [str(error)]
        assert lines
        assert not any("\n" in line for line in lines)
    assert refusals > 50


def test_without_the_extra_one_line_comes_before_any_work(
    radiograph: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(write, "find_spec", lambda _: None)
    done = CliRunner().invoke(app, ["diagnose", str(radiograph), "-o", str(tmp_path / "out"), "--dicom"])
    assert isinstance(done.exception, ModuleNotFoundError)  # of which `main` makes a line
    assert done.exception.name == "highdicom"
    assert not (tmp_path / "out").exists()
    assert BytesIO(done.output.encode()).read() == b""
