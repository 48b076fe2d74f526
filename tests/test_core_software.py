from __future__ import annotations

import platform

import numpy as np

from pulmoscope import __version__
from pulmoscope.core.software import versions, versions_with


def test_what_is_installed_is_named_and_nothing_else() -> None:
    found = versions("scikit-learn", "no-such-package-here")
    assert found["python"] == platform.python_version()
    assert found["numpy"] == np.__version__
    assert found["pulmoscope"] == __version__
    assert "scikit-learn" in found
    assert "no-such-package-here" not in found


def test_a_diagnosis_names_the_runtime_that_made_it() -> None:
    assert versions_with("openvino") == versions()
    assert versions_with("onnx") == versions("onnxruntime")
    assert "onnxruntime" not in versions()
