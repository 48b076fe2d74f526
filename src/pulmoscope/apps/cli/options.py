"""The options of several commands, and groups of options that a command takes as one parameter."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import MISSING, dataclass, fields, is_dataclass
from enum import StrEnum
from functools import wraps
from inspect import Parameter, Signature, signature
from pathlib import Path
from typing import Annotated, Any, get_type_hints

import typer


class Runtime(StrEnum):
    """What runs the network."""

    AUTO = "auto"
    TORCH = "torch"
    ONNX = "onnx"
    OPENVINO = "openvino"


Data = Annotated[
    list[Path],
    typer.Option(
        "--data",
        help="A data set: a folder in a known layout, or a manifest.csv; may be given several times.",
    ),
]
Layout = Annotated[str | None, typer.Option(help="The data set's layout; default: recognised.")]
Labels = Annotated[
    Path | None,
    typer.Option("--labels", help="A CSV file `label,class`: what the labels of the data are to the model."),
]
RecipeName = Annotated[str, typer.Argument(help="A recipe's name; see `pulmoscope recipes list`.")]
Changes = Annotated[
    list[str] | None,
    typer.Option("--set", help="Change a setting, key=value; see `pulmoscope recipes show NAME`."),
]
ModelName = Annotated[str, typer.Argument(help="A built-in model's name, or a bundle's folder.")]
Split = Annotated[str, typer.Option(help="Which split; `all` takes every image.")]
Out = Annotated[Path, typer.Option("-o", "--out", help="Folder for the results.")]
Device = Annotated[str, typer.Option(help="auto, cpu, cuda or cuda:N.")]
WithRuntime = Annotated[Runtime, typer.Option(help="What runs the network.")]
Bootstrap = Annotated[int, typer.Option(min=0, help="Resamples for the 95 % intervals; 0: none.")]
On = Annotated[
    str,
    typer.Option(
        "--on",
        help="Spread the work over a cluster: ray (that of RAY_ADDRESS, else one on this machine) or ray://HOST[:PORT].",
    ),
]
Resume = Annotated[bool, typer.Option("--resume", help="Go on with what a killed run has left there.")]
Force = Annotated[bool, typer.Option("--force", help="Replace results that are already there.")]


@dataclass(frozen=True)
class DataOptions:
    """Which data sets, how they lie there, and what their labels mean."""

    data: Data
    layout: Layout = None
    labels: Labels = None


@dataclass(frozen=True)
class Machine:
    """What it is trained on."""

    device: Device = "auto"
    workers: Annotated[int, typer.Option(min=0, help="Processes that prepare images; 0: a thread does.")] = 0
    processes: Annotated[
        int | None,
        typer.Option(
            min=1,
            help="Processes that share every batch, on a GPU each or on the CPU; default: 1, with --on all.",
        ),
    ] = None
    on: On = ""


def grouped(command: Callable[..., None]) -> Callable[..., None]:
    """A command of typer's from a function some of whose parameters are groups, dataclasses with an option a field.

    The command line has the fields in place of the group.
    """
    hints = get_type_hints(command, include_extras=True)
    groups: dict[str, Any] = {name: hint for name, hint in hints.items() if is_dataclass(hint)}
    taken: list[Parameter] = []
    for name, parameter in signature(command).parameters.items():
        if name in groups:
            taken += _parameters(groups[name])
        else:
            taken.append(parameter.replace(annotation=hints[name], kind=Parameter.KEYWORD_ONLY))

    @wraps(command)
    def flat(**arguments: Any) -> None:
        made = {
            name: group(**{field.name: arguments.pop(field.name) for field in fields(group)})
            for name, group in groups.items()
        }
        command(**arguments, **made)

    flat.__signature__ = Signature(taken)  # type: ignore[attr-defined]
    flat.__annotations__ = {parameter.name: parameter.annotation for parameter in taken}
    return flat


def _parameters(group: Any) -> list[Parameter]:
    """A parameter for each field of a group."""
    hints = get_type_hints(group, include_extras=True)
    return [
        Parameter(
            field.name,
            Parameter.KEYWORD_ONLY,
            default=Parameter.empty if field.default is MISSING else field.default,
            annotation=hints[field.name],
        )
        for field in fields(group)
    ]
