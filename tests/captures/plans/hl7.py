from __future__ import annotations

from collections.abc import Iterator

from drivers.contract import Transport
from firmware_sim.faults import FaultLine, parse_fault
from firmware_sim.hl7_device import GatewayDevice, Hl7Device
from firmware_sim.hl7_session import SendPolicy
from firmware_sim.hospital import Hospital, HospitalFeed, Story, list_of_the_day, second_thoughts
from firmware_sim.patient import Patient
from ledger.limits import S_NS
from tests.captures.conversation import Plan, header


def plans() -> Iterator[Plan]:
    yield _plan("hl7-gateway", Patient(6, "arrest"), 90, interval_s=10)
    bad_line = ("lost@3+3:0.001", "cut@7+2:0.5")
    yield _plan("hl7-gateway-bad-line", Patient(7), 12, *bad_line, interval_s=2, waves=True)
    yield _hospital("hl7-hospital", list_of_the_day(), 20)
    yield _hospital("hl7-hospital-second-thoughts", second_thoughts(), 16, "cut@6+1:0.5")


def _hospital(name: str, story: Story, seconds: float, *faults: str) -> Plan:
    options = {"beds": [{"match": "OR^3", "feed": "room"}]}
    device = {"make": "simulated", "model": "hospital"}
    told = header("hl7", Transport.MLLP, feed="hospital", device=device, options=options)
    line = FaultLine(tuple(map(parse_fault, faults)))
    feed = HospitalFeed(Hospital(told.t0_ns / S_NS), story, line=line)
    return Plan(name, told, Hl7Device(feed, SendPolicy(ack_timeout_s=2.0, gives_up=True), line), seconds)


def _plan(name: str, patient: Patient, seconds: float, *faults: str, interval_s: float, waves: bool = False) -> Plan:
    told = header("hl7", Transport.MLLP, feed="gateway", device={"make": "simulated", "model": "gateway"})
    policy = SendPolicy(duplicate_every=4, ack_timeout_s=3.0)
    line = FaultLine(tuple(map(parse_fault, faults)))
    gateway = GatewayDevice(patient, told.t0_ns / S_NS, interval_s=interval_s, waves=waves, policy=policy, line=line)
    return Plan(name, told, gateway, seconds)
