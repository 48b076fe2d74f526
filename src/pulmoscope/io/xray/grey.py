"""From a DICOM file's stored values to grey in [0, 1]: the formulas of DICOM PS3.3, on plain arrays."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from pulmoscope.core.types import FloatArray

FloatValues = npt.NDArray[np.float64]


def window(values: FloatValues, centre: float, width: float, function: str = "LINEAR") -> FloatArray:
    """Apply a VOI window: float32 in [0, 1], never falling where ``values`` rise.

    DICOM PS3.3 C.11.2.1.2 (LINEAR) and C.11.2.1.3 (LINEAR_EXACT, SIGMOID), with output range 0 … 1.

    Args:
        values: after the modality LUT.
        centre: WindowCenter.
        width: WindowWidth; at least 1 for LINEAR, above 0 for the others.
        function: VOILUTFunction.

    Raises:
        ValueError: the width or the function is none that the standard knows.
    """
    if function not in ("LINEAR", "LINEAR_EXACT", "SIGMOID") or not (
        width > 0 and np.isfinite([centre, width]).all()
    ):
        raise ValueError(f"no such window: {function}, width {width}")
    if function == "SIGMOID":
        with np.errstate(over="ignore"):
            exponent = np.clip(-4 * (values - centre) / width, -700, 700)
        return np.asarray(1 / (1 + np.exp(exponent)), dtype=np.float32)
    if function == "LINEAR":
        if width < 1:
            raise ValueError(f"no such window: LINEAR, width {width}")
        centre, width = centre - 0.5, width - 1
    if width == 0:
        return np.asarray(values > centre, dtype=np.float32)
    with np.errstate(over="ignore"):  # infinity is clipped as well
        return np.asarray(np.clip((values - centre) / width + 0.5, 0, 1), dtype=np.float32)


def stretch(values: FloatValues, low: float, high: float) -> FloatArray:
    """``low`` and below become 0, ``high`` and above 1, linear between; all 0 where they are equal."""
    if not high > low:
        return np.zeros(values.shape, dtype=np.float32)
    with np.errstate(over="ignore"):  # infinity is clipped as well
        return np.asarray(np.clip((values - low) / (high - low), 0, 1), dtype=np.float32)


def robust_range(values: FloatValues, counts: npt.NDArray[np.int64]) -> tuple[float, float]:
    """The 0.5th and 99.5th percentile of pixels given as a histogram.

    Args:
        values: the grey value of each bin.
        counts: how many pixels are in it; same length, at least one pixel.
    """
    order = np.argsort(values, kind="stable")
    cumulative = np.cumsum(counts[order]) / counts.sum()
    low, high = np.searchsorted(cumulative, [0.005, 0.995])
    return float(values[order][low]), float(values[order][high])
