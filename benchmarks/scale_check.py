"""Are the results of two runs the same but for ``timings_s``, and is every study there just once?

    python benchmarks/scale_check.py ONE OTHER [--inputs N]

``ONE`` and ``OTHER`` are folders, or addresses as fsspec takes them. Exit code 0 where they are the same; else 1, and a
line for every difference.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections import Counter
from typing import Any

import fsspec


def tree(root: str) -> dict[str, bytes]:
    """Every file of a folder or store: its name within, and its bytes. Entries of an unfinished run are told apart."""
    files, path = fsspec.core.url_to_fs(root, use_listings_cache=False)
    names = [name for name in files.find(path) if not name.endswith("/")]
    return {name[len(path) :].strip("/"): files.cat_file(name) for name in names}


def differences(one: dict[str, bytes], other: dict[str, bytes], inputs: int | None = None) -> list[str]:
    """What two results differ in; a line each.

    Args:
        one, other: as of :func:`tree`.
        inputs: how many there are; None: as many as the first run has.
    """
    found = [f"only in the first: {name}" for name in sorted(one.keys() - other.keys())]
    found += [f"only in the second: {name}" for name in sorted(other.keys() - one.keys())]
    for name in sorted(one.keys() & other.keys()):
        if _plain(name, one[name]) != _plain(name, other[name]):
            found.append(f"differs: {name}")
    for title, files in (("first", one), ("second", other)):
        found += [f"{line} ({title})" for line in _once(files, inputs)]
    return found


def _once(files: dict[str, bytes], inputs: int | None) -> list[str]:
    """What is wrong with a run's index beside its files: an input that is there twice, or a folder without an input."""
    if "index.json" not in files:
        return ["no index.json"]
    listed = json.loads(files["index.json"])["inputs"]
    counted = Counter(entry["input"] for entry in listed)
    wrong = [f"listed {count} times: {name}" for name, count in counted.items() if count > 1]
    made = {name.partition("/")[0] for name in files if name.endswith("/diagnosis.json")}
    wrong += [f"not listed: {name}" for name in sorted(made - counted.keys())]
    done = {entry["folder"] for entry in listed if entry["outcome"] == "diagnosed"}
    wrong += [f"without diagnosis: {name}" for name in sorted(done - made)]
    if inputs is not None and len(listed) != inputs:
        wrong.append(f"{len(listed)} inputs instead of {inputs}")
    return wrong


def _plain(name: str, content: bytes) -> Any:
    """A file's content without what may differ: the times that steps took, and in local-names.csv the folders."""
    if name.endswith("diagnosis.json"):
        plain = json.loads(content)
        plain.pop("timings_s")
        return plain
    if name == "local-names.csv":
        return [line.rpartition("/")[2] if "," in line else line for line in content.decode().splitlines()]
    return content


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("one")
    parser.add_argument("other")
    parser.add_argument("--inputs", type=int)
    given = parser.parse_args()
    one, other = tree(given.one), tree(given.other)
    found = differences(one, other, given.inputs)
    for line in found[:50]:
        print(line)
    listed = len(json.loads(one["index.json"])["inputs"]) if "index.json" in one else 0
    print(
        f"{'different' if found else 'the same'}: {listed} inputs, {len(one)} files, {len(found)} differences"
    )
    return bool(found)


if __name__ == "__main__":
    sys.exit(main())
