"""A diagnosis as the pipeline makes them, for tests of what is written about it."""

from __future__ import annotations

import numpy as np

from pulmoscope.core.types import (
    Decision,
    Diagnosis,
    Explanation,
    Flag,
    Modality,
    Prediction,
    Quality,
    Scan,
    Severity,
    SourceFile,
)

PROBABILITIES = {"COVID": 0.912, "Normal": 0.08, "Viral Pneumonia": 0.008}

CARD = {
    "calibration": {"temperature": 1.31, "fitted_on": "a drawn validation split"},
    "thresholds": {"confidence": 0.6, "distance": None},
    "training_data": {
        "counts": {"train": {"COVID": 1600, "Normal": 1400}, "val": {"COVID": 40, "Normal": 60}},
        "sources": {"hospital A": 2000, "hospital B": 1100},
        "terms": "CC0",
    },
    "metrics": {
        "drawn test": {
            "role": "internal",
            "what": "split test of hospital A",
            "images": 580,
            "figures": {
                "accuracy": {"value": 0.953, "low": 0.935, "high": 0.968},
                "brier": {"value": 0.1, "low": None, "high": None},
            },
        },
        "drawn elsewhere": {
            "role": "external",
            "images": 312,
            "figures": {
                "accuracy": {"value": None, "low": None, "high": None},
                "auroc": {"value": 0.871, "low": 0.812, "high": 0.918},
            },
        },
        "audit": {
            "role": "audit",
            "what": "split test of hospital A",
            "images": 580,
            "figures": {"auroc_blackout": {"value": 0.703, "low": 0.66, "high": 0.744}},
        },
    },
}


def a_diagnosis(
    name: str = "chest.png",
    flags: tuple[Flag, ...] = (),
    targets: tuple[str, ...] = ("COVID", "Viral Pneumonia"),
    decision: Decision = Decision.REPORT,
    probabilities: dict[str, float] = PROBABILITIES,
) -> Diagnosis:
    pixels = np.linspace(0, 1, 48 * 64, dtype=np.float32).reshape(1, 48, 64)
    return Diagnosis(
        scan=Scan("chest", Modality.XRAY, pixels, (SourceFile(name, "ab" * 32),), (0.0, 0.14, 0.14), "PA"),
        model={"name": "tiny", "version": "0.1", "sha256": "cd" * 32},
        quality=Quality(flags),
        prediction=Prediction(probabilities, decision, "The most probable class has 0.912."),
        explanations=tuple(Explanation("grad-cam", target, pixels[0]) for target in targets),
        timings_s={"read": 0.012345678, "predict": 0.004},
        software={"pulmoscope": "0.1.0", "openvino": "2026.1"},
        card=CARD,
    )


UNDEREXPOSED = Flag("underexposed", Severity.WARN, "median grey at least 0.20 (found: 0.11)")
SYNTHETIC = Flag("synthetic", Severity.INFO, "the file says that a program drew it")
