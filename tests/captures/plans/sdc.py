"""No plan makes the captures of SDC devices: ``tests.captures.live_sdc`` records them."""

from __future__ import annotations

import re
from collections.abc import Iterator

from tests.captures.conversation import Plan

_HEAD = re.compile(rb"(OPENED|NOTIFY|ANSWER \d{3}) \d+\n")


def plans() -> Iterator[Plan]:
    yield from ()


def refit(stream: bytes) -> bytes:
    """The same with right lengths: what stands between two lines that say what follows is a body."""
    heads = list(_HEAD.finditer(stream))
    if not heads:
        return stream
    ends = [head.start() for head in heads[1:]] + [len(stream)]
    parts = [stream[: heads[0].start()]]
    for head, end in zip(heads, ends, strict=True):
        body = stream[head.end() : end]
        parts.append(head[1] + b" %d\n" % len(body) + body)
    return b"".join(parts)
