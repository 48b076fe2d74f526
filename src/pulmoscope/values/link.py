"""Which values of a file are of an image, and which of several times count: by patient, file and time.

What makes that unsafe refuses the image; what can't be used of one analyte is left out and said.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import PurePosixPath

from pulmoscope.core.analytes import ANALYTES, MALE
from pulmoscope.core.errors import UnsuitableError
from pulmoscope.core.types import Flag, FlagLevel
from pulmoscope.core.values import ClinicalValue, Link, LinkedValues, Moment
from pulmoscope.values.choose import Window, chosen
from pulmoscope.values.consistent import without_contradictions
from pulmoscope.values.records import Given, Record, ValuesFile, left_out, path_parts

_YEARS = 2
"""How far the age in a file may be from the header's: one is often a year old, the other rounded."""


@dataclass(frozen=True)
class Image:
    """What is known of an image that values are linked to.

    Attributes:
        name: for messages.
        path: of its file or folder, from the root; empty where there is none.
        sums: checksums of its files, and of all together.
        patient: a checksum of PatientID; empty where there is none.
        taken: when it was made.
        age, sex: as its header says: whole years; ``M``, ``F`` or empty.
        only: it is the only image that is asked about.
        shared: names in the file of values that several images have.
    """

    name: str
    path: str = field(default="", repr=False)
    sums: frozenset[str] = frozenset()
    patient: str = field(default="", repr=False)
    taken: Moment | None = None
    age: int | None = None
    sex: str = ""
    only: bool = False
    shared: frozenset[str] = field(default=frozenset(), repr=False)


def linked(file: ValuesFile, image: Image, window: Window, *, header: bool = False) -> LinkedValues:
    """The values of a file that are of an image and near it in time.

    Args:
        window: how long before and after the image values may have been taken.
        header: age and sex may come from the image's header where the file does not give them.

    Raises:
        UnsuitableError: the values are another patient's, or nothing tells whose of several they are.
    """
    link, records = _of_image(file, image)
    given = [value for record in records for value in (*record.values, *_age(record, image))]
    values, flags = chosen(given, image.taken, window)
    values, contradictions = without_contradictions(values)
    flags = [*(flag for record in records for flag in record.flags), *flags, *contradictions]
    flags += _beside_header(values, image, link)
    if not records:
        flags.append(left_out("no-values", "the file has no values of this image"))
    elif not values:
        flags.append(left_out("no-values", "none of the values of this image's patient is used"))
    found = {value.name: value for value in values}
    if header:
        found = {**{value.name: value for value in _from_header(image)}, **found}
    listed = tuple(found[name] for name in ANALYTES if name in found)
    return LinkedValues(listed, tuple(sorted(flags, key=lambda flag: flag.code)), link)


def _of_image(file: ValuesFile, image: Image) -> tuple[Link, Sequence[Record]]:
    """The records of an image's patient, and what tells that they are.

    Raises:
        UnsuitableError: they are another patient's, or nothing tells whose of several they are.
    """
    named = _named(file, image)
    if named:
        _check_patient(named, image)
        return "file", named
    if image.patient in file.by_patient:
        own = file.by_patient[image.patient]
        if len({record.patients for record in own}) > 1:
            finding = "several patients of the file of values have the image's PatientID among their ids"
            raise UnsuitableError(image.name, "values-ambiguous", finding, "an id is of one patient")
        return "patient", own
    free, patients = file.free, {record.patients for record in file.free}
    if not image.only:
        return "none", ()
    if image.patient and frozenset() not in patients:
        if len(patients) == 1:
            _check_patient(free, image)
        return "none", ()
    if len(patients) > 1 or (patients == {frozenset()} and len(free) > 1):
        finding = "the values are of several patients, or nothing says that they are of one"
        rule = "columns patient, file or sha256 say which are of this image"
        raise UnsuitableError(image.name, "values-ambiguous", finding, rule)
    return ("only", free) if free else ("none", ())


def _named(file: ValuesFile, image: Image) -> list[Record]:
    """The records that name the image's file: by its checksum, or by the longest path that its own ends in.

    Raises:
        UnsuitableError: other images have that name, too.
    """
    own = [record for one in image.sums for record in file.by_sum.get(one, ())]
    if own:
        return own
    alike = file.by_file_name.get(PurePosixPath(image.path).name, ())
    named = [record for record in alike if _ends_in(image.path, record.file)]
    longest = max((record.file for record in named), key=len, default="")
    if longest in image.shared:
        finding = "the file of values names it, and other images of this name"
        raise UnsuitableError(image.name, "values-ambiguous", finding, "paths that differ, or checksums")
    return [record for record in named if record.file == longest]


def shared_names(file: ValuesFile, paths: Iterable[str]) -> frozenset[str]:
    """The names of images in a file of values that several of these paths end in."""
    counts = Counter(
        record_file
        for path in paths
        for record_file in {record.file for record in file.by_file_name.get(PurePosixPath(path).name, ())}
        if _ends_in(path, record_file)
    )
    return frozenset(name for name, count in counts.items() if count > 1)


def _ends_in(path: str, name: str) -> bool:
    """Whether the last parts of a path are a name, which may be a path itself."""
    parts = path_parts(name)
    return PurePosixPath(path).parts[-len(parts) :] == parts


def _check_patient(records: Iterable[Record], image: Image) -> None:
    """Refuse values that are said to be of another patient than the image.

    Raises:
        UnsuitableError: they are.
    """
    if image.patient and any(record.patients and image.patient not in record.patients for record in records):
        finding = "the values are of another patient, by PatientID"
        raise UnsuitableError(image.name, "values-patient", finding, "both must be of one patient")


def _age(record: Record, image: Image) -> list[Given]:
    """The age at the image of a patient whose date of birth is given."""
    if record.born is None or image.taken is None:
        return []
    day = image.taken.start.date()
    years = day.year - record.born.year - ((day.month, day.day) < (record.born.month, record.born.day))
    possible = ANALYTES["age"].low <= years <= ANALYTES["age"].high
    return [Given("age", float(years), f"{years} a", "the date of birth")] if possible else []


def _beside_header(values: Sequence[ClinicalValue], image: Image, link: Link) -> list[Flag]:
    """Flags where age or sex differ from what the image's header says.

    Raises:
        UnsuitableError: they do, and nothing else tells that the values are of this image's patient.
    """
    given = {value.name: value.value for value in values}
    wrong = []
    if image.sex and "sex" in given and (given["sex"] == MALE) != (image.sex == "M"):
        wrong.append("sex")
    if image.age is not None and abs(given.get("age", image.age) - image.age) > _YEARS:
        wrong.append("age")
    if wrong and link == "only":
        finding = f"{' and '.join(wrong)} of the values and of the image's header differ"
        raise UnsuitableError(image.name, "values-patient", finding, "both must be of one patient")
    return [
        Flag("differs-from-header", FlagLevel.WARN, f"{name} is not what the image's header says")
        for name in wrong
    ]


def _from_header(image: Image) -> list[ClinicalValue]:
    """Age and sex by the image's header."""
    found = []
    if image.age is not None and ANALYTES["age"].low <= image.age <= ANALYTES["age"].high:
        found.append(ClinicalValue("age", float(image.age), f"{image.age} a", from_header=True))
    if image.sex:
        male = image.sex == "M"
        found.append(ClinicalValue("sex", float(male), "male" if male else "female", from_header=True))
    return found
