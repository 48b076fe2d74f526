"""How large a folder, a module and a function of the package may grow. Exceptions shrink, and are named here."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

SOURCE = Path(__file__).resolve().parents[1] / "src"
MODULES = sorted(SOURCE.rglob("*.py"))
MOST_MODULES, MOST_LINES, MOST_LINES_OF_A_FUNCTION, MOST_PARAMETERS = 20, 400, 60, 12

Function = ast.FunctionDef | ast.AsyncFunctionDef

LONG: frozenset[str] = frozenset()
"""Functions of more lines, as ``room/module.py function``: to be shortened."""
WIDE: frozenset[str] = frozenset()
"""Functions of more parameters: to be narrowed."""


def functions() -> Iterator[tuple[str, Function]]:
    for module in MODULES:
        for node in ast.walk(ast.parse(module.read_text(encoding="utf-8"))):
            if isinstance(node, Function):
                yield f"{module.relative_to(SOURCE / 'pulmoscope').as_posix()} {node.name}", node


def lines(function: Function) -> int:
    """From ``def`` to the last line."""
    assert function.end_lineno is not None
    return function.end_lineno - function.lineno + 1


def parameters(function: Function) -> int:
    given = function.args
    named = len(given.posonlyargs) + len(given.args) + len(given.kwonlyargs)
    return named + sum(many is not None for many in (given.vararg, given.kwarg))


def test_no_folder_holds_more_modules_than_one_can_survey() -> None:
    folders = {module.parent for module in MODULES}
    held = {
        folder.relative_to(SOURCE).as_posix(): len([*folder.glob("*.py")])
        - (folder / "__init__.py").is_file()
        for folder in folders
    }
    assert {folder: count for folder, count in held.items() if count > MOST_MODULES} == {}


def test_no_module_is_longer_than_one_reads_at_a_sitting() -> None:
    held = {
        module.relative_to(SOURCE).as_posix(): len(module.read_text(encoding="utf-8").splitlines())
        for module in MODULES
    }
    assert {module: count for module, count in held.items() if count > MOST_LINES} == {}


@pytest.mark.parametrize(
    ("measure", "most", "known"),
    [(lines, MOST_LINES_OF_A_FUNCTION, LONG), (parameters, MOST_PARAMETERS, WIDE)],
)
def test_no_function_outgrows_its_reader(measure, most: int, known: frozenset[str]) -> None:  # type: ignore[no-untyped-def]
    found = {name: measure(function) for name, function in functions()}
    assert {name: size for name, size in found.items() if size > most and name not in known} == {}
    assert {name for name in known if found.get(name, 0) <= most} == set()
