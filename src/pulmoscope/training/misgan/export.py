"""From MisGAN's imputer to an ONNX file, and the proof that the file fills what torch fills."""

from __future__ import annotations

import copy
import importlib.util
import tempfile
import warnings
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import onnx
import torch
from torch import Tensor, nn

from pulmoscope.core.errors import BundleError
from pulmoscope.core.files import write_bytes
from pulmoscope.core.types import FloatArray
from pulmoscope.models.misgan import MIDDLE, SLICES, Imputer, composite, middle
from pulmoscope.runtime.network import open_network
from pulmoscope.training.onnx.file import OPSET, ROUNDING_TOLERANCE, RUNTIMES, TOLERANCE, difference, narrowed

INPUTS = ("slices", "observed")
OUTPUT = "filled"
_CHECKED = 4
_HIDDEN = 0.2


class Filling(nn.Module):
    """What is exported: the imputer, and the observed pixels put back."""

    def __init__(self, imputer: Imputer) -> None:
        super().__init__()
        self.imputer = imputer

    def forward(self, slices: Tensor, observed: Tensor) -> Tensor:
        """Middle slices (batch, 1, side, side) of stacks (batch, 3, side, side), filled."""
        return composite(middle(slices), middle(observed), self.imputer(slices, observed))


def write_imputer(imputer: Imputer, side: int, path: Path) -> Mapping[str, float]:
    """Write the imputer as ONNX and check it with every installed runtime.

    The file takes ``slices`` (n, 3, side, side), missing pixels already replaced by noise in [0, 1], and ``observed``
    alike, as ``quality.imputation.stack_at`` tells it; it gives ``filled`` (n, 1, side, side): the middle slices,
    observed pixels as they came. Its weights are stored in half precision where that changes hardly anything (see
    ``onnx_file``).

    Args:
        imputer: on the CPU; it is left as it is.
        side: of the slices, px.

    Returns:
        runtime → largest difference from torch, in standard deviations of what is filled; ``half``: the change by
        rounding the weights, where they are stored so.

    Raises:
        BundleError: a runtime fills otherwise, or changes an observed pixel; the file is removed.
    """
    trained = Filling(imputer).eval()
    inputs = examples(side)
    expected = _filled(trained, inputs)
    stored = copy.deepcopy(trained)
    with torch.no_grad():
        for weight in stored.parameters():
            if weight.ndim >= 2:
                weight.copy_(weight.half().float())
    rounded = _filled(stored, inputs)
    differences = {"half": difference(rounded, expected)}
    if not differences["half"] <= ROUNDING_TOLERANCE:
        stored, rounded, differences = trained, expected, {}
    write_bytes(path, narrowed(_traced(stored, inputs)).SerializeToString())
    return differences | verify(path, inputs, rounded)


def examples(side: int) -> tuple[FloatArray, FloatArray]:
    """Stacks of noise (4, 3, side, side) with single pixels and whole rows missing, and where they are observed."""
    rng = np.random.default_rng(0)
    shape = (_CHECKED, SLICES, side, side)
    slices = rng.random(shape, dtype=np.float32)
    observed = (rng.random(shape) >= _HIDDEN).astype(np.float32)
    observed[:, MIDDLE, side // 4 : side // 2] = 0
    return slices, observed


def _filled(network: Filling, inputs: tuple[FloatArray, FloatArray]) -> FloatArray:
    with torch.no_grad():
        return np.asarray(network(*map(torch.from_numpy, inputs)).numpy(), dtype=np.float32)


def _traced(network: Filling, inputs: tuple[FloatArray, FloatArray]) -> onnx.ModelProto:
    """The ONNX model, float32, with any batch size."""
    with warnings.catch_warnings(), tempfile.TemporaryDirectory() as folder:
        # torch 2.13's exporter calls its own deprecated helper; nothing that we could write differently.
        warnings.filterwarnings("ignore", message=".*treespec.*", category=FutureWarning)
        # Both inputs have one batch size, and its second name is not used: as it should be.
        warnings.filterwarnings("ignore", message=".*The axis name: batch will not be used.*")
        file = Path(folder) / "traced.onnx"
        torch.onnx.export(
            network,
            tuple(map(torch.from_numpy, inputs)),
            file,
            input_names=list(INPUTS),
            output_names=[OUTPUT],
            opset_version=OPSET,
            dynamic_shapes=({0: "batch"}, {0: "batch"}),
            dynamo=True,
            external_data=False,
            verbose=False,
        )
        return onnx.load(file)


def verify(path: Path, inputs: tuple[FloatArray, FloatArray], expected: FloatArray) -> dict[str, float]:
    """Compare what the file fills with what it should, on every runtime that is installed.

    Args:
        inputs: see :func:`examples`.
        expected: ``filled`` for them.

    Returns:
        runtime → largest difference, in standard deviations of what is filled.

    Raises:
        BundleError: it fills otherwise, or changes an observed pixel; the file is removed.
    """
    apart: dict[str, float] = {}
    kept = inputs[1][:, MIDDLE] > 0
    for runtime in [
        runtime_name for runtime_name, package in RUNTIMES.items() if importlib.util.find_spec(package)
    ]:
        filled = open_network(path, runtime, "cpu")(*inputs)[OUTPUT]
        apart[runtime] = difference(filled, expected)
        same = np.array_equal(filled[:, 0][kept], inputs[0][:, MIDDLE][kept])
        if not (same and apart[runtime] <= TOLERANCE):
            path.unlink()
            raise BundleError(
                f"{path}: export refused: {OUTPUT} on {runtime} must equal torch's within {TOLERANCE:.2g} of its "
                f"spread and leave observed pixels as they are (found: {apart[runtime]:.2g}, {'un' * same}changed)"
            )
    return apart
