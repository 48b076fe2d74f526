"""What the documents say is there: files, schemas, commands, settings, rooms, refusals."""

from __future__ import annotations

import ast
import json
import re
import shlex
from pathlib import Path

import pytest
from jsonschema import Draft202012Validator
from typer.main import get_command

from pulmoscope.apps.cli.main import app
from pulmoscope.recipes.published import find
from pulmoscope.recipes.settings import apply

ROOT = Path(__file__).resolve().parents[1]
PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")])
SCHEMAS = sorted((ROOT / "docs" / "schemas").glob("*.schema.json"))
README = (ROOT / "README.md").read_text(encoding="utf-8")
COMMANDS = [line.split("#")[0].strip() for line in README.splitlines() if line.startswith("pulmoscope ")]
SETTINGS = re.findall(r"--set ([^\s`]+)", README)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_somewhere(page: Path) -> None:
    links = re.findall(r"\]\((?!https?:)([^)#]+)", page.read_text(encoding="utf-8"))
    assert [link for link in links if not (page.parent / link).exists()] == []


@pytest.mark.parametrize("folder", ["decisions", "schemas"])
def test_an_index_lists_every_file_beside_it(folder: str) -> None:
    index = (ROOT / "docs" / folder / "README.md").read_text(encoding="utf-8")
    names = {path.name for path in (ROOT / "docs" / folder).iterdir()} - {"README.md"}
    assert {name for name in names if f"({name})" not in index} == set()


@pytest.mark.parametrize("file", SCHEMAS, ids=lambda file: file.name)
def test_a_schema_is_one(file: Path) -> None:
    schema = json.loads(file.read_text(encoding="utf-8"))
    Draft202012Validator.check_schema(schema)
    assert "schema_version" in schema["required"]


def test_the_lung_finder_that_is_shipped_keeps_its_schema() -> None:
    schema = json.loads((ROOT / "docs" / "schemas" / "lungs.schema.json").read_text(encoding="utf-8"))
    shipped = ROOT / "src" / "pulmoscope" / "bundles" / "xray-lungs" / "lungs.json"
    Draft202012Validator(schema).validate(json.loads(shipped.read_text(encoding="utf-8")))


def test_the_way_to_ones_own_model_is_written_down() -> None:
    named = [tuple(line.split()[1:3]) for line in COMMANDS]
    wanted = [("datasets", "show"), ("train", "xray-covid"), ("evaluate", "run"), ("diagnose", "film.png")]
    assert [name for name in wanted if name not in named] == []


@pytest.mark.parametrize("line", COMMANDS)
def test_a_command_of_the_readme_is_understood(line: str) -> None:
    words = shlex.split(line)[1:]
    command = get_command(app)
    while hasattr(command, "commands"):
        command = command.commands[words.pop(0)]
    command.make_context(line, words)  # raises for an option or argument that the command does not take


@pytest.mark.parametrize("setting", SETTINGS)
def test_a_setting_of_the_readme_is_one(setting: str) -> None:
    assert apply(find("xray-covid"), [setting]) != find("xray-covid")


def test_the_architecture_names_every_room_and_only_files_that_are_there() -> None:
    page = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
    package = ROOT / "src" / "pulmoscope"
    rooms = {path.name for path in package.iterdir() if (path / "__init__.py").is_file()}
    assert {room for room in rooms if f"{room}/" not in page} == set()
    named = re.findall(r"`((?:\w+/)+\w+\.py)`", page)
    assert named
    assert [file for file in named if not (package / file).is_file()] == []


def refusals() -> list[ast.expr]:
    """The code that each refusal in the package is made with."""
    trees = [ast.parse(file.read_text(encoding="utf-8")) for file in (ROOT / "src").rglob("*.py")]
    calls = [node for tree in trees for node in ast.walk(tree) if isinstance(node, ast.Call)]
    names = {"InputError", "UnreadableError", "UnsuitableError"}
    return [call.args[1] for call in calls if isinstance(call.func, ast.Name) and call.func.id in names]


def test_every_code_of_a_refusal_is_explained_once_and_no_other() -> None:
    used = [code.value if isinstance(code, ast.Constant) else ast.unparse(code) for code in refusals()]
    page = (ROOT / "docs" / "refusals.md").read_text(encoding="utf-8")
    assert sorted(re.findall(r"^\| `([a-z0-9-]+)` \|", page, re.MULTILINE)) == sorted(set(used))
