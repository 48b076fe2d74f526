"""A diagnosis as the pipeline makes them, for tests of what is written about it."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from pulmoscope.core.facts import Facts
from pulmoscope.core.types import (
    Decision,
    Diagnosis,
    Explanation,
    Flag,
    FlagLevel,
    FloatArray,
    Geometry,
    Modality,
    Prediction,
    Quality,
    Scan,
    SliceResult,
    SourceFile,
    Subject,
    Units,
)
from pulmoscope.core.xray_severity import ZONES, Estimate, XraySeverity, Zone

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
        scan=Scan(
            "chest", Modality.XRAY, pixels, (SourceFile(name, "ab" * 32),), (0.0, 0.14, 0.14), view="PA"
        ),
        model={"name": "tiny", "version": "0.1", "sha256": "cd" * 32},
        quality=Quality(flags),
        prediction=Prediction(probabilities, decision, "The most probable class has 0.912."),
        explanations=tuple(Explanation("grad-cam", target, pixels[0]) for target in targets),
        timings_s={"read": 0.012345678, "predict": 0.004},
        software={"pulmoscope": "0.1.0", "openvino": "2026.1"},
        card=CARD,
    )


UNDEREXPOSED = Flag("underexposed", FlagLevel.WARN, "bright parts reach 11 %", "20 % and more")
SYNTHETIC = Flag("synthetic", FlagLevel.INFO, "the file says that a program drew it")
UNCHECKED = Flag("patient-rule", FlagLevel.WARN, "checked on 3 patients", "50 are enough", Subject.MODEL)

CT_SLICES, CT_STEP_MM, CT_BOTTOM_MM = 24, 5.0, -300.0
CT_INSTANCES = tuple(range(CT_SLICES, 0, -1))
"""Numbered from the head to the feet."""
CT_JUDGED = range(3, 22)
"""Below and above them there is too little lung."""
CT_SHOWN = (11, 8)
"""The slices with heat maps, most suspicious first."""
CT_STAGES = (3, 4, 5)
CT_LEVELS = {
    "maxpool": {"COVID": 0.94, "CAP": 0.05, "Normal": 0.01},
    "bilstm": {"COVID": 0.3, "CAP": 0.62, "Normal": 0.08},
    "bilstm-weighted": {"COVID": 0.88, "CAP": 0.04, "Normal": 0.08},
}


def ct_volume() -> FloatArray:
    """A drawn chest in HU: air, a body, two lungs, an opacity in the right one; 56 x 64 px of 5.5 mm."""
    z, row, column = np.meshgrid(np.arange(CT_SLICES), np.arange(56), np.arange(64), indexing="ij")
    pixels = np.full(z.shape, -1000, dtype=np.float32)
    pixels[((row - 28) / 22) ** 2 + ((column - 32) / 29) ** 2 < 1] = 40
    for centre in (18, 46):
        pixels[((row - 28) / 15) ** 2 + ((column - centre) / 10) ** 2 + ((z - 11.5) / 11) ** 2 < 1] = -850
    pixels[((row - 34) / 5) ** 2 + ((column - 16) / 5) ** 2 + ((z - 11) / 4) ** 2 < 1] = -250
    return pixels


def ct_slices(
    z_mm: tuple[float, ...] | None, names: tuple[str, ...], instances: tuple[int, ...] = ()
) -> tuple[SliceResult, ...]:
    """COVID's share is 0.95 in slice 11 and falls by 0.1 a slice; CAP has a tenth of what is left."""
    found = []
    for index in range(CT_SLICES):
        covid = max(0.05, 0.95 - 0.1 * abs(index - 11))
        shares = {"COVID": covid, "CAP": 0.1 * (1 - covid), "Normal": 0.9 * (1 - covid)}
        judged = index in CT_JUDGED
        height = None if z_mm is None else z_mm[index]
        instance = instances[index] if instances else None
        probabilities = shares if judged else None
        found.append(SliceResult(index, names[index], height, probabilities, 0.2 * judged, instance=instance))
    return tuple(found)


