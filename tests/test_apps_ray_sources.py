"""Where an archive lies: in a store or on a server there are the studies that are in a folder of the same files."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from ct_series import drawn_hu, write_series
from films import film, save
from pulmoscope.apps.ray import dicomweb as dicomweb_server
from pulmoscope.apps.ray import retries, stores
from pulmoscope.apps.ray.inputs import entries_anywhere
from pulmoscope.apps.ray.stores import HEAD, LookedAhead, Store
from pulmoscope.apps.ray.worker import at_hand
from pulmoscope.core.errors import ResourceError, UnreadableError
from pulmoscope.io import Study, entries, read_study, studies
from radiographs import chest, dicom_file

fsspec = pytest.importorskip("fsspec", reason="the extra `scale` is not installed")


@pytest.fixture(scope="module")
def dicom(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("dicom")
    for number, uid in enumerate(("1.2.1", "1.2.2")):
        path = folder / f"{number}/image.dcm"
        path.parent.mkdir()
        dicom_file(
            path,
            chest(128, number),
            StudyInstanceUID=uid,
            SeriesInstanceUID=f"{uid}.1",
            SOPInstanceUID=f"{uid}.1.1",
            Manufacturer="M",
            StationName="S",
        )
    write_series(folder / "ct", drawn_hu(), StudyInstanceUID="1.2.3")
    return folder


@pytest.fixture
def memory(dicom: Path) -> Iterator[str]:
    """The same files, and others, in fsspec's store in memory."""
    files = fsspec.filesystem("memory")
    for path in sorted(path for path in dicom.rglob("*") if path.is_file()):
        files.pipe_file(f"/archive/in/{path.relative_to(dicom)}", path.read_bytes())
    files.pipe_file("/archive/in/notes.txt", b"no image")
    files.pipe_file("/archive/in/earlier/diagnosis.json", b'{"software": {"pulmoscope": "1"}}')
    files.pipe_file("/archive/in/earlier/heat.png", b"a result")
    yield "memory://archive/in"
    files.rm("/archive", recursive=True)


def contents(found: list[Study], scratch: Path) -> list[tuple[str, str, int, str]]:
    """What the studies are, once their files are at hand."""
    taken = []
    for number, study in enumerate(found):
        folder = scratch / str(number)
        folder.mkdir(parents=True)
        local = at_hand(study, folder)
        result = read_study(local)
        assert result.scan is not None, result.error
        taken.append((study.kind, result.scan.name, len(result.scan.pixels), study.device))
    return taken


def test_a_store_holds_what_a_folder_of_the_same_files_holds(
    dicom: Path, memory: str, tmp_path: Path
) -> None:
    passed_over: list[str] = []
    stored = list(studies(LookedAhead(list(entries_anywhere([memory], "out", passed_over.append)))))
    local = list(studies(entries([dicom])))
    assert [study.name.removeprefix("memory:/archive/in/") for study in stored] == [
        str(Path(study.name).relative_to(dicom)) for study in local
    ]
    assert [study.slug for study in stored] == [study.slug for study in local]
    assert contents(stored, tmp_path / "a") == contents(local, tmp_path / "b")
    assert [path.rpartition("/")[2] for path in passed_over] == ["earlier"]


def test_a_server_holds_what_a_folder_of_the_same_files_holds(dicom: Path, tmp_path: Path) -> None:
    pytest.importorskip("dicomweb_client", reason="the extra `scale` is not installed")
    dicomweb = pytest.importorskip("dicomweb")
    with dicomweb.served(dicom) as address:
        found = list(studies(entries_anywhere([address], "out")))
        served = contents(found, tmp_path / "a")
    local = contents(list(studies(entries([dicom]))), tmp_path / "b")
    assert sorted(served) == sorted(local)
    assert found[0].name.startswith("dicomweb+http:/127.0.0.1:")


class Client:
    """What a DICOMweb server answers."""

    def __init__(self, studies: list[dict[str, Any]], most: int, knows_offset: bool = True) -> None:
        self._studies, self._most, self._knows_offset = studies, most, knows_offset
        self.requests = 0

    def search_for_studies(self, limit: int, offset: int) -> list[dict[str, Any]]:
        self.requests += 1
        first = offset if self._knows_offset else 0
        return self._studies[first : first + min(limit, self._most)]

    def retrieve_study_metadata(self, study: str) -> list[dict[str, Any]]:
        damaged = {"vr": "US", "Value": ["no number"]}
        same = {"00080016": element("1.2.840.10008.5.1.4.1.1.1"), "0020000E": element(study)}
        first, second = ({**same, "00080018": element(f"{study}.{number}")} for number in (1, 2))
        return [{**first, "00280010": damaged}, second]


