from __future__ import annotations

from collections import deque

import pytest
from hypothesis import given
from hypothesis import strategies as st

from firmware_sim.faults import Fault, FaultKind, FaultLine
from firmware_sim.hl7_messages import GatewayProfile, Message, MessageFactory
from firmware_sim.hl7_session import MAX_QUEUE, GatewayFeed, SendPolicy, SendSession, mllp
from firmware_sim.patient import Patient


def message(number: int) -> Message:
    return Message(f"m{number}", f"MSH|^~\\&|||||||ORU^R01|m{number}|P|2.6\r", "ASCII")


def control_id(frame: bytes) -> str:
    assert frame.startswith(b"\x0bMSH|")
    assert frame.endswith(b"\r\x1c\r")
    return frame.decode().split("|")[9]


def ack(of: str, code: str = "CA") -> bytes:
    return mllp(f"MSH|^~\\&|||||2026||ACK|x|P|2.6\rMSA|{code}|{of}\r".encode())


def feed(
    scenario: str = "stable", *, interval_s: float = 2.0, waves: bool = False, faults: tuple[Fault, ...] = ()
) -> GatewayFeed:
    factory = MessageFactory(GatewayProfile(), 1_795_000_000.0)
    return GatewayFeed(Patient(5, scenario), factory, interval_s, waves=waves, line=FaultLine(faults))


def test_a_message_waits_for_its_acknowledgment_before_the_next_leaves() -> None:
    session = SendSession()
    session.offer(message(1))
    session.offer(message(2))
    assert session.poll(0) == []
    session.connected(0)
    assert [control_id(f) for f in session.poll(0)] == ["m1"]
    assert session.poll(1) == []
    for byte in ack("m1"):
        session.receive(bytes((byte,)), 1)
    assert session.take_acknowledged() == ["m1"]
    assert session.take_acknowledged() == []
    assert [control_id(f) for f in session.poll(1)] == ["m2"]
    assert session.waiting == 1


@pytest.mark.parametrize("code", ["AE", "AR", "CE", "CR"])
def test_a_refused_message_is_sent_again_after_a_while(code: str) -> None:
    session = SendSession(SendPolicy(retry_s=1.0))
    session.offer(message(1))
    session.connected(0)
    session.poll(0)
    session.receive(ack("m1", code), 0.5)
    assert session.poll(1.4) == []
    assert not session.timed_out(60)
    assert [control_id(f) for f in session.poll(1.5)] == ["m1"]
    assert session.counters.refused == 1
    assert session.take_acknowledged() == []


def test_an_unanswered_message_times_out_and_comes_again_on_the_next_connection() -> None:
    session = SendSession(SendPolicy(ack_timeout_s=10))
    session.offer(message(1))
    session.connected(0)
    session.poll(0)
    assert session.next_due_s() == 10
    assert not session.timed_out(9.9)
    assert session.timed_out(10)
    session.disconnected()
    assert session.poll(10) == []
    session.connected(11)
    assert not session.timed_out(11)
    assert [control_id(f) for f in session.poll(11)] == ["m1"]


def test_a_window_lets_several_wait_and_keeps_their_order_when_sent_again() -> None:
    session = SendSession(SendPolicy(window=3))
    for i in range(5):
        session.offer(message(i))
    session.connected(0)
    assert [control_id(f) for f in session.poll(0)] == ["m0", "m1", "m2"]
    session.receive(ack("m1"), 0)
    session.disconnected()
    session.connected(1)
    assert [control_id(f) for f in session.poll(1)] == ["m0", "m2", "m3"]


def test_every_nth_message_comes_twice_and_counts_once() -> None:
    session = SendSession(SendPolicy(duplicate_every=2))
    session.connected(0)
    seen: list[str] = []
    for i in range(4):
        session.offer(message(i))
        pending = deque(session.poll(0))
        while pending:
            seen.append(control_id(pending.popleft()))
            pending += session.receive(ack(seen[-1]), 0)
    assert seen == ["m0", "m1", "m1", "m2", "m3", "m3"]
    assert session.take_acknowledged() == ["m0", "m1", "m2", "m3"]
    assert (session.counters.acknowledged, session.counters.duplicates_sent) == (4, 2)


