"""The earlier scan that one is compared with: read when it is needed, and refused where the two are no pair."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from pulmoscope.core.errors import InputError, UnsuitableError
from pulmoscope.core.types import Scan
from pulmoscope.inference.change.pair import TITLES, days_between
from pulmoscope.io import Study, read_study, sources
from pulmoscope.io.reading import only_study
from pulmoscope.io.studies import Wanted
from pulmoscope.report.diagnosis import input_sha256, pixels_sha256


@dataclass(frozen=True)
class Earlier:
    """An earlier scan of the same patient: a CT for a CT, a radiograph for a radiograph.

    Attributes:
        source: a file, a folder or zip of one study; or a scan that was already read.
        modality: what pictures are (see :func:`pulmoscope.io.studies.studies`).
    """

    source: Path | Scan
    modality: Wanted = "auto"

    @classmethod
    def of(cls, source: str | Path | Scan, modality: Wanted = "auto") -> Earlier:
        """The same, of a path however it is written."""
        return cls(Path(source) if isinstance(source, str) else source, modality)

    @cached_property
    def _study(self) -> Study:
        assert isinstance(self.source, Path)
        return only_study(self.source, self.modality)

    def sums(self) -> list[str]:
        """The checksums of its files in slice order, where no damaged slice is left out; nothing is decoded.

        Raises:
            InputError: a file can't be read, or the headers tell that the study is refused.
        """
        files = self.source.files if isinstance(self.source, Scan) else sources(self._study).files
        return [file.sha256 for file in files]

    def read_for(self, scan: Scan) -> Scan:
        """Read it, to be compared with a scan.

        Raises:
            InputError: it can't be read.
            UnsuitableError: this is of another kind, or the same, of another patient, or the later one.
        """
        with about_earlier(scan):
            earlier = self._read()
            if earlier.modality is not scan.modality:
                title = TITLES[scan.modality]
                rule = f"a {title} is compared with an earlier {title}"
                raise UnsuitableError(
                    earlier.source, "other-modality", f"it is a {TITLES[earlier.modality]}", rule
                )
        _check_pair(scan, earlier)
        return earlier

    def _read(self) -> Scan:
        if isinstance(self.source, Scan):
            return self.source
        result = read_study(self._study)
        if result.error is not None:
            raise result.error
        assert result.scan is not None
        return result.scan


@contextmanager
def about_earlier(scan: Scan) -> Iterator[None]:
    """A refusal of the earlier scan as one of the scan that is compared with it: what was found says of which."""
    try:
        yield
    except InputError as error:
        finding = f"the earlier {TITLES[scan.modality]}: {error.finding}"
        raise type(error)(scan.source, error.code, finding, error.rule) from error


def _check_pair(scan: Scan, earlier: Scan) -> None:
    """Refuse what is known to be no earlier scan of the same patient; ids are compared, and told nowhere.

    Raises:
        UnsuitableError: the same scan, another patient's, or a later one.
    """
    title = TITLES[scan.modality]
    if input_sha256(scan) == input_sha256(earlier) or _same_pixels(scan, earlier):
        rule = f"a {title} is compared with another one"
        raise UnsuitableError(scan.source, "same-scan", f"the earlier {title} is the same {title}", rule)
    patients = {one.facts.patient for one in (scan, earlier) if one.facts and one.facts.patient}
    if len(patients) > 1:
        finding = f"the earlier {title} is of another patient, by PatientID"
        raise UnsuitableError(scan.source, "other-patient", finding, "both must be of one patient")
    days = days_between(earlier, scan)
    if days is not None and days < 0:
        finding = f"the {title} that should be the earlier one was made {-days} day{'s' * (days < -1)} later"
        raise UnsuitableError(scan.source, "not-earlier", finding, "the two are given the other way round")


def _same_pixels(scan: Scan, earlier: Scan) -> bool:
    """Whether two radiographs have the same pixels, whatever files they are in."""
    pixels = pixels_sha256(scan)
    return pixels is not None and pixels == pixels_sha256(earlier)
