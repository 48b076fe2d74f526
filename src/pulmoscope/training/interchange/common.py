"""What exports to other systems share: the bundle as it is, the licence, and files of a template."""

from __future__ import annotations

from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, distribution
from importlib.resources import files

from pulmoscope.runtime.bundle import CARD, MANIFEST, Bundle

_TEMPLATES = "training/interchange/templates"
LICENCE = "Apache-2.0"
"""Of the code that is written; what holds for the weights, the model card says."""


def bundle_files(bundle: Bundle) -> Iterator[tuple[str, bytes]]:
    """Names and contents of a bundle's files, its manifest last."""
    names = [*bundle.files, CARD, MANIFEST]
    for name in dict.fromkeys(names):
        if (bundle.folder / name).is_file():
            yield name, (bundle.folder / name).read_bytes()


def template(name: str) -> str:
    """A file of the package's templates."""
    return files("pulmoscope").joinpath(_TEMPLATES).joinpath(name).read_text(encoding="utf-8")


def licence(bundle: Bundle) -> str:
    """The text of LICENSE: that of the software, and where the terms of the weights stand."""
    terms = bundle.training_data.get("terms") or "none are stated"
    return f"{_software()}\nThe weights were learnt from data with these terms: {terms}.\nThe model card says more.\n"


def _software() -> str:
    """The software's licence, as its installation holds it; where it holds none, its name."""
    try:
        listed = distribution("pulmoscope").files or []
        for file in listed:
            if file.name == "LICENSE":
                return file.read_text(encoding="utf-8")
    except (PackageNotFoundError, OSError):
        pass
    return f"The code is under the licence {LICENCE} (https://www.apache.org/licenses/LICENSE-2.0).\n"
