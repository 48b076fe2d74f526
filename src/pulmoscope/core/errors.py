"""The errors a user may meet, and who is meant by each.

::

    PulmoscopeError            one line: what, where, which rule, which value
    ├── InputError             one input is refused; the others go on
    │   ├── UnreadableError    damaged, not an image, unsupported, protected
    │   └── UnsuitableError    readable, but not a chest image this version can read
    ├── DatasetError           a data set's folder, table or split is wrong
    ├── BundleError            a bundle is missing, damaged or of another version
    ├── RecipeError            an unknown recipe, or a setting it does not have
    ├── OutputExistsError      the result is already there (``--force`` replaces it)
    └── ResourceError          memory or disk ran out, or the device is not there

Messages carry the rule and the value found. They never carry a DICOM element that identifies a patient.
"""

from __future__ import annotations

from pathlib import Path


class PulmoscopeError(Exception):
    """Base of all errors that are the user's business; ``str()`` is one line."""


class InputError(PulmoscopeError):
    """One input is refused.

    Args:
        file: what was read, as the user named it (a member of a zip as ``archive.zip/member``).
        rule: the rule that was broken, e.g. ``"an image has at least 64 x 64 pixels"``.
        value: the value found, e.g. ``"12 x 12"``.
    """

    def __init__(self, file: str | Path, rule: str, value: object = None) -> None:
        self.file = str(file)
        self.rule = rule
        self.value = None if value is None else " ".join(str(value).split())[:200]
        super().__init__(f"{self.file}: {self.reason}")

    @property
    def reason(self) -> str:
        """Why it is refused, without the file's name."""
        return self.rule + (f" (found: {self.value})" if self.value else "")


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

    def __init__(self, path: Path, *, resumable: bool = False, found: str = "already exists") -> None:
        resume = "--resume to go on with it, " if resumable else ""
        super().__init__(f"{path}: {found}; give {resume}another folder, or --force to replace it")


class ResourceError(PulmoscopeError):
    """Memory or disk ran out, or the asked-for device or runtime is not there."""
