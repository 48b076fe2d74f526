"""``pulmoscope export``: a model at another precision or in another format, verified."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from pulmoscope.apps.cli.console import progress_bar
from pulmoscope.apps.cli.evaluate import in_words_of
from pulmoscope.apps.cli.models.commands import Name
from pulmoscope.apps.cli.models.facts import precision_line
from pulmoscope.apps.cli.options import DataOptions, Force, Labels, Layout

if TYPE_CHECKING:
    from pulmoscope.runtime.bundle import Bundle


class Format(StrEnum):
    """How networks are stored, or the system that they are for."""

    ONNX = "onnx"
    OPENVINO = "openvino"
    MONAI = "monai"
    GRAND_CHALLENGE = "grand-challenge"


class Precision(StrEnum):
    """How networks compute."""

    FP32 = "fp32"
    BF16 = "bf16"
    FP16 = "fp16"
    INT8 = "int8"


def command(
    model: Name,
    to: Annotated[
        Format,
        typer.Option(
            "--to",
            help="onnx: for all runtimes; openvino: for OpenVINO alone; monai: a MONAI Bundle; "
            "grand-challenge: an algorithm's folder for CT.",
        ),
    ],
    out: Annotated[Path, typer.Option("-o", "--out", help="Folder for the new bundle.")],
    precision: Annotated[
        Precision, typer.Option(help="How it computes; see docs/export.md.")
    ] = Precision.FP32,
    data: Annotated[
        list[Path] | None,
        typer.Option("--data", help="A data set; may be given several times. Not needed for fp32."),
    ] = None,
    layout: Layout = None,
    labels: Labels = None,
    force: Force = False,
) -> None:
    """Write a model at another precision or in another format, once its answers have proved to be the same.

    They are compared on the split val of the data, and int8 is calibrated with the split train. Where they differ too
    much nothing is written.
    """
    from pulmoscope.runtime.model import Model
    from pulmoscope.training.precision.export import export_bundle

    if to in (Format.MONAI, Format.GRAND_CHALLENGE):
        _interchange(model, to, out, precision, data, force=force)
        return
    opened = Model.load(model)
    table = in_words_of(opened, DataOptions(data, layout, labels)) if data else None
    with progress_bar("Exporting") as progress:
        made = export_bundle(
            opened,
            out,
            format="openvino" if to is Format.OPENVINO else "onnx",
            precision=precision.value,
            table=table,
            force=force,
            progress=progress,
        )
    for line in _lines(made):
        typer.echo(line)
    typer.echo(f"Model: {out} ({made.name} {made.version}; {precision_line(made)})")


def _interchange(
    model: str, to: Format, out: Path, precision: Precision, data: list[Path] | None, *, force: bool
) -> None:
    """Write a model for another system, at the precision that it has.

    Raises:
        BundleError: a precision or data were given, or the other system can't take this model.
    """
    from pulmoscope.core.errors import BundleError
    from pulmoscope.runtime.bundle import load
    from pulmoscope.runtime.model import Model

    if precision is not Precision.FP32 or data:
        raise BundleError(f"--to {to.value} writes the model as it is: --precision and --data are not for it")
    if to is Format.MONAI:
        from pulmoscope.training.interchange.monai import export_monai

        scripted = export_monai(Model.load(model), out, force=force)
        typer.echo(
            f"MONAI Bundle: {out}"
            + (
                ""
                if scripted
                else " (no TorchScript: that needs the extra torch, pip install 'pulmoscope[torch]')"
            )
        )
        return
    from pulmoscope.training.interchange.grand_challenge import export_grand_challenge

    export_grand_challenge(load(model), out, force=force)
    typer.echo(f"Algorithm: {out}; README.md there says how to build its container")


def _lines(made: Bundle) -> list[str]:
    """What was compared, a line a figure."""
    assert made.export is not None
    verified = made.export.verified
    on = f"{verified['images']:,} images of {verified['split']}" if verified["images"] else "seeded noise"
    lines = [f"Compared on {on}{' (bf16 emulated: this CPU lacks it)' * verified['emulated']}"]
    for name, value in verified["figures"].items():
        found = "not defined" if value is None else f"{value:.4f}"
        lines.append(f"{name.replace('_', ' '):<18} {found:<12} limit {verified['limits'][name]:g}")
    for name, facts in verified["networks"].items():
        of_layers = ""
        if "layers" in facts:
            of_layers = f", {facts['in_single_precision']} of {facts['layers']} layers in single precision"
        agreement = f", agreement {facts['agreement']:.4f}" if "agreement" in facts else ""
        lines.append(f"{name:<18} {made.export.networks[name]}{of_layers}{agreement}")
    return lines
