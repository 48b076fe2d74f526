"""At which precision a bundle's networks compute, in which format they are stored, and how that was verified."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, get_args

Precision = Literal["fp32", "bf16", "fp16", "int8"]
"""``fp16`` says how weights are stored: single precision computes with them, as with ``fp32``. ``bf16`` is computed
where the CPU has it, else in single precision. ``int8`` is in the network itself, which any CPU runs."""
Format = Literal["onnx", "openvino"]
PRECISIONS: tuple[Precision, ...] = get_args(Precision)
FORMATS: tuple[Format, ...] = get_args(Format)
OPENVINO: Format = "openvino"
TITLES: Mapping[Format, str] = {"onnx": "ONNX", OPENVINO: "OpenVINO's format"}
"""What the formats are called."""
_SOURCE = ("name", "version", "sha256")


@dataclass(frozen=True)
class Export:
    """How an exported bundle computes.

    Attributes:
        precision: that was asked for; the image network's.
        format: of all its networks.
        networks: as they are called in ONNX (``lungs.onnx``) → precision.
        source: ``name``, ``version`` and ``sha256`` of the bundle that it was exported from.
        verified: how its answers compare with that bundle's, and on which images.
        calibration: of int8: the images that tell how large the networks' values become.
    """

    precision: Precision
    format: Format
    networks: Mapping[str, Precision]
    source: Mapping[str, str]
    verified: Mapping[str, Any] = field(default_factory=dict)
    calibration: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Check precisions, format and source (errors: ValueError)."""
        for precision in (self.precision, *self.networks.values()):
            if precision not in PRECISIONS:
                raise ValueError(f"a precision must be one of {', '.join(PRECISIONS)} (found: {precision})")
        if self.format not in FORMATS:
            raise ValueError(f"export.format must be one of {', '.join(FORMATS)} (found: {self.format})")
        if missing := [name for name in _SOURCE if name not in self.source]:
            raise ValueError(f"export.source must have {', '.join(_SOURCE)} (missing: {', '.join(missing)})")


def onnx_name(file: str) -> str:
    """What a network's file is called in a bundle of ONNX: ``model.xml`` is ``model.onnx``."""
    return f"{file.rpartition('.')[0]}.onnx"


def stored(part: str, format: Format) -> tuple[str, ...]:
    """The files that hold a part, named as in a bundle of ONNX: in OpenVINO's format a network has two."""
    name, _, kind = part.rpartition(".")
    return (f"{name}.xml", f"{name}.bin") if kind == "onnx" and format == OPENVINO else (part,)
