from __future__ import annotations

import re
from dataclasses import replace
from html.parser import HTMLParser

import numpy as np
import pytest

from diagnoses import CARD, SYNTHETIC, UNCHECKED, UNDEREXPOSED, a_ct_diagnosis, a_ct_of_pictures, a_diagnosis
from pulmoscope.core.facts import Facts
from pulmoscope.core.files import NOTICE
from pulmoscope.core.types import Decision, Diagnosis, SliceResult
from pulmoscope.report.ct_page import CtPictures, Cut, acquisition, cut_marks, findings, geometry, to_html
from pulmoscope.report.diagnosis import to_json
from pulmoscope.report.names import DECISIONS
from pulmoscope.report.page import summary
from pulmoscope.report.slice_axis import axis_of

DRAWN = "data:image/jpeg;base64,AAAA"
CUT = Cut("Coronal", ("right", "left"), DRAWN, 100, 120)


def page_of(diagnosis: Diagnosis) -> str:
    indices = range(len(diagnosis.scan.pixels))
    pictures = CtPictures(
        slices=dict.fromkeys(indices, DRAWN),
        overlays=(DRAWN,) * len(diagnosis.explanations),
        scale=DRAWN,
        grid=dict.fromkeys(indices[::2], DRAWN),
        cuts=(CUT,),
        grey="Greys are grey.",
    )
    return to_html(diagnosis, pictures)


class Page(HTMLParser):
    """Tags, ids, addresses and words of a page whose tags are all closed."""

    EMPTY = frozenset({"meta", "link", "img", "br"})

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.ids: list[str] = []
        self.addresses: list[str] = []
        self.classes: list[str] = []
        self.text = ""
        self._open: list[str] = []
        self.feed(text)
        assert self._open == []

    @property
    def words(self) -> str:
        return " ".join(self.text.split())

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_startendtag(tag, attrs)
        if tag not in self.EMPTY:
            self._open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        for name, value in attrs:
            if name in ("src", "href", "xlink:href", "srcset", "action", "poster", "data"):
                self.addresses.append(value or "")
            elif name == "id":
                self.ids.append(value or "")
            elif name == "class":
                self.classes.append(value or "")

    def handle_endtag(self, tag: str) -> None:
        assert self._open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data


def test_the_page_stands_alone() -> None:
    text = page_of(a_ct_diagnosis(targets=("COVID", "CAP")))
    page = Page(text)
    outside = [address for address in page.addresses if not address.startswith(("data:", "#"))]
    assert outside == []
    assert not re.search(r"url\(|@import|https?://|<link[^>]+stylesheet|<script[^>]+src", text)


def test_every_id_is_one_of_its_own_and_every_link_leads_to_one() -> None:
    page = Page(page_of(a_ct_diagnosis(targets=("COVID", "CAP"))))
    assert len(set(page.ids)) == len(page.ids)
    assert {address[1:] for address in page.addresses if address.startswith("#")} <= set(page.ids)


def test_answer_evidence_and_limits_come_before_the_details() -> None:
    ids = Page(page_of(a_ct_diagnosis())).ids
    order = [
        "along",
        "probabilities",
        "quality",
        "limits",
        "suspicious",
        "lightbox",
        "study",
        "card",
        "origin",
    ]
    assert [name for name in ids if name in order] == order


def test_the_most_suspicious_slice_stands_beside_the_scores() -> None:
    text = page_of(a_ct_diagnosis())
    card = text[text.index('aria-labelledby="along"') :].partition("</section>")[0]
    assert 'href="#found-11"' in card
    assert card.count("<img") == 2
    assert (
        "<img"
        not in page_of(replace(a_ct_diagnosis(), explanations=()))
        .partition('id="along"')[2]
        .partition("</section>")[0]
    )


def test_the_page_says_what_a_reader_needs() -> None:
    said = Page(page_of(a_ct_diagnosis(flags=(UNDEREXPOSED, UNCHECKED)))).words
    for expected in (
        "91.0 %COVID, the most probable class",
        "The most probable class has 0.910.",
        "19 of 24 slices show enough lung for a prediction.",
        "In 11 of them COVID or CAP is more probable than not. "
        "They lie within slices 6 to 16 (z −270.0 to −220.0 mm).",
        "Underexposed. Bright parts reach 11 % (20 % and more).",
        "Limits of this model Warning Patient rule. Checked on 3 patients (50 are enough).",
        "2 of 3 say COVID by themselves",
        "bilstm-weighted88.0 %4.0 %8.0 %",
        "Together91.0 %7.0 %2.0 %",
        "Slice 11 (instance 13), z −245.0 mm",
        "COVID 95.0 %, Normal 4.5 %, CAP 0.5 % · 013.dcm",
        "Evidence for COVID, stage 3",
        "Evidence for COVID, stage 5",
        "12 of 24 slices, evenly spread",
        "Greys are grey.",
        "24, each 64 × 56 px",
        "5.500 × 5.500 mm, 352 × 308 mm in all",
        "z −300.0 to −185.0 mm, towards the head",
        "Hounsfield units",
        "Of 100 studies like those of the calibration set",
        "internal, 580 studies",
        "3,000 (1,600 COVID, 1,400 Normal)",
        "24 files, in the order of the slices",
        "study/024.dcm",
        "read 2.5 s, prepare 800 ms, slices 41.2 s",
        "diagnosis 3.1",
        NOTICE,
    ):
        assert expected in said