def test_replies_that_answer_nothing_are_counted_and_harmless() -> None:
    session = SendSession()
    session.offer(message(1))
    session.connected(0)
    session.poll(0)
    session.receive(ack("other") + mllp(b"MSH|^~\\&|") + b"no frame\x1c\r" + bytes(70_000), 0)
    assert session.counters.strange_replies == 4
    assert session.waiting == 1


def test_the_queue_is_bounded() -> None:
    session = SendSession()
    for i in range(MAX_QUEUE + 5):
        session.offer(message(i))
    assert (session.waiting, session.counters.dropped) == (MAX_QUEUE, 5)
    session.connected(0)
    assert control_id(session.poll(0)[0]) == "m5"


@given(st.lists(st.sampled_from(["ack", "refuse", "lose", "tick"]), max_size=60), st.integers(1, 4))
def test_nothing_is_lost_or_acknowledged_twice_whatever_the_receiver_does(events: list[str], window: int) -> None:
    session = SendSession(SendPolicy(window=window, ack_timeout_s=5, retry_s=1))
    for i in range(8):
        session.offer(message(i))
    line: deque[str] = deque()
    acked: list[str] = []
    now_s = 0.0
    session.connected(now_s)
    for event in [*events, *(["ack"] * 200)]:
        now_s += 1.0
        if event == "lose":
            session.disconnected()
            line.clear()
            session.connected(now_s)
        line.extend(control_id(f) for f in session.poll(now_s))
        if event in ("ack", "refuse") and line:
            session.receive(ack(line.popleft(), "CA" if event == "ack" else "CE"), now_s)
        acked += session.take_acknowledged()
    assert sorted(acked) == [f"m{i}" for i in range(8)]
    assert session.waiting == 0


def test_numerics_come_at_the_interval_and_waves_follow_each_other() -> None:
    source = feed(interval_s=2.0, waves=True)
    kinds: list[str] = []
    starts: list[str] = []
    for tick in range(101):
        for sent in source.poll(tick / 10):
            kinds.append("wave" if "|NA|" in sent.text else "numeric")
            if kinds[-1] == "wave":
                starts.append(sent.text.split("OBR|")[1].split("|")[6])
    assert kinds.count("numeric") == 6
    assert len(starts) == 10
    assert [
        float(b) - float(a) for a, b in zip([s[:18] for s in starts], [s[:18] for s in starts[1:]], strict=False)
    ] == [1] * 9


def test_a_rate_of_two_hundred_a_second_is_kept() -> None:
    source = feed(interval_s=0.005)
    assert sum(len(source.poll(tick / 100)) for tick in range(101)) == pytest.approx(201, abs=2)


def test_a_long_pause_is_not_made_up_for() -> None:
    source = feed(interval_s=0.01)
    source.poll(0)
    assert len(source.poll(3600)) < 5


def phases(source: GatewayFeed, seconds: int) -> list[tuple[str, str]]:
    found = []
    for t in range(seconds):
        for sent in source.poll(float(t)):
            if "ORU^R40" in sent.text:
                obx = [line.split("|") for line in sent.text.split("\r") if line.startswith("OBX")]
                found.append((obx[0][5], obx[2][5]))
    return found


def test_alarms_start_continue_and_end() -> None:
    told = [phase for text, phase in phases(feed("desaturation"), 320) if text == "SpO2 low"]
    assert told[0] == "start"
    assert told[-1] == "end"
    assert set(told[1:-1]) == {"continue"}
    assert len(told) > 8


def test_a_stable_patient_has_no_alarms() -> None:
    assert phases(feed(), 300) == []


def test_a_rebooting_gateway_says_nothing_and_an_unplugged_sensor_is_marked() -> None:
    source = feed(faults=(Fault(FaultKind.REBOOT, 0, 10), Fault(FaultKind.SENSOR_OFF, 10, 10, target="spo2")))
    assert source.poll(5) == []
    assert "150456^MDC_PULS_OXIM_SAT_O2^MDC|1.3.1.1||" in source.poll(11)[0].text


def test_an_interval_must_be_positive() -> None:
    with pytest.raises(ValueError, match="interval"):
        feed(interval_s=0)
