"""Which protocol the bytes of a serial line are: each driver's recogniser says, or the driver is tried on them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Final

import msgspec

from drivers.contract import Driver, Emit, Heard, Now, Send, Spec, Transport
from ledger.limits import S_NS
from ledger.records import Gap, Identity, LinkId, Numeric, Wave

_PIECE_BYTES: Final = 256
_LINK: Final = LinkId(1)
_READ: Final = 2
"""A driver without a recogniser has read something once it decoded so many times more than it lost."""


@dataclass(frozen=True, slots=True)
class Recognised:
    """A driver that knows the bytes heard at one setting of the line."""

    driver: str
    line: str
    frames: int
    device: str = ""
    options: tuple[tuple[str, str], ...] = ()


def serial_drivers(drivers: Iterable[type[Driver]]) -> list[type[Driver]]:
    """Those that speak over a serial line and need no option to be given."""
    return [kind for kind in drivers if Transport.SERIAL in kind.spec.transports and _made(kind) is not None]


def lines(specs: Iterable[Spec[Any]]) -> list[str]:
    """Every likely setting once: the likeliest of each driver first, and of these what most of them use."""
    rank: dict[str, tuple[int, int]] = {}
    for spec in specs:
        for place, line in enumerate(spec.serial_lines):
            best, uses = rank.get(line, (place, 0))
            rank[line] = (min(best, place), uses - 1)
    return sorted(rank, key=lambda line: (*rank[line], line))


def recognised(kinds: Sequence[type[Driver]], line: str, data: bytes) -> list[Recognised]:
    """The drivers of this setting that know these bytes, the surest first."""
    found = []
    for kind in kinds:
        if line in kind.spec.serial_lines:
            heard = _heard(kind, data)
            if heard is not None and heard.frames > 0:
                found.append(Recognised(kind.spec.name, line, heard.frames, heard.device, heard.options))
    return sorted(found, key=lambda item: -item.frames)


def opening(kind: type[Driver]) -> list[bytes]:
    """What to ask a silent device: the driver's probe requests, or else what it says when a link comes up."""
    if kind.spec.probe_requests:
        return list(kind.spec.probe_requests)
    driver = _made(kind)
    if driver is None:
        return []
    driver.link_up(_LINK, "probe", Now(0, 0))
    return [action.data for action in driver.drain() if isinstance(action, Send) and kind.spec.may_send(action.data)]


def _heard(kind: type[Driver], data: bytes) -> Heard | None:
    if kind.spec.recognise is not None:
        return kind.spec.recognise(data)
    driver = _made(kind)
    return _tried(driver, data) if driver is not None else None


def _tried(driver: Driver, data: bytes) -> Heard | None:
    """Run the driver on the bytes: what it decodes against what it loses."""
    read, lost_bytes, device = 0, 0, ""
    driver.link_up(_LINK, "probe", Now(0, 0))
    actions = driver.drain()
    for start in range(0, len(data), _PIECE_BYTES):
        at = Now(start * S_NS // 1_000, start * S_NS // 1_000)
        driver.receive(_LINK, data[start : start + _PIECE_BYTES], at)
        actions += driver.drain()
    driver.link_down(_LINK, "probe", Now(S_NS * len(data), S_NS * len(data)))
    actions += driver.drain()
    for record in (action.record for action in actions if isinstance(action, Emit)):
        if isinstance(record, Gap):
            lost_bytes += record.lost_bytes or 0
        elif isinstance(record, Identity):
            device = f"{record.make} {record.model}".strip()
        elif isinstance(record, Numeric | Wave):
            read += 1
    return Heard(read, device) if read >= _READ and lost_bytes * 2 <= len(data) else None


def _made(kind: Any) -> Driver | None:
    try:
        driver: Driver = kind(msgspec.convert({}, kind.spec.config))
    except msgspec.ValidationError:
        return None  # it has options without a default
    return driver
