"""The one table that every data set becomes."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from pulmoscope.core.errors import DatasetError

SPLITS = ("train", "val", "test", "all", "")
"""Every name that a split can have, in the order of use; empty: in none."""

Boxes = tuple[tuple[float, float, float, float], ...]
"""Rectangles in pixels of the image: left, top, right, bottom."""


@dataclass(frozen=True)
class Sample:
    """One labelled image, or one CT study: a folder of slices, or a volume's file.

    Attributes:
        file: the path as the table names it, relative to the table's root (or absolute).
        label: the class; empty where unknown.
        split: ``train``, ``val``, ``test``, ``all`` or empty.
        patient: an id that tells patients apart, empty where unknown.
        source: the hospital or collection, empty where unknown.
        mask: a lung mask's path, empty where there is none.
        infected: of a CT study, which slices show infection, counted from 0 at the feet, e.g. ``12-40,45``;
            ``none`` where none does; empty where unknown.
        hospital: where the image was taken, as far as the hospital map knows (:mod:`pulmoscope.datasets.hospitals`).
        unread: the label comes from a test, not from what a reader saw: the image may not show it.
        boxes: a reader's boxes around opacities, where one has drawn some.
        age: of the patient, in years; None where unknown.
        sex: of the patient, ``female``, ``male`` or as the data set has it; empty where unknown.
        view: ``PA``, ``AP``, ``LL`` … as the data set or the file's header says; empty where unknown.
        lesions: paths of masks of what a reader has drawn as diseased; together they are all of it.
    """

    file: str
    label: str
    split: str = ""
    patient: str = ""
    source: str = ""
    mask: str = ""
    infected: str = ""
    hospital: str = ""
    unread: bool = False
    boxes: Boxes = ()
    age: float | None = None
    sex: str = ""
    view: str = ""
    lesions: tuple[str, ...] = ()


@dataclass(frozen=True)
class SampleTable:
    """All samples of one data set, in a fixed order.

    Attributes:
        root: the folder that ``Sample.file`` is relative to.
        layout: the recognised layout's name, e.g. ``manifest`` or ``radiography-database``.
        samples: the rows.
        warnings: what the user should know, one line each (``no patient ids: …``).
    """

    root: Path
    layout: str
    samples: tuple[Sample, ...]
    warnings: tuple[str, ...] = ()

    def with_samples(self, samples: Iterable[Sample], *warnings: str) -> SampleTable:
        """The same data set with other rows, and what there is to say about it."""
        return replace(self, samples=tuple(samples), warnings=(*self.warnings, *warnings))

    def path(self, sample: Sample) -> Path:
        """Where a sample's image lies."""
        return self.root / sample.file

    @property
    def classes(self) -> tuple[str, ...]:
        """Every label that occurs, sorted."""
        return tuple(sorted({sample.label for sample in self.samples if sample.label}))

    @property
    def splits(self) -> tuple[str, ...]:
        """Every split that occurs, in the order of :data:`SPLITS`."""
        return tuple(sorted({sample.split for sample in self.samples}, key=SPLITS.index))

    def split(self, *names: str) -> SampleTable:
        """The samples of these splits.

        Raises:
            DatasetError: there is none.
        """
        chosen = tuple(sample for sample in self.samples if sample.split in names)
        if not chosen:
            known = ", ".join(sorted({sample.split or "(none)" for sample in self.samples}))
            raise DatasetError(f"{self.root}: no sample in split {' + '.join(names)} (found: {known})")
        return self.with_samples(chosen)

    def with_labels(self, classes: Sequence[str]) -> SampleTable:
        """Only the samples of these classes.

        Raises:
            DatasetError: a class has no sample.
        """
        missing = [name for name in classes if name not in self.classes]
        if missing:
            raise DatasetError(
                f"{self.root}: no sample of class {', '.join(missing)} (found: {', '.join(self.classes)})"
            )
        chosen = tuple(sample for sample in self.samples if sample.label in classes)
        return self.with_samples(chosen)

    def __iter__(self) -> Iterator[Sample]:
        return iter(self.samples)

    def __len__(self) -> int:
        return len(self.samples)
