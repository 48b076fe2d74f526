"""Is a place's run of images like any hospital that the model knows? A two-sample test, and what differs.

Every image is a point: :mod:`pulmoscope.quality.image_statistics` and the leading principal components of the network's
pooled features, whitened by the covariance within hospitals. How far a place lies from a hospital, and whether that may
be chance, is told by :mod:`pulmoscope.quality.two_sample`, whatever the prevalence of the predicted classes. A network
knows the images that it was trained on better than others of the same hospital; so a distance only counts beyond a
margin that is set on held-out images.

A place is strange if it fits no known hospital. Images whose hospital nobody knows are of no use as a reference: a
mixture of unknown make-up is like almost any place.
"""

from __future__ import annotations

import io
import zipfile
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from pulmoscope.core.errors import BundleError
from pulmoscope.core.types import FloatArray
from pulmoscope.quality.image_statistics import STATISTICS
from pulmoscope.quality.seen_images import Outcomes, SeenImages
from pulmoscope.quality.two_sample import Indices, TwoSampleTest

LEAST_IMAGES = 30
"""Images of a place that are needed to tell whether it is strange."""
LEAST_REFERENCE, MOST_REFERENCE = 60, 200
"""Images of a hospital that are needed to know it, and that are kept."""
CHANCE = 0.01
"""A place does not fit a hospital where chance alone gives its distance less often than this."""
LEAST_MARGIN = 0.15
"""Least distance that counts (public collections: 0.3 and more from each other)."""
COMPONENTS = 16
"""Principal components of the network's features."""
DIFFERENT, MOST_DIFFERENCES = 0.5, 3
"""A statistic is named whose mean differs by so many standard deviations; so many are named."""

_SHRINKAGE = 0.2
_CLIP = 8.0
_HELD_OUT_QUANTILE, _HELD_OUT_DRAWS = 0.99, 40


@dataclass(frozen=True)
class Difference:
    """A statistic in which a place differs from the nearest hospital.

    Attributes:
        code: of ``STATISTICS``.
        deviations: the mean's difference, in standard deviations within hospitals; above 0: the place has more.
    """

    code: str
    deviations: float

    @property
    def words(self) -> str:
        """For people."""
        way = "higher" if self.deviations > 0 else "lower"
        return f"{STATISTICS[self.code]} is {way} by {abs(self.deviations):.1f} standard deviations"


@dataclass(frozen=True)
class Comparison:
    """A place beside the known hospitals.

    Attributes:
        strange: whether it fits none.
        nearest: the hospital that it is least unlike.
        distance: from that.
        differences: from that, the greatest first.
        outcomes: of the place.
        usual: the outcomes of the model's validation images, of all hospitals; None where they are not known.
    """

    strange: bool
    nearest: str
    distance: float
    differences: tuple[Difference, ...]
    outcomes: Outcomes
    usual: Outcomes | None


