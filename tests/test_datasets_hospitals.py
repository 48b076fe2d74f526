from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest

from films import write_manifest
from pulmoscope.core.errors import DatasetError
from pulmoscope.datasets import Sample, SampleTable, load
from pulmoscope.datasets.hospitals import (
    UNIDENTIFIED,
    check_hospitals,
    hospital_of,
    hospitals_of,
    mapped,
    of,
    without,
)
from pulmoscope.datasets.several import load_all


def table(*samples: Sample, root: Path = Path("data")) -> SampleTable:
    return SampleTable(root, "manifest", samples)


def only(sample: Sample) -> Sample:
    """The sample as the map has it."""
    return mapped([table(sample)])[0].samples[0]


@pytest.mark.parametrize(
    ("label", "patient", "source", "hospital", "unread"),
    [
        ("COVID", "ieee_115", "radiography_lundis", "ieee8023", False),
        ("COVID", "", "radiography_lundis", UNIDENTIFIED, True),
        ("Normal", "", "radiography_lundis", "rsna", False),
        ("Normal", "ieee_3", "radiography_lundis", "ieee8023", False),  # who it is says more than the class
        ("Tuberculosis", "", "radiography_lundis", UNIDENTIFIED, False),
        ("COVID", "ieee_115", "north", "north", False),
        ("COVID", "p1", "", UNIDENTIFIED, False),
    ],
)
def test_the_first_rule_that_covers_an_image_holds(
    label: str, patient: str, source: str, hospital: str, unread: bool
) -> None:
    found = only(Sample("a.png", label, "train", patient, source))
    assert (found.hospital, found.unread, found.label) == (hospital, unread, label)


def test_a_data_set_that_names_the_hospital_is_believed() -> None:
    sample = Sample("a.png", "Normal", source="radiography_lundis", hospital="Turin")
    assert only(sample) == sample


def test_where_the_map_says_nothing_the_source_is_the_hospital() -> None:
    assert hospital_of(Sample("a", "x", source="north")) == "north"
    assert hospital_of(Sample("a", "x", source="north", hospital="south")) == "south"
    assert hospital_of(Sample("a", "x")) == UNIDENTIFIED


def two_folders(root: Path, *, films: str, boxes: str = "") -> tuple[Path, Path]:
    """A collection of copies, and a hospital that knows some of them again."""
    copies, hospital = root / "copies", root / "hospital"
    rows = [{"file": f"{n}.png", "label": "COVID", "split": "train", "source": "web"} for n in range(3)]
    write_manifest(copies, rows)
    own = {"file": "own.png", "label": "Typical", "split": "train", "patient": "h1", "source": "St Mary"}
    write_manifest(hospital, [own])
    (hospital / "copies_films.csv").write_text(films, encoding="utf-8")
    if boxes:
        (hospital / "copies_boxes.csv").write_text(boxes, encoding="utf-8")
    return copies, hospital


@pytest.mark.parametrize("swapped", [False, True])
def test_a_list_of_films_tells_hospital_patient_reading_and_boxes(tmp_path: Path, swapped: bool) -> None:
    folders = two_folders(
        tmp_path,
        films="file,patient,appearance\ncopies/0.png,h7,Negative\ncopies/1.png,,\n",
        boxes="file,x0,y0,x1,y1\ncopies/1.png,1,2,3.5,4\ncopies/1.png,5,6,7,8\n",
    )
    tables = mapped(load(folder) for folder in (folders[::-1] if swapped else folders))
    copies = tables[1 if swapped else 0]
    one, two, three = copies.samples
    assert (one.hospital, one.label, one.patient, one.boxes) == ("St Mary", "Negative", "h7", ())
    boxes = ((1.0, 2.0, 3.5, 4.0), (5.0, 6.0, 7.0, 8.0))
    assert (two.hospital, two.label, two.patient, two.boxes) == ("St Mary", "COVID", "", boxes)
    assert (three.hospital, three.label, three.source) == ("web", "COVID", "web")
    assert [(s.split, s.source) for s in copies] == [("train", "web")] * 3


def test_a_list_of_films_that_breaks_a_rule_is_told(tmp_path: Path) -> None:
    copies, hospital = two_folders(tmp_path, films="film\ncopies/0.png\n")
    with pytest.raises(DatasetError, match=r"copies_films\.csv, line 1: needs column file"):
        load_all([copies, hospital])
    (hospital / "copies_films.csv").write_text("file\ncopies/0.png\n", encoding="utf-8")
    (hospital / "copies_boxes.csv").write_text("file,x0,y0,x1,y1\ncopies/0.png,1,2,three,4\n")
    with pytest.raises(DatasetError, match=r"copies_boxes\.csv, line 2: a box is four numbers .*three"):
        load_all([copies, hospital])


SEVERAL = table(
    Sample("a", "x", source="nih"),
    Sample("b", "x", source="other", hospital="rsna"),
    Sample("c", "x", source="south"),
    Sample("d", "x", hospital=UNIDENTIFIED),
)


