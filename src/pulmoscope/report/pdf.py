"""A page as PDF on A4: the same HTML, laid out by WeasyPrint, without a browser and without anything from elsewhere."""

from __future__ import annotations

import contextlib
import io
import logging
import re
from importlib.resources import files
from threading import Lock

from pulmoscope.core.errors import ResourceError

_PAPER = "report/templates/paper.css"
"""What of the page's style WeasyPrint needs otherwise: it breaks no grids and knows no :has()."""
_ONE = Lock()
"""Radiographs are diagnosed in threads; WeasyPrint and Pango make no promise about theirs."""
_PANGO = (
    "--pdf needs Pango of the system, which is not there: apt-get install libpango-1.0-0 libpangoft2-1.0-0 "
    "libharfbuzz-subset0 (Debian, Ubuntu)"
)


def check_pdf() -> None:
    """Can PDFs be made here?

    Raises:
        ModuleNotFoundError: WeasyPrint is not installed.
        ResourceError: Pango is not.
    """
    try:
        with contextlib.redirect_stdout(io.StringIO()):  # where it fails it prints a text of its own
            import weasyprint  # noqa: F401
    except OSError as error:
        raise ResourceError(_PANGO) from error


def to_pdf(html: str) -> bytes:
    """The PDF of a page that needs nothing outside itself: equal pages give equal bytes, with equal fonts.

    Raises:
        ModuleNotFoundError, ResourceError: see :func:`check_pdf`.
    """
    check_pdf()
    from weasyprint import HTML
    from weasyprint.urls import URLFetcher

    logging.getLogger("weasyprint").setLevel(logging.CRITICAL)  # it tells of every rule that is for screens
    logging.getLogger("fontTools").setLevel(logging.CRITICAL)
    paper = files("pulmoscope").joinpath(_PAPER).read_text(encoding="utf-8")
    page = _drawn(html).replace("</head>", f"<style>{paper}</style></head>", 1)
    with _ONE:
        content = HTML(string=page, url_fetcher=URLFetcher(allowed_protocols={"data"})).write_pdf(
            pdf_tags=True
        )
    assert isinstance(content, bytes)
    return content


def _drawn(html: str) -> str:
    """The page with its drawings' style within each of them: WeasyPrint looks for it there alone, without variables."""
    import tinycss2

    sheets = "".join(re.findall(r"<style>(.*?)</style>", html, re.S))
    rules = tinycss2.parse_stylesheet(sheets, skip_comments=True, skip_whitespace=True)
    printed = [
        rule
        for media in rules
        if media.type == "at-rule"
        and media.at_keyword == "media"
        and "print" in tinycss2.serialize(media.prelude)
        for rule in tinycss2.parse_rule_list(media.content, skip_comments=True, skip_whitespace=True)
    ]
    known: dict[str, str] = {}
    style = ""
    for rule in (*rules, *printed):
        if rule.type != "qualified-rule":
            continue
        selector, content = tinycss2.serialize(rule.prelude).strip(), tinycss2.serialize(rule.content)
        if selector == ":root":
            known |= dict(re.findall(r"(--[\w-]+):\s*([^;]+)", content))
        elif selector.startswith("svg"):
            style += f"{selector}{{{content}}}\n"
    style += "svg text{stroke:none !important}\n"  # without paint-order an outline would hide the letters
    style = re.sub(r"var\((--[\w-]+)\)", lambda found: known.get(found[1], "inherit"), style)
    return re.sub(r"(<svg\b[^>]*>)", lambda found: f"{found[1]}<style>{style}</style>", html)
