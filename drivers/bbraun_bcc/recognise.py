"""Tells whether bytes heard on a line are BCC."""

from __future__ import annotations

from drivers.bbraun_bcc.frame import Block, Deframer
from drivers.contract import Heard


def recognise(data: bytes) -> Heard | None:
    """Messages whose length and check are right, and the bed id they bear."""
    blocks = [item for item in Deframer().feed(data) if isinstance(item, Block)]
    return Heard(len(blocks), f"B. Braun Space, {blocks[-1].bed_id}") if blocks else None
