"""Requests to stores and servers, some of which fail: tried again, later and later."""

from __future__ import annotations

import random
from collections.abc import Callable
from time import sleep
from typing import TypeVar

from pulmoscope.core.errors import ResourceError

_Answer = TypeVar("_Answer")

TRIES = 6
_FIRST_S, _LONGEST_S = 0.1, 10.0


def tried(what: str, request: Callable[[], _Answer], tries: int = TRIES) -> _Answer:
    """The answer to a request that is made again where it fails, after 0.1 s, 0.2 s and so on, each longer by chance.

    Args:
        what: is asked, for the message: the address of a store, without names of files in it.
        request: may be made several times.

    Raises:
        FileNotFoundError: there is no such file: no failure of the request.
        ResourceError: it failed every time.
    """
    for number in range(1, tries + 1):
        try:
            return request()
        except FileNotFoundError:
            raise
        except Exception as error:  # libraries of stores have errors of any class for a failing request
            if number == tries:
                raise ResourceError(f"{what}: failed {tries} times (last: {type(error).__name__})") from error
            sleep(min(_LONGEST_S, _FIRST_S * 2 ** (number - 1)) * random.uniform(1, 1.5))
    raise AssertionError("there is at least one try")
