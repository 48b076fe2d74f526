from __future__ import annotations

import subprocess
import sys
from importlib.util import find_spec

import pytest

pytest.importorskip("torch")
if find_spec("torchvision") is None:
    pytest.skip("torchvision is not installed", allow_module_level=True)

CODE = """
from pulmoscope.runtime.torchvision_shim import declare_missing_operators
declare_missing_operators()
declare_missing_operators()
import torch, torchvision
declare_missing_operators()
print(torch.ops.torchvision.nms.default._schema)
print(tuple(torchvision.transforms.functional.pil_to_tensor.__module__.split("."))[0])
"""


def test_torchvision_can_be_imported_whatever_torch_is_installed() -> None:
    ended = subprocess.run([sys.executable, "-W", "error", "-c", CODE], capture_output=True, text=True)
    assert ended.returncode == 0, ended.stderr
    schema, package = ended.stdout.splitlines()
    assert schema == "torchvision::nms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor"
    assert package == "torchvision"