def files(samples: SampleTable) -> str:
    return "".join(sample.file for sample in samples)


def test_leaving_out_a_collection_leaves_out_its_parts_but_not_the_reverse() -> None:
    assert files(without(SEVERAL, ["nih"])) == "cd"
    assert files(without(SEVERAL, ["rsna"])) == "acd"
    assert files(without(SEVERAL, ["south", "nih"])) == "d"
    assert files(of(SEVERAL, "nih")) == "ab"
    assert files(of(SEVERAL, "rsna")) == "b"


def test_a_collection_is_there_where_a_part_of_it_is() -> None:
    part = table(Sample("a", "x", source="rsna"), Sample("b", "x", source="south"))
    assert hospitals_of(part) == ("nih", "rsna", "south")
    assert files(without(part, ["nih"])) == "b"


@pytest.mark.parametrize("name", ["Atlantis", UNIDENTIFIED, ""])
def test_a_hospital_that_is_not_there_is_told_with_those_that_are(name: str) -> None:
    with pytest.raises(DatasetError) as told:
        check_hospitals(SEVERAL, ["nih", name])
    assert str(told.value) == (
        f"--leave-out {name}: must be a hospital of the data (found: nih, rsna, south)"
    )


def test_nothing_can_be_left_out_where_no_hospital_is_known() -> None:
    with pytest.raises(DatasetError, match=r"\(found: none that is known\)$"):
        check_hospitals(table(Sample("a", "x")), ["nih"])


def test_hospitals_that_are_there_and_what_they_are_a_part_of_can_be_left_out() -> None:
    check_hospitals(SEVERAL, ["nih", "rsna", "south"])
    check_hospitals(table(Sample("a", "x", source="rsna")), ["nih"])
    assert files(without(SEVERAL, ["Atlantis"])) == "abcd"


def test_something_must_be_left() -> None:
    with pytest.raises(DatasetError, match=r"^--leave-out nih: leaves no image$"):
        without(table(Sample("a", "x", source="nih"), Sample("b", "x", source="rsna")), ["nih"])


@pytest.fixture(scope="module")
def packs(shared: Path) -> SampleTable:
    """Three real collections as one table; their images are not read."""
    folders = [shared / "data" / name for name in ("xray4", "xray_siim", "xray_external")]
    absent = [folder.name for folder in folders if not (folder / "manifest.csv").is_file()]
    if absent:
        pytest.skip(f"no {', '.join(absent)} among the real data")
    return load_all(folders)


def test_films_known_again_in_a_real_collection(packs: SampleTable) -> None:
    copies = [s for s in packs if s.file.startswith("xray4/") and s.hospital == "siim_covid19"]
    assert len(copies) == 255
    # By the collection's own description: what its readers saw in films that were COVID by a test.
    assert Counter(s.label for s in copies) == {
        "Typical": 145,
        "Negative": 53,
        "Indeterminate": 48,
        "Atypical": 9,
    }
    assert not any(s.unread for s in copies)
    assert all(s.patient.startswith("siim_") for s in copies)
    assert {bool(s.boxes) for s in copies if s.label == "Negative"} == {False}


def test_hospitals_of_real_collections(packs: SampleTable) -> None:
    known = [s for s in packs if s.patient.startswith("ieee_")]
    assert known
    assert {s.hospital for s in known} == {"ieee8023"}
    assert {s.source for s in known} == {"ieee8023", "radiography_lundis"}
    assert {s.hospital for s in packs if s.unread} == {UNIDENTIFIED}
    assert {s.label for s in packs if s.unread} == {"COVID"}
    left = without(packs, ["nih"])
    assert {s.hospital for s in packs} - {s.hospital for s in left} == {"nih", "rsna"}
    assert not any("Normal" in s.file and s.file.startswith("xray4/") for s in left)


def test_no_patient_of_real_collections_is_in_two_splits(packs: SampleTable) -> None:
    places = {(s.patient, s.split) for s in packs if s.patient and s.split}
    assert max(Counter(patient for patient, _ in places).values()) == 1
    assert any("patients have images in several splits" in warning for warning in packs.warnings)


def test_a_real_test_set_is_shared_out_by_patient_and_always_alike(packs: SampleTable, shared: Path) -> None:
    drawn = {s.file: s.split for s in packs if s.file.startswith("xray_external/")}
    alone = load(shared / "data" / "xray_external")
    assert {s.split for s in alone} == {"test"}
    counts = Counter(drawn.values())
    for split, share in (("train", 0.7), ("val", 0.15), ("test", 0.15)):
        assert counts[split] / len(drawn) == pytest.approx(share, abs=0.02)
    again = load_all([shared / "data" / "xray_external", shared / "data" / "cxr_lungs"])
    assert {s.file: s.split for s in again if s.file in drawn} == drawn
