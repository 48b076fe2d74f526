"""What the measured density of a slice's lung says against an infection that a network sees.

A network of pictures goes by how a slice looks; scanners make slices look unlike. HU are the same everywhere: a lung
without dense tissue in it has no pneumonia, whatever it looks like.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from pulmoscope.core.types import FloatArray

CLEAR = 0.02
"""With at least this fraction of dense lung a slice may be infected, as far as density goes. Seven eighths of the
slices of a patient without pneumonia have less (one patient; the rest up to 0.067)."""


def weighed(slices: FloatArray, pneumonia: Sequence[int], dense: FloatArray) -> FloatArray:
    """Slices' probabilities, those of pneumonia lowered in proportion where less than ``CLEAR`` is dense.

    What they lose goes to the other classes, in proportion.

    Args:
        slices: (slices, classes), rows of sum 1.
        pneumonia: the indices of the classes that make lung dense; not all.
        dense: (slices,), of each slice's lung the fraction that is dense.

    Returns:
        float32 (slices, classes), rows of sum 1.
    """
    weighted = np.array(slices, dtype=np.float64)
    others = np.setdiff1d(np.arange(weighted.shape[1]), pneumonia)
    weighted[:, list(pneumonia)] *= np.minimum(1, dense[:, None] / CLEAR)
    rest = 1 - weighted[:, list(pneumonia)].sum(axis=1, keepdims=True)
    of_others = weighted[:, others].sum(axis=1, keepdims=True)
    shared = np.divide(
        weighted[:, others],
        of_others,
        out=np.full((len(weighted), len(others)), 1 / len(others)),
        where=of_others > 0,
    )
    weighted[:, others] = shared * rest
    return weighted.astype(np.float32)
