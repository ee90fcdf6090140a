"""Addresses on the web as devices and people write them."""

from __future__ import annotations

import re
from typing import Final

_URL: Final = re.compile(r"https?://[A-Za-z0-9.\-:\[\]%_]{1,255}(?:/[A-Za-z0-9._~:/?#@!$()*+,;=%\-]{0,1024})?")


def is_url(text: str) -> bool:
    """Whether this is an http or https address that a request can be sent to."""
    return _URL.fullmatch(text) is not None
