"""What figures, data sets, sources and decisions are called on pages and cards, for a reader who sees them first.

The keys are those that ``metrics.json``, ``audit.json``, ``hospitals.json`` and bundles write; they stay as they are
there. A key that is not known here becomes readable words, without a meaning.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import NamedTuple


class Name(NamedTuple):
    """A title and one line on what it means; ``term``: what a glossary calls it, empty: as the title."""

    title: str
    meaning: str = ""
    term: str = ""


MAPS = {
    "grad-cam": Name(
        "Grad-CAM",
        "where in the image the network found what speaks for the class, relative to the strongest place",
    ),
    "grad-cam++": Name(
        "Grad-CAM++",
        "where the network found what speaks for the class; features that speak against it are left out, and strong "
        "ones count less",
    ),
    "layer-cam": Name(
        "LayerCAM",
        "where the network found what speaks for the class; features that speak against it are left out",
    ),
    "contrast-cam": Name(
        "Contrastive Grad-CAM",
        "where in the image the network found what speaks for the class rather than for the other classes, relative to "
        "the strongest place",
    ),
    "occlusion": Name(
        "Occlusion", "how much less probable the class becomes when a place of the image is blurred"
    ),
    "rise": Name(
        "RISE",
        "where the class becomes more probable when a place is shown instead of blurred, relative to the strongest "
        "place; measured on 64 partly blurred copies of the image, and empty where the difference may be chance",
    ),
    "anomaly": Name(
        "Unlike normal lungs",
        "where the image is farther from normal training images than these are from each other, in the network's eyes",
    ),
}
"""The kinds of heat maps."""

_CHANGES = {
    "blur": "blurred, s.d. of {} % of the longer side",
    "noise": "with noise, s.d. of {} % of the range of greys",
    "gamma": "with gamma {}",
    "resolution": "shrunk to {}",
    "jpeg": "saved as JPEG of quality {}",
    "rotation": "turned by {}°",
    "crop": "cropped by {} % of each side",
    "letters": "with burned-in letters, {} of them",
    "devices": "with simulated lines and leads, {} of them",
}
"""Images that an audit makes worse, by the kind of change."""

FIGURES = {
    "in_lungs": Name(
        "Evidence within the lungs", "fraction of the heat maps' mass that lies within the lungs"
    ),
    "pointing": Name(
        "Pointing game", "how often the heat map's strongest point lies on what readers have marked"
    ),
    "randomised_ssim": Name(
        "Similarity of heat maps, weights scrambled", "structural similarity of heat maps with the true ones"
    ),
    "deletion_gain": Name(
        "Deletion", "area below that of a random order when the strongest places are blurred first"
    ),
    "insertion_gain": Name(
        "Insertion", "area above that of a random order when the strongest places come back first"
    ),
    "calibration_error_disease": Name(
        "Calibration error of the disease", "debiased gap between the disease's probability and its frequency"
    ),
    "set_coverage": Name(
        "Sets of classes", "fraction of the images whose class is among those that stay possible"
    ),
    "accuracy": Name("Accuracy", "fraction of all images that are predicted correctly"),
    "balanced_accuracy": Name(
        "Balanced accuracy", "mean of the classes' sensitivities: every class counts the same"
    ),
    "mcc": Name("MCC", "Matthews correlation: 1 is perfect, 0 no better than one constant answer"),
    "macro_f1": Name("Macro-F1", "mean over the classes of the harmonic mean of precision and sensitivity"),
    "macro_auroc": Name(
        "AUROC",
        "mean over the classes of the chance that an image of the class ranks above another; 0.5 is chance",
    ),
    "calibration_error": Name(
        "Calibration error", "mean gap between the stated probability and the fraction correct; 0 is best"
    ),
    "brier": Name(
        "Brier score", "sum over the classes of the squared errors of the probabilities; 0 is best, 2 worst"
    ),
    "sensitivity": Name("Sensitivity", "fraction of the class's images that are predicted as the class"),
    "specificity": Name("Specificity", "fraction of all other images that are not predicted as the class"),
    "average_precision": Name(
        "Average precision", "area under the precision–recall curve; chance is the fraction of the class"
    ),
    "auroc_within": Name(
        "AUROC within a hospital",
        "COVID against Normal among images of one hospital, where knowing the hospital does not help; 0.5 is chance",
    ),
    "auroc_disease": Name("AUROC of disease", "any disease against Normal among images of one hospital"),
    "normals_called_covid": Name(
        "Normal predicted as COVID", "fraction of Normal images whose most probable class is COVID"
    ),
    "normals_reported_covid": Name(
        "Normal reported as COVID", "fraction of Normal images that are reported as COVID, not referred"
    ),
    "wrongly_called": Name("Predicted wrongly", "fraction of images whose most probable class is wrong"),
    "wrongly_reported": Name(
        "Reported wrongly", "fraction of images that are reported, not referred, with a wrong class"
    ),
    "reported": Name("Reported", "fraction of images that are reported instead of referred to a person"),
    **{
        f"slices_{key}": Name(
            f"AUROC of infected slices, {title}",
            "infected against clean slices of the same patient, mean of the patients; 0.5 is chance",
            "AUROC of infected slices",
        )
        for key, title in {
            "answer": "the answer",
            "network": "the network alone",
            "dense": "fraction of dense lung",
            "lesion": "measured fraction of lesion",
        }.items()
    },
}
"""By the key in a metrics file."""

_CARD_KEYS = {
    "auroc": "macro_auroc",
    "AUROC_within": "auroc_within",
    "normals_called_COVID": "normals_called_covid",
    "normals_reported_as_COVID": "normals_reported_covid",
}
"""Figures that a bundle spells otherwise than a metrics file."""

_AUDITS = {
    "clean": "image as it is",
    "blackout": "border alone, centre black",
    "blackout_framed": "border alone, lungs' place kept",
    "lungs_grey": "lungs grey",
    "lungs_noise": "lungs noise",
    "lungs_only": "lungs alone",
    "centre_grey": "centre grey",
    "centre_noise": "centre noise",
    "centre_blurred": "centre blurred",
    "border_removed": "border black",
}

SOURCES = {
    "ieee8023": "COVID-19 Image Data Collection",
    "nih": "NIH ChestX-ray14",
    "openist": "OpenIST",
    "phantom": "synthetic images",
    "radiography_lundis": "COVID-19 Radiography Database and tuberculosis sets",
    "rsna": "RSNA Pneumonia Detection Challenge",
    "sars-cov-2-ct": "SARS-CoV-2 CT",
    "shenzhen": "Shenzhen tuberculosis set",
    "siim_covid19": "SIIM-FISABIO-RSNA COVID-19",
    "ucsd-covid-ct": "UCSD COVID-CT",
    "unidentified": "hospital unknown",
    "unknown": "source unknown",
}
"""Collections of images by the name that tables give them; one that is not here keeps its own."""

_SPLITS = {"train": "training split", "val": "validation split", "test": "test split", "all": "all images"}

_SETS = {
    "train": "Training",
    "val": "Validation",
    "test": "Test",
    "external": "External test",
    "audit": "Shortcut audit",
    "left-out": "Hospitals left out of training",
}
_SHORT = {"sars": "SARS-CoV-2 CT", "ucsd": "UCSD COVID-CT", "nih": "NIH", "rsna": "RSNA", "siim": "SIIM"}
"""Sources as they stand within the name of a data set."""

ROLES = {
    "internal": Name(
        "internal", "from the same collections as the training data, so the figures are too good"
    ),
    "external": Name("external", "from collections that training has not seen"),
    "left out": Name("left out", "of hospitals that training has not seen"),
    "calibration": Name(
        "calibration",
        "some of these images calibrated the model, so its probabilities look better than they are",
    ),
    "audit": Name("audit", "with parts of the image taken away, to see whether the model looks at the lungs"),
    "unknown": Name(
        "origin unknown", "from collections of which nobody knows whether training has seen them"
    ),
}

DECISIONS = {
    "report": Name("Reported", "sure enough by this model's rule"),
    "refer": Name("Referred", "a person must decide"),
}


def figure_name(key: str) -> Name:
    """What a figure of a bundle, an evaluation, an audit or a table of hospitals is called."""
    known = FIGURES.get(_CARD_KEYS.get(key, key))
    return (
        known
        or _of_worse_images(key)
        or _of_audit(key)
        or _over_hospitals(key)
        or _of_classes(key)
        or Name(_words(key))
    )


def _of_worse_images(key: str) -> Name | None:
    """AUROC of changed images, and what the features tell of the hospital."""
    label = key.removeprefix("hospital_from_features_")
    if label != key:
        return Name(
            f"Hospital told from features, {label}",
            "balanced accuracy with which features tell the image's hospital",
        )
    hospital = key.removeprefix("auroc_within_")
    if hospital != key:
        return Name(
            f"AUROC within {source_title(hospital)}", "COVID against Normal among images of one hospital"
        )
    kind, _, strength = key.removeprefix("auroc_").partition("-")
    if key.startswith("auroc_") and kind in _CHANGES:
        return Name(f"AUROC, {_CHANGES[kind].format(strength)}", "the same images, made worse on purpose")
    return None


def _of_audit(key: str) -> Name | None:
    if key.startswith("moved_"):
        trait = _words(key.removeprefix("moved_")).lower()
        meaning = (
            "how far the answer moves when images of different labels exchange this; 1: it makes the answer"
        )
        return Name(f"Answer moves with {trait}", meaning, "Answer moves with")
    code = key.removeprefix("auroc_")
    if code == key or code not in _AUDITS:
        return None
    title = f"AUROC, {_AUDITS[code]}"
    if code == "clean":
        return Name(title, "how well the classes are told apart while nothing is taken away")
    return Name(
        title, "the same after this change; with the lungs gone, 0.5 would be honest", "AUROC of a change"
    )


def _over_hospitals(key: str) -> Name | None:
    base, _, which = key.rpartition("_")
    if which not in ("mean", "worst") or not base:
        return None
    base_name = figure_name(base)
    title = f"{base_name.title}, {'mean' if which == 'mean' else 'worst hospital'}"
    return Name(title, base_name.meaning, base_name.title) if base_name.meaning else None


def _of_classes(key: str) -> Name | None:
    """A figure of one class, of a pair of classes, or of what a class outside the model's is predicted as."""
    if match := re.fullmatch(r"(sensitivity|specificity)_(.+)", key):
        name = FIGURES[match[1]]
        return Name(f"{name.title}, {match[2]}", name.meaning, name.title)
    if match := re.fullmatch(r"(AUROC|accuracy)_(.+)_against_(.+)", key):
        measure = "AUROC" if match[1] == "AUROC" else "Accuracy"
        meaning = "among the images of these two classes alone, by their two probabilities"
        return Name(f"{measure}, {match[2]} against {match[3]}", meaning, f"{measure} of two classes")
    if match := re.fullmatch(r"(.+)_([^_]+)_called_(.+)", key):
        source = source_title(match[1])
        meaning = "fraction of images of a class that the model does not know which are predicted as this one"
        return Name(f"{match[2]} predicted as {match[3]}, {source}", meaning, "Predicted as another class")
    return None


