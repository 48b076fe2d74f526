"""What a model sees of the images of a hospital, and which hospitals it knows (``hospitals.npz``)."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import cache
from itertools import islice
from pathlib import Path

import numpy as np

from pulmoscope.core.errors import InputError
from pulmoscope.core.threads import ahead
from pulmoscope.core.types import Decision, FloatArray, Modality, Quality, Scan, Subject
from pulmoscope.datasets.hospitals import UNIDENTIFIED, hospital_of
from pulmoscope.datasets.table import Sample, SampleTable
from pulmoscope.inference.image import SeenImage, infer_images, look_at_image
from pulmoscope.io import read_xray
from pulmoscope.quality.drift import LEAST_IMAGES, LEAST_REFERENCE, MOST_REFERENCE, KnownHospitals
from pulmoscope.quality.image_statistics import image_statistics
from pulmoscope.quality.seen_images import SeenImages
from pulmoscope.runtime.bundle import HOSPITALS, Bundle
from pulmoscope.runtime.model import BATCH, Model

Progress = Callable[[int, int], None]
"""Called with (images done, images in all)."""
CALIBRATED = "calibration"
"""What a hospital is called that nobody has named."""
_AHEAD = 4 * BATCH
"""Images that are read before they are needed: what bounds the memory."""


@dataclass(frozen=True)
class Looked:
    """An image as the network is shown it, its statistics and its hospital; small, whatever the image's size."""

    seen: SeenImage
    statistics: FloatArray
    hospital: str = ""


def look(scan: Scan, model: Model) -> Looked | None:
    """What is needed of an X-ray; None where a quality rule refuses the image: it says nothing of its hospital."""
    seen = look_at_image(scan, model)
    if any(flag.subject is Subject.IMAGE for flag in Quality(seen.flags).refusals):
        return None
    return Looked(seen, image_statistics(scan.pixels[0]))


def see(images: Iterable[Looked], model: Model) -> SeenImages | None:
    """What a model says of images, in batches; None where there is none."""
    parts: list[SeenImages] = []
    stream = iter(images)
    while batch := list(islice(stream, BATCH)):
        outputs, answers = infer_images([image.seen for image in batch], model)
        part = SeenImages(
            pooled=outputs.features.mean(axis=(2, 3)),
            statistics=np.stack([image.statistics for image in batch]),
            predicted=outputs.probabilities.argmax(axis=1),
            referred=np.array([prediction.decision is Decision.REFER for _, prediction in answers]),
            hospitals=tuple(image.hospital for image in batch),
        )
        parts.append(part)
    return SeenImages.joined(parts) if parts else None


def known_hospitals(
    model: Model, table: SampleTable, progress: Progress | None = None, seed: int = 17
) -> KnownHospitals | None:
    """The hospitals that a model of X-rays has learnt from, by some of their training and validation images.

    Args:
        model: also one that has no ``hospitals.npz``.
        table: what it was trained on, hospitals mapped, with the splits train and val.
        progress: called after every image.
        seed: of the choice of images.

    Returns:
        None where the model reads no X-rays, or no hospital has enough training images.
    """
    if model.bundle.modality != Modality.XRAY or not known_in(table):
        return None
    train = _some(table, "train", known_in(table), seed)
    val = _some(table, "val", {hospital_of(sample) for sample in table}, seed)
    stream = iter(_progressing(_looked(model, table, [*train, *val]), len(train) + len(val), progress))
    learnt = see(filter(None, islice(stream, len(train))), model)
    known = None if learnt is None else KnownHospitals.fit(learnt, model.bundle.classes, seed)
    held_out = see(filter(None, stream), model)
    return known if known is None or held_out is None else known.with_held_out(held_out, seed)


def with_hospital(
    known: KnownHospitals, model: Model, table: SampleTable, seed: int = 17
) -> KnownHospitals | None:
    """The hospitals that a model knows, and that of a table besides; None where too few of its images can be used.

    Args:
        table: of it the hospital that most images are of; at most MOST_REFERENCE are looked at.
        seed: of their choice.
    """
    by_hospital = Counter(map(hospital_of, table))
    name = by_hospital.most_common(1)[0][0]
    samples = [sample for sample in table if hospital_of(sample) == name]
    chosen = np.random.default_rng(seed).permutation(len(samples))[:MOST_REFERENCE]
    seen = see(filter(None, _looked(model, table, [samples[at] for at in sorted(chosen)])), model)
    if seen is None or len(seen) < LEAST_IMAGES:
        return None
    return known.with_hospital(CALIBRATED if name == UNIDENTIFIED else name, seen, seed)


def known_in(table: SampleTable) -> tuple[str, ...]:
    """The identified hospitals with enough training images to be known."""
    of_train = [hospital_of(sample) for sample in table if sample.split == "train"]
    return tuple(
        sorted(name for name in {*of_train} - {UNIDENTIFIED} if of_train.count(name) >= LEAST_REFERENCE)
    )


def hospitals_of(bundle: Bundle) -> KnownHospitals | None:
    """The hospitals that a bundle knows; None where it has no such part.

    Raises:
        BundleError: the part is damaged.
    """
    return _hospitals(bundle.folder / HOSPITALS, bundle.files.get(HOSPITALS))


@cache
def _hospitals(file: Path, sha256: str | None) -> KnownHospitals | None:
    """Kept by checksum, so that a changed bundle is read anew."""
    return None if sha256 is None else KnownHospitals.from_bytes(file.read_bytes(), file.name)


def _some(table: SampleTable, split: str, hospitals: Collection[str], seed: int) -> list[Sample]:
    """At most MOST_REFERENCE images of a split of each of the hospitals, in the table's order."""
    by_hospital: dict[str, list[int]] = {name: [] for name in sorted(hospitals)}
    for index, sample in enumerate(table):
        if sample.split == split and hospital_of(sample) in by_hospital:
            by_hospital[hospital_of(sample)].append(index)
    rng, samples = np.random.default_rng(seed), list(table)
    chosen = [index for own in by_hospital.values() for index in rng.permutation(own)[:MOST_REFERENCE]]
    return [samples[index] for index in sorted(chosen)]


def _looked(model: Model, table: SampleTable, samples: Sequence[Sample]) -> Iterator[Looked | None]:
    """Each image, read ahead in threads; None where it can't be read or used."""

    def one(sample: Sample) -> Looked | None:
        try:
            looked = look(read_xray(table.path(sample)), model)
        except InputError:
            return None
        hospital = hospital_of(sample)
        return looked and replace(looked, hospital="" if hospital == UNIDENTIFIED else hospital)

    with ThreadPoolExecutor(os.cpu_count()) as threads:
        yield from ahead(threads, one, samples, _AHEAD)


def _progressing(
    images: Iterable[Looked | None], total: int, progress: Progress | None
) -> Iterator[Looked | None]:
    """The same images, counted."""
    for done, image in enumerate(images, start=1):
        if progress is not None:
            progress(done, total)
        yield image
