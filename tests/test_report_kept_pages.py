"""Compiled templates are kept and used again, and whatever is wrong with the cache changes no page."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from pulmoscope.runtime.private_cache import SWITCH

TEMPLATES = {"first.html": "first {{ 0.5|percent }}", "second.html": "second {{ 0.25|percent }}"}
RENDER = """
import sys
from pathlib import Path
import jinja2
from pulmoscope.report import html
environment = html._environment()
environment.loader = jinja2.FileSystemLoader(sys.argv[1])
print(html.render(sys.argv[2]))
"""


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "cache"
    monkeypatch.setenv(SWITCH, str(folder))
    templates = tmp_path / "templates"
    templates.mkdir()
    for name, text in TEMPLATES.items():
        (templates / name).write_text(text, encoding="utf-8")
    return folder


def page(cache: Path, name: str) -> str:
    """A template's page, filled by a process of its own, as Jinja itself keeps what it has compiled for a process."""
    command = [sys.executable, "-c", RENDER, str(cache.with_name("templates")), name]
    return subprocess.run(command, check=True, capture_output=True, text=True, env=os.environ).stdout.strip()


def kept(cache: Path, name: str) -> Path:
    before = set(cache.glob("*"))
    page(cache, name)
    (file,) = set(cache.glob("*")) - before
    return file


def test_what_is_kept_is_what_fills_the_page_until_it_or_the_template_changes(cache: Path) -> None:
    first, second = (kept(cache, name) for name in TEMPLATES)
    shutil.copy(second, first)  # Jinja finds the checksum of another template in it
    assert page(cache, "first.html") == "first 50.0 %"
    before = first.stat().st_mtime_ns, first.read_bytes()
    os.utime(first, (1, 1))
    assert page(cache, "first.html") == "first 50.0 %"
    assert first.stat().st_mtime_ns > 1_000_000_000  # used
    assert first.read_bytes() == before[1]
    cache.with_name("templates").joinpath("first.html").write_text("changed", encoding="utf-8")
    assert page(cache, "first.html") == "changed"


@pytest.mark.parametrize("at", [0, 60, -1])
def test_damaged_bytes_are_never_run(cache: Path, at: int) -> None:
    file = kept(cache, "first.html")
    whole = file.read_bytes()
    damaged = bytearray(whole)
    damaged[at] ^= 1
    file.write_bytes(damaged)
    assert page(cache, "first.html") == "first 50.0 %"
    assert file.read_bytes() == whole


def test_pages_are_filled_without_any_cache(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cache.mkdir()
    cache.chmod(0o755)
    assert page(cache, "first.html") == "first 50.0 %"
    assert list(cache.iterdir()) == []
    monkeypatch.setenv(SWITCH, "off")
    assert page(cache, "first.html") == "first 50.0 %"
    assert list(cache.iterdir()) == []
