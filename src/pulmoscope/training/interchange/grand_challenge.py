"""A model of CT as an algorithm of grand-challenge.org, as the COVID-19 challenge STOIC2021 had them.

::

    OUT/process.py          /input/images/ct/*.mha → /output/probability-covid-19.json, probability-severe-covid-19.json
    OUT/model/              the bundle as it is
    OUT/requirements.txt, OUT/README.md, OUT/LICENSE
    OUT/Dockerfile          written last
"""

from __future__ import annotations

from pathlib import Path

from pulmoscope.core.errors import BundleError
from pulmoscope.core.files import check_folder, claim_folder, write_bytes, write_text
from pulmoscope.core.types import Modality
from pulmoscope.core.version import VERSION
from pulmoscope.runtime.bundle import Bundle
from pulmoscope.training.interchange.common import bundle_files, licence, template

DOCKERFILE, _FOLDER = "Dockerfile", "grand_challenge"
COVID = frozenset({"covid", "covid-19"})
"""The class, in lower case, whose probability is asked for."""


def export_grand_challenge(bundle: Bundle, out: Path, *, force: bool = False) -> None:
    """Write the folder of an algorithm.

    Raises:
        OutputExistsError: ``out`` holds one, and ``force`` is not given.
        BundleError: the model does not read CT, or none of its classes is COVID-19.
        ResourceError: the disk is full.
    """
    check_folder(out, DOCKERFILE, force)
    if bundle.modality != Modality.CT:
        raise BundleError(f"{bundle.folder}: it reads X-rays; the challenge's images are CTs")
    named = [name for name in bundle.classes if name.lower() in COVID]
    if len(named) != 1:
        found = ", ".join(bundle.classes)
        raise BundleError(f"{bundle.folder}: none of its classes is COVID-19 (found: {found})")
    claim_folder(out, DOCKERFILE, force)
    for name, content in bundle_files(bundle):
        write_bytes(out / "model" / name, content)
    texts = {
        "process.py": template(f"{_FOLDER}/process.py").replace('"COVID"', repr(named[0]).replace("'", '"')),
        "requirements.txt": f"pulmoscope=={VERSION}\n",
        "README.md": template(f"{_FOLDER}/README.md"),
        "LICENSE": licence(bundle),
        DOCKERFILE: template(f"{_FOLDER}/Dockerfile"),
    }
    for name, text in texts.items():
        write_text(out / name, text)
