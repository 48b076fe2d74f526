from __future__ import annotations

import os
import pickle
import struct
import zipfile
from collections.abc import Sequence
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pulmoscope.core.errors import InputError, UnreadableError
from pulmoscope.io import Entry, entries
from pulmoscope.io.inputs import slug_of


def put(path: Path, content: bytes = b"x") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return path


def packed(path: Path, members: dict[str, bytes], method: int = zipfile.ZIP_STORED) -> Path:
    with zipfile.ZipFile(path, "w", method) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return path


def named(root: Path, paths: Sequence[Path]) -> list[str]:
    return [entry.name.removeprefix(f"{root}/") for entry in entries(paths)]


def refusal(entry: Entry) -> str:
    """The code by which an entry is refused."""
    with pytest.raises(UnreadableError) as caught:
        entry.read_bytes()
    message = str(caught.value)
    assert message.startswith(f"{entry.name}: ")
    assert "\n" not in message
    return caught.value.code


def test_folders_are_walked_in_order_and_side_files_left_out(tmp_path: Path) -> None:
    for name in ("b.png", "a/z.dcm", "a/IM0001", "c.JPG", "text.dcm", "empty.png"):
        put(tmp_path / name)
    for name in (
        ".hidden.png",
        ".git/x.png",
        "__MACOSX/x.png",
        "DICOMDIR",
        "a/manifest.csv",
        "README",
        "n.TXT",
    ):
        put(tmp_path / name)
    for name in ("x.md", "x.html", "x.xlsx", "x.json", "Thumbs.db"):
        put(tmp_path / name)
    assert named(tmp_path, [tmp_path]) == ["a/IM0001", "a/z.dcm", "b.png", "c.JPG", "empty.png", "text.dcm"]


def test_a_file_that_is_named_is_always_an_entry(tmp_path: Path) -> None:
    paths = [put(tmp_path / "notes.txt"), put(tmp_path / ".hidden.png"), put(tmp_path / "notes.txt")]
    assert named(tmp_path, paths) == ["notes.txt", ".hidden.png", "notes.txt"]
    assert [entry.slug for entry in entries(paths)] == ["notes.txt", "hidden", "notes.txt-2"]


