"""Levels 2 and 3: the patient-level classifiers, and the ensemble of them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pad_sequence

from pulmoscope.models.patient import Ensemble, PatientClassifier, build_patient
from pulmoscope.recipes.recipe import Recipe, expected
from pulmoscope.recipes.specs import CLASSIFIERS, EnsembleSpec, VoteSpec
from pulmoscope.training.classification import (
    Batch,
    Classification,
    by_accuracy_then_loss,
    class_weights,
    cross_entropy,
)
from pulmoscope.training.hardware import fabric_of
from pulmoscope.training.loop import Stage, Validation, fit
from pulmoscope.training.progress import Reporter
from pulmoscope.training.state import PhaseState
from pulmoscope.training.three_level.features import StudyFeatures
from pulmoscope.training.three_level.slice_data import IntArray

Features = Sequence[StudyFeatures]


@dataclass(frozen=True)
class PatientTraining:
    """All that levels 2 and 3 share.

    Attributes:
        recipe: resolved.
        train, val: the studies' features.
        folder: of states and kept weights.
    """

    recipe: Recipe
    train: Features
    val: Features
    folder: Path
    device: torch.device
    reporter: Reporter

    @property
    def patient(self) -> VoteSpec:
        """How the classifiers learn."""
        return expected(self.recipe.patient, VoteSpec)

    @property
    def ensemble(self) -> EnsembleSpec:
        """How the ensemble learns."""
        return expected(self.recipe.ensemble, EnsembleSpec)


@dataclass(frozen=True)
class PatientNetworks:
    """What is trained: on the CPU, in eval mode.

    Attributes:
        classifiers: name → network.
        ensemble: of ``recipe.ensemble.of``.
        states: stage → how it went.
    """

    classifiers: Mapping[str, PatientClassifier]
    ensemble: Ensemble
    states: Mapping[str, PhaseState]


def fit_patients(training: PatientTraining) -> PatientNetworks:
    """Train every classifier, then the ensemble, from where their state files say they stand.

    Raises:
        RecipeError: a loss became NaN.
    """
    classifiers: dict[str, PatientClassifier] = {}
    states: dict[str, PhaseState] = {}
    for name in training.patient.votes:
        classifiers[name], states[f"2-{name}"] = _classifier(training, name, training.train, f"2-{name}")
    members = [classifiers[name] for name in training.ensemble.of]
    if training.ensemble.scores == "folds":
        learnt = _scores_of_folds(training)
    else:
        learnt = _scores(training, members, training.train)
    ensemble, states["3-ensemble"] = _ensemble(training, learnt, _scores(training, members, training.val))
    return PatientNetworks(classifiers, ensemble, states)


def _classifier(
    training: PatientTraining, name: str, train: Features, stage_name: str
) -> tuple[PatientClassifier, PhaseState]:
    recipe = training.recipe
    level, spec, classes = training.patient, CLASSIFIERS[name], len(recipe.classes)
    number = list(CLASSIFIERS).index(name)
    seed = (recipe.seed, 2, number)
    torch.manual_seed(recipe.seed + number)
    network = build_patient(spec, recipe.model.hidden, classes, level.lstm_units)
    labels = np.array([study.label for study in train], dtype=np.int64)
    state = _fit(
        training,
        network,
        level,
        name=stage_name,
        seed=seed,
        batches=lambda epoch: _sequences(
            train, spec.weighted, _shuffled(len(train), level.batch_size, (*seed, epoch))
        ),
        held_out=lambda: _sequences(
            training.val, spec.weighted, _in_order(len(training.val), level.batch_size)
        ),
        labels=labels,
    )
    return network.cpu(), state


def _fit(
    training: PatientTraining,
    network: nn.Module,
    level: VoteSpec | EnsembleSpec,
    name: str,
    seed: tuple[int, ...],
    batches: Callable[[int], Iterable[Batch]],
    held_out: Callable[[], Iterable[Batch]],
    labels: IntArray,
) -> PhaseState:
    """One stage of level 2 or 3, in full precision.

    Args:
        labels: of what is learnt from; the classes are weighted by them.
    """
    weights = class_weights(labels, len(training.recipe.classes))
    learning = Classification(cross_entropy(weights))
    stage = Stage(
        name=name,
        epochs=level.epochs,
        seed=seed,
        network=network,
        optimizers={"network": torch.optim.Adam(network.parameters(), level.learning_rate)},
        batches=batches,
        step=learning.step,
        schedule=lambda _: {"lr": level.learning_rate},
        validation=Validation(held_out, learning.check, by_accuracy_then_loss),
        l1=level.l1,
        l2=level.l2,
    )
    return fit(stage, training.folder, fabric_of(training.device), training.reporter)


def _sequences(features: Features, is_weighted: bool, batches: Sequence[IntArray]) -> Iterator[Batch]:
    """Batches of studies: slices filled up to the longest, how many each has, and the labels."""
    for chosen in batches:
        studies = [features[int(number)] for number in chosen]
        slices = [study.of(is_weighted) for study in studies]
        lengths = torch.tensor([len(of_study) for of_study in slices])
        labels = torch.tensor([study.label for study in studies])
        yield Batch((pad_sequence(slices, batch_first=True), lengths), labels)


def _shuffled(count: int, batch_size: int, seed: tuple[int, ...]) -> list[IntArray]:
    return np.array_split(np.random.default_rng(seed).permutation(count), -(-count // batch_size))


def _in_order(count: int, batch_size: int) -> list[IntArray]:
    return np.array_split(np.arange(count), -(-count // batch_size))


def _scores(
    training: PatientTraining, members: Sequence[PatientClassifier], features: Features
) -> tuple[Tensor, Tensor]:
    """The members' probabilities side by side, float32 (studies, members x classes), and the labels."""
    columns = []
    for name, network in zip(training.ensemble.of, members, strict=True):
        batches = _in_order(len(features), training.patient.batch_size)
        with torch.inference_mode():
            parts = [
                torch.softmax(network(*inputs), dim=1)
                for inputs, *_ in _sequences(features, CLASSIFIERS[name].weighted, batches)
            ]
        columns.append(torch.cat(parts))
    return torch.cat(columns, dim=1).clone(), torch.tensor([study.label for study in features])


