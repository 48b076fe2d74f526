"""Inputs that must be refused."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from pulmoscope.core.errors import InputError


@contextmanager
def refused(kind: type[InputError], code: str) -> Iterator[pytest.ExceptionInfo[InputError]]:
    """Expect a refusal of just this class and code, in one line that begins with the file and the finding."""
    with pytest.raises(kind) as caught:
        yield caught
    error = caught.value
    assert (type(error), error.code) == (kind, code)
    assert str(error).startswith(f"{error.file}: {error.finding}")
    assert "\n" not in str(error)


def figures(finding: str) -> tuple[float, ...]:
    """The numbers that a finding tells, in its order."""
    return tuple(float(number) for number in re.findall(r"(?<![\w.])-?\d+(?:\.\d+)?", finding))