def glossary(keys: Iterable[str]) -> list[tuple[str, str]]:
    """Term and meaning of these figures, each term once, in their order; those without a meaning are left out."""
    names = [figure_name(key) for key in keys]
    return list({name.term or name.title: name.meaning for name in names if name.meaning}.items())


def set_title(key: str) -> str:
    """What a bundle's data set is called: ``val_sars`` → «Validation, SARS-CoV-2 CT»."""
    if key in _SETS:
        return _SETS[key]
    known = {**_SETS, **_SHORT}
    split, _, rest = key.partition("_")
    if split in _SPLITS and rest:
        return f"{known[split]}, {known.get(rest) or source_title(rest)}"
    return known.get(key) or SOURCES.get(key) or _words(key)


def source_title(source: str) -> str:
    """What a collection is called; empty: unknown."""
    return SOURCES.get(source or "unknown", source)


def spelt_out(text: str) -> str:
    """A bundle's sentence on a data set with its split and its collections in full."""
    text = re.sub(
        r"\bsplit (train|val|test|all)\b|^(train|val|test)\b",
        lambda match: _SPLITS[match[1] or match[2]],
        text,
    )
    return re.sub(r"[\w-]+", lambda match: SOURCES.get(match[0], match[0]), text)


def _words(key: str) -> str:
    """A key that is not known, as words."""
    text = re.sub(r"[_-]+", " ", key).strip()
    text = re.sub(r"\b(auroc|mcc|ct)\b", lambda match: match[0].upper(), text)
    return text[:1].upper() + text[1:]
