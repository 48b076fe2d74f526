"""Is a place strange to the model? A look at some images of every place, before any is diagnosed."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

import numpy as np

from pulmoscope.core.errors import InputError
from pulmoscope.core.threads import ahead, cores
from pulmoscope.core.types import Flag, FlagLevel, Modality, Scan, Subject
from pulmoscope.inference.hospitals import Looked, hospitals_of, look, see
from pulmoscope.inference.image import SeenImage
from pulmoscope.io import Study, read_study
from pulmoscope.io.inputs import Entry
from pulmoscope.io.studies import Wanted
from pulmoscope.pipeline.choice import Models
from pulmoscope.pipeline.drift.grouping import folder_of, grouped, images_of
from pulmoscope.quality.drift import LEAST_IMAGES, Comparison, KnownHospitals
from pulmoscope.runtime.model import Model

STRANGE = "strange-hospital"
"""The code of the flag."""
SAMPLE = 64
"""Images of a place that are compared, at most; so many of a run are kept for their diagnosis."""

Verdict = Literal["known", "strange", "not-told"]


@dataclass(frozen=True)
class Place:
    """Where some images of a run are from, beside the hospitals that the model knows.

    Attributes:
        name: ``place-1`` and so on: what it is called in results.
        folder: that its images lie in; may name a hospital, and is for the user alone.
        images: how many X-rays may be of it.
        sampled: how many of them were compared.
        comparison: None where there were too few.
    """

    name: str
    folder: str = field(repr=False)
    images: int
    sampled: int
    comparison: Comparison | None

    @property
    def verdict(self) -> Verdict:
        """What is said of the place."""
        if self.comparison is None:
            return "not-told"
        return "strange" if self.comparison.strange else "known"

    @property
    def reason(self) -> str:
        """Why, in words."""
        compared = self.comparison
        if compared is None:
            few = self.images < LEAST_IMAGES
            found = f"{self.images} images" if few else f"{self.sampled} comparable images among those chosen"
            return f"{found}; at least {LEAST_IMAGES} are needed"
        if not compared.strange:
            return f"its images are like those of {compared.nearest}"
        differences = [difference.words for difference in compared.differences]
        but = f", but {'; '.join(differences)}" if differences else ""
        return (
            f"its images fit no hospital that the model has learnt from; {compared.nearest} is the "
            f"nearest{but}"
        )

    def entry(self) -> dict[str, Any]:
        """This place in ``index.json``."""
        compared = self.comparison
        return {
            "name": self.name,
            "images": self.images,
            "sampled": self.sampled,
            "verdict": self.verdict,
            "reason": self.reason,
            "nearest": None if compared is None else compared.nearest,
            "distance": None if compared is None else compared.distance,
            "differences": [
                {"code": one.code, "deviations": one.deviations, "words": one.words}
                for one in (() if compared is None else compared.differences)
            ],
            "outcomes": None if compared is None else asdict(compared.outcomes),
            "usual": None if compared is None or compared.usual is None else asdict(compared.usual),
        }


@dataclass(frozen=True)
class Part:
    """The images of a run that are of one place.

    Attributes:
        name: what the place is called in results.
        folder: that its images lie in.
        images: how many there are.
        sample: those that are compared.
    """

    name: str
    folder: str = field(repr=False)
    images: int
    sample: tuple[Study, ...]


Note = Callable[[Study, Scan, SeenImage], None]
"""Called with every image that was looked at."""


def place_of(part: Part, model: Model, known: KnownHospitals, note: Note | None = None) -> Place:
    """What the chosen images say of a place.

    Args:
        model: what reads X-rays.
        known: the hospitals that it knows.
        note: is told of the images that were looked at.
    """
    seen = see(_looked(part.sample, model, note), model)
    sampled = 0 if seen is None else len(seen)
    comparison = None if seen is None or sampled < LEAST_IMAGES else known.compare(seen)
    return Place(part.name, part.folder, part.images, sampled, comparison)


class Survey:
    """A look at the places of a run before its inputs are diagnosed.

    Args:
        entries: the run's files.
        wanted: what pictures are (see ``io.studies``).
        strict: refer every image of a strange place; else the place only warns.
        progress: called with (images looked at, images in all).

    Attributes:
        places: in the order of their first image, once :meth:`take` has looked; empty where there is one input only, or
            the model that reads X-rays knows no hospitals.
    """

    def __init__(
        self,
        entries: Sequence[Entry],
        wanted: Wanted = "auto",
        *,
        strict: bool = False,
        progress: Callable[[int, int], None] | None = None,
    ) -> None:
        self._entries, self._wanted, self._strict, self._progress = entries, wanted, strict, progress
        self._flags: dict[str, tuple[Flag, ...]] = {}
        self._seen: dict[str, tuple[str, SeenImage]] = {}
        self.places: tuple[Place, ...] = ()

    def take(self, models: Models, spread: Callable[[Sequence[Part]], Iterable[Place]] | None = None) -> None:
        """Look at the places; the same files and model give the same verdicts.

        Args:
            spread: compares places, and gives them in order, as :func:`place_of` does; None: one after the other, here.

        Raises:
            BundleError: what the model knows of hospitals is damaged.
        """
        images = images_of(self._entries, self._wanted) if len(self._entries) > 1 else []
        model = models.expected(Modality.XRAY) if images else None
        known = None if model is None else hospitals_of(model.bundle)
        if model is None or known is None:
            return
        groups = grouped(images)
        parts = [
            Part(f"place-{number}", folder_of(group), len(group), tuple(_chosen(group)))
            for number, group in enumerate(groups, start=1)
        ]
        total, done, places = sum(len(part.sample) for part in parts), 0, []
        one_by_one = (place_of(part, model, known, self._note) for part in parts)
        for group, part, place in zip(groups, parts, spread(parts) if spread else one_by_one, strict=True):
            if place.verdict == "strange":
                self._flags |= dict.fromkeys((study.name for study in group), (self._flag(place),))
            places.append(place)
            done += len(part.sample)
            if self._progress is not None and total:
                self._progress(done, total)
        self.places = tuple(places)

    def flags(self, study: Study) -> tuple[Flag, ...]:
        """What there is to know of the place that an input is of."""
        return self._flags.get(study.name, ())

    def seen(self, study: Study, scan: Scan) -> SeenImage | None:
        """What the model was shown of an input, for its diagnosis, once; None where nobody has looked.

        Nor where the file has changed since.
        """
        sha256, seen = self._seen.pop(study.name, ("", None))
        return seen if sha256 == scan.files[0].sha256 else None

    def has_seen(self, study: Study) -> bool:
        """Whether what the model was shown of an input waits for its diagnosis."""
        return study.name in self._seen

    def _note(self, study: Study, scan: Scan, seen: SeenImage) -> None:
        """Keep what was seen of some images for their diagnosis."""
        if len(self._seen) < SAMPLE:
            self._seen[study.name] = scan.files[0].sha256, seen

    def _flag(self, place: Place) -> Flag:
        level = FlagLevel.REFUSE if self._strict else FlagLevel.WARN
        finding = f"the image is of a place ({place.name}) that the model does not know: {place.reason}"
        return Flag(STRANGE, level, finding, "", Subject.MODEL)


def _looked(sample: Sequence[Study], model: Model, note: Note | None) -> Iterator[Looked]:
    """The images that can be compared, read ahead in threads."""

    def one(study: Study) -> Looked | None:
        with suppress(InputError, MemoryError):  # the diagnosis says what is wrong
            scan = read_study(study).scan
            looked = None if scan is None else look(scan, model)
            if scan is not None and looked is not None and note is not None:
                note(study, scan, looked.seen)
            return looked
        return None

    workers = cores() + 1
    with ThreadPoolExecutor(workers) as threads:
        yield from filter(None, ahead(threads, one, sample, 4 * workers))


def _chosen(images: Sequence[Study]) -> list[Study]:
    """At most SAMPLE of a place's images, evenly; none where there are too few to tell."""
    if len(images) < LEAST_IMAGES:
        return []
    if len(images) <= SAMPLE:
        return list(images)
    return [images[round(index)] for index in np.linspace(0, len(images) - 1, SAMPLE)]
