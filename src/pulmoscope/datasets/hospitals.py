"""Where a radiograph comes from, whatever folder it lies in: the hospital map.

Public collections are copied into one another, so a folder says little about the hospital. Leaving a hospital out means
leaving its images out of every folder. What the map knows:

- rules for collections whose make-up is known (:data:`RULES`);
- a data set that lists which images of other folders it has in common with them: ``<folder>_films.csv`` beside its
  manifest, with the column ``file`` (from the folder above) and, where known, ``patient`` and ``appearance`` (what a
  reader saw, which replaces the label), and ``<folder>_boxes.csv`` with a reader's boxes;
- else the source that the data set itself names.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from pulmoscope.core.errors import DatasetError
from pulmoscope.datasets.manifest import read_boxes, read_csv
from pulmoscope.datasets.table import Sample, SampleTable

UNIDENTIFIED = "unidentified"
"""Images whose hospital nobody knows: named so, and counted in no mean and no worst figure."""

PART_OF: Mapping[str, str] = {"rsna": "nih"}
"""A collection that was taken from a larger one: leaving that out leaves this out, too."""


@dataclass(frozen=True)
class Rule:
    """Images of a collection that are known to be of one hospital.

    Attributes:
        source: as the data set names it.
        hospital: what these images are of.
        label, patient: only images with this label, with a patient id that begins so; empty: any.
        unread: their label comes from a test, not from a reader.
    """

    source: str
    hospital: str
    label: str = ""
    patient: str = ""
    unread: bool = False

    def covers(self, sample: Sample) -> bool:
        """Whether the rule speaks of this sample."""
        return (
            sample.source == self.source
            and self.label in ("", sample.label)
            and sample.patient.startswith(self.patient)
        )


RULES: tuple[Rule, ...] = (
    # Copies of the COVID-19 Radiography Database: its Normal class is RSNA's pneumonia challenge, which is a part of
    # NIH's ChestX-ray14; its COVID class is gathered from many places, and labelled by PCR.
    Rule("radiography_lundis", "ieee8023", patient="ieee_"),
    Rule("radiography_lundis", "rsna", label="Normal"),
    Rule("radiography_lundis", UNIDENTIFIED, label="COVID", unread=True),
    Rule("radiography_lundis", UNIDENTIFIED),
    Rule("", UNIDENTIFIED),
)
"""The first rule that covers an image holds; where none does, its source is its hospital."""


def mapped(tables: Iterable[SampleTable]) -> list[SampleTable]:
    """Name every image's hospital, by what all of these data sets tell together.

    Raises:
        DatasetError: a data set's list of radiographs or boxes breaks one of its rules.
    """
    tables = list(tables)
    images: dict[Path, Sample] = {}
    for table in tables:
        images |= _listed(table)
    return [table.with_samples(_mapped(sample, table, images) for sample in table) for table in tables]


def check_hospitals(table: SampleTable, hospitals: Collection[str]) -> None:
    """Are these hospitals of the data?

    Raises:
        DatasetError: one is not, or is what nobody knows.
    """
    known = [name for name in hospitals_of(table) if name != UNIDENTIFIED]
    for name in hospitals:
        if name not in known:
            listed = ", ".join(known) or "none that is known"
            raise DatasetError(f"--leave-out {name}: must be a hospital of the data (found: {listed})")


def without(table: SampleTable, hospitals: Collection[str]) -> SampleTable:
    """Leave hospitals out, and what is a part of them; one that has no image here changes nothing.

    Raises:
        DatasetError: nothing is left.
    """
    kept = [sample for sample in table if not is_of(sample, hospitals)]
    if not kept:
        raise DatasetError(f"--leave-out {', '.join(hospitals)}: leaves no image")
    return table.with_samples(kept)


def of(table: SampleTable, hospital: str) -> SampleTable:
    """A hospital's images, of all splits."""
    return table.with_samples(sample for sample in table if is_of(sample, (hospital,)))


def is_of(sample: Sample, hospitals: Collection[str]) -> bool:
    """Whether an image is of one of these hospitals, or of a part of one."""
    hospital = hospital_of(sample)
    return hospital in hospitals or PART_OF.get(hospital) in hospitals


def hospitals_of(table: SampleTable) -> tuple[str, ...]:
    """Every hospital of the data, and every one that a part of is there."""
    hospitals = {hospital_of(sample) for sample in table}
    return tuple(sorted(hospitals | {PART_OF[name] for name in hospitals if name in PART_OF}))


