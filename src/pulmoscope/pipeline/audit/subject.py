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
from pulmoscope.pipeline.predict import Failure, Transform, predict_table, write_predictions
from pulmoscope.runtime.model import Model


@dataclass(frozen=True)
class Subject:
    """A model under audit.

    Attributes:
        model: opened.
        table: the images that it is asked about: readable, with a label among its classes.
        out: the folder of the results.
        answers: of the images as they are, in the table's order, with their pooled features.
        failures: the images that could not be read; they are not in ``table``.
        bootstrap, seed: resamples for the intervals, and the seed of all that is drawn.
    """

    model: Model
    table: SampleTable
    out: Path
    answers: Predictions
    failures: tuple[Failure, ...] = ()
    bootstrap: int = 1000
    seed: int = 20
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