@dataclass(frozen=True)
class KnownHospitals:
    """The hospitals that a model knows, by some of their images.

    Attributes:
        classes: of the model, in order.
        names: of the hospitals.
        centre, scale: (statistics + maps,) and (points' dimensions,): what standardises an image.
        components: (maps, dimensions), the principal components.
        whitening: (dimensions, dimensions).
        points: float32 (m, dimensions), the hospitals' images, standardised but not whitened.
        hospitals, predicted: (m,), whose they are, and their predicted class, as indices.
        margin: the least distance that counts.
        usual: the outcomes of the validation images; None where they are not known.
    """

    classes: tuple[str, ...]
    names: tuple[str, ...]
    centre: FloatArray
    scale: FloatArray
    components: FloatArray
    whitening: FloatArray
    points: FloatArray
    hospitals: Indices
    predicted: Indices
    margin: float = LEAST_MARGIN
    usual: Outcomes | None = None

    @classmethod
    def fit(cls, images: SeenImages, classes: Sequence[str], seed: int = 17) -> KnownHospitals | None:
        """Learn from a model's training images; None where no hospital has :data:`LEAST_REFERENCE`.

        Args:
            images: those whose hospital nobody knows are left out.
            classes: of the model.
            seed: of the choice of the images that are kept.
        """
        of_image, rng = np.asarray(images.hospitals), np.random.default_rng(seed)
        counts = Counter(images.hospitals)
        names = [name for name in sorted({*counts} - {""}) if counts[name] >= LEAST_REFERENCE]
        if not names:
            return None
        chosen = [
            np.sort(rng.permutation(np.flatnonzero(of_image == name))[:MOST_REFERENCE]) for name in names
        ]
        images = images.select(np.concatenate(chosen))
        members = np.repeat(np.arange(len(names)), [len(part) for part in chosen])
        centre = np.concatenate([images.statistics.mean(axis=0), images.pooled.mean(axis=0)])
        k = len(STATISTICS)
        centred = (images.pooled - centre[k:]).astype(np.float64)
        _, axes = np.linalg.eigh(centred.T @ centred)
        components = axes[:, ::-1][:, : min(COMPONENTS, centred.shape[1])]
        raw = np.hstack([images.statistics - centre[:k], centred @ components])
        within = np.mean([raw[members == number].var(axis=0) for number in range(len(names))], axis=0)
        scale = np.sqrt(within) + 1e-4
        points = np.clip(raw / scale, -_CLIP, _CLIP)
        return cls(
            classes=tuple(classes),
            names=tuple(names),
            centre=centre.astype(np.float32),
            scale=scale.astype(np.float32),
            components=components.astype(np.float32),
            whitening=_whitening(points, members),
            points=_short(points),
            hospitals=members.astype(np.int64),
            predicted=images.predicted,
        )

    def with_held_out(self, images: SeenImages, seed: int = 17) -> KnownHospitals:
        """Set margin and usual outcomes by images that training has not seen.

        Args:
            images: those whose hospital nobody knows count for the outcomes alone.
            seed: of the draws of :data:`LEAST_IMAGES` images.
        """
        rng, margin, of_image = np.random.default_rng(seed), LEAST_MARGIN, np.asarray(images.hospitals)
        points = self._whitened(self._points(images))
        for number, name in enumerate(self.names):
            distances = [
                test.distance
                for draw in _draws(np.flatnonzero(of_image == name), rng)
                if (test := TwoSampleTest.of(points[draw], images.predicted[draw], *self._of(number)))
            ]
            if distances:
                margin = max(margin, float(np.quantile(distances, _HELD_OUT_QUANTILE)))
        return replace(self, margin=margin, usual=self.outcomes(images))

    def with_hospital(self, name: str, images: SeenImages, seed: int = 17) -> KnownHospitals:
        """The same with one more hospital, or with other images of one that is known.

        Args:
            images: of that hospital; at most :data:`MOST_REFERENCE` are kept.
            seed: of their choice.

        Raises:
            ValueError: there are fewer images than :data:`LEAST_IMAGES`.
        """
        if len(images) < LEAST_IMAGES:
            raise ValueError(f"a hospital is known from {LEAST_IMAGES} images on (found: {len(images)})")
        chosen = np.sort(np.random.default_rng(seed).permutation(len(images))[:MOST_REFERENCE])
        images = images.select(chosen)
        names = (*(known for known in self.names if known != name), name)
        kept = np.array([self.names[number] != name for number in self.hospitals], dtype=np.bool_)
        number_of = {known: number for number, known in enumerate(names)}
        before = [number_of[self.names[number]] for number in self.hospitals[kept]]
        return replace(
            self,
            names=names,
            points=np.concatenate([self.points[kept], _short(self._points(images))]),
            hospitals=np.array([*before, *[number_of[name]] * len(images)], dtype=np.int64),
            predicted=np.concatenate([self.predicted[kept], images.predicted]),
        )

    def outcomes(self, images: SeenImages) -> Outcomes:
        """What became of these images."""
        counts = np.bincount(images.predicted, minlength=len(self.classes)) / len(images)
        return Outcomes(
            {name: round(float(part), 4) for name, part in zip(self.classes, counts, strict=True)},
            round(float(images.referred.mean()), 4),
        )

    def compare(self, images: SeenImages, seed: int = 17) -> Comparison:
        """Does a place fit any known hospital? The same images get the same answer.

        Args:
            images: the place's, at least :data:`LEAST_IMAGES`.
            seed: of the permutations.
        """
        standard = self._points(images)
        points = self._whitened(standard)
        tests = [
            TwoSampleTest.of(points, images.predicted, *self._of(number)) for number in range(len(self.names))
        ]
        comparable = {number: test for number, test in enumerate(tests) if test is not None}
        strange = not any(
            test.distance <= self.margin or test.chance(np.random.default_rng(seed)) > CHANCE
            for test in sorted(comparable.values(), key=lambda test: test.distance)
        )
        if not comparable:  # no hospital has such classes: the nearest is told without regard to them
            comparable = dict(enumerate(self._regardless(points)))
        nearest = min(comparable, key=lambda number: comparable[number].distance)
        expected = comparable[nearest].weights @ self.points[self.hospitals == nearest]
        return Comparison(
            strange,
            self.names[nearest],
            round(comparable[nearest].distance, 4),
            _differences(standard.mean(axis=0) - expected),
            self.outcomes(images),
            self.usual,
        )

    def _points(self, images: SeenImages) -> FloatArray:
        """Images, standardised: float64 (n, dimensions)."""
        k = len(STATISTICS)
        reduced = (images.pooled - self.centre[k:]) @ self.components
        raw = np.hstack([images.statistics - self.centre[:k], reduced])
        return np.asarray(np.clip(raw / self.scale, -_CLIP, _CLIP))

    def _whitened(self, points: FloatArray) -> FloatArray:
        return np.asarray(points.astype(np.float64) @ self.whitening)

    def _regardless(self, points: FloatArray) -> Iterator[TwoSampleTest]:
        """The tests beside each hospital, as if all images were of one class."""
        for number in range(len(self.names)):
            known, _ = self._of(number)
            test = TwoSampleTest.of(
                points, np.zeros(len(points), np.int64), known, np.zeros(len(known), np.int64)
            )
            assert test is not None  # a hospital has enough images of all classes together
            yield test

    def _of(self, number: int) -> tuple[FloatArray, Indices]:
        """A hospital's whitened points, and the predicted class of each."""
        own = self.hospitals == number
        return self._whitened(self.points[own]), self.predicted[own]

    def to_bytes(self) -> bytes:
        """As an npz file; equal references give equal bytes."""
        usual = self.usual
        stream = io.BytesIO()
        np.savez(
            stream,
            statistics=np.array(list(STATISTICS)),
            classes=np.array(self.classes),
            names=np.array(self.names),
            centre=self.centre,
            scale=self.scale,
            components=self.components.astype(np.float16),
            whitening=self.whitening,
            points=self.points.astype(np.float16),
            hospitals=self.hospitals.astype(np.uint16),
            predicted=self.predicted.astype(np.uint16),
            margin=self.margin,
            usual=np.array([] if usual is None else [*usual.predicted.values(), usual.referred]),
        )
        return stream.getvalue()

    @classmethod
    def from_bytes(cls, content: bytes, name: str = "hospitals.npz") -> KnownHospitals:
        """Read what :meth:`to_bytes` wrote; nothing is unpickled.

        Args:
            name: of the file that it is from, for errors.

        Raises:
            BundleError: it is something else, or was measured with other statistics.
        """
        try:
            with np.load(io.BytesIO(content), allow_pickle=False) as stored:
                if list(map(str, stored["statistics"])) != list(STATISTICS):
                    raise ValueError("its image statistics are those of another version")
                classes = tuple(map(str, stored["classes"]))
                usual = [float(value) for value in stored["usual"]]
                floats = ("centre", "scale", "components", "whitening", "points")
                arrays: dict[str, Any] = {part: stored[part].astype(np.float32) for part in floats}
                arrays |= {part: stored[part].astype(np.int64) for part in ("hospitals", "predicted")}
                read = cls(
                    classes=classes,
                    names=tuple(map(str, stored["names"])),
                    margin=float(stored["margin"]),
                    usual=Outcomes(dict(zip(classes, usual, strict=False)), usual[-1]) if usual else None,
                    **arrays,
                )
            read._check()
        except (ValueError, KeyError, TypeError, EOFError, OSError, zipfile.BadZipFile) as error:
            raise BundleError(f"{name}: holds no known hospitals ({error})") from error
        return read

    def _check(self) -> None:
        """Do the shapes fit each other? Raises ValueError."""
        k, dimensions = len(STATISTICS), len(self.scale)
        shapes = {
            "centre": (k + len(self.components),),
            "components": (len(self.components), dimensions - k),
            "whitening": (dimensions, dimensions),
            "points": (len(self.hospitals), dimensions),
            "predicted": (len(self.hospitals),),
        }
        for part, shape in shapes.items():
            if getattr(self, part).shape != shape:
                raise ValueError(f"{part} must have the shape {shape}, found: {getattr(self, part).shape}")
        if {*self.hospitals} != {*range(len(self.names))} or self.predicted.max() >= len(self.classes):
            raise ValueError("an image is of no known hospital or class, or a hospital has no image")


