"""The values that a run links to its images."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from pulmoscope.core.types import Scan
from pulmoscope.core.values import LinkedValues
from pulmoscope.io import Entry, Study
from pulmoscope.io.reading import only_study
from pulmoscope.io.studies import Wanted
from pulmoscope.io.subject import Subject, subject_of
from pulmoscope.report.diagnosis import input_sha256
from pulmoscope.runtime.outcome import OutcomeModel, load_outcome
from pulmoscope.values.choose import Window
from pulmoscope.values.link import Image, linked
from pulmoscope.values.read import read_values
from pulmoscope.values.records import ValuesFile


@dataclass(frozen=True)
class Values:
    """A file of values, and how they are linked to images.

    Attributes:
        file: what it holds.
        window: how long before and after an image values count.
        header: age and sex may come from an image's header where the file does not give them.
        only: there is one image, so that one patient's values without an id may be its patient's.
        shared: names of images in the file that several images have.
        outcome: a model that is applied to them; None: none.
    """

    file: ValuesFile
    window: Window = field(default_factory=Window)
    header: bool = False
    only: bool = True
    shared: frozenset[str] = frozenset()
    outcome: OutcomeModel | None = None

    @classmethod
    def of(cls, source: str | Path | Values, outcome: str | Path | None = None) -> Values:
        """The same, of a file's path.

        Args:
            outcome: the folder of a model of an outcome that is applied to them.

        Raises:
            BundleError: there is no such model, or it is damaged.
            UnreadableError: it can't be read, or what it means is unclear.
        """
        values = source if isinstance(source, Values) else cls(read_values(Path(source)))
        return values if outcome is None else replace(values, outcome=load_outcome(Path(outcome)))

    def linked(self, scan: Scan, entries: Sequence[Entry], path: str) -> LinkedValues:
        """The values of a scan's patient.

        Args:
            entries: the scan's files, as far as they can be opened.
            path: of the file or folder that the scan is, as the user named it.

        Raises:
            UnsuitableError: the values are another patient's, or nothing tells whose of several they are.
        """
        subject = subject_of(entries[0]) if entries else Subject()
        image = Image(
            path,
            str(Path(path).absolute()) if path else "",
            frozenset({input_sha256(scan), *(file.sha256 for file in scan.files)}),
            subject.patient,
            subject.taken,
            subject.age,
            subject.sex,
            self.only,
            self.shared,
        )
        return replace(linked(self.file, image, self.window, header=self.header), settings=self._settings)

    def same_as(self, plain: Mapping[str, Any]) -> bool:
        """Whether what ``diagnosis.json`` says under ``values`` was linked from the same file in the same way.

        Other images beside it may link otherwise: the only one by less, and one whose name another has not by its name.
        """
        same = all(plain.get(key) == value for key, value in self._settings.items())
        unsafe = {"none" if self.only else "only", *(["file"] if self.shared else [])}
        return same and plain.get("link") not in unsafe

    @property
    def _settings(self) -> dict[str, str | float | bool]:
        return {
            "sha256": self.file.sha256,
            "hours_before": self.window.before,
            "hours_after": self.window.after,
            "age_and_sex_from_header": self.header,
        }


def same_values(values: Values | None, plain: Mapping[str, Any] | None) -> bool:
    """Whether ``diagnosis.json`` has, under ``values``, what would be linked now; None: nothing."""
    return plain is None if values is None else plain is not None and values.same_as(plain)


def of_source(
    source: str | Path | Scan, scan: Scan, values: str | Path | Values | None, modality: Wanted = "auto"
) -> LinkedValues | None:
    """The values of the scan that was read of a source; None where none were asked about.

    Args:
        modality: what pictures are (see :func:`pulmoscope.io.studies.studies`).
    """
    if values is None:
        return None
    opened = Values.of(values)
    if not isinstance(source, Scan):
        return opened.linked(scan, only_study(Path(source), modality).entries, str(source))
    files = [Path(file.path) for file in scan.files if file.path]
    path = "" if not files else str(files[0] if len(files) == 1 else files[0].parent)
    return opened.linked(scan, [Entry(str(file), "", file) for file in files[:1]], path)


def of_study(values: Values | None, scan: Scan, study: Study) -> LinkedValues | None:
    """The values of a study's scan; None where none were asked about."""
    return None if values is None else values.linked(scan, study.entries, study.name)
