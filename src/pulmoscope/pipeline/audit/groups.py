"""Figures by age band, sex and view, where they are known."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from pulmoscope.datasets.table import Sample, SampleTable
from pulmoscope.evaluation.audit.groups import NAMES, age_band, group_figures, verdict
from pulmoscope.io.patient_facts import patient_facts
from pulmoscope.pipeline.audit.subject import Found, Subject


def found(subject: Subject) -> Found:
    """What the table says of its rows, and how the model does in each group; by label, too."""
    rows = {sample.file: sample for sample in subject.table}
    samples = [_known(subject.table, rows[file]) for file in subject.answers.files]
    by = {
        name: group_figures(subject.answers, _groups(name, samples), subject.bootstrap, subject.seed)
        for name in NAMES
    }
    overall = group_figures(subject.answers, ["all"] * len(samples), subject.bootstrap, subject.seed)
    return {
        "names": dict(NAMES),
        "by": {name: [row.plain() for row in found] for name, found in by.items()},
        "unknown": {name: sum(not group for group in _groups(name, samples)) for name in NAMES},
        "by_label": overall[0].plain()["by_label"],
        "verdicts": [verdict(name, found).plain() for name, found in by.items()],
        "figures": {
            f"auroc_{name}_{row.hospital}": row.auroc_within.plain()
            for name, found in by.items()
            for row in found
            if row.auroc_within.value is not None
        },
    }


def _known(table: SampleTable, sample: Sample) -> Sample:
    """With what the file's header says, where the table does not."""
    if sample.age is not None and sample.sex and sample.view:
        return sample
    facts = patient_facts(table.path(sample))
    return replace(
        sample,
        age=facts.age if sample.age is None else sample.age,
        sex=sample.sex or facts.sex,
        view=sample.view or facts.view,
    )


def _groups(name: str, samples: Sequence[Sample]) -> list[str]:
    """Each row's group; empty where it is not known."""
    if name == "age":
        return ["" if sample.age is None else age_band(sample.age) for sample in samples]
    return [str(getattr(sample, name)) for sample in samples]
