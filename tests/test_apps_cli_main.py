from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import typer

from pulmoscope.apps.cli import main
from pulmoscope.apps.cli.versions import versions

BLOCKED = "import sys; sys.modules[{module!r}] = None; from pulmoscope.apps.cli.main import main; main()"


def run_without(module: str, *arguments: str | Path) -> subprocess.CompletedProcess[str]:
    """The command line in a process in which a module can't be imported, as if it were not installed."""
    command = [sys.executable, "-c", BLOCKED.format(module=module), *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True)


def test_training_on_a_base_install_names_the_extra_in_one_line(tmp_path: Path) -> None:
    for label in ("COVID", "Normal"):
        (tmp_path / "data" / label).mkdir(parents=True)
        (tmp_path / "data" / label / "a.png").write_bytes(b"")
    command = ("train", "xray-covid", "--data", tmp_path / "data", "-o", tmp_path / "run")
    done = run_without("torch", *command)
    assert done.returncode == 2
    assert done.stderr.splitlines()[-1] == (
        "pulmoscope: this needs torch, which comes with the extra train: "
        "pip install 'pulmoscope[train]', or '.[train]' in a clone"
    )
    assert "Traceback" not in done.stderr


def test_a_broken_base_install_is_not_taken_for_a_missing_extra(tmp_path: Path) -> None:
    done = run_without("numpy", "datasets", "phantom", "-o", tmp_path)
    assert done.returncode == 1
    assert "ModuleNotFoundError" in done.stderr


def test_the_versions_are_told() -> None:
    said = subprocess.run(
        [sys.executable, "-c", BLOCKED.format(module="torch"), "--version"], capture_output=True
    )
    assert said.stdout.decode().splitlines() == [f"{what} {number}" for what, number in versions().items()]
    assert said.returncode == 0


@pytest.mark.parametrize(
    ("command", "option"),
    [("diagnose", ""), ("train", "--resume"), ("leave-out", "--resume"), ("doctor", None)],
)
def test_ctrl_c_ends_in_one_line_that_says_how_it_goes_on(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], command: str, option: str | None
) -> None:
    stopped = typer.Typer(add_completion=False)

    @stopped.command(command)
    def stop() -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(main, "app", stopped)
    stopped.callback()(lambda: None)
    monkeypatch.setattr(sys, "argv", ["pulmoscope", command])
    with pytest.raises(SystemExit) as ended:
        main.main()
    assert ended.value.code == 130
    said = capsys.readouterr().err
    assert said.startswith("pulmoscope: interrupted")
    assert said.count("\n") == 1
    assert ("same command" in said) == (option is not None)
    assert ("--resume" in said) == (option == "--resume")
