"""Session messages: association request, accept, refuse, release and abort; everything else is data.

Fixed parts as in the guide's "Association Control Protocol Examples". Only the user information is read of an accept:
what stands around it differs between monitors.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from enum import IntEnum
from typing import Final

from drivers.intellivue.values import attributes, unpack
from ledger.errors import DeviceFault
from ledger.limits import S_NS

TICKS_PER_S: Final = 8_000
"""The monitor's relative time counts 1/8 ms."""


class Kind(IntEnum):
    """First byte of a message."""

    REQUEST = 0x0D
    ACCEPT = 0x0E
    REFUSE = 0x0C
    RELEASE_REQUEST = 0x09
    RELEASE_RESPONSE = 0x0A
    ABORT = 0x19
    DATA = 0xE1


DATA_HEADER = bytes.fromhex("e1000002")
NU_1SEC, RTSA, ENUM = 0x8000_0000, 0x0800_0000, 0x0400_0000
RELEASE_RESPONSE = bytes.fromhex("0a18c11661803080020101a08063808001000000000000000000")
ABORT = bytes.fromhex(
    "192e110103c129a080a0803080020101060251010000000061803080020101a080648080010100000000000000000000"
)

_SESSION_DATA = bytes.fromhex("0508130100160102800014020002")
_PRESENTATION_HEADER = bytes.fromhex(
    "3180a0808001010000a280a003000001a480308002010106045201000130800602510100000000308002010206"
    "0c2a8648ce1402010000000101308006"
    "0c2a8648ce140201000000020100000000000061803080020101a0806080a18006"
    "0c2a8648ce14020100000003010000be80288006"
    "0c2a8648ce140201000000010102010281"
)
_PRESENTATION_TRAILER = bytes(16)
_PROFILE_SUPPORT, _PROFILE_EXTENSION = 0x0001, 0xF001
_PROTOCOL_VERSION, _NOMENCLATURE_VERSION = 0x8000_0000, 0x4000_0000
_SYSTEM_CLIENT, _COLD_START = 0x8000_0000, 0x2000_0000
_USER_INFORMATION = struct.Struct(">5I")
_PROFILE = struct.Struct(">6I")
_U32 = struct.Struct(">I")
_MIN_POLL_TICKS = 1 * TICKS_PER_S
_DYNAMIC_OBJECTS = 0x6000_0000

_SHORT_POLL_S, _LONG_POLL_S = 3.3, 43.0
_SHORT_TIMEOUT_S, _LONG_TIMEOUT_S, _POLLS_PER_TIMEOUT = 10.0, 130.0, 3.0


@dataclass(frozen=True, slots=True)
class Profile:
    """What an accept says: the shortest poll period in ticks of 1/8 ms, largest messages, extensions granted."""

    min_poll_ticks: int = _MIN_POLL_TICKS
    max_mtu_rx: int = 0
    max_mtu_tx: int = 0
    extensions: int = NU_1SEC | RTSA | ENUM

    @property
    def timeout_ns(self) -> int:
        """After so long without a message of the other side an association is dead (guide, "min_poll_period")."""
        period_s = self.min_poll_ticks / TICKS_PER_S
        if period_s <= _SHORT_POLL_S:
            return round(_SHORT_TIMEOUT_S * S_NS)
        timeout_s = _POLLS_PER_TIMEOUT * period_s if period_s <= _LONG_POLL_S else _LONG_TIMEOUT_S
        return round(timeout_s * S_NS)


def association_request(max_mtu: int) -> bytes:
    """Ask for an association: numerics every second, waves and enumerations, messages of ``max_mtu`` bytes at most."""
    extension = struct.pack(">HHHHIHH", 1, 12, _PROFILE_EXTENSION, 8, NU_1SEC | RTSA | ENUM, 0, 0)
    limits = (_MIN_POLL_TICKS, max_mtu, max_mtu, 0xFFFF_FFFF, _DYNAMIC_OBJECTS)
    profile = _PROFILE.pack(_PROTOCOL_VERSION, *limits) + extension
    supported = struct.pack(">HHHH", 1, 4 + len(profile), _PROFILE_SUPPORT, len(profile)) + profile
    versions = (_PROTOCOL_VERSION, _NOMENCLATURE_VERSION, 0, _SYSTEM_CLIENT, _COLD_START)
    user = _USER_INFORMATION.pack(*versions) + struct.pack(">HH", 0, 0) + supported
    inner = _PRESENTATION_HEADER + bytes((len(user),)) + user + _PRESENTATION_TRAILER
    outer = _SESSION_DATA + bytes((0xC1, len(inner))) + inner
    return bytes((Kind.REQUEST, len(outer))) + outer


def kind_of(message: bytes) -> Kind | None:
    """What a message is by its first byte; None if it is none of the protocol's."""
    try:
        return Kind(message[0]) if message else None
    except ValueError:
        return None


def is_whole(data: bytes) -> bool:
    """Whether these bytes are exactly one message, by the lengths that it tells."""
    if data[:4] == DATA_HEADER:
        return len(data) >= 8 and len(data) == 8 + int.from_bytes(data[6:8], "big")
    if len(data) < 3 or kind_of(data) in (None, Kind.DATA):
        return False
    if data[1] == 0xFF:
        return len(data) >= 4 and len(data) == 4 + int.from_bytes(data[2:4], "big")
    return len(data) == 2 + data[1]


def parse_accept(message: bytes) -> Profile:
    """The profile of an accept; the guide's defaults where it cannot be found or read."""
    versions = struct.pack(">II", _PROTOCOL_VERSION, _NOMENCLATURE_VERSION)
    at = message.find(versions)
    if at < 0:
        return Profile()
    try:
        _, at = attributes(message, at + _USER_INFORMATION.size)
        supported, _ = attributes(message, at)
        return _profile(dict(supported).get(_PROFILE_SUPPORT, b""))
    except DeviceFault:
        return Profile()


def _profile(value: bytes) -> Profile:
    _, min_poll_ticks, max_mtu_rx, max_mtu_tx, _, _ = unpack(_PROFILE, value, "a poll profile")
    packages, _ = attributes(value, _PROFILE.size)
    extension = dict(packages).get(_PROFILE_EXTENSION)
    # Without the extension there are single polls only.
    extensions = unpack(_U32, extension, "a poll profile extension")[0] if extension is not None else 0
    return Profile(min_poll_ticks, max_mtu_rx, max_mtu_tx, extensions)
