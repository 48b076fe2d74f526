"""What every part of an audit is given: the model, labelled images, and the answers for them as they are."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from pulmoscope.datasets.hospitals import hospital_of
from pulmoscope.datasets.table import Sample, SampleTable
from pulmoscope.evaluation.metrics import Predictions
from pulmoscope.pipeline.audit.studies import Change, predict_changed
from pulmoscope.pipeline.predict import Failure, Transform, predict_table, write_predictions
from pulmoscope.runtime.model import Model


@dataclass(frozen=True)
class Retrained:
    """What was trained for an audit.

    Attributes:
        hospitals: the content of ``hospitals.json``: models of the same recipe, each asked about the hospital that it
            was trained without.
        second: a model of the same recipe, data and settings, but for ``seed``.
    """

    hospitals: Mapping[str, Any]
    second: Model
    seed: int


@dataclass(frozen=True)
class Subject:
    """A model under audit.

    Attributes:
        model: opened.
        table: the images, or CT studies, that it is asked about: readable, with a label among its classes.
        out: the folder of the results.
        answers: of the images as they are, in the table's order, with their pooled features.
        failures: the images that could not be read; they are not in ``table``.
        bootstrap, seed: resamples for the intervals, and the seed of all that is drawn.
        studies: the rows are whole CT studies, and the answers their patients'; they are asked about with
            :meth:`ask_studies`, all others with :meth:`ask`. Parts that know single images only have nothing to say.
        whole: all of the data set, every split and label; None: nothing but ``table`` is at hand.
        retrained: what was trained for this audit; None: nothing.
    """

    model: Model
    table: SampleTable
    out: Path
    answers: Predictions
    failures: tuple[Failure, ...] = ()
    bootstrap: int = 1000
    seed: int = 20
    studies: bool = False
    whole: SampleTable | None = None
    retrained: Retrained | None = None
    _asked: dict[str, Predictions] = field(default_factory=dict, repr=False)

    def ask(
        self, code: str, transform: Transform, *, table: SampleTable | None = None, framed: bool = False
    ) -> Predictions:
        """The model's answers for changed images; also written as ``predictions-<code>.csv``.

        Args:
            code: of the change; the second time the first answers are given.
            transform: done to the raw image, float32 (rows, columns) in [0, 1], before all preprocessing.
            table: the images; None: all.
            framed: the lungs' place is that of the image as it was.
        """
        if code not in self._asked:
            chosen = self.table if table is None else table
            self._asked[code], _ = predict_table(self.model, chosen, transform, framed=framed)
            write_predictions(self.out / f"predictions-{code}.csv", self._asked[code])
        return self._asked[code]

    def ask_studies(
        self, changes: Mapping[str, Change], *, table: SampleTable | None = None
    ) -> dict[str, Predictions]:
        """The model's answers for changed CT studies; also written as ``predictions-<code>.csv``.

        Args:
            changes: code → what is done to the CT.
            table: the studies; None: all.

        Returns:
            Code → answers, without the studies that were refused when changed; without the codes under which all were.
        """
        answers, _ = predict_changed(self.model, self.table if table is None else table, changes)
        for code, predictions in answers.items():
            write_predictions(self.out / f"predictions-{code}.csv", predictions)
        return answers

    def some(self, images: int) -> SampleTable:
        """At most so many images, drawn with the seed, as evenly from every hospital's every label as there are."""
        groups: Mapping[tuple[str, str], list[Sample]] = defaultdict(list)
        for sample in self.table:
            groups[hospital_of(sample), sample.label].append(sample)
        rng = np.random.default_rng(self.seed)
        shuffled = [[group[at] for at in rng.permutation(len(group))] for _, group in sorted(groups.items())]
        turns = max(map(len, shuffled), default=0)
        chosen = [group[turn] for turn in range(turns) for group in shuffled if turn < len(group)][:images]
        files = {sample.file for sample in chosen}
        return self.table.with_samples(sample for sample in self.table if sample.file in files)

    def answers_of(self, table: SampleTable) -> Predictions:
        """The answers for these of the images, as they are, in the table's order."""
        files = {sample.file for sample in table}
        return self.answers.select([file in files for file in self.answers.files])


Found = dict[str, Any]
"""What a part found, for ``audit.json``: ``verdicts`` (a list of ``Verdict.plain()``), ``figures`` (name → value, low,
high: what the bundle records) and whatever else the part's own schema and template know."""
