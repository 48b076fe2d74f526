"""A severity model small enough to write in a test, whose scores can be derived by hand."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np

from pulmoscope.core.files import sha256_of_file, write_json
from pulmoscope.runtime.bundle import Bundle
from pulmoscope.runtime.xray_severity import WEIGHTS, Hinge, SeverityModel, Widths, load, manifest


def write(
    folder: Path, reads: Bundle | None = None, zone: tuple[float, ...] = (2.0, 0.0, -1.0)
) -> SeverityModel:
    """A model of two channels: a zone's raw sum is twice the first one, less 1, and the map follows the second.

    Zones: what is over 0.5, times 2. Extent: what all of them have over 1. Opacity: half of what they have over 2.
    """
    folder.mkdir(parents=True, exist_ok=True)
    weights = np.array(zone, dtype=np.float32)
    cells = np.array([*(0.0 for _ in zone[1:-1]), 1.0, 0.0], dtype=np.float32)
    packed = io.BytesIO()
    np.savez(packed, zone=weights, map=cells)
    (folder / WEIGHTS).write_bytes(packed.getvalue())
    model = SeverityModel(
        folder=folder,
        name="tiny-severity",
        version="0.1",
        features={
            "name": "tiny" if reads is None else str(reads.folder),
            "version": "0.1",
            "sha256": "0" * 64 if reads is None else reads.files[reads.network],
        },
        zone=Hinge(2.0, 0.5),
        extent=Hinge(1.0, 1.0),
        opacity=Hinge(0.5, 2.0),
        widths={
            "extent": Widths((1.0, 4.0), (0.5, 1.0, 2.0)),
            "opacity": Widths((), (1.0,)),
            "brixia": Widths((6.0,), (2.0, 3.0)),
            "zone": Widths((), (0.75,)),
        },
        coverage=0.9,
        zone_weights=weights,
        map_weights=cells,
        facts={"figures": {"known": 1}},
    )
    write_json(folder / "severity.json", manifest(model, sha256_of_file(folder / WEIGHTS)))
    return load(folder)
