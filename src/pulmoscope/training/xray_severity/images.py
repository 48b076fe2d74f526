"""What the light network learns from: features of radiographs, averaged over zones, and cell by cell under boxes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt

from pulmoscope.core.classes import is_positive
from pulmoscope.core.errors import DatasetError, RecipeError
from pulmoscope.core.types import FloatArray
from pulmoscope.datasets.hospitals import hospital_of, mapped
from pulmoscope.datasets.scores import Scored, read_scores, together
from pulmoscope.datasets.table import Boxes, Sample, SampleTable
from pulmoscope.io import read_xray
from pulmoscope.preprocess.framing import crop
from pulmoscope.recipes.published.xray_severity import XraySeverityRecipe
from pulmoscope.runtime.model import Model
from pulmoscope.runtime.xray_severity import pooled
from pulmoscope.segment.xray_zones import lung_zones, zone_weights
from pulmoscope.training.frames import as_stored, read_all

LEAST = 30
"""Fewer scored radiographs, or patients with them, are too few."""
LEARNT = ("train", "all", "")
"""Splits whose radiographs without pneumonia, and boxes, are learnt from; those of the others are for measuring."""


@dataclass(frozen=True)
class Zones:
    """Radiographs by the mean features of their zones.

    Attributes:
        straight, mirrored: float32 (n, 6, channels), of each and of its mirror image, both in the patient's order.
    """

    straight: FloatArray = field(repr=False)
    mirrored: FloatArray = field(repr=False)

    def __getitem__(self, chosen: npt.NDArray[np.generic]) -> Zones:
        return Zones(self.straight[chosen], self.mirrored[chosen])


@dataclass(frozen=True)
class ScoredImages:
    """Radiographs that readers scored; all (n, …), NaN where nobody did.

    Attributes:
        known: who they are, and every reader's scores.
        seen: their features.
        extent, opacity: float64 (n,).
        zones: float64 (n, 6), the readers' mean.
    """

    known: tuple[Scored, ...]
    seen: Zones
    extent: npt.NDArray[np.float64]
    opacity: npt.NDArray[np.float64]
    zones: npt.NDArray[np.float64]

    @property
    def patients(self) -> npt.NDArray[np.str_]:
        """(n,), the id of each one's patient."""
        return np.array([one.patient for one in self.known])

    def __getitem__(self, chosen: npt.NDArray[np.generic]) -> ScoredImages:
        known = tuple(np.array(self.known, dtype=object)[chosen])
        return ScoredImages(
            known, self.seen[chosen], self.extent[chosen], self.opacity[chosen], self.zones[chosen]
        )


@dataclass(frozen=True)
class Normals:
    """Radiographs without pneumonia.

    Attributes:
        seen: their features.
        hospitals: (n,), where each was taken.
        learnt: bool (n,), whether the network may learn from it.
    """

    seen: Zones
    hospitals: npt.NDArray[np.str_]
    learnt: npt.NDArray[np.bool_]

    @property
    def of_training(self) -> Normals:
        """Those that the network may learn from."""
        return self[self.learnt]

    def __getitem__(self, chosen: npt.NDArray[np.generic]) -> Normals:
        return Normals(self.seen[chosen], self.hospitals[chosen], self.learnt[chosen])


@dataclass(frozen=True)
class Cells:
    """Cells of radiographs on which a reader drew boxes around opacities, or none as there are none.

    Attributes:
        features: float32 (n, channels).
        covered: float32 (n,), the fraction of each that lies in boxes.
        images: radiographs that they are of.
    """

    features: FloatArray = field(repr=False)
    covered: FloatArray = field(repr=False)
    images: int


@dataclass(frozen=True)
class Material:
    """All that there is to learn from, and by.

    Attributes:
        labels, sources: of scored radiographs that a manifest names: how many of each.
    """

    scored: ScoredImages
    normals: Normals
    cells: Cells
    labels: Mapping[str, int]
    sources: Mapping[str, int]


