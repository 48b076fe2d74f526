"""What the data-set check's figures mean: ``ok``, ``warn`` or ``fail``, each with a sentence."""

from __future__ import annotations

from collections import Counter
from typing import Literal

from pulmoscope.datasets.check.findings import CheckReport, Verdict

# Our own limits. Leaks make a result wrong, so little is allowed; confounding makes it doubtful.
FAIL_UNREADABLE = 0.01
FAIL_NEAR_LEAKS = 0.01
WARN_IMBALANCE = 10
WARN_SOURCE, FAIL_SOURCE = 0.3, 0.6
WARN_PROBE, FAIL_PROBE = 0.25, 0.5


def verdicts_of(report: CheckReport) -> tuple[Verdict, ...]:
    """All rules, in the order in which they should be read."""
    return (
        _files(report),
        _classes(report),
        _splits(report),
        _identical(report),
        _near_duplicates(report),
        _patients(report),
        _labels(report),
        _sources(report),
        _probe(report),
    )


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def _files(report: CheckReport) -> Verdict:
    count = len(report.problems)
    if not count and report.studies:
        text = f"All {report.images} images are there; CT studies ({report.studies} of them) were not opened."
        return Verdict("files", "ok", text)
    if not count:
        return Verdict("files", "ok", f"All {report.images} images are there and can be read.")
    bad = count > FAIL_UNREADABLE * report.images
    return Verdict(
        "files", "fail" if bad else "warn", f"{count} of {report.images} files are missing or unreadable."
    )


def _classes(report: CheckReport) -> Verdict:
    images: Counter[str] = Counter()
    for count in report.counts:
        images[count.label] += count.images
    unlabelled = images.pop("", 0)
    if unlabelled:
        return Verdict("classes", "warn", f"{unlabelled} of {report.images} images have no label.")
    if len(images) < 2:
        return Verdict("classes", "warn", "There is only one class: nothing can be told apart.")
    (most, high), (least, low) = images.most_common()[0], images.most_common()[-1]
    text = f"{len(images)} classes; the largest, {most}, has {high} images, the smallest, {least}, {low}."
    return Verdict("classes", "warn" if high > WARN_IMBALANCE * low else "ok", text)


def _splits(report: CheckReport) -> Verdict:
    splits = report.splits
    if "" in splits:
        return Verdict("splits", "warn", "Some images belong to no split and are left aside.")
    if len(splits) < 2:
        return Verdict("splits", "warn", f"There is only one split, {splits[0]}: good for evaluation only.")
    present = {(count.split, count.label) for count in report.counts}
    labels = sorted({count.label for count in report.counts})
    absent = [f"{label} in {split}" for split in splits for label in labels if (split, label) not in present]
    if absent:
        return Verdict("splits", "fail", f"Classes are missing from splits: {', '.join(absent)}.")
    return Verdict("splits", "ok", f"Every class is in every split ({', '.join(splits)}).")


def _identical(report: CheckReport) -> Verdict:
    identical = [pair for pair in report.pairs if pair.identical]
    leaks = sum(pair.leaks for pair in identical)
    if leaks:
        text = f"{_count(leaks, 'pair')} of identical files in two splits: test results will be too good."
        return Verdict("identical files", "fail", text)
    if identical:
        return Verdict(
            "identical files",
            "warn",
            f"{_count(len(identical), 'pair')} of identical files, each within one split.",
        )
    return Verdict("identical files", "ok", "No file is there twice.")


def _near_duplicates(report: CheckReport) -> Verdict:
    near = [pair for pair in report.pairs if not pair.identical]
    leaking = {file for pair in near if pair.leaks for file in (pair.first, pair.second)}
    if leaking:
        bad = len(leaking) > FAIL_NEAR_LEAKS * report.readable
        text = (
            f"{_count(sum(pair.leaks for pair in near), 'pair')} of near-duplicates in two splits "
            f"({len(leaking)} images, {len(leaking) / report.readable:.1%}): look at them."
        )
        return Verdict("near-duplicates", "fail" if bad else "warn", text)
    if near:
        text = (
            f"{_count(len(near), 'pair')} of near-duplicates, each within one split: they count as one image."
        )
        return Verdict("near-duplicates", "warn", text)
    if report.studies:
        text = f"CT studies ({report.studies} of {report.images}) are compared by their files, not by what they show."
        return Verdict("near-duplicates", "ok" if report.studies < report.images else "warn", text)
    return Verdict("near-duplicates", "ok", "No two pictures look nearly the same.")


def _patients(report: CheckReport) -> Verdict:
    if report.patient_leaks:
        count = _count(len(report.patient_leaks), "patient")
        text = f"{count} with images in several splits: results will be too good."
        return Verdict("patients", "fail", text)
    if report.unknown_patients:
        text = (
            f"{report.unknown_patients} of {report.images} images have no patient id: whether patients are in "
            "two splits is unknown."
        )
        return Verdict("patients", "warn", text)
    return Verdict("patients", "ok", "No patient is in two splits.")


def _labels(report: CheckReport) -> Verdict:
    conflicts = [pair for pair in report.pairs if pair.conflicts]
    identical = sum(pair.identical for pair in conflicts)
    if not conflicts:
        return Verdict("labels", "ok", "No picture has two labels.")
    text = (
        f"{_count(len(conflicts), 'pair')} of the same or nearly the same picture with different labels "
        f"(identical files: {identical})."
    )
    return Verdict("labels", "fail" if identical else "warn", text)


def _sources(report: CheckReport) -> Verdict:
    if report.source_v is None:
        text = "Fewer than two sources are named: whether the source gives the class away can't be measured."
        return Verdict("sources", "warn", text)
    strength = report.source_v
    verdict: Literal["ok", "warn", "fail"] = (
        "fail" if strength > FAIL_SOURCE else "warn" if strength > WARN_SOURCE else "ok"
    )
    meaning = {
        "ok": "the source says little about the class.",
        "warn": "the source says something about the class: read results by source.",
        "fail": "the source nearly determines the class: a model can be right for the wrong reason.",
    }[verdict]
    return Verdict("sources", verdict, f"Cramér's V between class and source is {strength:.2f}: {meaning}")


def _probe(report: CheckReport) -> Verdict:
    if report.probe is None and report.studies == report.images:
        return Verdict(
            "shortcuts", "warn", "Whether outward features tell the class is not tried with CT studies."
        )
    if report.probe is None:
        return Verdict(
            "shortcuts", "warn", "Too few labelled images to try whether outward features tell the class."
        )
    probe = report.probe
    verdict: Literal["ok", "warn", "fail"] = (
        "fail" if probe.excess > FAIL_PROBE else "warn" if probe.excess > WARN_PROBE else "ok"
    )
    name, best = probe.by_feature[0]
    text = (
        f"A tree of depth 2 on outward features (format, size, compression, brightness, border) tells the class "
        f"with balanced accuracy {probe.balanced_accuracy:.2f} (guessing: {probe.chance:.2f}); best alone: {name}, "
        f"{best:.2f}."
    )
    return Verdict("shortcuts", verdict, text)
