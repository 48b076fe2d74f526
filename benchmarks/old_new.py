"""Is a new state of the source slower than an old one? Whole processes of both, by turns, in one run.

    git worktree add OLD COMMIT
    python benchmarks/old_new.py OLD NEW [--rounds 7] [--films 200] [--only help,film,films,ct]

OLD and NEW are source trees; both run with this Python and its packages. Inputs are drawn once: a radiograph of
512 x 512, a folder of radiographs of 256 x 256, a CT of 60 slices as DICOM. The first round, which warms the caches of
disk and byte code, is not counted. Printed is a table in Markdown: medians of wall time, and the median of the rounds'
ratios new/old with its range, in wall time and in time of processors, which other work on the machine disturbs less.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from statistics import median

from measured import Measured, measured

CLI = "from pulmoscope.apps.cli.main import main; main()"
TITLES = {
    "help": "`pulmoscope --help`",
    "film": "one radiograph, with its report",
    "films": "{films} radiographs, `--report none`",
    "ct": "one CT of 60 slices, with its report",
}


def main() -> None:
    ask = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    ask.add_argument("old", type=Path)
    ask.add_argument("new", type=Path)
    ask.add_argument("--rounds", type=int, default=7)
    ask.add_argument("--films", type=int, default=200)
    ask.add_argument("--only", default=",".join(TITLES))
    given = ask.parse_args()
    print("| what, as a whole process | old, s | new, s | new/old, wall time | new/old, processors |")
    print("|---|---|---|---|---|")
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        commands = drawn(folder, given.new, given.films)
        for name in given.only.split(","):
            rounds = [
                {
                    side: run(tree, commands[name], folder / f"{name}-{number}-{side}")
                    for side, tree in (("old", given.old), ("new", given.new))
                }
                for number in range(given.rounds + 1)
            ]
            print(row(TITLES[name].format(films=given.films), rounds[1:]), flush=True)


def drawn(folder: Path, tree: Path, films: int) -> dict[str, list[str]]:
    """What is asked, by name; the inputs are drawn into the folder."""
    phantom = ["datasets", "phantom", "--kind"]
    run(tree, [*phantom, "xray", "--classes", "COVID"], folder / "one")
    run(tree, [*phantom, "xray", "--count", str(films), "--size", "256"], folder / "many")
    run(tree, [*phantom, "ct", "--classes", "COVID"], folder / "ct")
    film = next((folder / "one").rglob("*.png"))
    study = next((folder / "ct").rglob("*.dcm")).parent
    return {
        "help": ["--help"],
        "film": ["diagnose", str(film)],
        "films": ["diagnose", str(folder / "many"), "--report", "none"],
        "ct": ["diagnose", str(study)],
    }


def run(tree: Path, arguments: list[str], out: Path) -> Measured:
    """One process of a source tree's command line."""
    where = [] if arguments == ["--help"] else ["-o", str(out)]
    environment = os.environ | {"PYTHONPATH": str(tree.resolve() / "src")}
    return measured([sys.executable, "-c", CLI, *arguments, *where], environment)


def row(title: str, rounds: list[Mapping[str, Measured]]) -> str:
    walls = [f"{median(one[side].wall_s for one in rounds):.2f}" for side in ("old", "new")]
    wall = ratio([one["new"].wall_s / one["old"].wall_s for one in rounds])
    processors = ratio([one["new"].cpu_s / one["old"].cpu_s for one in rounds])
    return f"| {title} | {' | '.join(walls)} | {wall} | {processors} |"


def ratio(found: list[float]) -> str:
    return f"{median(found):.2f} ({min(found):.2f}–{max(found):.2f})"


if __name__ == "__main__":
    main()