def test_a_drawing_tells_its_content_to_those_who_do_not_see_it() -> None:
    text = page_of(a_ct_diagnosis())
    described = re.search(r'<desc id="plot-desc">(.*?)</desc>', text)
    assert described
    assert "19 of 24 slices" in described[1]
    assert "Marked are the slices 8, 11." in described[1]
    assert 'aria-label="Coronal cut; the slices 11, 8 are marked"' in text
    assert (
        "<title>slice 12 (instance 12), z −240.0 mm: COVID 85.0 %, Normal 13.5 %, CAP 1.5 %</title>" in text
    )
    assert "<title>slice 0 (instance 24), z −300.0 mm: no prediction</title>" in text


def test_each_explained_slice_stands_beside_its_maps() -> None:
    page = Page(page_of(a_ct_diagnosis(targets=("COVID", "CAP"))))
    shown = [name for name in page.ids if name.startswith("found-")]
    assert shown == [
        name
        for index in (11, 8)
        for name in (
            f"found-{index}",
            *(f"found-{index}-{own}-{stage}" for own in (1, 2) for stage in (3, 4, 5)),
        )
    ]


def test_a_page_without_maps_or_levels_or_geometry() -> None:
    found = replace(a_ct_of_pictures(), explanations=(), levels={"only": {"COVID": 1.0}})
    page = Page(page_of(found))
    assert (
        "There is no heat map: none was asked for, or no slice with a prediction was measured" in page.words
    )
    assert "levels" not in page.ids
    assert "mark" not in page.classes
    assert "They lie within slices 6 to 16. The network's evidence" in page.words
    assert "Slice, counted from 0 at the feet" in page.words
    assert "unknown: the files don't say" in page.words
    assert "not to scale" in page.words
    assert " mm" not in page.words.split("The study")[1].split("The model")[0]


def test_a_models_record_counts_what_it_learnt_from() -> None:
    by_levels = a_ct_diagnosis()
    by_slices = replace(by_levels, levels={})
    assert "internal, 580 studies" in Page(page_of(by_levels)).words
    assert "internal, 580 slices" in Page(page_of(by_slices)).words


def test_a_referred_study_is_headed_so() -> None:
    assert "<h1>Referred: a person must decide</h1>" in page_of(a_ct_diagnosis(decision=Decision.REFER))
    assert "<h1>COVID</h1>" in page_of(a_ct_diagnosis())


def test_drawn_studies_and_models_of_drawn_studies_are_called_so() -> None:
    assert "Synthetic" not in Page(page_of(a_ct_diagnosis())).words
    assert "Synthetic study." in Page(page_of(a_ct_diagnosis(flags=(SYNTHETIC,)))).words
    named = replace(a_ct_diagnosis(), model={**a_ct_diagnosis().model, "name": "ct-covid-synthetic"})
    assert "Synthetic model. ct-covid-synthetic " in Page(page_of(named)).words
    for sources, expected in ({"phantom": 300}, True), (["phantom"], True), ({"phantom": 3, "A": 1}, False):
        taught = replace(a_ct_diagnosis(), card={**CARD, "training_data": {"sources": sources}})
        assert ("Synthetic model." in Page(page_of(taught)).words) is expected


@pytest.mark.parametrize("name", ['"><img src=http://evil/x onerror=alert(1)>', "<script>alert(1)<"])
def test_a_file_name_never_becomes_markup(name: str) -> None:
    honest, nasty = Page(page_of(a_ct_diagnosis())), Page(page_of(a_ct_diagnosis(folder=name)))
    assert nasty.tags == honest.tags
    assert nasty.addresses == honest.addresses
    assert f"{name}/024.dcm" in nasty.text


def test_classes_and_classifiers_never_become_markup() -> None:
    bad = "<b onclick='x'>&"
    found = a_ct_diagnosis(targets=(bad,))
    page = Page(page_of(replace(found, levels={bad: {bad: 1.0}, "other": {"COVID": 1.0}})))
    assert page.text.count(bad) >= 1 + 2 * 3
    assert "onclick" not in "".join(page.classes + page.ids)


def test_the_page_says_where_the_measure_lowers_a_score() -> None:
    found = a_ct_diagnosis()
    said = "lowered where hardly any of its lung is dense by measure"
    assert said not in page_of(found)
    measured = tuple(replace(one, dense_fraction=0.1) for one in found.slices)
    assert said in page_of(replace(found, slices=measured, levels={}))
    assert said not in page_of(replace(found, slices=measured))  # a model of three levels