def element(value: str) -> dict[str, Any]:
    return {"vr": "UI", "Value": [value]}


@pytest.mark.parametrize("knows_offset", [True, False])
def test_a_server_is_asked_until_it_has_no_new_study(
    knows_offset: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    listed = [{"0020000D": element(f"1.{number}")} for number in range(7)]
    client = Client(listed, 3 if knows_offset else 7, knows_offset)
    monkeypatch.setattr(dicomweb_server, "_client", lambda _: client)
    found = list(dicomweb_server.Server(f"dicomweb+http://pages-{knows_offset}").entries(set()))
    of_study = [entry.source.study for entry in found if isinstance(entry.source, dicomweb_server.Instance)]
    assert of_study == [f"1.{number}" for number in range(7) for _ in (1, 2)]
    assert client.requests == (4 if knows_offset else 2)


def test_what_is_malformed_on_a_server_is_an_entry_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dicomweb_server, "_client", lambda _: Client([{}, {"0020000D": element("1.1")}], 9))
    unnamed, damaged, whole = dicomweb_server.Server("dicomweb+http://malformed").entries(set())
    assert isinstance(unnamed.source, UnreadableError)
    assert unnamed.source.code == "damaged"
    with damaged.open() as stream:
        assert stream.read() == b""
    with whole.open() as stream:
        assert stream.read()[128:132] == b"DICM"
    with pytest.raises(UnreadableError) as raised:
        dicomweb_server.Instance("dicomweb+http://malformed", "1.1", "", "").read_bytes()
    assert raised.value.code == "damaged"


def test_only_s3_is_told_how_many_requests_to_make(monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[dict[str, Any]] = []

    def cat_file(path: str, **options: Any) -> bytes:
        told.append(options)
        return b""

    monkeypatch.setattr(stores, "_system", lambda url: (SimpleNamespace(cat_file=cat_file), "root"))
    for scheme in ("s3", "gs", "memory"):
        Store(f"{scheme}://bucket").read("object", 9)
    assert told == [{"end": 9, "max_concurrency": 1}, {"end": 9}, {"end": 9}]


def test_a_long_object_is_fetched_whole_only_where_more_than_its_head_is_read(tmp_path: Path) -> None:
    content = np.random.default_rng(0).bytes(3 * HEAD)
    store = Store("memory://long")
    store.write("object", content)
    with store.opened("object", len(content)) as stream:
        assert stream.read(100) == content[:100]
        stream.seek(HEAD - 10)
        assert stream.read(50) == content[HEAD - 10 : HEAD + 40]
        stream.seek(0)
        assert stream.read() == content
    store.remove(["object", "object"])
    assert store.found() == {}


def test_a_store_without_images_is_refused_and_goes_on(tmp_path: Path) -> None:
    image = save(tmp_path / "a.png", film(0))
    listed = list(entries_anywhere(["memory://nothing/here", str(image)], "out"))
    codes = [getattr(entry.source, "code", "") for entry in listed]
    assert codes == ["no-images", ""]


def test_a_request_is_made_again_until_it_succeeds_or_six_times(monkeypatch: pytest.MonkeyPatch) -> None:
    waits: list[float] = []
    monkeypatch.setattr(retries, "sleep", waits.append)
    left = [OSError("a"), TimeoutError("b")]

    def request() -> str:
        if left:
            raise left.pop()
        return "answer"

    assert retries.tried("s3://bucket", request) == "answer"
    assert len(waits) == 2
    assert 0.1 <= waits[0] <= 0.15
    assert 0.2 <= waits[1] <= 0.3

    def never() -> str:
        raise ConnectionError("patient-name.dcm")

    with pytest.raises(ResourceError) as raised:
        retries.tried("s3://bucket", never)
    assert str(raised.value) == "s3://bucket: failed 6 times (last: ConnectionError)"
    assert len(waits) == 2 + 5
