"""What the codes of a STATUS message mean: in words, and as a condition of the device that goes on until it is well."""

from __future__ import annotations

from typing import Final

from drivers.conditions import Condition
from drivers.openigtlink.content import Status

_OK: Final = 1
_ADVISORY: Final = frozenset((6, 13, 14, 15, 19))
_STATUS_WORDS: Final = {
    0: "invalid packet", 1: "OK", 2: "unknown error", 3: "panic mode (emergency)", 4: "not found", 5: "access denied",
    6: "busy", 7: "time out or connection lost", 8: "overflow or out of reach", 9: "checksum error",
    10: "configuration error", 11: "not enough resources", 12: "unknown instruction", 13: "device not ready",
    14: "manual mode", 15: "device disabled", 16: "device not present", 17: "device version not known",
    18: "hardware failure", 19: "shutting down",
}  # fmt: skip


def words_of(status: Status) -> str:
    """The code in words, with the name and the text that the device gives."""
    words = _STATUS_WORDS.get(status.code, "a code that the protocol does not know")
    return ": ".join(part for part in (words, status.name, status.text) if part)


def number_of(status: Status) -> str:
    """The device's own numbers."""
    return f"{status.code}/0x{status.sub_code:X}"


def trouble_of(status: Status, device: str) -> Condition | None:
    """None if it is well."""
    if status.code == _OK:
        return None
    return Condition(
        alarm_id=f"STATUS {device}",
        kind="advisory" if status.code in _ADVISORY else "technical_alarm",
        priority="unknown",
        code=f"MDCX_OPENIGTLINK_STATUS_{status.code}",
        source=device,
        text=words_of(status),
        device_code=number_of(status),
    )
