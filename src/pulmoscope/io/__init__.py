"""Reading chest X-rays and CT: paths → entries → studies → one result each, a scan or the line that refuses it.

``read(paths)`` does all; ``entries``, ``studies`` and ``read_study`` are its steps, for reading in threads;
``read_scan``, ``read_xray`` and ``read_pixels`` read one and raise.
"""

from pulmoscope.io.inputs import Entry, entries
from pulmoscope.io.reading import (
    ReadResult,
    content_of,
    read,
    read_pixels,
    read_scan,
    read_study,
    read_xray,
    sources,
)
from pulmoscope.io.studies import Study, studies

__all__ = [
    "Entry",
    "ReadResult",
    "Study",
    "content_of",
    "entries",
    "read",
    "read_pixels",
    "read_scan",
    "read_study",
    "read_xray",
    "sources",
    "studies",
]
