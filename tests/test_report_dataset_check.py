from __future__ import annotations

import re
from html.parser import HTMLParser
from pathlib import Path

from films import film, save, write_manifest
from pulmoscope.datasets import load
from pulmoscope.datasets.check.check import check
from pulmoscope.report.dataset_check import PAIRS, to_html


class Page(HTMLParser):
    """Collects tags, addresses and text, and checks that tags are closed."""

    EMPTY = frozenset({"meta", "link", "img", "path", "br"})

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.addresses: list[str] = []
        self.text = ""
        self._open: list[str] = []
        self.feed(text)
        assert self._open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.addresses += [value or "" for name, value in attrs if name in ("src", "href")]
        if tag not in self.EMPTY:
            self._open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self._open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data


def page_of(folder: Path) -> str:
    table = load(folder)
    return to_html(check(table), table)


def test_the_page_stands_alone_and_shows_everything(tmp_path: Path) -> None:
    rows = []
    for number in range(12):
        save(tmp_path / f"{number}.png", film(number))
        label = ("COVID", "Normal")[number % 2]
        rows.append(
            {
                "file": f"{number}.png",
                "label": label,
                "split": ("train", "test")[number // 6],
                "source": f"hospital of {label}",
                "patient": str(number % 6),
            }
        )
    save(tmp_path / "11.png", film(0) * 0.85)
    (tmp_path / "10.png").unlink()
    write_manifest(tmp_path, rows)
    text = page_of(tmp_path)
    page = Page(text)
    assert all(address.startswith("data:") for address in page.addresses)
    assert "@import" not in text
    assert not re.search(r"url\(\s*['\"]?http", text)
    # 11 readable samples, and the two of one pair of near-duplicates
    assert page.tags.count("img") == 11 + 2
    assert page.tags.count("svg") == 2
    for word in (
        "Verdicts",
        "hospital of COVID",
        "10.png: ",
        "two splits",
        "two labels",
        "Shortcut",
    ):
        assert word in page.text
    assert "Patients in several splits" in page.text


def test_names_from_a_table_are_escaped(tmp_path: Path) -> None:
    bad = "<script>alert(1)</script>"
    save(tmp_path / "a.png", film(1))
    save(tmp_path / "b.png", film(2))
    write_manifest(
        tmp_path,
        [
            {"file": "a.png", "label": bad, "split": "train", "source": bad},
            {"file": "b.png", "label": "x", "split": "train", "source": '" onload="x'},
            {"file": f"{bad}.png", "label": "x", "split": "test"},
        ],
    )
    text = page_of(tmp_path)
    page = Page(text)
    assert "script" not in page.tags
    assert bad in page.text


def test_many_pairs_are_cut_and_said_so(tmp_path: Path) -> None:
    for number in range(8):
        save(tmp_path / f"{number}.png", film(1) * (1 - 0.02 * number))
    write_manifest(
        tmp_path,
        [{"file": f"{n}.png", "label": "COVID", "split": ("train", "test")[n % 2]} for n in range(8)],
    )
    page = Page(page_of(tmp_path))
    assert f"The first {PAIRS} of 28" in page.text


def test_a_set_without_a_readable_image_still_has_a_page(tmp_path: Path) -> None:
    write_manifest(tmp_path, [{"file": "absent.png", "label": "COVID", "split": "test"}])
    page = Page(page_of(tmp_path))
    assert "Too few labelled images" in page.text
    assert "img" not in page.tags
