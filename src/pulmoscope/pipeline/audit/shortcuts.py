"""Corners, border, letters, brightness, size, compression: do they tell the label, and does the model read them?"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from itertools import islice
from typing import Any

import numpy as np
import numpy.typing as npt

from pulmoscope.core.files import shareable
from pulmoscope.core.types import FloatArray
from pulmoscope.datasets.hospitals import hospital_of
from pulmoscope.datasets.table import Sample, SampleTable
from pulmoscope.evaluation.audit.probe import Scores, donors
from pulmoscope.evaluation.audit.shortcuts import (
    BY_CHANCE,
    LEAST,
    MUCH_USED,
    TELLS,
    USED,
    USED_BY_CHANCE,
    Assessed,
    Used,
    assess,
    follows_of,
    is_read,
    label_score,
    moved,
    used_of,
    verdicts,
)
from pulmoscope.evaluation.audit.traits import BORDER, Picture, Trait, blockiness, control, traits
from pulmoscope.evaluation.bootstrap import units
from pulmoscope.io import read_xray
from pulmoscope.pipeline.audit.lungs import audited_lungs
from pulmoscope.pipeline.audit.subject import Found, Subject
from pulmoscope.pipeline.pictures.xray import data_jpeg, grey, shrunk
from pulmoscope.runtime.model import BATCH, Model

IMAGES, OF_LABEL = 400, 48
"""Images that probes learn from; of each side of a question, those whose traits are exchanged."""
SIDE = 320
"""Longest side of the images, px."""
CONTROLS = 4
Given = Callable[[Picture, Picture], FloatArray]


def found(subject: Subject) -> Found | None:
    """Every trait: what it tells, and what the model makes of it; None of whole CT studies."""
    if subject.studies:
        return None
    asked = _Asked(subject)
    border = asked.assessed(BORDER)
    found_ones, looked_for = [border], traits(framed=border.tells is not None)[1:]
    found_ones += [asked.assessed(trait) for trait in looked_for]
    listed = verdicts(found_ones)
    return {
        "images": len(asked.pictures),
        "limits": {
            "least_images": LEAST,
            "tells_from": TELLS,
            "tells_by_chance": BY_CHANCE,
            "used_from": USED,
            "much_used_from": MUCH_USED,
            "used_by_chance": USED_BY_CHANCE,
        },
        "traits": [one.plain() for one in found_ones],
        "verdicts": [verdict.plain() for verdict in listed],
        "figures": {
            f"moved_{one.code}": {"value": one.used.moved, "low": None, "high": None}
            for one in found_ones
            if one.used is not None
        },
        "examples": [
            asked.example(one, trait)
            for one, trait in zip(found_ones, (BORDER, *looked_for), strict=True)
            if is_read(one)
        ],
    }


class _Asked:
    """The images that are asked about, small, and what was found of them."""

    def __init__(self, subject: Subject) -> None:
        self._model, self._seed = subject.model, subject.seed
        table = subject.some(IMAGES)
        self._samples = list(table)
        self._answers = subject.answers_of(table)
        self._labels = [sample.label for sample in self._samples]
        self._patients = [sample.patient for sample in self._samples]
        self._hospitals = [hospital_of(sample) for sample in self._samples]
        self._units = units(self._patients)
        with ThreadPoolExecutor() as threads:
            self.pictures = list(
                threads.map(lambda sample: _picture(self._model, table, sample), self._samples)
            )
        self._questions: dict[str, _Question] = {}

    def assessed(self, trait: Trait) -> Assessed:
        """All about one trait."""
        features = np.stack([trait.described(picture) for picture in self.pictures])
        one, probe = assess(trait, features, self._labels, self._patients, self._hospitals, self._seed)
        if one.told is not None and probe is not None:
            score = label_score(self._logits, self._model.bundle.classes.index(one.told.label))
            one = replace(one, follows=follows_of(score, probe, self._labels, one.told.label))
        if one.tells is not None and trait.given is not None:
            one = replace(one, used=self._question(one.tells.label).used(trait.given))
        return one

    @property
    def _logits(self) -> npt.NDArray[np.float64]:
        logits = self._answers.logits
        assert logits is not None
        return logits

    def _question(self, label: str) -> _Question:
        if label not in self._questions:
            positive = np.array([name == label for name in self._labels])
            rng = np.random.default_rng(self._seed)
            sides = (np.flatnonzero(positive), np.flatnonzero(~positive))
            chosen = np.sort(np.concatenate([rng.permutation(side)[:OF_LABEL] for side in sides]))
            self._questions[label] = _Question(
                self._model,
                [self.pictures[at] for at in chosen],
                positive[chosen],
                self._units[chosen],
                self._model.bundle.classes.index(label),
                self._seed,
            )
        return self._questions[label]

    def example(self, one: Assessed, trait: Trait) -> dict[str, Any]:
        """Two images of a label and two others that the trait tells apart best, for the page."""
        assert one.tells is not None
        positive = np.array([name == one.tells.label for name in self._labels])
        shown = [*np.flatnonzero(positive)[:3], *np.flatnonzero(~positive)[:3]]
        return {
            "code": one.code,
            "title": trait.title,
            "label": one.tells.label,
            "views": [
                {
                    "picture": data_jpeg(grey(self.pictures[at].pixels)),
                    "label": self._labels[at],
                    "file": shareable(self._samples[at].file),
                }
                for at in shown
            ],
        }


class _Question:
    """A label against all others: what becomes of the model's answers when images exchange something."""

    def __init__(
        self,
        model: Model,
        pictures: Sequence[Picture],
        positive: npt.NDArray[np.bool_],
        groups: npt.NDArray[np.intp],
        number: int,
        seed: int,
    ) -> None:
        self._model, self._pictures, self._positive = model, pictures, positive
        self._number, self._seed = number, seed
        self._donors = [donors(positive, groups, other, seed) for other in (True, False)]
        self._maps = [model.lung_map(picture.pixels) for picture in pictures]
        self._before = self._scores(picture.pixels for picture in pictures)
        shifts = np.random.default_rng(seed).random((CONTROLS, 2))
        self._controls = [
            shift
            for given in control([(float(along), float(far)) for along, far in shifts])
            if (shift := self._moved(given)) is not None
        ]

    def used(self, given: Given) -> Used | None:
        """What exchanging a trait does; None where the model does not tell the labels apart."""
        shifts = self._moved(given)
        return None if shifts is None else used_of(shifts, self._controls, self._seed)

    def _moved(self, given: Given) -> Scores | None:
        other, same = (
            self._scores(
                given(picture, self._pictures[donor])
                for picture, donor in zip(self._pictures, chosen, strict=True)
            )
            for chosen in self._donors
        )
        return moved(self._before, other, same, self._positive)

    def _scores(self, images: Iterable[FloatArray]) -> Scores:
        """How sure the model is of the label; the lungs' place is that of the images as they were."""
        tensors = (
            self._model.prepare(pixels, lungs).tensor
            for pixels, lungs in zip(images, self._maps, strict=True)
        )
        logits = []
        while batch := list(islice(tensors, BATCH)):
            logits.append(self._model.predict(np.stack(batch)).logits)
        return label_score(np.concatenate(logits).astype(np.float64), self._number)


def _picture(model: Model, table: SampleTable, sample: Sample) -> Picture:
    pixels = read_xray(table.path(sample)).pixels[0]
    small = shrunk(pixels, SIDE)
    rows, columns = pixels.shape
    return Picture(small, audited_lungs(model, small), (rows, columns), blockiness(pixels))
