from __future__ import annotations

from pathlib import Path

import pytest

from pulmoscope.core.errors import DatasetError
from pulmoscope.datasets.scores import Scored, read_scores, together


def write(folder: Path, *lines: str) -> Path:
    """A ``scores.csv`` beside two empty images; a third lies in the folder above."""
    folder.mkdir(parents=True, exist_ok=True)
    for image in (folder / "one.png", folder / "two.png", folder.parent / "above.png"):
        image.touch()
    (folder / "scores.csv").write_text("\n".join([*lines, ""]), encoding="utf-8")
    return folder


def refusal(folder: Path) -> str:
    with pytest.raises(DatasetError) as caught:
        read_scores(folder)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_a_folder_without_a_table_has_no_scores(tmp_path: Path) -> None:
    assert read_scores(tmp_path) == []


def test_extents_alone_are_enough(tmp_path: Path) -> None:
    folder = write(tmp_path / "set", "File,Patient,Geographic_Extent_0_8", "one.png,p1,2.5", "two.png,p2,")
    one, two = read_scores(folder)
    assert one == Scored((folder / "one.png").resolve(), "one.png", "p1", 2.5, None, {})
    assert (two.extent, two.opacity, two.zones) == (None, None, None)


def test_a_reader_without_a_name_and_two_with_one(tmp_path: Path) -> None:
    plain = write(tmp_path / "a", "file,patient,A,B,C,D,E,F", "one.png,p,0,1,2,3,2,1")
    assert read_scores(plain)[0].readers == {"reader": (0, 1, 2, 3, 2, 1)}
    zones = ",".join(f"{reader}_{zone}" for reader in ("senior", "junior") for zone in "ABCDEF")
    lines = ("one.png,p,0,1,2,3,2,1,1,1,3,3,2,0", "two.png,q,0,1,2,3,2,1,,,,,,")
    both, one = read_scores(write(tmp_path / "b", f"file,patient,{zones}", *lines))
    assert both.readers == {"senior": (0, 1, 2, 3, 2, 1), "junior": (1, 1, 3, 3, 2, 0)}
    assert both.zones == (0.5, 1, 2.5, 3, 2, 0.5)
    assert one.zones == (0, 1, 2, 3, 2, 1)


def test_a_file_may_be_named_from_the_folder_above(tmp_path: Path) -> None:
    folder = write(tmp_path / "set", "file,patient,opacity_0_6", "above.png,p,6")
    assert read_scores(folder)[0].path == (tmp_path / "above.png").resolve()


@pytest.mark.parametrize(
    ("header", "row", "parts"),
    [
        ("file,patient,opacity_0_6", "one.png,p,6.1", ("line 2", "opacity_0_6", "0 to 6", "6.1")),
        ("file,patient,opacity_0_6", "one.png,p,-1", ("line 2", "opacity_0_6", "-1")),
        ("file,patient,geographic_extent_0_8", "one.png,p,nan", ("line 2", "geographic_extent_0_8", "nan")),
        ("file,patient,geographic_extent_0_8", "one.png,p,much", ("geographic_extent_0_8", "much")),
        ("file,patient,A,B,C,D,E,F", "one.png,p,0,0,0,0,0,4", ("line 2", " f ", "0 to 3", "4")),
        ("file,patient,A,B,C,D,E,F", "one.png,p,0,0,,0,0,0", ("line 2", "reader", "found: 5")),
        ("file,patient,x_A,x_B", "one.png,p,1,2", ("line 2", "x:", "found: 2")),
        ("file,patient,opacity_0_6", "one.png,,1", ("line 2", "column patient")),
        ("file,patient,opacity_0_6", "three.png,p,1", ("line 2", "three.png")),
        ("file,opacity_0_6", "one.png,1", ("line 1", "patient")),
        ("file,patient,opacity_0_6", "one.png,p,1\n./one.png,p,2", ("line 3", "line 2")),
    ],
)
def test_what_is_wrong_is_told_with_its_place(
    header: str, row: str, parts: tuple[str, ...], tmp_path: Path
) -> None:
    message = refusal(write(tmp_path / "set", header, row))
    assert message.startswith(str(tmp_path / "set" / "scores.csv"))
    assert [part for part in parts if part not in message] == []


def test_tables_are_put_together_by_image(tmp_path: Path) -> None:
    extents = write(tmp_path / "a", "file,patient,geographic_extent_0_8", "above.png,p,2", "one.png,q,3")
    zones = write(
        tmp_path / "b", "file,patient,geographic_extent_0_8,A,B,C,D,E,F", "above.png,p,4,1,1,1,1,1,1"
    )
    above, one = together([*read_scores(extents), *read_scores(zones)])
    assert (above.extent, above.zones) == (2, (1,) * 6)  # the first table's word
    assert (one.file, one.extent, one.zones) == ("one.png", 3, None)


def test_two_patients_for_one_image_are_refused(tmp_path: Path) -> None:
    first = write(tmp_path / "a", "file,patient,opacity_0_6", "above.png,p,2")
    second = write(tmp_path / "b", "file,patient,opacity_0_6", "above.png,q,2")
    with pytest.raises(DatasetError, match=r"^above\.png: "):
        together([*read_scores(first), *read_scores(second)])
