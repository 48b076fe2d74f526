"""The errors a user may meet, and who is meant by each.

::

    PulmoscopeError            one line: where, what was found, which rule
    ├── InputError             one input is refused; the others go on
    │   ├── UnreadableError    damaged, not an image, unsupported, protected
    │   └── UnsuitableError    readable, but not a chest image this version can read
    ├── DatasetError           a data set's folder, table or split is wrong
    ├── BundleError            a bundle is missing, damaged or of another version
    ├── RecipeError            an unknown recipe, or a setting it does not have
    ├── OutputExistsError      the result is already there (``--force`` replaces it)
    └── ResourceError          memory or disk ran out, or the device is not there

Messages say what was found, and the rule where that alone does not say it. They never carry a DICOM element that
identifies a patient.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Self

_LONGEST = 200


class PulmoscopeError(Exception):
    """Base of all errors that are the user's business; ``str()`` is one line."""


class InputError(PulmoscopeError):
    """One input is refused.

    Args:
        file: what was read, as the user named it (a member of a zip as ``archive.zip/member``).
        code: a stable lower-case word for the kind of refusal, one of those in ``docs/refusals.md``: ``"too-small"``.
        finding: what was found, in words and with its unit: ``"12 x 12 pixels"``. Kept as one line of at most 200
            characters, as it may quote the file.
        rule: what is expected instead, where the finding alone does not say it: ``"at least 64 x 64"``.
    """

    def __init__(self, file: str | Path, code: str, finding: str, rule: str = "") -> None:
        line = " ".join(finding.split())
        self.file = str(file)
        self.code = code
        self.finding = line if len(line) <= _LONGEST else f"{line[: _LONGEST - 1]}…"
        self.rule = rule
        super().__init__(f"{self.file}: {self.reason}")

    @classmethod
    def noted(cls, file: str, note: Mapping[str, str]) -> Self:
        """The error of a file that was noted as its code, finding and rule."""
        return cls(file, note["code"], note["finding"], note["rule"])

    def __reduce__(self) -> tuple[Any, ...]:  # an exception is pickled by its message alone
        return type(self), (self.file, self.code, self.finding, self.rule)

    @property
    def reason(self) -> str:
        """The finding first, then the rule; without the file."""
        return f"{self.finding} ({self.rule})" if self.rule else self.finding


class UnreadableError(InputError):
    """The file is damaged, is no image, is protected, or is in a format that is not supported."""


class UnsuitableError(InputError):
    """The file can be read but is not a chest image that can be diagnosed."""


class DatasetError(PulmoscopeError):
    """A data set's folder, table or split breaks a rule."""


class BundleError(PulmoscopeError):
    """A bundle is missing, damaged, or was written by an incompatible version."""


class RecipeError(PulmoscopeError):
    """A recipe is unknown, or a setting is not one of its settings or has the wrong type."""


class OutputExistsError(PulmoscopeError):
    """A result is already where a new one should go; ``resumable``: --resume would go on with it."""

    def __init__(self, path: Path, *, resumable: bool = False, finding: str = "already exists") -> None:
        resume = "--resume to go on with it, " if resumable else ""
        super().__init__(f"{path}: {finding}; give {resume}another folder, or --force to replace it")


class ResourceError(PulmoscopeError):
    """Memory or disk ran out, or the asked-for device or runtime is not there."""
