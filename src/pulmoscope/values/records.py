"""What a file of values holds, whatever its format: records of values, each with whose they are.

Ids are kept as checksums: they are compared and told nowhere.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date
from functools import cached_property
from pathlib import PurePosixPath

from pulmoscope.core.types import Flag, FlagLevel
from pulmoscope.core.values import Moment


@dataclass(frozen=True)
class Given:
    """One value of a file, in the unit of its analyte.

    Attributes:
        name: of the analyte.
        value: a number.
        text: as the file has it, with its unit.
        where: the row or resource, for messages.
        bound: ``<``, ``<=``, ``>=`` or ``>`` where the value is only a bound.
        taken: when; None where the file does not say.
        hours: from the image, where the file says that instead.
        low, high: the laboratory's reference range.
    """

    name: str
    value: float
    text: str
    where: str
    bound: str = ""
    taken: Moment | None = None
    hours: float | None = None
    low: float | None = None
    high: float | None = None


@dataclass(frozen=True)
class Record:
    """Values of one patient that the file keeps together.

    Attributes:
        patients: checksums of the ids that the patient has; empty where the file gives none.
        file: of which image the values are, by its path or name; empty where the file does not say.
        sha256: the same by the checksum of its file.
        born: the patient's date of birth, from which the age at the image follows.
        values: what is given.
        flags: what was left out of it.
    """

    patients: frozenset[str] = field(default=frozenset(), repr=False)
    file: str = field(default="", repr=False)
    sha256: str = ""
    born: date | None = field(default=None, repr=False)
    values: tuple[Given, ...] = field(default=(), repr=False)
    flags: tuple[Flag, ...] = ()


@dataclass(frozen=True)
class ValuesFile:
    """A file of values, read and checked.

    Attributes:
        name: its path as the user gave it, for messages to the user.
        sha256: of its content.
        records: what it holds.
        remarks: about the file as a whole: what is not read of it.
    """

    name: str = field(repr=False)
    sha256: str
    records: tuple[Record, ...]
    remarks: tuple[Flag, ...] = ()

    @property
    def patients(self) -> int | None:
        """How many patients there are; None where a record does not say whose it is, and there are several."""
        known = {record.patients for record in self.records}
        return len(known) if frozenset() not in known or len(self.records) <= 1 else None

    @cached_property
    def by_sum(self) -> Mapping[str, Sequence[Record]]:
        """The records that name an image by its checksum."""
        return _grouped((record.sha256, record) for record in self.records if record.sha256)

    @cached_property
    def by_file_name(self) -> Mapping[str, Sequence[Record]]:
        """The records that name an image by its path, by the last part of it."""
        return _grouped((path_parts(record.file)[-1], record) for record in self.records if record.file)

    @cached_property
    def free(self) -> Sequence[Record]:
        """The records that name no image."""
        return [record for record in self.records if not record.file and not record.sha256]

    @cached_property
    def by_patient(self) -> Mapping[str, Sequence[Record]]:
        """The records that name no image, by every id of their patient."""
        return _grouped((patient, record) for record in self.free for patient in record.patients)

    def flags(self) -> Iterator[Flag]:
        """What was left out, first of the file as a whole."""
        yield from self.remarks
        for record in self.records:
            yield from record.flags


def _grouped(pairs: Iterable[tuple[str, Record]]) -> Mapping[str, Sequence[Record]]:
    groups: dict[str, list[Record]] = {}
    for key, record in pairs:
        groups.setdefault(key, []).append(record)
    return groups


def path_parts(name: str) -> tuple[str, ...]:
    """The parts of a path in a table, whichever way its slashes lean."""
    return PurePosixPath(name.replace("\\", "/")).parts or ("",)


def left_out(code: str, finding: str, rule: str = "") -> Flag:
    """A flag about what is not used."""
    return Flag(code, FlagLevel.WARN, finding, rule)
