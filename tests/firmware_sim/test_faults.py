from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from firmware_sim.faults import Fault, FaultError, FaultKind, FaultLine, parse_fault

BYTE_KINDS = st.sampled_from([FaultKind.NOISE, FaultKind.LOST, FaultKind.DOUBLED])
BYTE_FAULTS = st.lists(st.builds(Fault, kind=BYTE_KINDS, value=st.floats(0, 0.5)), max_size=3).map(tuple)


@given(BYTE_FAULTS, st.integers(0, 99), st.lists(st.binary(max_size=40), max_size=8))
def test_byte_faults_do_not_depend_on_how_the_stream_is_cut(
    faults: tuple[Fault, ...], seed: int, pieces: list[bytes]
) -> None:
    cut, whole = FaultLine(faults, seed), FaultLine(faults, seed)
    assert b"".join(cut.apply(piece, 1.0) for piece in pieces) == whole.apply(b"".join(pieces), 1.0)


@given(st.binary(max_size=200), st.integers(0, 99))
def test_each_kind_does_what_it_says(data: bytes, seed: int) -> None:
    def line(kind: FaultKind, value: float) -> bytes:
        return FaultLine((Fault(kind, value=value),), seed).apply(data, 0.0)

    assert line(FaultKind.NOISE, 0) == data
    assert line(FaultKind.NOISE, 1)[1::2] == data
    assert line(FaultKind.LOST, 1) == b""
    assert line(FaultKind.DOUBLED, 1) == b"".join(bytes((b, b)) for b in data)
    assert line(FaultKind.SILENCE, 0) == b""
    cut = line(FaultKind.CUT, 1)
    assert data.startswith(cut)
    assert len(cut) < len(data) or not data


@given(st.binary(min_size=1, max_size=50), st.floats(0, 100))
def test_a_fault_acts_only_in_its_time(data: bytes, now_s: float) -> None:
    line = FaultLine((Fault(FaultKind.LOST, 10, 20, 1.0),))
    assert line.apply(data, now_s) == (b"" if 10 <= now_s < 30 else data)


def test_drift_and_steps_add_up_in_the_clock() -> None:
    line = FaultLine((Fault(FaultKind.DRIFT, 100, 1000, 500.0), Fault(FaultKind.STEP, 50, math.inf, -30.0)))
    assert line.clock_error_s(0) == 0
    assert line.clock_error_s(60) == -30
    assert line.clock_error_s(600) == pytest.approx(-30 + 0.25)
    assert line.clock_error_s(5000) == pytest.approx(-30 + 0.5)


def test_reboots_and_unplugged_sensors_are_told() -> None:
    line = FaultLine((Fault(FaultKind.REBOOT, 5, 10), Fault(FaultKind.SENSOR_OFF, 2, 2, target="spo2")))
    assert [line.off(t) for t in (4.9, 5, 14.9, 15)] == [False, True, True, False]
    assert line.sensors_off(3) == {"spo2"}
    assert line.sensors_off(4) == frozenset()


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("noise@30+10:0.02", Fault(FaultKind.NOISE, 30, 10, 0.02)),
        ("silence@5", Fault(FaultKind.SILENCE, 5)),
        ("cut", Fault(FaultKind.CUT, value=0.2)),
        ("reboot@9", Fault(FaultKind.REBOOT, 9, 20)),
        ("drift:150", Fault(FaultKind.DRIFT, value=150)),
        ("sensor-off@1+2:ecg", Fault(FaultKind.SENSOR_OFF, 1, 2, target="ecg")),
    ],
)
def test_faults_are_read_from_text(text: str, fault: Fault) -> None:
    assert parse_fault(text) == fault


@pytest.mark.parametrize("text", ["", "nois", "noise@x", "noise:2", "lost:-0.1", "sensor-off", "cut@1+y"])
def test_faults_that_cannot_be_read_are_refused(text: str) -> None:
    with pytest.raises(FaultError, match="cannot read fault"):
        parse_fault(text)