@dataclass(frozen=True)
class _Features:
    """One radiograph as the X-ray model sees it.

    Attributes:
        zones: float32 (2, 6, channels), of itself and mirrored; None where no lungs are seen.
        maps: float32 (channels, rows, columns); None where nobody asked, or boxes don't fit.
        covered: float32 (rows, columns), the fraction of each cell that lies in boxes.
    """

    zones: FloatArray | None
    maps: FloatArray | None = None
    covered: FloatArray | None = None


def read_material(
    recipe: XraySeverityRecipe, tables: Sequence[SampleTable], model: Model, progress: bool
) -> Material:
    """Read scores, radiographs without pneumonia and boxes from data sets, and run the X-ray model over them.

    Raises:
        DatasetError: too few are scored, or no lungs are seen on a scored one, or several images can't be read.
        InputError: an image can't be read.
        RecipeError: the model has no features of the lungs' zones to read.
    """
    if not model.finds_lungs:
        raise RecipeError(
            f"{recipe.name}: features={recipe.features}: must be an X-ray model with a lung finder "
            "(preprocess.region=lungs)"
        )
    known = together([one for table in tables for one in read_scores(table.root)])
    patients = {one.patient for one in known}
    if len(known) < LEAST or len(patients) < LEAST:
        rule = f"at least {LEAST} radiographs of as many patients with a row in scores.csv are needed"
        raise DatasetError(
            f"{', '.join(str(table.root) for table in tables)}: {rule} "
            f"(found: {len(known)} of {len(patients)})"
        )
    named = _named(tables, known)
    tables = [_without(table, known) for table in mapped(tables)]
    rows = _read(model, [(one.path, ()) for one in known], progress)
    if missing := [one.file for one, row in zip(known, rows, strict=True) if row.zones is None]:
        raise DatasetError(
            f"{missing[0]}: no lungs are seen on it, and it has scores; leave it out of scores.csv"
        )
    seen = _zones(rows)
    normals = _normals(recipe, tables)
    healthy = _read(model, [(path, ()) for path, _ in normals], progress)
    boxed = [(path, sample.boxes) for path, sample in _boxed(recipe, tables)]
    marked = _read(model, boxed, progress, cells=True)
    usable = [index for index, row in enumerate(healthy) if row.zones is not None]
    return Material(
        ScoredImages(
            tuple(known),
            seen,
            np.array([_number(one.extent) for one in known]),
            np.array([_number(one.opacity) for one in known]),
            np.array([(np.nan,) * 6 if one.zones is None else one.zones for one in known]),
        ),
        Normals(
            _zones([healthy[index] for index in usable]) if usable else seen[np.arange(0)],
            np.array([hospital_of(normals[index][1]) for index in usable], dtype=np.str_),
            np.array([normals[index][1].split in LEARNT for index in usable], dtype=bool),
        ),
        _cells(marked),
        labels=_counted(sample.label for sample in named),
        sources=_counted(sample.source for sample in named),
    )


def _named(tables: Sequence[SampleTable], known: Sequence[Scored]) -> list[Sample]:
    """What manifests say of the scored radiographs; of each once."""
    said = {table.path(sample).resolve(): sample for table in tables for sample in table}
    return [said[one.path] for one in known if one.path in said]


def _counted(words: Iterable[str]) -> dict[str, int]:
    """How often each word occurs, the empty one left out."""
    return dict(sorted(Counter(word for word in words if word).items()))


def _number(value: float | None) -> float:
    return np.nan if value is None else value


def _without(table: SampleTable, known: Sequence[Scored]) -> SampleTable:
    """A data set without the radiographs that are scored, and without others of these patients.

    What is not scored is learnt from in every fold: it may show no patient whom a fold holds out.
    """
    paths, patients = {one.path for one in known}, {one.patient for one in known}
    return table.with_samples(
        sample
        for sample in table
        if sample.patient not in patients and table.path(sample).resolve() not in paths
    )