def _scores_of_folds(training: PatientTraining) -> tuple[Tensor, Tensor]:
    """The training patients' scores by classifiers that were trained without them."""
    recipe = training.recipe
    labels = np.array([study.label for study in training.train])
    fold_of = folds(labels, training.ensemble.folds, recipe.seed)
    scores = torch.empty(len(labels), len(training.ensemble.of) * len(recipe.classes))
    for fold in range(training.ensemble.folds):
        inside = np.flatnonzero(fold_of == fold)
        rest = [training.train[int(number)] for number in np.flatnonzero(fold_of != fold)]
        members = [
            _classifier(training, name, rest, f"2-{name}-fold{fold + 1}")[0] for name in training.ensemble.of
        ]
        scores[inside] = _scores(training, members, [training.train[int(number)] for number in inside])[0]
    return scores, torch.from_numpy(labels)


def folds(labels: IntArray, count: int, seed: int) -> IntArray:
    """Which fold each study belongs to; the folds share out every class evenly, and differ by at most one of it."""
    rng = np.random.default_rng([seed, 3])
    numbers = np.empty(len(labels), dtype=np.int64)
    for label in np.unique(labels):
        of_class = rng.permutation(np.flatnonzero(labels == label))
        numbers[of_class] = np.arange(len(of_class)) % count
    return numbers


def _ensemble(
    training: PatientTraining, train: tuple[Tensor, Tensor], val: tuple[Tensor, Tensor]
) -> tuple[Ensemble, PhaseState]:
    recipe = training.recipe
    level, classes = training.ensemble, len(recipe.classes)
    seed = (recipe.seed, 3)
    torch.manual_seed(recipe.seed)
    network = Ensemble(len(level.of), classes, level.hidden)

    def rows(scores: tuple[Tensor, Tensor], batches: Sequence[IntArray]) -> Iterator[Batch]:
        for chosen in map(torch.from_numpy, batches):
            yield Batch((scores[0][chosen],), scores[1][chosen])

    state = _fit(
        training,
        network,
        level,
        name="3-ensemble",
        seed=seed,
        batches=lambda epoch: rows(train, _shuffled(len(train[1]), level.batch_size, (*seed, epoch))),
        held_out=lambda: rows(val, _in_order(len(val[1]), level.batch_size)),
        labels=train[1].numpy(),
    )
    return network.cpu(), state
