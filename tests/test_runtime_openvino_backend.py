from __future__ import annotations

import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest

from bundles import quadrants, tiny_bundle
from no_network import has_strace, run_without_network
from pulmoscope.core.errors import BundleError, ResourceError
from pulmoscope.runtime.network import open_network

INFER = """
import sys
import numpy as np
from pathlib import Path
from pulmoscope.runtime.openvino_backend import OpenVinoNetwork
network = OpenVinoNetwork(Path(sys.argv[1]))
print(network(np.ones((2, 3, 32, 32), dtype=np.float32))["logits"].tolist())
print(sorted(name for name in sys.modules if "telemetry" in name and sys.modules[name] is not None))
"""


def test_outputs_by_their_names_in_the_onnx_file(tmp_path: Path) -> None:
    network = open_network(tiny_bundle(tmp_path, gain=40).folder / "model.onnx")
    image = np.repeat(quadrants((0.5, 0.25), 32)[None, None], 3, axis=1)
    found = network(image)
    assert found["logits"][0] == pytest.approx([40 / 4 * 0.5, 40 / 4 * 0.25], abs=1e-5)
    assert found["features"].shape == (1, 2, 4, 4)
    assert found["features"][0, 0, :2, :2] == pytest.approx(0.5)
    assert found["gradients"][0] == pytest.approx(np.eye(2) * 40 / 16)


def test_a_batch_may_lie_in_memory_as_it_likes(tmp_path: Path) -> None:
    network = open_network(tiny_bundle(tmp_path).folder / "model.onnx")
    batch = np.random.default_rng(2).random((3, 3, 32, 32)).astype(np.float32)
    expected = network(batch)["features"]
    assert np.array_equal(network(np.asfortranarray(batch))["features"], expected)
    assert np.array_equal(network(batch.astype(np.float64))["features"], expected)
    read_only = batch.copy()
    read_only.flags.writeable = False
    assert np.array_equal(network(read_only)["features"], expected)
    mirrored = network(batch[..., ::-1])["features"]
    assert np.array_equal(mirrored, network(np.ascontiguousarray(batch[..., ::-1]))["features"])
    assert not np.array_equal(mirrored, expected)


def test_threads_that_share_a_network_each_get_their_own_answer(tmp_path: Path) -> None:
    network = open_network(tiny_bundle(tmp_path).folder / "model.onnx")
    wrong: list[float] = []

    def ask(brightness: float) -> None:
        batch = np.full((5, 3, 32, 32), brightness, dtype=np.float32)
        for _ in range(20):
            logits = network(batch)["logits"]
            if not np.allclose(logits, 10 * brightness, atol=1e-4):
                wrong.append(brightness)

    threads = [threading.Thread(target=ask, args=(number / 8,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []


def test_a_fresh_process_may_begin_with_a_batch(tmp_path: Path) -> None:
    """Its images are the first that several threads infer; OpenVINO can deadlock there (see import_quietly)."""
    model = tiny_bundle(tmp_path).folder / "model.onnx"
    for _ in range(5):
        subprocess.run([sys.executable, "-c", INFER, model], check=True, timeout=30, capture_output=True)


def test_an_inference_opens_no_network_connection(tmp_path: Path) -> None:
    model = tiny_bundle(tmp_path / "bundle").folder / "model.onnx"
    ended = run_without_network([sys.executable, "-c", INFER, model], tmp_path / "run")
    assert ended.returncode == 0, ended.stderr
    logits, telemetry = ended.stdout.splitlines()
    assert logits == "[[10.0, 10.0], [10.0, 10.0]]"
    assert telemetry == "[]"
    assert ended.attempts == ()


def test_a_bare_import_of_openvino_would_have_been_noticed(tmp_path: Path) -> None:
    """The test above can fail: OpenVINO, imported the plain way, tries to send its telemetry."""
    ended = run_without_network([sys.executable, "-c", "import openvino"], tmp_path / "run")
    assert ended.attempts != ()


def test_a_socket_opened_outside_python_s_socket_module_is_noticed(tmp_path: Path) -> None:
    if not has_strace():
        pytest.skip("strace is not there or not allowed")
    native = "import ctypes; ctypes.CDLL(None).socket(2, 1, 0)"
    ended = run_without_network([sys.executable, "-c", native], tmp_path / "run")
    assert len(ended.attempts) == 1


def test_neither_the_package_nor_its_runtime_interface_imports_openvino() -> None:
    code = "import sys, pulmoscope.runtime.model; print('openvino' in sys.modules)"
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ended.stdout.strip() == "False"


@pytest.mark.parametrize("device", ["cuda", "cuda:1", "gpu"])
def test_another_device_than_the_cpu_is_refused(tmp_path: Path, device: str) -> None:
    model = tiny_bundle(tmp_path).folder / "model.onnx"
    with pytest.raises(ResourceError, match=f"device must be auto or cpu.*{device}") as caught:
        open_network(model, "openvino", device)
    assert "\n" not in str(caught.value)


def test_a_damaged_file_is_refused_in_one_line(tmp_path: Path) -> None:
    path = tmp_path / "model.onnx"
    path.write_bytes(b"this is no network")
    with pytest.raises(BundleError, match=r"model\.onnx: OpenVINO can't read this network") as caught:
        open_network(path, "openvino")
    assert "\n" not in str(caught.value)
