"""Writing synthetic radiographs as a data set: pictures, masks and a manifest."""

from __future__ import annotations

import io
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import numpy as np
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from pulmoscope.core.errors import DatasetError
from pulmoscope.core.files import claim_folder, write_bytes
from pulmoscope.core.synthetic import SYNTHETIC_SOURCE, XRAY_DESCRIPTION
from pulmoscope.core.types import FloatArray
from pulmoscope.datasets import manifest
from pulmoscope.datasets.splits import FRACTIONS, assign_splits
from pulmoscope.datasets.table import Sample, SampleTable
from pulmoscope.phantoms.xray.draw import FINDINGS, Finding, draw_xray

DESCRIPTION = f"{XRAY_DESCRIPTION}, drawn by Pulmoscope. No patient."
SINGLE = "phantom-xray.png"


def write_phantoms(
    out: Path,
    count: int = 1,
    classes: Sequence[str] = ("Normal",),
    seed: int = 0,
    size: int = 512,
    fractions: Mapping[str, float] = FRACTIONS,
    masks: bool = False,
    force: bool = False,
    progress: Callable[[int, int], None] | None = None,
) -> SampleTable:
    """Draw ``count`` synthetic radiographs, the classes by turns, as 8-bit PNG with a ``manifest.csv``.

    Every picture says in its PNG text that it is synthetic; the manifest's source is ``phantom``, and each picture
    is a patient of its own. A single picture is ``phantom-xray.png``, several are ``<class>/images/<class>-0001.png``.

    Args:
        size: side, px.
        fractions: split → fraction.
        masks: write the lungs' truth masks as well.
        progress: called with (pictures done, pictures in all).

    Raises:
        DatasetError: no picture or class is asked for, or an unknown class.
        OutputExistsError: the folder has a manifest already, and ``force`` is not given.
        ResourceError: it can't be written.
    """
    findings = [_finding(name) for name in classes]
    if not findings:
        raise DatasetError("a phantom needs a class (found: none)")
    if count < 1:
        raise DatasetError(f"the number of phantoms must be at least 1 (found: {count})")
    claim_folder(out, manifest.NAME, force)
    samples = assign_splits(
        [_sample(index, count, findings, masks) for index in range(count)], fractions, seed
    )

    def draw(index: int) -> None:
        sample = samples[index]
        rng = np.random.default_rng([seed, index])
        phantom = draw_xray(rng, findings[index % len(findings)], size)
        write_bytes(out / sample.file, _png(phantom.image))
        if sample.mask:
            write_bytes(out / sample.mask, _png(phantom.lungs.astype(np.float32)))

    with ThreadPoolExecutor() as pool:
        for done, _ in enumerate(pool.map(draw, range(count)), start=1):
            if progress is not None:
                progress(done, count)
    manifest.write(out / manifest.NAME, samples)
    return SampleTable(out, "manifest", samples)


def _finding(name: str) -> Finding:
    for known in FINDINGS:
        if known == name:
            return known
    raise DatasetError(f"a phantom's class is one of {', '.join(FINDINGS)} (found: {name})")


def _sample(index: int, count: int, classes: Sequence[Finding], masks: bool) -> Sample:
    label = classes[index % len(classes)]
    name = f"{label}-{index // len(classes) + 1:04d}.png"
    sample = Sample(f"{label}/images/{name}", label, "", f"phantom-{index + 1:05d}", SYNTHETIC_SOURCE)
    mask = f"{label}/masks/{name}"
    if count == 1:
        sample, mask = replace(sample, file=SINGLE), f"masks/{SINGLE}"
    return replace(sample, mask=mask) if masks else sample


def _png(image: FloatArray) -> bytes:
    """An 8-bit grey PNG that says it is synthetic; ``image`` float32 in [0, 1]."""
    text = PngInfo()
    text.add_text("Description", DESCRIPTION)
    stream = io.BytesIO()
    grey = Image.fromarray(np.rint(image * 255).astype(np.uint8))
    # Grain hardly compresses: level 1 is nearly as small as the best, and several times faster.
    grey.save(stream, "PNG", pnginfo=text, compress_level=1)
    return stream.getvalue()
