"""Take the slice labels of every second infected training patient out of a manifest of CT phantoms.

benchmarks/half_labelled.py MANIFEST.csv OUT.csv
"""

from __future__ import annotations

import dataclasses
import sys
from itertools import count
from pathlib import Path

from pulmoscope.datasets import manifest


def main() -> None:
    source, target = map(Path, sys.argv[1:])
    turns = {label: count() for label in ("COVID", "CAP")}
    rows = [
        dataclasses.replace(sample, infected="")
        if sample.split == "train" and sample.label in turns and next(turns[sample.label]) % 2
        else sample
        for sample in manifest.read(source)
    ]
    manifest.write(target, rows)


if __name__ == "__main__":
    main()
