"""Tells whether bytes heard on a line are MEDIBUS."""

from __future__ import annotations

from drivers.contract import Heard
from drivers.medibus.frame import Command, Deframer, Response
from drivers.medibus.request import Code
from drivers.medibus.slow import parse_identity
from ledger.errors import DeviceFault


def recognise(data: bytes) -> Heard | None:
    """Commands and responses with a right checksum, and the device's name if it told it."""
    frames, device = 0, ""
    for item in Deframer().feed(data):
        if not isinstance(item, Command | Response):
            continue
        frames += 1
        if isinstance(item, Response) and item.code == Code.IDENTIFY:
            device = _name(item.data) or device
    return Heard(frames, device) if frames else None


def _name(data: bytes) -> str:
    try:
        identity = parse_identity(data)
    except DeviceFault:
        return ""
    return f"Dräger {identity.name}" if identity is not None and identity.name else ""
