from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from drivers.contract import Transport
from firmware_sim.faults import FaultLine, parse_fault
from firmware_sim.patient import Patient
from firmware_sim.space_rack import Happening, RackConfig, SpaceRack
from tests.captures.conversation import Plan, header

SERIAL_BYTE_US = 1042
TCP_BYTE_US = 2
_ALARMS = (
    Happening(12, "occlusion", "13"),
    Happening(24, "well", "13"),
    Happening(26, "move", "12", "15"),
    Happening(35, "standby", "14"),
    Happening(45, "nearly-empty", "11"),
    Happening(115, "remove", "15"),
)


def plans() -> Iterator[Plan]:
    yield _plan("bbraun-bcc-space", Patient(21), 30, RackConfig(), Transport.SERIAL)
    alarms = RackConfig(stuffing=True, happenings=_ALARMS)
    yield _plan("bbraun-bcc-alarms", Patient(22, "haemorrhage"), 130, alarms, Transport.TCP, poll_s=10.0)
    full = RackConfig(pumps=27, bed_id="Theatre4", goes_on=False)
    yield _plan("bbraun-bcc-full-rack", Patient(23), 28, full, Transport.TCP, stuffing="off")
    cyclic = RackConfig(pumps=5, cycle_s=5.0)
    yield _plan("bbraun-bcc-cyclic", Patient(24), 30, cyclic, Transport.TCP, mode="cyclic")
    hurt = ("noise@8+6:0.002", "lost@18+6:0.002", "cut@28+6:0.5", "silence@38+8", "sensor-off@50+12:pump-12",
            "reboot@70+6")  # fmt: skip
    bad = RackConfig(stuffing=True)
    yield _plan("bbraun-bcc-bad-line", Patient(25), 100, bad, Transport.SERIAL, *hurt)


def _plan(
    name: str, patient: Patient, seconds: float, rack: RackConfig, transport: Transport, *faults: str, **options: Any
) -> Plan:
    serial = transport is Transport.SERIAL
    more = {"line": "9600 8N1"} if serial else {}
    device = {"make": "simulated", "model": "B. Braun SpaceStation"}
    told = header("bbraun-bcc", transport, feed="pumps", device=device, options=options, **more)
    line = FaultLine(tuple(map(parse_fault, faults)))
    return Plan(name, told, SpaceRack(patient, rack, line), seconds, SERIAL_BYTE_US if serial else TCP_BYTE_US)


def refit(data: bytes) -> bytes:
    """The same bytes with length and check of every message made right; a message that was stuffed stays so."""
    return re.sub(rb"\x01[^\x01\x04]{12,}\x04", lambda found: _refit_message(found.group()), data)


def _refit_message(wire: bytes) -> bytes:
    stuffed = re.search(rb"(?<![DEde])[Dd]", wire) is None and re.search(rb"E[EX]|e[ex]", wire) is not None
    plain = re.sub(rb"E([EX])|e([ex])", _unstuffed, wire) if stuffed else wire
    body = plain[6:-6]
    head = b"\x01%05d" % min(99_999, len(body) + 12) + body
    whole = head + b"%05d\x04" % (sum(head) % 256)
    return re.sub(rb"[DEde]", _stuffed, whole) if stuffed else whole


def _unstuffed(pair: re.Match[bytes]) -> bytes:
    return {b"EX": b"D", b"EE": b"E", b"ex": b"d", b"ee": b"e"}[pair.group()]


def _stuffed(letter: re.Match[bytes]) -> bytes:
    return {b"D": b"EX", b"E": b"EE", b"d": b"ex", b"e": b"ee"}[letter.group()]
