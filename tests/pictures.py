"""Pictures as they were written, read again."""

from __future__ import annotations

import base64
import re

import cv2
import numpy as np
import numpy.typing as npt


def read(content: bytes, flag: int = cv2.IMREAD_COLOR) -> npt.NDArray[np.uint8]:
    """An encoded picture: uint8 (rows, columns, 3), blue first; grey with that flag."""
    return np.asarray(cv2.imdecode(np.frombuffer(content, np.uint8), flag), dtype=np.uint8)


def picture_of(address: str) -> npt.NDArray[np.uint8]:
    """The picture that is a ``data:`` address within a page."""
    return read(base64.b64decode(re.sub(r"^data:image/jpeg;base64,", "", address)))