def a_ct_diagnosis(
    folder: str = "study",
    flags: tuple[Flag, ...] = (),
    targets: tuple[str, ...] = ("COVID",),
    decision: Decision = Decision.REPORT,
) -> Diagnosis:
    """Of a drawn study: 24 slices, 5 mm apart, the lowest at -300 mm."""
    z_mm = tuple(CT_BOTTOM_MM + CT_STEP_MM * index for index in range(CT_SLICES))
    names = tuple(f"{folder}/{CT_SLICES - index:03d}.dcm" for index in range(CT_SLICES))
    pixels = ct_volume()
    heat = np.zeros(pixels.shape[1:], dtype=np.float32)
    heat[29:40, 11:22] = 1
    scan = Scan(
        "study",
        Modality.CT,
        pixels,
        tuple(SourceFile(name, f"{index:064x}") for index, name in enumerate(names)),
        (CT_STEP_MM, 5.5, 5.5),
        Units.HU,
        Geometry((-173.0, -151.0, CT_BOTTOM_MM), (0, 0, CT_STEP_MM), (0, 5.5, 0), (5.5, 0, 0)),
        z_mm,
        facts=Facts("soft", "D40S", 2.0, CT_INSTANCES, "2020-03-05"),
    )
    return replace(
        a_diagnosis(flags=flags, decision=decision),
        scan=scan,
        prediction=Prediction(
            {"COVID": 0.91, "CAP": 0.07, "Normal": 0.02}, decision, "The most probable class has 0.910."
        ),
        slices=ct_slices(z_mm, names, CT_INSTANCES),
        levels=CT_LEVELS,
        explanations=tuple(
            Explanation("grad-cam", target, heat, index, stage)
            for index in CT_SHOWN
            for target in targets
            for stage in CT_STAGES
        ),
        timings_s={"read": 2.5, "prepare": 0.8, "slices": 41.25, "patient": 0.02, "explain": 1.1},
    )


def a_ct_of_pictures() -> Diagnosis:
    """The same as pictures in a folder: grey, and no one knows the geometry."""
    found = a_ct_diagnosis()
    names = tuple(f"pictures/{index:03d}.png" for index in range(CT_SLICES))
    scan = replace(
        found.scan,
        pixels=np.clip((found.scan.pixels + 1350) / 1500, 0, 1),
        files=tuple(SourceFile(name, f"{index:064x}") for index, name in enumerate(names)),
        spacing_mm=None,
        units=Units.GREY,
        geometry=None,
        z_mm=None,
        facts=None,
    )
    return replace(found, scan=scan, slices=ct_slices(None, names))


def an_xray_severity(limits: tuple[str, ...] = ()) -> XraySeverity:
    """Of the drawn radiograph of 48 x 64 px: six zones of 12 x 16 px, the most in C, the base of the right lung."""
    scores = dict(zip(ZONES, (0.25, 1.0, 2.5, 0.0, 0.5, 1.25), strict=True))
    zones = {
        name: Zone(
            Estimate(score, max(0.0, score - 0.5), min(3.0, score + 0.75)),
            top=6 + 12 * (number % 3),
            left=16 + 16 * (number // 3),
            height=12,
            width=16,
        )
        for number, (name, score) in enumerate(scores.items())
    }
    return XraySeverity(
        extent=Estimate(3.104, 1.9, 4.3),
        opacity=Estimate(2.2, 1.25, 3.1),
        brixia=Estimate(5.5, 2.0, 10.875),
        zones=zones,
        coverage=0.9,
        model={"name": "tiny-severity", "version": "0.1", "sha256": "ef" * 32},
        cells=np.array([[0, 0, 0, 0], [0, 0, 0, 0], [1, 0, 0, 0.5]], dtype=np.float32),
        box=(0, 0, 48, 64),
        limits=limits,
    )
