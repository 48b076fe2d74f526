from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from pulmoscope.core.errors import BundleError
from pulmoscope.models.misgan import Imputer, composite, middle
from pulmoscope.runtime.network import Runtime, open_network
from pulmoscope.training.misgan.export import Filling, examples, verify, write_imputer


@pytest.fixture(scope="module")
def imputer() -> Imputer:
    """One that says something of its own."""
    torch.manual_seed(2)
    built = Imputer(4).eval()
    nn.init.normal_(built.shares.weight, 0, 0.3)
    nn.init.normal_(built.more.weight, 0, 0.05)
    return built


@pytest.fixture(scope="module")
def written(imputer: Imputer, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, float]]:
    path = tmp_path_factory.mktemp("imputer") / "imputer.onnx"
    return path, dict(write_imputer(imputer, 32, path))


@pytest.mark.parametrize("runtime", ["openvino", "onnx", "torch"])
@pytest.mark.parametrize("count", [1, 5])
def test_the_file_fills_what_torch_fills(
    imputer: Imputer, written: tuple[Path, dict[str, float]], runtime: Runtime, count: int
) -> None:
    rng = np.random.default_rng(count)
    x = rng.random((count, 3, 32, 32), dtype=np.float32)
    m = rng.choice(np.array([0, 0.5, 1], dtype=np.float32), x.shape)
    network = open_network(written[0], runtime, "cpu")
    assert network.inputs == ("slices", "observed")
    found = network(x, m)["filled"]
    with torch.no_grad():
        raw = imputer(torch.from_numpy(x), torch.from_numpy(m))
        expected = composite(middle(torch.from_numpy(x)), middle(torch.from_numpy(m)), raw).numpy()
    # Weights are stored in half precision.
    np.testing.assert_allclose(found, expected, atol=5e-3)
    seen = m[:, 1:2] > 0
    np.testing.assert_array_equal(found[seen], x[:, 1:2][seen])


def test_the_runtimes_agree(written: tuple[Path, dict[str, float]]) -> None:
    assert {"openvino", "onnx", "torch"} <= set(written[1])
    assert max(written[1][name] for name in ("openvino", "onnx", "torch")) < 1e-3


def test_a_file_that_fills_otherwise_is_refused_and_removed(
    imputer: Imputer, written: tuple[Path, dict[str, float]], tmp_path: Path
) -> None:
    inputs = examples(32)
    with torch.no_grad():
        expected = Filling(imputer)(*map(torch.from_numpy, inputs)).numpy()
    path = tmp_path / "imputer.onnx"
    path.write_bytes(written[0].read_bytes())
    expected[:, :, 10] += 0.1
    with pytest.raises(BundleError, match="export refused: filled on openvino must equal torch's"):
        verify(path, inputs, expected)
    assert not path.exists()
