"""What this driver may say to a ComDevice: that it is there, questions, whether a block came whole. Nothing else."""

from __future__ import annotations

import re
from typing import Final

from drivers.contract import Sendable

NOBODY: Final = "1/1/1"
"""The bed id to call a ComDevice by whose own is not known."""
ALIVE: Final = "ADMIN:ALIVE"
VERSION: Final = "ADMIN:VERSION"
GET: Final = "MEM:GET"
GET_SLOT: Final = "MEM:GETSLOT#"

_BED_ID: Final = re.compile(r"[!-=?-~]{1,40}")


def usable(bed_id: str) -> bool:
    """Whether a bed id that a device told may be said back to it."""
    return _BED_ID.fullmatch(bed_id) is not None


def _asks(command: bytes, meaning: str) -> Sendable:
    # Stuffing doubles letters of the bed id at most; a ">" cannot be in it, so nothing can stand before the command.
    return Sendable(re.compile(rb"\x01\d{5}\x02[!-=?-~]{1,80}>(?:" + command + rb")\x03\d{5}\x04"), meaning)


TX_ALLOWED: Final = (
    Sendable(re.compile(rb"\x06"), "a block came whole (ACK)"),
    Sendable(re.compile(rb"\x15"), "a block came damaged: send it again (NAK)"),
    _asks(rb"ADMIN:ALIVE|AEXMIN:ALIVEE", "begin to communicate (ADMIN:ALIVE)"),
    _asks(rb"ADMIN:VERSION|AEXMIN:VEERSION", "which version of BCC it speaks (ADMIN:VERSION)"),
    _asks(rb"MEM:GET|MEEM:GEET", "the values of all pumps (MEM:GET)"),
    _asks(rb"MEM:GETSLOT#[1-3][1-9A-O]|MEEM:GEETSLOT#[1-3](?:[1-9A-CF-O]|EX|EE)", "those of one pump (MEM:GETSLOT)"),
)
