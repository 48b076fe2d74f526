"""Which items of CLAIM 2024 and TRIPOD+AI a model's bundle and its audit report.

CLAIM: Tejani and others, «Checklist for Artificial Intelligence in Medical Imaging (CLAIM): 2024 Update», Radiology:
Artificial Intelligence 2024, 44 items. TRIPOD+AI: Collins and others, «TRIPOD+AI statement», BMJ 2024, 27 items in 52
parts. Both are made for articles. What is meant by an item stands in the articles; here are its number and a few words.
A model can't know what only its authors do: the protocol, ethics, funding, registration. That is «not known», and
whoever publishes must tell it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from pulmoscope.evaluation.audit.facts import FACTS, Audit
from pulmoscope.runtime.bundle import Bundle

CLAIM, TRIPOD = "CLAIM 2024", "TRIPOD+AI"

Status = Literal["reported", "partly", "not known"]


@dataclass(frozen=True)
class Item:
    """One item of a guideline.

    Attributes:
        number: as the guideline counts.
        what: in short, our words.
        needs: of :data:`~pulmoscope.evaluation.audit.facts.FACTS`; where all are known the item is reported.
        hints: evidence that tells a part of it, however much there is.
    """

    number: str
    what: str
    needs: tuple[str, ...] = ()
    hints: tuple[str, ...] = ()


def _item(number: str, what: str, needs: str = "", hints: str = "") -> Item:
    """An item whose evidence is named in one text each, divided by commas."""
    return Item(
        number, what, *(tuple(filter(None, map(str.strip, text.split(",")))) for text in (needs, hints))
    )


ITEMS: dict[str, tuple[Item, ...]] = {
    CLAIM: (
        _item("1", "a title that names AI and its kind", "title, model"),
        _item("2", "a summary of design, methods and results", hints="title, counts, figures"),
        _item("3", "background, and what the model is meant for", hints="use, paper"),
        _item("4", "aims and hypotheses"),
        _item("5", "prospective or retrospective"),
        _item("6", "what the study is to achieve"),
        _item("7", "where the data come from", "sources"),
        _item("8", "whom the data include and exclude", hints="views, warnings, words"),
        _item("9", "how images are prepared", "preprocess"),
        _item("10", "how parts of the data were chosen", hints="warnings, source classes"),
        _item("11", "how data were de-identified"),
        _item("12", "what is done where data are missing", hints="imputer"),
        _item("13", "how the images were taken", hints="views"),
        _item("14", "how the reference standard was obtained", hints="words, wording"),
        _item("15", "why this reference standard"),
        _item("16", "who annotated"),
        _item("17", "how the test set was annotated"),
        _item("18", "how far annotators agree"),
        _item("19", "how data were divided", hints="counts, fingerprint, warnings"),
        _item("20", "at what level the parts are disjoint", "patients, audit duplicates"),
        _item("21", "how large the test set had to be"),
        _item("22", "the model in detail", "model, parts"),
        _item("23", "software with versions", "software"),
        _item("24", "the weights before training", "weights"),
        _item("25", "how it was trained", "training, augment, seed"),
        _item("26", "how the final model was chosen", hints="training, validation, internal"),
        _item("27", "how several models are joined", "votes"),
        _item("28", "by which figures it is measured", "figures", "audit calibration, audit prevalence"),
        _item("29", "uncertainty and significance", "intervals", hints="audit repeated"),
        _item("30", "robustness", "audit robustness", hints="audit erasure, audit shortcuts"),
        _item("31", "explanations, and whether they hold", "audit maps"),
        _item("32", "figures on internal data", "internal"),
        _item("33", "figures on external data", "external", hints="left out, audit left out"),
        _item("34", "registration of a trial"),
        _item("35", "numbers included and excluded", hints="counts, audit data, warnings"),
        _item(
            "36",
            "who the patients of each part are",
            hints="source classes, views, audit people, audit views",
        ),
        _item("37", "performance with its uncertainty", "figures, intervals"),
        _item("38", "diagnostic accuracy and its precision", "errors, intervals"),
        _item("39", "which cases it gets wrong", hints="errors"),
        _item("40", "limits", hints="use, audit erasure, audit shortcuts, left out"),
        _item("41", "what it means for practice", hints="use"),
        _item("42", "where the protocol and details are", hints="commands, paper"),
        _item("43", "whether software, model and data can be had", "parts, terms"),
        _item("44", "funding"),
    ),
    TRIPOD: (
        _item("1", "a title that names model, people and outcome", hints="title, classes"),
        _item("2", "a structured abstract", hints="title, counts, figures"),
        _item("3a", "the medical context, and other models", hints="use, paper"),
        _item("3b", "for whom and what it is meant, and by whom used", hints="use"),
        _item("3c", "known inequalities between groups"),
        _item("4", "aims: developed, evaluated or both"),
        _item("5a", "sources of the data, and whom they represent", hints="sources, audit data"),
        _item("5b", "dates of the data"),
        _item("6a", "the setting, with number and place of centres", hints="sources, hospitals"),
        _item("6b", "who was eligible", hints="views, words"),
        _item("6c", "treatments"),
        _item("7", "preparation and quality checks of the data", hints="preprocess, warnings"),
        _item("8a", "the outcome and how it is assessed", hints="classes, words, wording"),
        _item("8b", "who assessed the outcome"),
        _item("8c", "blinding of that assessment"),
        _item("9a", "how predictors were chosen", hints="preprocess"),
        _item("9b", "what the predictors are", "preprocess"),
        _item("9c", "who assessed predictors by eye"),
        _item("10", "why this many patients"),
        _item("11", "missing data", hints="imputer"),
        _item("12a", "how data were used and divided", "counts, patients"),
        _item("12b", "how predictors are scaled", "preprocess"),
        _item("12c", "kind of model, and how it was built", hints="model, training, internal"),
        _item(
            "12d",
            "differences between hospitals",
            "left out",
            hints="audit hospitals, audit left out, hospitals",
        ),
        _item(
            "12e",
            "measures of performance",
            "figures, intervals, calibration figures",
            "audit calibration, audit prevalence",
        ),
        _item("12f", "recalibration", "calibrated here", hints="temperature"),
        _item("12g", "how predictions are calculated", "parts, verified"),
        _item("13", "unequal classes", "imbalance"),
        _item("14", "fairness", "audit people"),
        _item("15", "what it puts out, and its thresholds", "classes, thresholds, temperature"),
        _item("16", "how training and evaluation data differ", hints="sources, audit data, hospitals"),
        _item("17", "ethics and consent"),
        _item("18a", "funding"),
        _item("18b", "conflicts of interest"),
        _item("18c", "protocol"),
        _item("18d", "registration"),
        _item("18e", "whether the data can be had", "sources, terms", hints="fingerprint"),
        _item("18f", "whether the code can be had", hints="software, commands"),
        _item("19", "part that patients and the public had"),
        _item("20a", "how many took part, with and without the outcome", hints="counts, patients"),
        _item("20b", "who they are, by source", hints="source classes, views, audit people, audit views"),
        _item("20c", "how they differ from the training's", hints="source classes, audit data"),
        _item("21", "how many in each analysis", "counts, figures"),
        _item("22", "the full model, to use and to test", "parts, verified, terms"),
        _item("23a", "performance with intervals, and in subgroups", "intervals, audit people"),
        _item(
            "23b",
            "how performance differs between hospitals",
            "left out",
            hints="audit hospitals, audit left out",
        ),
        _item("24", "performance after recalibration", "recalibrated"),
        _item(
            "25", "interpretation, fairness among it", hints="audit erasure, audit shortcuts, audit people"
        ),
        _item("26", "limits", hints="use, audit erasure, audit shortcuts, left out"),
        _item(
            "27a", "what to do with poor input", "distance, view network", hints="imputer, audit robustness"
        ),
        _item("27b", "what is expected of its users", hints="use, thresholds"),
        _item("27c", "what is to be done next"),
    ),
}
"""By guideline, all items in its order."""


def checklist(facts: tuple[Bundle, Audit]) -> list[dict[str, str]]:
    """Which items are reported, and where.

    ``reported``: all that the item asks for and a model can tell is told. ``partly``: some of it. ``not known``: none,
    or it is not a model's to know. It says what is told, not that it is good.

    Args:
        facts: the model's bundle, and the content of its ``audit.json``; empty: it was not audited.

    Returns:
        A row an item: ``list`` (the guideline), ``item`` (its number), ``what``, ``status``, and ``where`` it is told
        (empty where it is not known).
    """
    return [
        {"list": guideline, "item": item.number, "what": item.what, **_answer(item, *facts)}
        for guideline, items in ITEMS.items()
        for item in items
    ]


def _answer(item: Item, bundle: Bundle, audit: Audit) -> dict[str, str]:
    """``status`` and ``where`` of an item."""
    told = [name for name in (*item.needs, *item.hints) if FACTS[name].known(bundle, audit)]
    whole = bool(item.needs) and set(item.needs) <= set(told)
    status: Status = "reported" if whole else "partly" if told else "not known"
    places = dict.fromkeys(place for name in told for place in FACTS[name].where.split("; "))
    return {"status": status, "where": "; ".join(places)}