def _normals(recipe: XraySeverityRecipe, tables: Sequence[SampleTable]) -> list[tuple[Path, Sample]]:
    """Of each hospital as many as are asked for, of what is learnt from and of what is not."""
    found: dict[tuple[str, bool], list[tuple[Path, Sample]]] = {}
    for table in tables:
        for sample in table:
            if sample.label and not is_positive(sample.label) and not sample.unread:
                key = (hospital_of(sample), sample.split in LEARNT)
                found.setdefault(key, []).append((table.path(sample).resolve(), sample))
    return [one for key in sorted(found) for one in _some(found[key], recipe.most_normals, recipe.seed)]


def _boxed(recipe: XraySeverityRecipe, tables: Sequence[SampleTable]) -> list[tuple[Path, Sample]]:
    """Radiographs with boxes, and of the same data sets as many without opacities as there are, in proportion."""
    found = [
        (table.path(sample).resolve(), sample)
        for table in tables
        if any(sample.boxes for sample in table)
        for sample in table
        if sample.split in LEARNT and (sample.boxes or (sample.label and not is_positive(sample.label)))
    ]
    return _some(found, recipe.most_boxed, recipe.seed)


def _some(found: Sequence[tuple[Path, Sample]], most: int, seed: int) -> list[tuple[Path, Sample]]:
    """At most so many, drawn evenly, in their order."""
    order = np.random.default_rng(seed).permutation(len(found))[:most]
    return [found[index] for index in sorted(order)]


def _read(
    model: Model, listed: Sequence[tuple[Path, Boxes]], progress: bool, *, cells: bool = False
) -> list[_Features]:
    """Look at images, in their order; ``cells``: keep the maps, too, which are large."""
    boxes = dict(listed)
    table = SampleTable(Path("/"), "paths", tuple(Sample(str(path), "") for path, _ in listed))
    return (
        read_all(table, lambda one: _look(model, Path(one.file), boxes[Path(one.file)], cells), progress)
        if listed
        else []
    )


def _look(model: Model, path: Path, boxes: Boxes, keep_cells: bool) -> _Features:
    scan = read_xray(path)
    pixels = scan.pixels[0]
    prepared = model.prepare(pixels)
    maps = model.predict(np.stack([prepared.tensor, prepared.tensor[:, :, ::-1]])).features
    cells = (maps.shape[2], maps.shape[3])
    found = None if prepared.lungs is None else lung_zones(prepared.lungs, *pixels.shape)
    box = prepared.framed.box
    zones = None
    if found is not None:
        weights = zone_weights(found, box, (pixels.shape[0], pixels.shape[1]), cells)
        zones = np.stack([pooled(maps[0], weights), pooled(maps[1], weights[:, :, ::-1])])
    if not keep_cells or (boxes and not as_stored(scan)):
        return _Features(zones)
    covered = np.zeros(pixels.shape, dtype=np.float32)
    for corners in boxes:
        left, top, right, bottom = (max(0, round(corner)) for corner in corners)
        covered[top:bottom, left:right] = 1
    covered = cv2.resize(crop(covered, box), cells[::-1], interpolation=cv2.INTER_AREA)
    return _Features(zones, maps[0], np.asarray(covered, dtype=np.float32))


def _zones(rows: Sequence[_Features]) -> Zones:
    both = np.stack([row.zones for row in rows if row.zones is not None])
    return Zones(both[:, 0], both[:, 1])


def _cells(rows: Sequence[_Features]) -> Cells:
    maps = [row.maps for row in rows if row.maps is not None]
    if not maps:
        return Cells(np.zeros((0, 0), dtype=np.float32), np.zeros(0, dtype=np.float32), 0)
    features = np.concatenate([one.reshape(one.shape[0], -1).T for one in maps])
    covered = np.concatenate([row.covered.ravel() for row in rows if row.covered is not None])
    return Cells(features, covered, len(maps))
