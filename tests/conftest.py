"""What several test files use."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import settings

# How long one example takes depends on what else the machine does; it says nothing about the code.
settings.register_profile("pulmoscope", deadline=None)
settings.load_profile("pulmoscope")


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder of real data beside the repository; tests that need it are skipped where it is absent."""
    folder = Path(__file__).resolve().parents[2] / "shared"
    if not folder.is_dir():
        pytest.skip("no folder `shared` with real data beside the repository")
    return folder
