"""The versions that are told together: of the package, its built-in models, and the JSON that programs exchange."""

from __future__ import annotations

import json


def versions() -> dict[str, str]:
    """What has a version → the version; of a built-in model whose manifest can't be read ``damaged``."""
    from pulmoscope.core.version import VERSION
    from pulmoscope.report import diagnosis
    from pulmoscope.runtime import bundle, xray_severity

    named = {"pulmoscope": VERSION}
    files = {name: folder / bundle.MANIFEST for name, folder in bundle.built_in().items()}
    files[xray_severity.BUILT_IN] = xray_severity.built_in_severity() / xray_severity.MANIFEST
    for name, file in files.items():
        try:
            manifest = json.loads(file.read_text(encoding="utf-8"))
            named[f"model {name}"] = str(manifest["version"])
        except (OSError, ValueError, KeyError, TypeError):
            named[f"model {name}"] = "damaged"
    return named | {
        "schema diagnosis.json": diagnosis.SCHEMA_VERSION,
        "schema index.json": diagnosis.INDEX_VERSION,
        "schema bundle.json": bundle.SCHEMA_VERSION,
    }