def test_what_is_missing_or_empty_is_one_refused_entry(tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    put(tmp_path / "folder/list.csv")
    found = list(entries([tmp_path / "gone.png", tmp_path / "folder"]))
    assert [refusal(entry) for entry in found] == ["not-found", "no-images"]


@pytest.mark.parametrize(
    ("name", "code"),
    [
        ("x" * 300, "not-readable"),
        ("x" * 300 + ".zip", "not-readable"),
        ("nul\0.zip", "not-found"),
        ("file.png/inner.png", "not-readable"),
    ],
)
def test_names_that_no_file_can_have_are_refused(name: str, code: str, tmp_path: Path) -> None:
    put(tmp_path / "file.png")
    (entry,) = entries([tmp_path / name])
    assert refusal(entry) == code


def test_a_pipe_is_refused_and_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.png")
    assert refusal(next(entries([tmp_path / "pipe.png"]))) == "not-a-file"


def test_a_file_that_is_too_large_is_refused_unread(tmp_path: Path) -> None:
    with (tmp_path / "big.png").open("wb") as stream:
        stream.truncate(512 * 2**20 + 1)
    assert refusal(next(entries([tmp_path / "big.png"]))) == "too-large"


def test_zip_members_are_entries_and_nothing_is_extracted(tmp_path: Path) -> None:
    members = {
        "b/2.png": b"two",
        "1.dcm": b"one",
        "__MACOSX/._1": b"x",
        "list.csv": b"x",
        "b/.DS_Store": b"x",
    }
    archive = packed(tmp_path / "films.zip", members, zipfile.ZIP_DEFLATED)
    found = list(entries([archive]))
    assert [entry.name for entry in found] == [f"{archive}/1.dcm", f"{archive}/b/2.png"]
    assert [entry.read_bytes() for entry in found] == [b"one", b"two"]
    assert [entry.slug for entry in found] == ["1", "b_2"]
    assert list(tmp_path.iterdir()) == [archive]


def test_the_folder_of_the_results_is_passed_over(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    put(tmp_path / "a.png")
    put(tmp_path / "results" / "a" / "heat-COVID.png")
    put(tmp_path / "b" / "results" / "c.png")
    put(tmp_path / "heat.npy")
    monkeypatch.chdir(tmp_path)
    for without in (tmp_path / "results", Path("results"), Path("b/../results")):
        slugs = [entry.slug for entry in entries([tmp_path], without=without)]
        assert slugs == ["a", "b_results_c"]
    assert [entry.slug for entry in entries([tmp_path])] == ["a", "b_results_c", "results_a_heat-COVID"]


def test_a_zip_in_a_folder_is_opened(tmp_path: Path) -> None:
    put(tmp_path / "a.png")
    packed(tmp_path / "films.zip", {"a.png": b"x"})
    found = list(entries([tmp_path]))
    assert [entry.name for entry in found] == [f"{tmp_path}/a.png", f"{tmp_path}/films.zip/a.png"]
    assert [entry.slug for entry in found] == ["a", "films_a"]


@pytest.mark.parametrize(
    "name", ["../evil.png", "/etc/evil.png", "a/../../evil.png", "..\\evil.png", "C:\\evil.png"]
)
def test_members_that_escape_are_refused_and_the_others_read(name: str, tmp_path: Path) -> None:
    archive = packed(tmp_path / "x.zip", {name: b"evil", "good.png": b"good"})
    by_name = {entry.name: entry for entry in entries([archive])}
    assert by_name.pop(f"{archive}/good.png").read_bytes() == b"good"
    (escaping,) = by_name.values()
    assert refusal(escaping) == "unsafe-name"
    assert "/" not in escaping.slug
    assert ".." not in escaping.slug


def test_members_with_a_password_are_refused(tmp_path: Path) -> None:
    archive = packed(tmp_path / "x.zip", {"a.png": b"secret"})
    data = bytearray(archive.read_bytes())
    data[6] |= 1  # general purpose flag of the local header (APPNOTE 4.4.4), and of the directory
    data[data.find(b"PK\x01\x02") + 8] |= 1
    archive.write_bytes(data)
    assert refusal(next(entries([archive]))) == "encrypted"


def test_members_that_are_bombs_are_refused(tmp_path: Path) -> None:
    archive = packed(tmp_path / "x.zip", {"a.png": b"\0" * 4 * 2**20}, zipfile.ZIP_DEFLATED)
    assert refusal(next(entries([archive]))) == "decompression-bomb"


def test_a_zip_that_is_a_bomb_as_a_whole_is_one_refused_entry(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pulmoscope.io.inputs.LARGEST_FILE", 8 * 2**20)
    members = {f"{number}.png": b"\0" * 2**20 for number in range(9)}
    archive = packed(tmp_path / "x.zip", members, zipfile.ZIP_DEFLATED)
    (entry,) = entries([archive])
    assert refusal(entry) == "decompression-bomb"


def test_a_member_that_says_it_is_huge_is_refused(tmp_path: Path) -> None:
    archive = packed(tmp_path / "x.zip", {"a.png": b"x" * 1000})
    data = bytearray(archive.read_bytes())
    struct.pack_into("<I", data, data.find(b"PK\x01\x02") + 24, 2**31)  # uncompressed size in the directory
    archive.write_bytes(data)
    found = list(entries([archive]))
    assert len(found) == 1
    assert refusal(found[0]) == "decompression-bomb"


def test_a_broken_zip_is_one_refused_entry(tmp_path: Path) -> None:
    whole = packed(tmp_path / "x.zip", {"a.png": b"x" * 5000}).read_bytes()
    broken = put(tmp_path / "broken.zip", whole[:3000])
    (entry,) = entries([broken])
    assert refusal(entry) == "damaged"


def test_a_damaged_member_is_refused_by_its_checksum(tmp_path: Path) -> None:
    archive = packed(tmp_path / "x.zip", {"a.png": b"x" * 5000, "b.png": b"good"})
    data = bytearray(archive.read_bytes())
    data[1000] ^= 1
    archive.write_bytes(data)
    damaged, good = entries([archive])
    assert refusal(damaged) == "damaged"
    assert good.read_bytes() == b"good"


def test_what_is_only_named_zip_is_read_by_its_content(tmp_path: Path) -> None:
    (entry,) = entries([put(tmp_path / "film.zip", b"\xff\xd8 a picture")])
    assert entry.read_bytes() == b"\xff\xd8 a picture"


def test_slugs_are_unique_whatever_the_capitals_and_the_same_in_the_next_run(tmp_path: Path) -> None:
    for name in ("a.png", "A.jpg", "a.dcm", "a-2.png", "d e/ü!.png", "index.json.png", "1.2.840.1"):
        put(tmp_path / name)
    slugs = [entry.slug for entry in entries([tmp_path, tmp_path / "a.png"])]
    assert slugs == ["1.2.840.1", "A", "a-2", "a-3", "a-4", "d_e_ü", "index.json-2", "a-5"]
    assert slugs == [entry.slug for entry in entries([tmp_path, tmp_path / "a.png"])]


@given(st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=300))
def test_slugs_are_safe_names_of_files(relative: str) -> None:
    slug = slug_of(relative)
    assert slug
    assert len(slug.encode()) <= 120
    assert not slug.startswith((".", "-"))
    assert not set(slug) & set('/\\:*?"<>|\0\n ')


def test_entries_survive_pickling(tmp_path: Path) -> None:
    archive = packed(tmp_path / "films.zip", {"a.png": b"x"})
    entry = pickle.loads(pickle.dumps(next(entries([archive]))))
    assert entry.read_bytes() == b"x"


def test_listing_is_lazy(tmp_path: Path) -> None:
    put(tmp_path / "a.png")
    found = entries([tmp_path / "a.png", tmp_path / "gone"])
    assert next(found).read_bytes() == b"x"
    with pytest.raises(InputError):
        next(found).read_bytes()
