"""``pulmoscope demo``: a real radiograph and a simulated CT, each with its answer and its report."""

from __future__ import annotations

import csv
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

from pulmoscope.apps.cli.console import progress_bar

PACKAGE, RADIOGRAPH = "pydicom-data", "data_store/data/RG1_J2KI.dcm"
SHA256 = "744d01372fdda4e21b507bb7f97329065de961f4f263342079b369b430064d65"
"""Of the radiograph: an adult's chest with many round masses, as DICOM in JPEG 2000."""
SEED, SLICES, SIZE = 7, 60, 288
"""Of the simulated CT, in which a fifth of each lung is affected."""
LIMITS = """
A simulated image shows how Pulmoscope works, not how well: its models have learnt from real images only.
Research use only; not a medical device. A physician must read the image."""


def command(
    out: Annotated[
        Path, typer.Option("-o", "--out", help="Folder for the simulated images and the results.")
    ],
    force: Annotated[bool, typer.Option("--force", help="Replace what is there.")] = False,
) -> None:
    """Diagnose a real chest radiograph and a simulated chest CT, and say what came out and where the reports are.

    The radiograph is read where the package pydicom-data (the extra demo) has it; without it one is simulated.
    """
    from pulmoscope.io import entries, studies
    from pulmoscope.io.studies import paths
    from pulmoscope.phantoms.ct.folder import TRUTH, write_ct_phantoms
    from pulmoscope.pipeline.choice import Models
    from pulmoscope.pipeline.diagnose import diagnose_many
    from pulmoscope.pipeline.names import Naming
    from pulmoscope.pipeline.runs.run import Run

    title, radiograph = _radiograph(out / "xray", force)
    titles = {"XRAY": title, "CT": "Simulated chest CT (no patient)"}
    table = write_ct_phantoms(
        out / "ct", 1, ["COVID"], seed=SEED, size=SIZE, slices=SLICES, layout="nifti", force=force
    )
    truth = next(csv.DictReader((out / "ct" / TRUTH).read_text(encoding="utf-8").splitlines()))
    listed = list(entries([radiograph, out / "ct" / table.samples[0].file]))
    run = Run(Models(), out / "results", naming=Naming(keep=True))  # these files name no patient
    with progress_bar("Diagnosing"):
        outcomes = list(diagnose_many(studies(listed), run, paths(listed), force=force))
    for outcome in outcomes:
        if outcome.error is not None:
            raise outcome.error
        assert outcome.plain is not None
        title = titles[outcome.plain["input"]["modality"]]
        typer.echo(f"\n{title}\n  {answer(outcome.plain, truth)}\n  {outcome.report}")
    typer.echo(LIMITS)


def _radiograph(out: Path, force: bool) -> tuple[str, Path]:
    """What the radiograph is, and its file: the real one where its package is, else one that is simulated."""
    from importlib.metadata import PackageNotFoundError, distribution

    from pulmoscope.core.errors import DatasetError
    from pulmoscope.core.files import sha256_of_file
    from pulmoscope.phantoms.xray.folder import write_phantoms

    try:
        file = Path(str(distribution(PACKAGE).locate_file(RADIOGRAPH)))
        sha256 = sha256_of_file(file)
    except (PackageNotFoundError, FileNotFoundError):
        typer.echo(
            f"{PACKAGE} is not installed (the extra demo brings it): the radiograph is simulated, too."
        )
        table = write_phantoms(out, 1, ["COVID"], seed=SEED, force=force)
        return "Simulated chest radiograph (no patient)", out / table.samples[0].file
    if sha256 != SHA256:
        raise DatasetError(f"{file}: is not the demo's radiograph: its SHA-256 is {sha256}, not {SHA256}")
    return f"Real chest radiograph (from {PACKAGE})", file


def answer(plain: Mapping[str, Any], truth: Mapping[str, str]) -> str:
    """A ``diagnosis.json`` in one sentence; ``truth``: of the simulated CT, a row of its ``truth.csv``."""
    from pulmoscope.report.html import percent
    from pulmoscope.report.page import UNCHECKED

    prediction, severity = plain["prediction"], plain["severity"]
    label, fractions = prediction["label"], prediction["probabilities"]
    codes = {limit["code"] for limit in plain["limits"]}
    sure = "not calibrated on patients" if UNCHECKED in codes else percent(fractions[label])
    text = f"{label} is the most probable class ({sure})"
    if "unlike-normal" in codes and label != "COVID":
        text = f"No COVID pattern stands out ({percent(fractions['COVID'])}), but this is not a normal chest"
    if severity.get("percent_affected") is not None:
        measured = ", ".join(
            f"{side} lung {severity[side]:.0f} % (simulated: {float(truth[f'affected_{side}']):.0f} %)"
            for side in ("left", "right")
        )
        text += f"; measured as affected: {measured}, grade {severity['grade']}"
    return text + (": a person must look." if prediction["decision"] == "refer" else ": reported.")
