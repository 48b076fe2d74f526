"""Golden answers: records what the code says of simulated and of real images and studies, or compares with the record.

    python tests/golden/record.py              writes simulated.json and, with the shared data, shared.json beside it
    python tests/golden/record.py --check      compares instead: exit code 1 where an answer is another

Here numbers must agree to 1e-6, as old and new code run on one machine. The test (``tests/test_golden.py``) runs on any
machine and is less strict, see :data:`ACROSS_MACHINES`.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE.parent))

SIMULATED, SHARED = HERE / "simulated.json", HERE / "shared.json"
SAME_MACHINE = 1.001e-6
"""1e-6, and a little for what is rounded to six digits: neighbours there are 1e-6 apart or, in binary, a bit more."""
ACROSS_MACHINES = 1e-2
"""Other CPUs make sums in another order: up to 2e-6 between SSE 4.1 and AVX2, and more where a threshold lies near."""
SHOWN = 5
"""So many differences of one answer are told."""


def recorded(file: Path) -> dict[str, Any]:
    """The recorded answers by case; none where there is no record."""
    found: dict[str, Any] = json.loads(file.read_text(encoding="utf-8")) if file.is_file() else {}
    return found


def differences(expected: Any, found: Any, tolerance: float, path: str = "") -> Iterator[str]:
    """Where two answers differ, and how.

    Numbers may differ by ``tolerance``, above 1 by this part of them. All else must be equal.
    """
    if isinstance(expected, dict) and isinstance(found, dict) and expected.keys() == found.keys():
        for name, value in expected.items():
            yield from differences(value, found[name], tolerance, f"{path}.{name}")
    elif isinstance(expected, list) and isinstance(found, list) and len(expected) == len(found):
        for index, (one, other) in enumerate(zip(expected, found, strict=True)):
            yield from differences(one, other, tolerance, f"{path}[{index}]")
    elif _is_number(expected) and _is_number(found):
        if not abs(expected - found) <= tolerance * max(1.0, abs(expected)):
            yield f"{path}: {expected!r} became {found!r}"
    elif expected != found:
        yield f"{path}: {_short(expected)} became {_short(found)}"


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _short(value: Any) -> str:
    text = json.dumps(sorted(value) if isinstance(value, dict) else value)
    return text if len(text) <= 200 else f"{text[:200]} …"


def asked(cases: Any, folders: Any) -> Iterator[tuple[str, Any]]:
    """Every case's answer, as JSON gives it back."""
    for name, answer in cases.items():
        yield name, json.loads(json.dumps(answer(folders)))


def main() -> int:
    """Record or compare."""
    parser = argparse.ArgumentParser(description="Record the golden answers, or compare with them.")
    parser.add_argument("--check", action="store_true", help="compare with the record")
    parser.add_argument("--only", default="", help="cases whose names contain this")
    parser.add_argument(
        "--shared", type=Path, default=HERE.parents[1].parent / "shared", help="the real data"
    )
    options = parser.parse_args()
    os.environ["OMP_NUM_THREADS"] = "1"  # before any library asks
    from golden import cases
    from golden.simulated import Asked

    wrong = 0
    with tempfile.TemporaryDirectory() as scratch:
        place = Path(scratch)
        here = options.shared if options.shared.is_dir() else None
        folders = cases.Folders(Asked(place / "asked"), place, here)
        sets = {SIMULATED: cases.simulated()} | ({} if here is None else {SHARED: cases.shared()})
        if here is None:
            sys.stderr.write(f"{SHARED.name}: left out, as there is no folder {options.shared}\n")
        for file, own in sets.items():
            chosen = {name: case for name, case in own.items() if options.only in name}
            wrong += _compared(file, chosen, folders) if options.check else _written(file, chosen, folders)
    return 1 if wrong else 0


def _written(file: Path, cases: Any, folders: Any) -> int:
    """Record answers, one a line, beside those that were not asked for."""
    answers = recorded(file) | dict(asked(cases, folders))
    lines = (f"{json.dumps(name)}: {json.dumps(answer)}" for name, answer in sorted(answers.items()))
    file.write_text("{\n" + ",\n".join(lines) + "\n}\n", encoding="utf-8")
    sys.stdout.write(f"{file.name}: {len(cases)} answers recorded\n")
    return 0


def _compared(file: Path, cases: Any, folders: Any) -> int:
    """Tell which answers are not those of the record, and count them."""
    expected, wrong = recorded(file), 0
    for name, answer in asked(cases, folders):
        apart = list(differences(expected.get(name), answer, SAME_MACHINE))
        wrong += bool(apart)
        for line in apart[:SHOWN]:
            sys.stdout.write(f"{name}: {line}\n")
        if len(apart) > SHOWN:
            sys.stdout.write(f"{name}: {len(apart) - SHOWN} more\n")
    sys.stdout.write(f"{file.name}: {len(cases) - wrong} of {len(cases)} answers agree\n")
    return wrong


if __name__ == "__main__":
    sys.exit(main())
