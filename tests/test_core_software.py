from __future__ import annotations

import platform

import numpy as np

from pulmoscope import __version__
from pulmoscope.core.software import versions


def test_what_is_installed_is_named_and_nothing_else() -> None:
    found = versions("scikit-learn", "no-such-package-here")
    assert found["python"] == platform.python_version()
    assert found["numpy"] == np.__version__
    assert found["pulmoscope"] == __version__
    assert "scikit-learn" in found
    assert "no-such-package-here" not in found
