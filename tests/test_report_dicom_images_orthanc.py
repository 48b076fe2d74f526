"""An archive takes the image objects by C-STORE and by STOW-RS, and gives back what it was given."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from pydicom.dataset import Dataset

from image_objects import common_of, objects, radiograph, read_back, series
from orthanc import Archive, needs_orthanc, orthanc

pytestmark = needs_orthanc


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Archive]:
    with orthanc(tmp_path_factory.mktemp("orthanc")) as running:
        yield running


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """All kinds of objects, of a CT and of a radiograph."""
    folder = tmp_path_factory.mktemp("objects")
    ct, xray = common_of(series(folder / "ct")), common_of(radiograph(folder / "cr.dcm"))
    return {
        f"{kind}-{name}": content for kind, of in (("ct", ct), ("cr", xray)) for name, content in objects(of)
    }


def by_uid(contents: list[bytes]) -> dict[str, Dataset]:
    read = [read_back(content) for content in contents]
    return {str(dataset.SOPInstanceUID): dataset for dataset in read}


def assert_unchanged(archive: Archive, files: dict[str, bytes]) -> None:
    """Every dataset is equal, pixels included, and in the same transfer syntax; file meta is the archive's own."""
    sent, held = by_uid(list(files.values())), by_uid(list(archive.instances().values()))
    assert held.keys() == sent.keys()
    for uid, dataset in held.items():
        assert dataset == sent[uid]
        assert dataset.file_meta.TransferSyntaxUID == sent[uid].file_meta.TransferSyntaxUID


def test_by_c_store(archive: Archive, files: dict[str, bytes], tmp_path: Path) -> None:
    archive.forget()
    for name, content in files.items():
        path = tmp_path / f"{name}.dcm"
        path.write_bytes(content)
        archive.c_store(path)
    assert_unchanged(archive, files)


def test_by_stow(archive: Archive, files: dict[str, bytes]) -> None:
    archive.forget()
    answer = archive.stow(*files.values())
    assert len(answer["00081199"]["Value"]) == len(files)  # ReferencedSOPSequence: what it has stored
    assert not answer.get("00081198", {}).get("Value")  # FailedSOPSequence
    assert_unchanged(archive, files)
    assert archive.instances().keys() == by_uid(list(files.values())).keys()
    assert set(archive.instances().values()) == set(files.values())  # file meta included, byte for byte