def _draws(images: Indices, rng: np.random.Generator) -> list[Indices]:
    """Some choices of :data:`LEAST_IMAGES` of these images; none where there are not so many."""
    if len(images) < LEAST_IMAGES:
        return []
    return [rng.permutation(images)[:LEAST_IMAGES] for _ in range(_HELD_OUT_DRAWS)]


def _short(points: FloatArray) -> FloatArray:
    """With the digits that the file keeps."""
    return np.asarray(points.astype(np.float16), dtype=np.float32)


def _whitening(points: FloatArray, members: Indices) -> FloatArray:
    """What makes the dimensions independent within hospitals, each of which counts alike."""
    covariance = np.mean([np.cov(points[members == number].T) for number in np.unique(members)], axis=0)
    shrunk = (1 - _SHRINKAGE) * covariance + _SHRINKAGE * np.diag(np.diag(covariance))
    values, vectors = np.linalg.eigh(shrunk)
    return np.asarray(vectors / np.sqrt(np.maximum(values, 1e-6)), dtype=np.float32)


def _differences(apart: FloatArray) -> tuple[Difference, ...]:
    """The statistics that differ most, (dimensions,) in standard deviations."""
    named = [Difference(code, round(float(by), 2)) for code, by in zip(STATISTICS, apart, strict=False)]
    ordered = sorted(named, key=lambda difference: -abs(difference.deviations))
    return tuple(one for one in ordered if abs(one.deviations) >= DIFFERENT)[:MOST_DIFFERENCES]
