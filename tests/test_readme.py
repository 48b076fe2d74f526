"""The commands of the README and of the tutorials, run as they are written, one after the other, with the real CLI."""

from __future__ import annotations

import csv
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping
from itertools import islice
from pathlib import Path
from textwrap import dedent

import pytest

from values import bundle, observation, quantity

ROOT = Path(__file__).resolve().parents[1]
PAGES = ("README.md", *(f"docs/tutorials/{name}.md" for name in ("newcomer", "researcher", "integrator")))
BUNDLE = ROOT / "tests" / "data" / "old_bundles" / "0.1" / "xray"
LIMIT_S = 900.0
"""Of one command: far more than any needs; one that hangs ends here."""

INSTALLS = "asks a package index; tests/test_wheel.py installs"
HUB = "asks a hub for pretrained weights, and trains for long"
PLACEHOLDERS = "its capitals stand for the reader's own names"
NOT_RUN: Mapping[str, str] = {
    "make demo": "asks a package index; tests/test_apps_cli_demo.py runs the demo",
    "make test": "is what runs this test",
    "python3 -m venv .venv && . .venv/bin/activate": INSTALLS,
    "pip install .": INSTALLS,
    "pip install '.[train]'": INSTALLS,
    "pulmoscope train xray-covid --data mydata -o run": HUB,
    "pulmoscope leave-out xray-covid --data mydata --data other -o left-out": HUB,
    "pulmoscope leave-out xray-covid --data ONE --data OTHER -o OUT": HUB,
    "pulmoscope models calibrate xray-covid --data mydata -o mine": "needs more images; the integrator's page runs it",
    "python -c": "asks a hub for pretrained weights",
    "pulmoscope leave-out": "is a command's name",
    "pulmoscope diagnose NOW.dcm --earlier BEFORE.dcm -o CHANGE": "drawn lungs have no severity to compare",
    "pulmoscope recipes show NAME": PLACEHOLDERS,
    "pulmoscope tune NAME --data DATA -o OUT": PLACEHOLDERS,
}
"""How a command begins that is not run, up to its comment → why."""


def blocks(page: str) -> list[tuple[str, str]]:
    """Language and text of each block of code."""
    text = (ROOT / page).read_text(encoding="utf-8")
    found = re.findall(r"^( *)```(\w*)\n(.*?)^\1```$", text, re.MULTILINE | re.DOTALL)
    return [(language, dedent(code)) for _, language, code in found]


def commands(page: str) -> list[str]:
    """The page's commands: those of its shell blocks, then those within its sentences."""
    prose = re.sub(r"^ *```.*?^ *```$", "", (ROOT / page).read_text(encoding="utf-8"), flags=re.M | re.S)
    shell = [code for language, code in blocks(page) if language == "sh"]
    lines = [line for code in shell for line in re.findall(r"(?:.*\\\n)*.+", code)]
    return lines + [" ".join(span.split()) for span in re.findall(r"`(pulmoscope [^`]+)`", prose)]


def bare(command: str) -> str:
    """Without its comment."""
    return command.partition(" #")[0].strip()


def is_run(command: str) -> bool:
    return bare(command) not in NOT_RUN and not command.startswith("python -c ")


def typed(command: str, folder: Path) -> None:
    """Run a command in a folder, as someone types it whose environment is active."""
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    ended = subprocess.run(
        ["bash", "-c", command],
        cwd=folder,
        env=os.environ | {"PATH": path},
        capture_output=True,
        text=True,
        timeout=LIMIT_S,
    )
    assert ended.returncode == 0, f"{command}\nexit {ended.returncode}\n{ended.stdout}\n{ended.stderr}"


def folders_of_classes(source: Path, target: Path, parts: Mapping[str, int]) -> None:
    """Drawn radiographs as people keep theirs: so many in each part, a folder a class, and no table."""
    with (source / "manifest.csv").open(encoding="utf-8", newline="") as table:
        rows = iter(list(csv.DictReader(table)))
    for part, count in parts.items():
        for row in islice(rows, count):
            file = target / part / row["label"] / Path(row["file"]).name
            file.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(source / row["file"], file)


@pytest.fixture(scope="module")
def compiled(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Compiled networks are kept, as a reader's are, but not in the user's own folder."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PULMOSCOPE_CACHE", str(tmp_path_factory.mktemp("compiled")))
        yield


@pytest.fixture(scope="module")
def belongings(compiled: None, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What the pages take for granted: the reader's images, and what commands that are not run would leave."""
    home = tmp_path_factory.mktemp("belongings")
    typed("pulmoscope datasets phantom --kind xray --count 80 --size 128 -o drawn", home)
    typed("pulmoscope datasets phantom --kind ct --classes COVID --slices 24 --size 160 -o scan", home)
    folders_of_classes(home / "drawn", home / "mydata", {"": 24})
    folders_of_classes(home / "drawn", home / "yours", {"train": 8, "val": 60, "test": 8})
    folders_of_classes(home / "drawn", home / "INBOX", {"": 4})
    for name in ("film.png", "radiograph.png"):
        shutil.copy(next((home / "drawn").rglob("*.png")), home / name)
    (home / "values.csv").write_text("age_years,sex,crp_mg_l\n61,f,43.1\n", encoding="utf-8")
    bundle(home, observation("1988-5", quantity(43.1, "mg/L"))).rename(home / "LAB.json")
    next((home / "scan").rglob("*.dcm")).parent.rename(home / "STUDY")
    typed(
        "pulmoscope datasets phantom --kind ct --classes COVID --slices 24 --size 160 --seed 1 -o later", home
    )
    next((home / "later").rglob("*.dcm")).parent.rename(home / "LATER")
    shutil.copytree(BUNDLE, home / "run")
    typed("pulmoscope evaluate run --data mydata -o other-test --bootstrap 0", home)
    return home


@pytest.mark.parametrize("page", PAGES)
def test_every_block_says_its_language(page: str) -> None:
    """A block without one could hide a command."""
    assert [code for language, code in blocks(page) if language not in ("sh", "text", "python")] == []


@pytest.mark.parametrize("page", PAGES)
def test_a_page_can_be_followed(page: str, belongings: Path, tmp_path: Path) -> None:
    """What an earlier page says with the same words is not run again."""
    before = {bare(line) for earlier in PAGES[: PAGES.index(page)] for line in commands(earlier)}
    new = [line for line in commands(page) if bare(line) not in before and is_run(line)]
    home = shutil.copytree(belongings, tmp_path / "home")
    for line in {bare(line): line for line in new}.values():
        typed(line, home)


def test_every_command_that_is_not_run_is_one() -> None:
    written = [bare(line) for page in PAGES for line in commands(page)]
    assert [start for start in NOT_RUN if not any(line.startswith(start) for line in written)] == []
    assert sum(map(is_run, written)) >= 20
