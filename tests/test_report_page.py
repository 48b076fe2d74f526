from __future__ import annotations

import re
from dataclasses import replace
from html.parser import HTMLParser

import pytest

from diagnoses import CARD, SYNTHETIC, UNCHECKED, UNDEREXPOSED, a_diagnosis
from pulmoscope.core.files import NOTICE
from pulmoscope.core.types import Decision, Diagnosis, PredictionSet
from pulmoscope.report.diagnosis import to_json
from pulmoscope.report.names import DECISIONS, FIGURES, ROLES, figure_name
from pulmoscope.report.page import (
    DataSet,
    Figure,
    Pictures,
    figure_table,
    of_hundred,
    set_in_words,
    summary,
    to_html,
)
from pulmoscope.runtime.audited import UNAUDITED

DRAWN = "data:image/png;base64,AAAA"


def page_of(diagnosis: Diagnosis) -> str:
    return to_html(diagnosis, Pictures(DRAWN, (DRAWN,) * len(diagnosis.explanations), DRAWN))


class Loads(HTMLParser):
    """Everything that a page would fetch, and every tag that it opens."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.addresses: list[str] = []
        self.tags: list[str] = []
        self.text = ""
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.addresses += [
            value or ""
            for name, value in attrs
            if name in ("src", "href", "srcset", "action", "poster", "data")
        ]

    def handle_data(self, data: str) -> None:
        self.text += data


def words(page: str) -> str:
    return " ".join(Loads(page).text.split())


def test_the_page_stands_alone() -> None:
    page = page_of(a_diagnosis())
    assert all(address.startswith(("data:", "#")) for address in Loads(page).addresses)
    assert not re.search(r"url\(|@import|https?://|<link[^>]+stylesheet", page)


def test_the_notice_stands_above_the_first_card() -> None:
    page = page_of(a_diagnosis())
    rest = NOTICE.partition(".")[2]
    body = page.index("<body>")
    assert body < page.index(rest, body) < page.index('class="card', body)


def test_every_printed_sheet_carries_the_notice() -> None:
    style = re.search(r"@page \{.*?@bottom-left \{ content: \"([^\"]*)\"", page_of(a_diagnosis()), re.DOTALL)
    assert style
    assert style[1] == NOTICE  # it needs no escapes


def test_what_is_folded_or_chosen_on_the_screen_is_printed() -> None:
    page = page_of(a_diagnosis())
    printed = "".join(re.findall(r"@media print \{(.*?)\n\}", page, re.DOTALL))
    assert re.search(r"::details-content \{[^}]*content-visibility: visible", printed)
    assert re.search(r"\.heat \{[^}]*display: block", printed)
    assert Loads(page).tags.count("figcaption") == 1 + len(a_diagnosis().explanations)


@pytest.mark.parametrize("decision", Decision)
def test_page_and_summary_say_what_a_decision_means(decision: Decision) -> None:
    found = a_diagnosis(decision=decision)
    name = DECISIONS[decision]
    assert name.title in words(page_of(found))
    assert name.meaning in words(page_of(found))
    (line,) = [line for line in summary(to_json(found)) if line.startswith("Decision")]
    assert line.split(maxsplit=1)[1] == f"{name.title.lower()}: {name.meaning}"
    assert to_json(found)["prediction"]["decision"] == decision.value


def test_the_page_says_what_a_reader_needs() -> None:
    said = words(page_of(a_diagnosis(flags=(UNDEREXPOSED,))))
    for expected in (
        "91.2 %",
        "The most probable class has 0.912.",
        "Underexposed. Bright parts reach 11 % (20 % and more).",
        "about 91 can be expected to be COVID",
        "temperature 1.31, fitted on a drawn validation split",
        "internal, 580 images",
        "external, 312 images",
        "0.935–0.968",
        "0.871",
        "3,000 (1,600 COVID, 1,400 Normal)",
        "hospital A (2,000), hospital B (1,100)",
        "CC0",
        "test split of hospital A",
        figure_name("auroc_blackout").title,
        "0.660–0.744",
        "can only choose among COVID, Normal, Viral Pneumonia",
        "ab" * 32,
        "64 × 48 px, 0.140 × 0.140 mm a pixel, view PA",
        "openvino 2026.1",
        NOTICE,
    ):
        assert expected in said


def test_a_referred_scan_is_headed_so() -> None:
    assert "<h1>Referred: a person must decide</h1>" in page_of(a_diagnosis(decision=Decision.REFER))
    assert "<h1>COVID</h1>" in page_of(a_diagnosis())


def test_a_drawn_image_is_called_synthetic() -> None:
    assert "Synthetic image." in words(page_of(a_diagnosis(flags=(SYNTHETIC,))))
    assert "Synthetic image." not in words(page_of(a_diagnosis()))


def test_a_model_that_saw_no_patient_says_so() -> None:
    assert "Synthetic model." not in words(page_of(a_diagnosis()))
    taught = replace(a_diagnosis(), card={**CARD, "training_data": {"sources": ["phantom"]}})
    assert "Synthetic model. tiny " in words(page_of(taught))
    named = replace(a_diagnosis(), model={**a_diagnosis().model, "name": "xray-synthetic"})
    assert "Synthetic model. xray-synthetic " in words(page_of(named))
    assert summary(to_json(named))[0].startswith("Synthetic model")


@pytest.mark.parametrize(
    "name", ['"><img src=http://evil/x onerror=alert(1)>.png', "<script>alert(1)</script>.png"]
)
def test_a_file_name_never_becomes_markup(name: str) -> None:
    honest, nasty = Loads(page_of(a_diagnosis())), Loads(page_of(a_diagnosis(name=name)))
    assert nasty.tags == honest.tags
    assert nasty.addresses == honest.addresses
    assert name in nasty.text


def test_there_is_one_button_per_heat_map_and_one_for_none() -> None:
    assert Loads(page_of(a_diagnosis())).tags.count("input") == 2 + 1 + 1  # and the slider
    alone = page_of(a_diagnosis(targets=()))
    assert "input" not in Loads(alone).tags
    assert "No heat map was asked for" in alone


def test_a_bundle_without_figures_says_so() -> None:
    diagnosis = a_diagnosis()
    bare = Diagnosis(
        diagnosis.scan, diagnosis.model, diagnosis.quality, diagnosis.prediction, software=diagnosis.software
    )
    said = words(page_of(bare))
    assert "This bundle brings no figures" in said
    assert "were not calibrated" in said


def test_figures_stand_side_by_side() -> None:
    table = figure_table(CARD["metrics"], audit=False)
    assert table["sets"] == [
        DataSet("Drawn test", ROLES["internal"], 580, "test split of hospital A"),
        DataSet("Drawn elsewhere", ROLES["external"], 312, ""),
    ]
    assert table["rows"] == [
        (FIGURES["accuracy"], [Figure(0.953, 0.935, 0.968), None]),
        (FIGURES["macro_auroc"], [None, Figure(0.871, 0.812, 0.918)]),
    ]
    assert [term for term, _ in table["glossary"]] == [
        "Drawn test",
        ROLES["internal"].title,
        ROLES["external"].title,
        FIGURES["accuracy"].title,
        FIGURES["macro_auroc"].title,
    ]
    assert figure_table(CARD["metrics"], audit=True)["rows"] == [
        (figure_name("auroc_blackout"), [Figure(0.703, 0.66, 0.744)])
    ]


@pytest.mark.parametrize(
    ("probability", "said"),
    [
        (0.002, "fewer than 1"),
        (0.006, "about 1"),
        (0.934, "about 93"),
        (0.994, "about 99"),
        (0.999, "more than 99"),
    ],
)
def test_of_a_hundred_images(probability: float, said: str) -> None:
    assert of_hundred(probability) == said


def test_the_summary_is_plain() -> None:
    flags = (UNCHECKED, SYNTHETIC, UNDEREXPOSED)
    lines = summary(to_json(a_diagnosis(flags=flags, decision=Decision.REFER)))
    assert lines[0].startswith("Synthetic image")
    assert "COVID, 91.2 %" in lines[1]
    assert "refer" in lines[2]
    assert [line.split(": ")[0].strip() for line in lines[-6:-1]] == [
        "Image quality   warn",
        "Synthetic",
        "Underexposed",
        "Limits of this model",
        "Patient rule",
    ]
    assert lines[-2].endswith(UNCHECKED.message)


def test_the_limits_of_the_model_stand_under_a_heading_of_their_own() -> None:
    said = words(page_of(a_diagnosis(flags=(UNCHECKED, UNDEREXPOSED))))
    quality, limits = said.split("Limits of this model")
    assert UNDEREXPOSED.finding[1:] in quality
    assert "Patient rule. Checked on 3 patients (50 are enough)." in limits
    without = words(page_of(a_diagnosis(flags=(UNDEREXPOSED,)))).split("Limits of this model")[1]
    assert "Patient rule" not in without


def test_page_terminal_and_json_say_what_the_audit_of_the_model_comes_to() -> None:
    trust = {"level": "bad", "says": "No: it reads letters."}
    record = {
        "role": "audit",
        "what": "split test",
        "images": 8,
        "figures": {},
        "verdicts": [],
        "trust": trust,
    }
    audited = replace(a_diagnosis(), card={"metrics": {"audit": record}})
    never = replace(a_diagnosis(), card={})
    assert to_json(audited)["audit"] == trust
    assert to_json(never)["audit"] == {"level": "none", "says": UNAUDITED}
    for diagnosis, says in ((audited, trust["says"]), (never, UNAUDITED)):
        assert says in words(page_of(diagnosis)).split("Limits of this model")[1]
        assert summary(to_json(diagnosis))[-1].endswith(says)


@pytest.mark.parametrize("classes", [("COVID", "Normal"), ()])
def test_page_and_summary_say_what_cannot_be_ruled_out(classes: tuple[str, ...]) -> None:
    bare = a_diagnosis()
    fitting = PredictionSet(0.9, classes)
    made = replace(bare, prediction=replace(bare.prediction, set=fitting))
    sentence = set_in_words(fitting, "images")
    assert "90 of 100 images" in sentence
    assert all(name in sentence for name in classes)
    assert sentence in words(page_of(made))
    assert any(line.endswith(sentence) for line in summary(to_json(made)))
    assert "90 of 100" not in words(page_of(bare))
