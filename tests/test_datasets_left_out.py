"""Which hospitals can be left out, and which a model has learnt from."""

from __future__ import annotations

from pathlib import Path

import pytest

from pulmoscope.core.errors import DatasetError
from pulmoscope.datasets.hospitals import has_learnt, known_to, left_out_by
from pulmoscope.datasets.table import Sample, SampleTable


def table(*hospitals: str) -> SampleTable:
    return SampleTable(
        Path("data"), "manifest", tuple(Sample(f"{name}.png", "COVID", hospital=name) for name in hospitals)
    )


def test_a_part_goes_with_its_whole_and_nobody_leaves_out_the_unidentified() -> None:
    everything = table("rsna", "b", "unidentified", "a")
    assert left_out_by(everything) == ("a", "b", "nih")
    assert left_out_by(everything, ["nih", "a"]) == ("a", "nih")
    with pytest.raises(DatasetError, match="--hospital rsna: is a part of nih"):
        left_out_by(everything, ["rsna"])
    with pytest.raises(
        DatasetError, match=r"--hospital c: must be a hospital of the data \(found: a, b, nih\)"
    ):
        left_out_by(everything, ["a", "c"])
    with pytest.raises(DatasetError, match="--hospital unidentified"):
        left_out_by(everything, ["unidentified"])
    with pytest.raises(DatasetError, match="no image's hospital is known"):
        left_out_by(table("unidentified"))


def test_a_bundle_tells_its_hospitals_or_its_sources_stand_for_them() -> None:
    assert known_to({"classes_by_hospital": {"a": {"COVID": 3}}, "sources": {"b": 3}}) == {"a"}
    assert known_to({"sources": {"a": 3, "unknown": 1}}) == {"a", "unidentified"}
    assert known_to({"sources": {}}) is None
    assert known_to({}) is None


def test_old_bundles_go_through_the_rules() -> None:
    # Its Normal films are RSNA's; of any class some may be ieee8023's, by patient; the others nobody knows.
    lundis = "radiography_lundis"
    assert known_to({"sources": {lundis: 9}, "classes_by_source": {lundis: {"Normal": 9}}}) == {
        "ieee8023",
        "rsna",
    }
    everything = {"ieee8023", "rsna", "unidentified"}
    assert (
        known_to({"classes_by_source": {lundis: {"Normal": 4, "COVID": 5}}, "sources": {lundis: 9}})
        == everything
    )
    assert known_to({"sources": {lundis: 9}}) == everything


@pytest.mark.parametrize(
    ("known", "hospital", "said"),
    [
        ({"a"}, "a", True),
        ({"a"}, "b", False),
        ({"rsna"}, "nih", True),
        ({"nih"}, "rsna", True),
        (None, "a", None),
    ],
)
def test_who_has_learnt_from_a_part_has_learnt_from_the_whole(
    known: set[str] | None, hospital: str, said: bool | None
) -> None:
    assert has_learnt(known, hospital) is said
