from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from pulmoscope.core.errors import OutputExistsError, ResourceError
from pulmoscope.core.files import claim_folder, csv_text, settle


def test_a_complete_result_is_kept_until_forced(tmp_path: Path) -> None:
    (tmp_path / "done.json").write_text("{}", encoding="utf-8")
    (tmp_path / "other.csv").write_text("1", encoding="utf-8")
    with pytest.raises(OutputExistsError, match=r"done\.json: already exists"):
        claim_folder(tmp_path, "done.json", force=False)
    assert (tmp_path / "done.json").exists()


def test_force_removes_the_marker_before_anything_is_written(tmp_path: Path) -> None:
    """A forced run that is killed must not look complete by the marker of the run before."""
    (tmp_path / "done.json").write_text("{}", encoding="utf-8")
    (tmp_path / "other.csv").write_text("1", encoding="utf-8")
    claim_folder(tmp_path, "done.json", force=True)
    assert [path.name for path in tmp_path.iterdir()] == ["other.csv"]


def test_what_a_kill_left_half_written_is_removed_with_the_next_claim(tmp_path: Path) -> None:
    killed = "import os, sys; from pulmoscope.core import files\nfrom pathlib import Path\n" + (
        "os.fdopen = lambda *_: os.kill(os.getpid(), 9)\nfiles.write_bytes(Path(sys.argv[1]) / 'run.json', b'x')"
    )
    subprocess.run([sys.executable, "-c", killed, str(tmp_path)])
    (left,) = tmp_path.iterdir()
    assert left.name != "run.json"
    (tmp_path / ".run.json.swp").write_text("an editor's", encoding="utf-8")
    claim_folder(tmp_path, "run.json", force=False)
    assert [path.name for path in tmp_path.iterdir()] == [".run.json.swp"]


def test_a_folder_is_made_and_one_that_can_not_be_is_told_in_one_line(tmp_path: Path) -> None:
    claim_folder(tmp_path / "new" / "deep", "done.json", force=False)
    assert (tmp_path / "new" / "deep").is_dir()
    (tmp_path / "file").write_text("", encoding="utf-8")
    with pytest.raises(ResourceError, match=r"^[^\n]*file/out[^\n]*$"):
        claim_folder(tmp_path / "file" / "out", "done.json", force=True)
    with pytest.raises(ResourceError, match=r"file: results need a folder \(found: a file\)$"):
        claim_folder(tmp_path / "file", "done.json", force=True)


def test_only_a_folder_that_is_there_can_be_settled(tmp_path: Path) -> None:
    settle(tmp_path)
    with pytest.raises(ResourceError, match=r"^[^\n]*none: could not be written[^\n]*$"):
        settle(tmp_path / "none")


def test_a_table_is_quoted_where_it_must_be() -> None:
    assert csv_text(["a", "b"], [["x,y", 1.5], [None, 'say "no"']]) == 'a,b\n"x,y",1.5\n,"say ""no"""\n'


def test_files_of_other_people_are_kept(tmp_path: Path) -> None:
    theirs = tmp_path / "model.bin"
    theirs.write_bytes(b"theirs")
    with pytest.raises(OutputExistsError):
        claim_folder(tmp_path, "done.json", force=False, others=("card.md", "model.bin"))
    assert theirs.read_bytes() == b"theirs"
    claim_folder(tmp_path, "done.json", force=True, others=("card.md", "model.bin"))
