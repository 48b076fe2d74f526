"""Pages from the package's templates: escaped, strict about missing values, complete in themselves."""

from __future__ import annotations

import base64
import re
import sys
from functools import cache
from typing import Any

import jinja2
from jinja2.bccache import Bucket

from pulmoscope.core.files import NOTICE, sha256_of
from pulmoscope.core.software import versions
from pulmoscope.report.names import source_title
from pulmoscope.runtime import private_cache

_OPTIONS: dict[str, Any] = {
    "autoescape": True,
    "trim_blocks": True,
    "lstrip_blocks": True,
    "optimized": False,
}
"""How templates are compiled; ``optimized`` would compute filters of constants, and a kept page would hold them."""


def render(template: str, **values: Any) -> str:
    """Fill a template of ``report/templates``, such as ``"diagnosis.html"``.

    Every value is escaped, so that a file name can't become markup. A page extends ``base.html``, which knows
    ``notice`` and ``version``; the filters ``percent``, ``number`` and ``interval`` write figures, ``source`` names a
    collection of images, ``css_string`` writes text for a style sheet.

    Raises:
        jinja2.UndefinedError: the template uses a value that was not given.
    """
    return _environment().get_template(template).render(values)


def compile_page(template: str) -> None:
    """Compile a template ahead of its first use, which takes a fifth of a second."""
    _environment().get_template(template)


def data_uri(content: bytes, media_type: str = "image/png") -> str:
    """A picture as a ``data:`` address, so that the page stands alone."""
    return f"data:{media_type};base64,{base64.b64encode(content).decode('ascii')}"


def percent(fraction: float, digits: int = 1) -> str:
    """A fraction as a percentage; what is not quite none or all is never written as 0 or 100."""
    least = 10**-digits
    if 0 < fraction * 100 < least:
        return f"< {least:g} %"
    if 100 - least < fraction * 100 < 100:
        return f"> {100 - least:g} %"
    return f"{fraction * 100:.{digits}f} %"


def number(value: float, digits: int = 3) -> str:
    """A figure with fixed decimals."""
    return f"{value:.{digits}f}"


def interval(low: float, high: float, digits: int = 3) -> str:
    """A 95 % interval as ``0.912–0.961``, or ``-0.120 to 0.210`` where a dash would stand beside a minus."""
    return f"{low:.{digits}f}{' to ' if low < 0 else '–'}{high:.{digits}f}"


def css_string(text: str) -> str:
    """Text as a quoted CSS string within a page's ``<style>``: whatever is in it stays text, in CSS and in HTML."""
    return '"' + re.sub(r"[^\w .,;:-]", lambda match: f"\\{ord(match[0]):x} ", text) + '"'


class _Kept(jinja2.BytecodeCache):
    """Templates that were compiled, in the private cache; by all that Jinja makes of a template."""

    def load_bytecode(self, bucket: Bucket) -> None:
        """Jinja itself asks whether the template and Python are still the same."""
        content = private_cache.load(self._name(bucket))
        if content is not None:
            bucket.bytecode_from_string(content)

    def dump_bytecode(self, bucket: Bucket) -> None:
        """Keep what was compiled."""
        private_cache.save(self._name(bucket), bucket.bytecode_to_string())

    @staticmethod
    def _name(bucket: Bucket) -> str:
        facts = (sys.version, jinja2.__version__, str(_OPTIONS), bucket.key, bucket.checksum)
        return sha256_of("\n".join(facts).encode()) + ".page"


@cache
def _environment() -> jinja2.Environment:
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("pulmoscope", "report/templates"),
        undefined=jinja2.StrictUndefined,
        bytecode_cache=_Kept(),
        **_OPTIONS,
    )
    environment.globals.update(notice=NOTICE, version=versions()["pulmoscope"])
    environment.filters.update(
        percent=percent, number=number, interval=interval, css_string=css_string, source=source_title
    )
    return environment
