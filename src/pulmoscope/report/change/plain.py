"""A change as plain data, whatever kind both scans are."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pulmoscope.core.change import Change, CtChange
from pulmoscope.core.files import sha256_of_all
from pulmoscope.core.types import Modality, Scan
from pulmoscope.report.change import ct, xray


def change_json(change: Change) -> dict[str, Any]:
    """What ``diagnosis.json`` holds of a change, but for its flags."""
    said = ct.change_json(change) if isinstance(change, CtChange) else xray.change_json(change)
    earlier = {**_source(change.earlier.scan), **said["earlier"]}
    return {"verdict": change.verdict.value, **said, "days": change.days, "earlier": earlier}


def change_line(plain: Mapping[str, Any]) -> str:
    """The change of a ``diagnosis.json`` in a line for a terminal."""
    change = plain["change"]
    line = (ct if plain["input"]["modality"] == Modality.CT else xray).change_line(change)
    codes = ", ".join(flag["code"] for flag in change["flags"])
    return f"{line} (mind: {codes})" if codes else line


def _source(scan: Scan) -> dict[str, Any]:
    """The files that a scan was read from."""
    return {
        "sha256": sha256_of_all([file.sha256 for file in scan.files]),
        "files": [{"name": file.name, "sha256": file.sha256} for file in scan.files],
    }
