"""Whether a CT's slices look unlike normal ones: thresholds, tables and flags from anomaly scores (AnoGAN, f-AnoGAN).

A score says how badly networks that know normal slices alone can redraw a slice (arXiv 2507.04252; Schlegl et al. 2017,
2019). It is a signal of unusual data, disease among them. It is no diagnosis: the paper itself finds the scores of
CT-0, CT-1 and CT-2 alike, and only CT-3 marginally apart.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from pulmoscope.core.errors import BundleError, DatasetError
from pulmoscope.core.types import BoolArray, Flag, FlagLevel, FloatArray, Subject
from pulmoscope.runtime.network import Network, Runtime, open_network

CODE = "unlike-normal"
FALSE_ALARMS = 0.05
"""Fraction of normal slices that may lie above the threshold."""
INFORMED, WARNED = 2.0, 5.0
"""A study gets an info flag from so many times the false-alarm rate on, and a warning from so many times on.

A study of 30 normal slices has 1.5 above a threshold of 5 %; their number varies more than by chance alone, as a
study's slices are alike."""
BATCH = 16

Scores = npt.NDArray[np.floating]


@dataclass(frozen=True)
class AnomalyThreshold:
    """From which score on a slice is called unlike normal.

    Attributes:
        value: the greatest score that still counts as normal.
        false_alarms: the fraction of normal slices that was asked to lie above it.
        slices, studies: how many normal slices, of how many studies, it rests on; none of them trained the networks.
    """

    value: float
    false_alarms: float
    slices: int
    studies: int

    @classmethod
    def fit(
        cls, scores: Scores, studies: Sequence[str], false_alarms: float = FALSE_ALARMS
    ) -> AnomalyThreshold:
        """The least of these scores above which at most the asked-for fraction of them lies.

        Args:
            scores: (n,), of normal (CT-0) slices that the networks were not trained on.
            studies: (n,), which study each slice is of.

        Raises:
            DatasetError: there are too few slices for so small a fraction, or a score is no number.
        """
        if not 0 < false_alarms < 1:
            raise DatasetError(
                f"anomaly threshold: false_alarms must lie between 0 and 1 (found: {false_alarms})"
            )
        if len(scores) * false_alarms < 1 or len(scores) != len(studies):
            raise DatasetError(
                f"anomaly threshold: a false-alarm rate of {false_alarms:g} needs at least "
                f"{int(np.ceil(1 / false_alarms))} normal slices, each with its study (found: {len(scores)} slices, "
                f"{len(studies)} studies' names)"
            )
        _all_finite(scores)
        above = int(np.floor(false_alarms * len(scores) + 1e-9))
        value = float(np.sort(scores)[len(scores) - above - 1])
        return cls(value, false_alarms, len(scores), len(set(studies)))

    def above(self, scores: Scores) -> BoolArray:
        """Which slices are unlike normal ones; bool like ``scores``."""
        return np.asarray(scores > self.value)

    def multiples(self, scores: FloatArray) -> FloatArray:
        """Scores as multiples of the threshold: above 1 a slice is unlike normal ones."""
        return scores / np.float32(max(self.value, 1e-9))


def study_flags(scores: Scores, threshold: AnomalyThreshold) -> tuple[Flag, ...]:
    """What is said of a study: nothing, or one flag ``unlike-normal``.

    Args:
        scores: (n,), of the study's slices with a prediction; none: nothing is said.
    """
    if not len(scores):
        return ()
    _all_finite(scores)
    above = int(np.count_nonzero(threshold.above(scores)))
    fraction = above / len(scores)
    if fraction < INFORMED * threshold.false_alarms:
        return ()
    level = FlagLevel.WARN if fraction >= WARNED * threshold.false_alarms else FlagLevel.INFO
    finding = (
        f"{100 * fraction:.0f} % of the slices, {above} of {len(scores)}, look unlike the normal ones that the model "
        "knows; this tells of unusual data, whatever the reason, and is no diagnosis"
    )
    rule = (
        f"about {100 * threshold.false_alarms:.0f} % in a normal chest, by {threshold.studies} normal studies"
    )
    return (Flag(CODE, level, finding, rule, Subject.MODEL),)


@dataclass(frozen=True)
class ScoreSummary:
    """How scores are spread within a class, as in the paper's table I."""

    slices: int
    minimum: float
    lower_quartile: float
    median: float
    upper_quartile: float
    maximum: float
    mean: float

    def plain(self) -> dict[str, float]:
        """For JSON."""
        return asdict(self)


def score_table(scores: Scores, classes: Sequence[str]) -> Mapping[str, ScoreSummary]:
    """Class → how its slices' scores are spread, in the classes' order by name.

    Args:
        scores: (n,). classes: (n,), the class of each slice's study.

    Raises:
        DatasetError: a score is no number.
    """
    _all_finite(scores)
    labels = np.asarray(classes)
    table = {}
    for name in sorted(set(classes)):
        values = np.asarray(scores, dtype=np.float64)[labels == name]
        least, lower, median, upper, most = (
            float(value) for value in np.quantile(values, (0, 0.25, 0.5, 0.75, 1))
        )
        table[name] = ScoreSummary(len(values), least, lower, median, upper, most, mean=float(values.mean()))
    return table


@dataclass(frozen=True)
class AnomalyModel:
    """A trained f-AnoGAN that scores slices without torch.

    Attributes:
        network: the opened ONNX file: ``slices`` (n, 1, side, side) → ``score`` (n,), ``residual`` (n, 1, side, side).
        name: of the file, for errors.
    """

    network: Network
    name: str

    @classmethod
    def open(cls, path: Path, runtime: Runtime = "auto", device: str = "auto") -> AnomalyModel:
        """Open what ``training.anogan.scores.export_anomaly`` wrote.

        Raises:
            ResourceError: the runtime or the device is not there.
            BundleError: the file can't be read.
        """
        return cls(open_network(path, runtime, device), path.name)

    def __call__(self, slices: FloatArray) -> tuple[FloatArray, FloatArray]:
        """Scores float32 (n,) and residual maps float32 (n, side, side) of slices (n, side, side) in [0, 1].

        Raises:
            BundleError: the file gives something else.
        """
        parts = [np.empty(0, dtype=np.float32)]
        maps = [np.empty((0, *slices.shape[1:]), dtype=np.float32)]
        for start in range(0, len(slices), BATCH):
            batch = np.ascontiguousarray(slices[start : start + BATCH, None], dtype=np.float32)
            outputs = self.network(batch)
            if set(outputs) != {"score", "residual"}:
                raise BundleError(
                    f"{self.name}: an anomaly network gives score, residual (found: {', '.join(outputs)})"
                )
            parts.append(outputs["score"])
            maps.append(outputs["residual"][:, 0])
        return np.concatenate(parts), np.concatenate(maps)


def _all_finite(scores: Scores) -> None:
    if not np.isfinite(scores).all():
        raise DatasetError(
            f"anomaly scores must be numbers (found: {np.count_nonzero(~np.isfinite(scores))} that are none)"
        )
