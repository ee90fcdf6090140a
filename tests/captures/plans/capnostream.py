from __future__ import annotations

from collections.abc import Iterator

from drivers.checksums import xor8
from drivers.contract import Transport
from firmware_sim.capnostream import CapnostreamMonitor
from firmware_sim.faults import FaultLine, parse_fault
from firmware_sim.patient import Patient
from ledger.limits import S_NS
from tests.captures.conversation import Plan, header

BYTE_US = 87


def plans() -> Iterator[Plan]:
    yield _plan("capnostream-20", Patient(31), 14, "sensor-off@6+2:co2")
    yield _plan("capnostream-20-bad-line", Patient(32, "desaturation"), 24, "noise@4+2:0.004", "lost@8+2:0.004",
                "silence@12+3", "reboot@18+2")  # fmt: skip


def _plan(name: str, patient: Patient, seconds: float, *faults: str) -> Plan:
    told = header("capnostream", Transport.SERIAL, feed="capnograph", line="115200 8N1",
                  device={"make": "simulated", "model": "Oridion Capnostream 20"})  # fmt: skip
    line = FaultLine(tuple(map(parse_fault, faults)))
    return Plan(name, told, CapnostreamMonitor(patient, told.t0_ns / S_NS, line), seconds, BYTE_US)


def refit(stream: bytes) -> bytes:
    """The same with right lengths and checks of what stands between two headers."""
    head, *parts = stream.split(b"\x85")
    return b"\x85".join((head, *map(_refit_frame, parts)))


def _refit_frame(part: bytes) -> bytes:
    plain = part.replace(b"\x80\x05", b"\x85").replace(b"\x80\x00", b"\x80")[:-1]
    if not 2 <= len(plain) <= 255:
        return part
    plain = bytes((len(plain) - 1,)) + plain[1:]
    plain += bytes((xor8(plain),))
    return plain.replace(b"\x80", b"\x80\x00").replace(b"\x85", b"\x80\x05")
