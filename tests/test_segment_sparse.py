from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest

from pulmoscope.segment.sparse import sparse_zeros


def test_they_are_zeros_that_can_be_written() -> None:
    zeros = sparse_zeros((2, 3, 4))
    assert (zeros.shape, zeros.dtype, zeros.any()) == ((2, 3, 4), np.uint8, np.False_)
    zeros[1, 2] = 7
    assert zeros.sum() == 28
    assert sparse_zeros((0, 3, 4)).shape == (0, 3, 4)


@pytest.mark.skipif(sys.platform != "linux", reason="memory is told by /proc")
def test_reading_them_takes_no_memory() -> None:
    def resident_kib() -> int:
        lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
        return int(next(line for line in lines if line.startswith("VmRSS")).split()[1])

    zeros = sparse_zeros((400, 512, 512))
    before = resident_kib()
    zeros[:, 100, 100] = 1
    assert sum(np.count_nonzero(plane) for plane in zeros) == 400
    assert resident_kib() - before < 20 * 1024  # all of it is 100 MiB