def test_findings_of_one_slice_and_of_none() -> None:
    found = a_ct_diagnosis()
    quiet = {"COVID": 0.1, "CAP": 0.1, "Normal": 0.8}
    loud = {"COVID": 0.3, "CAP": 0.2, "Normal": 0.5}
    one = replace(found, slices=(SliceResult(0, "a", -3.0, quiet), SliceResult(1, "b", -1.0, loud)))
    assert findings(one) == [
        "2 of 2 slices show enough lung for a prediction.",
        "In 1 of them COVID or CAP is more probable than not. It is slice 1 (z −1.0 mm).",
    ]
    none = replace(found, slices=(SliceResult(0, "a", -3.0, quiet), SliceResult(1, "b", -1.0, None)))
    assert findings(none)[0] == "1 of 2 slices shows enough lung for a prediction."
    assert findings(none)[1] == "In none of them is COVID or CAP more probable than not."
    blank = replace(found, slices=(SliceResult(0, "a", -3.0, None),))
    assert findings(blank) == ["No slice shows enough lung for a prediction by itself."]


def test_a_single_slice_needs_no_plot() -> None:
    found = a_ct_of_pictures()
    one = replace(
        found,
        scan=replace(found.scan, pixels=found.scan.pixels[:1]),
        slices=found.slices[:1],
        explanations=(),
    )
    assert "along" not in Page(page_of(one)).ids
    judged = replace(one, slices=(replace(found.slices[11], index=0),))
    assert findings(judged) == []
    assert "The slice As seen from the feet" in Page(page_of(judged)).words


def test_slices_cross_a_cut_at_their_height() -> None:
    axis = axis_of(
        a_ct_diagnosis().scan
    )  # -302.5 to -182.5 mm on 120 px: slice 0 is centred 2.5 px from the bottom
    for indices, expected in (
        ([0, 12], [(12, 57.5, 57.5), (0, 117.5, 116)]),
        ([8, 11], [(11, 62.5, 62.5), (8, 77.5, 77.5)]),
        ([10, 11], [(11, 62.5, 62.5), (10, 67.5, 77.5)]),
    ):
        np.testing.assert_allclose(cut_marks(CUT, axis, indices), expected)


def test_a_tilted_gantry_is_told() -> None:
    scan = a_ct_diagnosis().scan
    assert scan.geometry
    tilted = replace(scan, geometry=replace(scan.geometry, slice_step_mm=(0, 5.0, 5.0)))
    assert dict(geometry(tilted, axis_of(tilted)))["Tilt of the gantry"].startswith("45.0°")
    assert "Tilt of the gantry" not in dict(geometry(scan, axis_of(scan)))


def test_how_a_series_was_made_is_told_and_its_date_only_where_asked() -> None:
    scan = a_ct_diagnosis().scan
    told = dict(acquisition(scan))
    assert "2.000 mm" in told["Thickness of a slice"]
    assert "D40S" in told["Kernel"]
    assert "2020-03-05" not in page_of(a_ct_diagnosis())
    assert "2020-03-05" in dict(acquisition(scan, show_date=True)).values()
    assert acquisition(replace(scan, facts=None), show_date=True) == []
    assert acquisition(replace(scan, facts=Facts()), show_date=True) == []


def test_slices_that_touch_overlap_or_leave_gaps_are_told_apart() -> None:
    scan = a_ct_diagnosis().scan  # slices are 5 mm apart
    said = [dict(acquisition(replace(scan, facts=Facts(thickness_mm=mm)))) for mm in (2.0, 5.0, 7.5)]
    assert len({words["Thickness of a slice"].partition("mm, ")[2] for words in said}) == 3


def test_the_summary_of_a_ct_tells_of_slices_and_classifiers() -> None:
    lines = summary(to_json(a_ct_diagnosis(flags=(SYNTHETIC,))))
    assert lines[0] == "Synthetic study: a program made it, there is no patient."
    assert lines[1:6] == [
        "Most probable   COVID, 91.0 %",
        f"Decision        {DECISIONS[Decision.REPORT].title.lower()}: {DECISIONS[Decision.REPORT].meaning}",
        "Reason          The most probable class has 0.910.",
        "Slices          19 of 24 predicted; most suspicious: 11 (z -245.0 mm), COVID, 95.0 %",
        "Classifiers     maxpool COVID, 94.0 %; bilstm CAP, 62.0 %; bilstm-weighted COVID, 88.0 %",
    ]
    assert not any(line.startswith(("Slices", "Classifiers")) for line in summary(to_json(a_diagnosis())))


def test_the_summary_of_slices_without_height_or_lung() -> None:
    lines = summary(to_json(a_ct_of_pictures()))
    assert "Slices          19 of 24 predicted; most suspicious: 11, COVID, 95.0 %" in lines
    found = a_ct_diagnosis()
    blank = replace(found, slices=tuple(replace(one, probabilities=None) for one in found.slices), levels={})
    assert "Slices          0 of 24 predicted" in summary(to_json(blank))
