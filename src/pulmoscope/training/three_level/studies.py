"""The studies of a data set as the slice network sees them, prepared once and kept on disk."""

from __future__ import annotations

import dataclasses
import hashlib
import io
import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from threading import Lock
from typing import Any

import numpy as np
import numpy.typing as npt

from pulmoscope.core.errors import DatasetError
from pulmoscope.core.files import write_bytes
from pulmoscope.core.types import BoolArray, Bytes
from pulmoscope.datasets.ct_studies import read_labelled
from pulmoscope.datasets.infected import infected_slices
from pulmoscope.datasets.studies import study_checksum
from pulmoscope.datasets.table import Sample, SampleTable
from pulmoscope.preprocess.ct import CtPreprocess, prepared_slices
from pulmoscope.preprocess.ct_interpolate import interpolate_slices
from pulmoscope.training.progress import Reporter

_HEADERS = Lock()
"""NumPy reads a file's header with ``ast.parse``, which in Python 3.11 fails now and then where two threads do it at
once (``SystemError``, python/cpython issue 106905)."""


@dataclass(frozen=True)
class PreparedStudy:
    """One study.

    Attributes:
        sample: the table's row.
        label: the number of its class.
        slices: uint8 (slices, size, size) from the feet to the head, mapped from disk.
        infected: bool (slices,); None where it is not known which slices show infection.
        key: equal for studies of equal content, prepared alike.
    """

    sample: Sample
    label: int
    slices: Bytes
    infected: BoolArray | None
    key: str

    @property
    def slice_labels(self) -> tuple[str, ...]:
        """Which slices show infection, as one text; an empty one where that is not known."""
        return ("" if self.infected is None else np.packbits(self.infected).tobytes().hex(),)


@dataclass(frozen=True)
class Cache:
    """A folder of arrays that are made once. A file is there whole or not at all, so a killed run goes on."""

    folder: Path

    def array(self, name: str, make: Callable[[], npt.NDArray[Any]]) -> npt.NDArray[Any]:
        """The array of this name, mapped from disk; made where it is not there."""
        file = self.folder / f"{name}.npy"
        if not file.is_file():
            stream = io.BytesIO()
            np.save(stream, make())
            write_bytes(file, stream.getvalue())
        with _HEADERS:
            array: npt.NDArray[Any] = np.load(file, mmap_mode="r")
        return array


def prepare(
    table: SampleTable,
    preprocess: CtPreprocess,
    classes: tuple[str, ...],
    normal: str,
    cache: Cache,
    reporter: Reporter,
) -> tuple[PreparedStudy, ...]:
    """Read and prepare every study of a table.

    Args:
        classes: the labels, in order; studies of others are left out.
        normal: the class none of whose slices is infected, whatever the table says.

    Raises:
        InputError: a study can't be read.
        DatasetError: the infected slices that the table names are not those of the study.
    """
    chosen = [sample for sample in table if sample.label in classes]
    return tuple(
        _prepared(table, sample, preprocess, classes, normal, cache)
        for sample in reporter.track(chosen, "Preparing studies", len(chosen))
    )


def _prepared(
    table: SampleTable,
    sample: Sample,
    preprocess: CtPreprocess,
    classes: tuple[str, ...],
    normal: str,
    cache: Cache,
) -> PreparedStudy:
    path = table.path(sample)
    content = json.dumps([study_checksum(path), dataclasses.asdict(preprocess)], sort_keys=True)
    key = hashlib.sha256(content.encode()).hexdigest()
    slices = cache.array(key, lambda: prepared_slices(read_labelled(path, sample.infected), preprocess))
    infected: BoolArray | None
    if sample.label == normal:
        infected = np.zeros(len(slices), dtype=bool)
    else:
        try:
            known = infected_slices(sample.infected, len(slices))
        except ValueError as error:
            raise DatasetError(f"{path}: {error}") from error
        infected = None if known is None else np.array(known, dtype=bool)
    return PreparedStudy(sample, classes.index(sample.label), slices, infected, key)


def finer(study: PreparedStudy, factor: int, cache: Cache) -> tuple[Bytes, BoolArray]:
    """A study's slices with others put between neighbours of equal label, and which of all show infection.

    Args:
        study: its infected slices are known.
        factor: how many slices become of one; 1: none are added.
    """
    assert study.infected is not None
    infected = study.infected
    if factor == 1:
        return study.slices, infected
    labels = np.packbits(infected).tobytes()
    name = f"{study.key}-{factor}-{hashlib.sha256(labels).hexdigest()[:16]}"
    slices = cache.array(
        name, lambda: interpolate_slices(np.asarray(study.slices), infected.tolist(), factor)[0]
    )
    # Which are infected follows from the labels alone: a one-pixel study says it.
    tiny = np.zeros((len(infected), 1, 1), dtype=np.uint8)
    return slices, interpolate_slices(tiny, infected.tolist(), factor)[1]
