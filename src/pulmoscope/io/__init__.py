"""Reading chest X-rays: paths → entries → one result each, a scan or the one line that refuses it.

``read(paths)`` does all; ``entries`` and ``read_entry`` are its two steps, for reading in threads; ``read_xray`` and
``read_pixels`` read one file and raise.
"""

from pulmoscope.io.inputs import Entry, entries
from pulmoscope.io.reading import ReadResult, read, read_entry, read_pixels, read_xray

__all__ = ["Entry", "ReadResult", "entries", "read", "read_entry", "read_pixels", "read_xray"]
