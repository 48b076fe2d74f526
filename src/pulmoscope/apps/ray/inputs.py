"""The inputs of a run on many machines: folders that all nodes share, object stores, DICOMweb servers."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from pulmoscope.apps.ray.dicomweb import SCHEMES, Server
from pulmoscope.apps.ray.stores import Store, is_address
from pulmoscope.io import Entry, entries
from pulmoscope.io.inputs import unique
from pulmoscope.io.stored import Archive, Member


def entries_anywhere(
    inputs: Sequence[str], out: str, passed_over: Callable[[str], None] = lambda _: None
) -> Iterator[Entry]:
    """Every file that may hold an image, in a fixed order (see :func:`pulmoscope.io.entries`).

    Args:
        inputs: paths, and addresses of stores and servers.
        out: of the results, which may lie among the inputs.
        passed_over: called with each folder of results, which is left out.

    Raises:
        PulmoscopeError: an address is of no known kind.
        ResourceError: a store or server can't be reached.
    """
    taken = {"index.json"}
    for source in inputs:
        if source.startswith(SCHEMES):
            yield from Server(source.rstrip("/")).entries(taken)
        elif is_address(source):
            yield from Store(source.rstrip("/")).entries(taken, out.rstrip("/"), passed_over)
        else:
            without = None if is_address(out) else Path(out)
            for entry in entries([Path(source)], without, passed_over):
                yield replace(_from_root(entry), slug=unique(entry.slug, taken))


def _from_root(entry: Entry) -> Entry:
    """The same file, wherever a node's process may be."""
    if isinstance(entry.source, Path):
        return replace(entry, source=entry.source.absolute())
    if isinstance(entry.source, Member) and not entry.source.archive.path.is_absolute():
        return replace(entry, source=Member(Archive(entry.source.archive.path.absolute()), entry.source.info))
    return entry
