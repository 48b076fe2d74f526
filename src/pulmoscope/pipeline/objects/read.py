"""Our own objects, read again: what one says in words, and reports among the inputs of a run."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import replace
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING

from pulmoscope.core.errors import ResourceError, UnreadableError
from pulmoscope.io.deflated import check_deflated
from pulmoscope.io.dicom_rules import is_own
from pulmoscope.io.formats import HEAD, format_of
from pulmoscope.io.inputs import Entry
from pulmoscope.io.quiet import decoding, quieten_decoders
from pulmoscope.pipeline.objects.write import FOLDER, SR

if TYPE_CHECKING:  # pydicom takes a fifth of a second
    from pydicom.dataset import Dataset

    from pulmoscope.report.dicom.earlier import EarlierReport


def told(path: Path) -> list[str]:
    """What an object of ours says, in lines.

    Raises:
        UnreadableError: the file is missing or damaged, or no object of any kind.
        UnsuitableError: Pulmoscope did not write it.
    """
    entry = Entry(str(path), "", path).held()
    if entry.read_bytes().lstrip()[:1] == b"{":
        from pulmoscope.report.fhir.words import bundle_words

        with decoding(entry.name):
            lines = bundle_words(json.loads(entry.read_bytes()), entry.name)
    else:
        from pulmoscope.report.dicom.words import words

        dataset = read_object(entry)
        with decoding(entry.name):
            lines = words(dataset, entry.name)
    return [_one_line(line) for line in lines]


def _one_line(text: str) -> str:
    """A line without what a terminal would take for more than a letter."""
    return "".join(letter if letter.isprintable() else "?" for letter in text)


def reports_among(entries: Iterable[Entry], out: Path) -> tuple[EarlierReport, ...]:
    """The reports of ours among the inputs of a run, and those that an earlier run has left in its folder.

    A damaged one counts for nothing. Of other files the first elements alone are read.

    Raises:
        ResourceError: the store in which one lies can't be reached.
    """
    left = sorted(out.glob(f"*/{FOLDER}/{SR}.dcm"))
    given = (_report(entry) for entry in entries)
    own = (_report(Entry(str(path), "", path)) for path in left)
    return (
        *(report for report in given if report is not None),
        *(replace(report, own_result=True) for report in own if report is not None),
    )


def _report(entry: Entry) -> EarlierReport | None:
    """The report that a file holds; None for any other file."""
    from pulmoscope.io.ct.header import read_dataset
    from pulmoscope.report.dicom.earlier import read_report

    try:
        with entry.open() as stream:
            if format_of(stream.read(HEAD)) != "DICOM":
                return None
            stream.seek(0)
            first, _ = read_dataset(stream, entry.name, ["Manufacturer"])
        return read_report(read_object(entry)) if is_own(first) else None
    except ResourceError:  # a store that can't be reached: the run ends, and goes on later
        raise
    except (
        Exception
    ):  # damaged bytes raise errors of any class; whatever else reads the file says what is wrong
        return None


def read_object(entry: Entry) -> Dataset:
    """A DICOM object with all that it holds.

    Raises:
        UnreadableError: the file is missing or damaged, a decompression bomb, or no DICOM file.
    """
    data = entry.read_bytes()
    if format_of(data[:HEAD]) != "DICOM":
        raise UnreadableError(entry.name, "not-an-object", "no DICOM object and no FHIR Bundle")
    quieten_decoders()
    with decoding(entry.name):
        from pydicom import dcmread

        check_deflated(data, entry.name)
        dataset = dcmread(BytesIO(data), force=True)
        dataset.decode()
        return dataset
