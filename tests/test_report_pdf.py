"""Pages on paper, read back by pypdf and as a DICOM object by pydicom."""

from __future__ import annotations

import importlib.util
import shutil
import subprocess
import sys
from dataclasses import replace
from io import BytesIO
from pathlib import Path

import pytest
from pydicom import dcmread

from bundles import tiny_bundle
from diagnoses import UNDEREXPOSED, a_ct_diagnosis, a_diagnosis, an_xray_severity
from films import film, save
from pulmoscope.apps.cli.main import main
from pulmoscope.core.errors import ResourceError
from pulmoscope.core.types import Decision, Diagnosis
from pulmoscope.io import read_scan
from pulmoscope.pipeline.outputs import pictures
from pulmoscope.pipeline.pictures.ct import ct_pictures
from pulmoscope.report import ct_page, page
from pulmoscope.report.pdf import check_pdf, to_pdf
from radiographs import chest, dicom_file

pytestmark = pytest.mark.skipif(
    importlib.util.find_spec("weasyprint") is None, reason="the extra results is not installed"
)
UIDS = {"StudyInstanceUID": "2.25.1", "SeriesInstanceUID": "2.25.2"}
A4_PT = (595.28, 841.89)


def xray() -> Diagnosis:
    return replace(
        a_diagnosis(flags=(UNDEREXPOSED,), decision=Decision.REFER), xray_severity=an_xray_severity()
    )


def html_of(diagnosis: Diagnosis) -> str:
    if diagnosis.slices:
        return ct_page.to_html(diagnosis, ct_pictures(diagnosis))
    return page.to_html(diagnosis, pictures(diagnosis))


def pages_of(content: bytes) -> list[str]:
    """The text of each page, words parted by single blanks."""
    pypdf = pytest.importorskip("pypdf", reason="pypdf is not installed")
    reader = pypdf.PdfReader(BytesIO(content))
    for one in reader.pages:
        assert (float(one.mediabox.width), float(one.mediabox.height)) == pytest.approx(A4_PT, abs=0.5)
    return [" ".join(one.extract_text().split()) for one in reader.pages]


@pytest.mark.parametrize("diagnosis", [xray(), a_ct_diagnosis()], ids=["xray", "ct"])
def test_every_page_is_a4_with_the_notice_and_its_number(diagnosis: Diagnosis) -> None:
    found = pages_of(to_pdf(html_of(diagnosis)))
    assert len(found) > 1
    for number, text in enumerate(found, start=1):
        assert "decision support for research, not a medical device" in text
        assert f"{number} / {len(found)}" in text


def test_it_says_what_the_page_says_and_not_what_differs_from_run_to_run() -> None:
    found = xray()
    text = " ".join(pages_of(to_pdf(html_of(found))))
    for said in (
        "Referred",
        "91.2 %",
        "Underexposed",
        "SHA-256 of the model",
        "cd" * 32,
        "Geographic extent",
    ):
        assert said in text
    assert "Time taken" not in text
    assert to_pdf(html_of(found)) == to_pdf(html_of(replace(found, timings_s={"read": 9.9})))


def test_nothing_beyond_the_page_is_read(tmp_path: Path) -> None:
    secret = tmp_path / "secret.svg"
    secret.write_text(
        '<svg xmlns="http://www.w3.org/2000/svg"><text y="9">SECRET</text></svg>', encoding="utf-8"
    )
    inside = "".join(
        f'<img src="{address}" alt=""><svg xmlns="http://www.w3.org/2000/svg"><image href="{address}"/></svg>'
        for address in (secret.as_uri(), str(secret), "http://127.0.0.1:9/x.png")
    )
    linked = f'<link rel="attachment" href="{secret.as_uri()}">'
    content = to_pdf(f"<html><head><style></style>{linked}</head><body>{inside}<p>seen</p></body></html>")
    assert pages_of(content) == ["seen"]
    assert b"SECRET" not in content
    assert b"EmbeddedFile" not in content


def test_without_pango_one_line_says_what_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    class Missing:
        def find_spec(self, name: str, *_: object) -> None:
            if name == "weasyprint":
                raise OSError("cannot load library 'libpango-1.0-0'")

    monkeypatch.delitem(sys.modules, "weasyprint", raising=False)
    monkeypatch.setattr(sys, "meta_path", [Missing(), *sys.meta_path])
    with pytest.raises(ResourceError, match=r"^--pdf needs Pango[^\n]*$"):
        check_pdf()


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_bundle(tmp_path_factory.mktemp("bundle")).folder


def test_a_run_writes_it_beside_the_page(
    tmp_path: Path, bundle: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    picture, out = save(tmp_path / "chest.png", film(1)), tmp_path / "out"
    arguments = [
        "pulmoscope",
        "diagnose",
        str(picture),
        "--model",
        str(bundle),
        "--severity",
        "none",
        "--pdf",
    ]
    monkeypatch.setattr(sys, "argv", [*arguments, "-o", str(out)])
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 0
    (found,) = out.glob("*/report.pdf")
    assert pages_of(found.read_bytes())
    assert (found.parent / "report.html").is_file()


def test_it_is_a_dicom_object_of_the_same_study(tmp_path: Path) -> None:
    pytest.importorskip("highdicom", reason="the extra results is not installed")
    from pulmoscope.pipeline.objects.write import make_objects

    file = dicom_file(tmp_path / "chest.dcm", chest(), PatientID="p17", **UIDS)
    found = replace(a_diagnosis(), scan=read_scan(file))
    paper = b"%PDF-1.7\n%%EOF"  # an odd number of bytes
    made = make_objects(found, paper=paper)
    again = make_objects(found, paper=paper)
    assert made.files["pdf.dcm"] == again.files["pdf.dcm"]
    read, source = dcmread(BytesIO(made.files["pdf.dcm"])), dcmread(file)
    assert read.SOPClassUID == "1.2.840.10008.5.1.4.1.1.104.1"
    assert read.EncapsulatedDocument[: read.EncapsulatedDocumentLength] == paper
    assert (read.PatientID, read.StudyInstanceUID) == ("p17", source.StudyInstanceUID)
    assert [one.ReferencedSOPInstanceUID for one in read.SourceInstanceSequence] == [source.SOPInstanceUID]
    if shutil.which("dciodvfy") is None:
        pytest.skip("dciodvfy (dicom3tools) is not installed; all but its check passed")
    (tmp_path / "pdf.dcm").write_bytes(made.files["pdf.dcm"])
    checked = subprocess.run(["dciodvfy", tmp_path / "pdf.dcm"], capture_output=True, text=True)
    assert (checked.returncode, "Error" in checked.stderr) == (0, False), checked.stderr