def hospital_of(sample: Sample) -> str:
    """The map's answer, else the source; :data:`UNIDENTIFIED` where neither is known."""
    return sample.hospital or sample.source or UNIDENTIFIED


def left_out_by(table: SampleTable, hospitals: Collection[str] = ()) -> tuple[str, ...]:
    """The hospitals that can be left out, one after the other: identified, and no part of another.

    Args:
        hospitals: only these; empty: all.

    Raises:
        DatasetError: one of them is not in the data, is a part of another, or is not identified; or there is none.
    """
    known = [name for name in hospitals_of(table) if name != UNIDENTIFIED and name not in PART_OF]
    for name in hospitals:
        if name in PART_OF:
            raise DatasetError(
                f"--hospital {name}: is a part of {PART_OF[name]}, which goes with it: give that"
            )
        if name not in known:
            raise DatasetError(
                f"--hospital {name}: must be a hospital of the data (found: {', '.join(known) or 'none'})"
            )
    if not known:
        raise DatasetError(f"{table.root}: no image's hospital is known")
    return tuple(name for name in known if name in hospitals or not hospitals)


def known_to(training_data: Mapping[str, Any]) -> frozenset[str] | None:
    """The hospitals that a model has learnt from, by what its bundle says of its training data.

    Those of the models that it began with or that taught it are among them. Bundles from before the hospital map name
    sources and their classes only: what the rules make of them, and where a rule asks for a patient, the hospital and
    the rest. None: the bundle does not say.
    """
    own = _known_itself(training_data)
    parents = [parent["hospitals"] for parent in training_data.get("parents", ())]
    if own is None or None in parents:
        return None
    return own.union(*parents)


def _known_itself(training_data: Mapping[str, Any]) -> frozenset[str] | None:
    if "classes_by_hospital" in training_data:
        return frozenset(training_data["classes_by_hospital"])
    sources = training_data.get("sources", ())
    classes = training_data.get("classes_by_source") or dict.fromkeys(sources, ("",))
    matching = {
        hospital
        for source, labels in classes.items()
        for label in labels
        for hospital in _possible("" if source == "unknown" else source, label)
    }
    return frozenset(matching) or None


def has_learnt(known: Collection[str] | None, hospital: str) -> bool | None:
    """Whether a model that has learnt from the hospitals ``known`` has learnt from this one, or a part or whole of it.

    None where nobody knows.
    """
    if known is None:
        return None
    return PART_OF.get(hospital, hospital) in {PART_OF.get(name, name) for name in known}


def _possible(source: str, label: str) -> Iterable[str]:
    """The hospitals that images of a source and label (empty: any) may be of, whoever the patient is."""
    for rule in RULES:
        if rule.source == source and (not label or rule.label in ("", label)):
            yield rule.hospital
            if not rule.patient and (label or not rule.label):  # it covers all that there is to cover
                return
    yield source or UNIDENTIFIED


def _mapped(sample: Sample, table: SampleTable, images: Mapping[Path, Sample]) -> Sample:
    if sample.hospital:  # the data set says so itself
        return sample
    known = images.get(table.path(sample).resolve())
    if known is not None:
        return replace(
            sample,
            hospital=known.hospital,
            label=known.label or sample.label,
            patient=known.patient or sample.patient,
            boxes=known.boxes or sample.boxes,
        )
    rule = next((rule for rule in RULES if rule.covers(sample)), None)
    if rule is None:
        return replace(sample, hospital=sample.source)
    return replace(sample, hospital=rule.hospital, unread=rule.unread)


def _listed(table: SampleTable) -> dict[Path, Sample]:
    """What a data set says of images that lie in other folders: their path → hospital, patient, label, boxes."""
    sources = {sample.source for sample in table}
    by_path: dict[Path, Sample] = {}
    for file in sorted(table.root.glob("*_films.csv")) if len(sources) == 1 else ():
        boxes = read_boxes(file.with_name(file.name.replace("_films", "_boxes")))
        for _, row in read_csv(file, ("file",)):
            by_path[(table.root.parent / row["file"]).resolve()] = Sample(
                row["file"],
                row.get("appearance", ""),
                patient=row.get("patient", ""),
                hospital=next(iter(sources)),
                boxes=boxes.get(row["file"], ()),
            )
    return by_path
