from __future__ import annotations

import struct
from dataclasses import dataclass
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from firmware_sim.faults import Fault, FaultKind, FaultLine
from firmware_sim.ge_dri import INVALID, NOT_UPDATED
from firmware_sim.ge_s5 import S5Config, S5Monitor
from firmware_sim.patient import Patient
from firmware_sim.waves import WaveKind
from tests.firmware_sim.test_ge_dri import DISPLAYED_10_S, request

START_S = 1_795_000_000.0
ALL_WAVES = (1, 2, 3, 4, 5, 8, 9, 13)


def _enframe(record: bytes) -> bytes:
    """Flags, checksum and escapes, written apart from the simulator's own."""
    out = b"\x7e"
    for byte in record + bytes((sum(record) % 256,)):
        out += {0x7E: b"\x7d\x5e", 0x7D: b"\x7d\x5d"}.get(byte, bytes((byte,)))
    return out + b"\x7e"


def displayed(interval_s: int, mask: int = 0x0E, kind: int = 1) -> bytes:
    return _enframe(request(0, struct.pack("<BhIh", kind, interval_s, mask, 0)))


def waves(*numbers: int, stop: bool = False) -> bytes:
    body = struct.pack("<hh", int(stop), 0) + bytes(numbers).ljust(8, b"\xff") + bytes(20)
    return _enframe(request(1, body))


def alarms(command: int) -> bytes:
    return _enframe(request(4, struct.pack("<6h", command, 0, 0, 0, 0, 0)))


@dataclass(frozen=True)
class Got:
    """One decoded record, taken apart here with nothing of the simulator's."""

    main_type: int
    time_s: int
    number: int
    subrecords: dict[int, bytes]
    parts: tuple[tuple[int, bytes], ...]


def decode(sent: bytes) -> Got:
    assert sent[0] == sent[-1] == 0x7E
    assert 0x7E not in sent[1:-1]
    content = sent[1:-1].replace(b"\x7d\x5e", b"\x7e").replace(b"\x7d\x5d", b"\x7d")
    record, checksum = content[:-1], content[-1]
    assert sum(record) % 256 == checksum
    length, number, _, _, time_s = struct.unpack_from("<hBBHI", record)
    assert length == len(record)
    places = []
    for i in range(8):
        offset, kind = struct.unpack_from("<hB", record, 16 + 3 * i)
        if kind == 0xFF:
            break
        places.append((offset + 40, kind))
    ends = [p[0] for p in places[1:]] + [len(record)]
    parts = tuple((kind, record[start:end]) for (start, kind), end in zip(places, ends, strict=True))
    return Got(struct.unpack_from("<h", record, 14)[0], time_s, number, dict(parts), parts)


class Bench:
    """A monitor and a clock that is moved by hand."""

    def __init__(self, scenario: str = "stable", *faults: Fault, carescape: bool = False) -> None:
        self.patient = Patient(3, scenario)
        self.monitor = S5Monitor(self.patient, START_S, S5Config(carescape=carescape), FaultLine(faults))
        self.now_s = 0.0

    def ask(self, data: bytes) -> None:
        self.monitor.receive(data, self.now_s)

    def run(self, seconds: float, step_s: float = 0.05) -> list[Got]:
        got: list[Got] = []
        for _ in range(round(seconds / step_s)):
            self.now_s = round(self.now_s + step_s, 6)
            got += [decode(sent) for sent in self.monitor.poll(self.now_s)]
        return got


def test_nothing_is_sent_unasked() -> None:
    assert Bench().run(30) == []


def test_displayed_values_come_at_the_asked_interval_until_stopped() -> None:
    bench = Bench()
    bench.ask(DISPLAYED_10_S)
    got = bench.run(40.01)
    assert [g.time_s - int(START_S) for g in got] == [0, 10, 20, 30, 40]
    assert [g.number for g in got] == [1, 2, 3, 4, 5]
    bench.ask(displayed(0, 0))
    assert bench.run(30) == []


def test_all_four_classes_lie_in_one_record_with_the_cuff_time() -> None:
    bench = Bench()
    bench.now_s = 40.0
    bench.ask(DISPLAYED_10_S)
    (got,) = bench.run(0.1)
    assert [kind for kind, _ in got.parts] == [1, 1, 1, 1, 4]
    assert [struct.unpack_from("<H", p, 276)[0] >> 8 & 0xF for _, p in got.parts[:4]] == [0, 1, 2, 3]
    assert struct.unpack_from("<I", got.subrecords[4]) == (int(START_S) + 30,)


@pytest.mark.parametrize(("mask", "classes"), [(0, [0]), (1, []), (5, [2]), (0x0E, [0, 1, 2, 3]), (2, [0, 1])])
def test_the_class_mask_chooses(mask: int, classes: list[int]) -> None:
    bench = Bench()
    bench.ask(displayed(5, mask))
    got = bench.run(0.1)
    found = [struct.unpack_from("<H", p, 276)[0] >> 8 & 0xF for g in got for k, p in g.parts if k == 1]
    assert found == classes


def test_the_numbers_are_the_patients() -> None:
    bench = Bench()
    bench.now_s = 34.95
    bench.ask(DISPLAYED_10_S)
    (got,) = bench.run(0.05)
    n = bench.patient.at(bench.now_s)
    basic, ext2 = got.parts[0][1], got.parts[2][1]
    assert struct.unpack_from("<IH", basic, 4) == (0x0B, 0x312)
    assert struct.unpack_from("<h", basic, 10) == (round(n.hr),)
    assert struct.unpack_from("<IH", basic, 20) == (0x0B, 1)
    assert struct.unpack_from("<3h", basic, 26) == tuple(round(v * 100) for v in (n.art_sys, n.art_dia, n.art_mean))
    assert struct.unpack_from("<H", basic, 38) == (2,)
    assert n.spo2 is not None
    assert struct.unpack_from("<h", basic, 128) == (round(n.spo2 * 100),)
    et, _, rr, ambient = struct.unpack_from("<4h", basic, 142)
    assert et / 100 / 100 * ambient / 10 == pytest.approx(n.etco2_mmhg, abs=0.1)
    assert rr == n.resp_rate
    assert struct.unpack_from("<h", basic, 96) == (round(n.temp * 100),)
    assert struct.unpack_from("<h", basic, 196) == (round(n.tidal_insp * 10),)
    assert struct.unpack_from("<h", ext2, 106) == (round(n.bis),)
    assert struct.unpack_from("<h", ext2, 122) == (round(n.state_entropy),)


def test_an_old_cuff_reading_is_repeated_and_marked() -> None:
    bench = Bench()
    bench.ask(displayed(5))
    basics = {g.time_s - int(START_S): g.parts[0][1] for g in bench.run(120.01)}
    labels = {t: struct.unpack_from("<H", b, 80)[0] for t, b in basics.items()}
    values = {t: struct.unpack_from("<3h", b, 82) for t, b in basics.items()}
    assert values[5] == (INVALID, INVALID, INVALID)
    assert labels[10] & 1 << 5
    assert not labels[35] & 1 << 5
    assert values[35] == values[90] == values[120]
    assert values[35][0] > 0
    assert [labels[t] >> 8 & 1 for t in (35, 85, 95, 120)] == [0, 0, 1, 1]


def test_single_requests_closer_than_five_seconds_are_ignored() -> None:
    bench = Bench()
    bench.ask(displayed(-1))
    bench.ask(displayed(-1))
    assert len(bench.run(4)) == 1
    bench.ask(displayed(-1))
    assert bench.run(2) == []
    bench.ask(displayed(-1))
    assert len(bench.run(60)) == 1


def test_trends_flow_only_beside_displayed_values() -> None:
    bench = Bench()
    bench.ask(displayed(10, kind=2))
    assert bench.run(25) == []
    bench.ask(displayed(5))
    kinds = [g.parts[0][0] for g in bench.run(20)]
    assert kinds.count(2) == 2
    assert kinds.count(1) >= 4


def test_waves_add_up_to_the_patients_samples_without_a_seam() -> None:
    bench = Bench(carescape=True)
    bench.ask(waves(*ALL_WAVES))
    got = [g for g in bench.run(6.01) if g.main_type == 1]
    assert len(got) == 30
    for number, kind, rate, factor in ((1, WaveKind.ECG_II, 300, 1000), (4, WaveKind.ART, 100, 100)):
        samples: list[int] = []
        for g in got:
            n, status, label = struct.unpack_from("<hHH", g.subrecords[number])
            assert (status, len(g.subrecords[number])) == (0, 6 + 2 * n)
            assert label == {1: 2, 4: 1}[number]
            samples += struct.unpack_from(f"<{n}h", g.subrecords[number], 6)
        assert samples == [round(v * factor) for v in bench.patient.wave(kind, 0, 6 * rate, rate)]


def test_leads_of_the_monitor_obey_einthoven() -> None:
    bench = Bench(carescape=True)
    bench.ask(waves(1, 2, 3))
    for got in bench.run(2):
        two, one, three = (struct.unpack_from("<60h", got.subrecords[n], 6) for n in (1, 2, 3))
        assert all(abs(a + c - b) <= 1 for a, b, c in zip(one, two, three, strict=True))


@pytest.mark.parametrize(
    ("asked", "carescape", "flowing"),
    [
        ((1, 4, 5, 8), False, (1, 4, 5, 8)),  # 600 samples/s exactly
        ((1, 2, 4), False, (1, 2)),
        ((1, 4, 5, 8, 9), False, (1, 4, 5, 8)),
        (ALL_WAVES, True, ALL_WAVES),
        ((99, 8, 8), False, (8,)),
        ((1, 0xFF, 8), False, (1,)),
    ],
)
def test_what_passes_600_samples_per_second_is_silently_dropped(
    asked: tuple[int, ...], carescape: bool, flowing: tuple[int, ...]
) -> None:
    bench = Bench(carescape=carescape)
    bench.ask(waves(*asked))
    assert bench.monitor.waves_flowing == flowing
    assert {tuple(g.subrecords) for g in bench.run(1)} == {flowing}


def test_waves_stop_when_asked() -> None:
    bench = Bench()
    bench.ask(waves(1))
    assert bench.run(1)
    bench.ask(waves(stop=True))
    assert bench.run(1) == []


def test_carescape_takes_twenty_four_waves() -> None:
    bench = Bench(carescape=True)
    numbers = (*range(1, 18), 18, 19, 20, 21, 23, 24, 32)
    body = struct.pack("<hh", 0, 0) + bytes(numbers) + bytes(20)
    bench.ask(_enframe(request(1, body)))
    got = bench.run(0.2)
    assert [len(g.parts) for g in got] == [8, 8, 8]
    assert tuple(k for g in got for k, _ in g.parts) == numbers
    unconnected = next(g.subrecords[6] for g in got if 6 in g.subrecords)
    assert set(struct.unpack_from("<20h", unconnected, 6)) == {NOT_UPDATED}


def test_a_line_blocked_over_two_seconds_stops_the_waves_until_asked_again() -> None:
    bench = Bench()
    bench.ask(waves(1) + displayed(5))
    bench.run(1)
    bench.monitor.set_blocked(True, bench.now_s)
    assert bench.run(2.5) == []
    bench.monitor.set_blocked(False, bench.now_s)
    assert {g.main_type for g in bench.run(10)} == {0}
    bench.ask(waves(1))
    assert 1 in {g.main_type for g in bench.run(1)}


def test_a_line_blocked_for_a_moment_leaves_a_gap_that_is_marked() -> None:
    bench = Bench()
    bench.ask(waves(1))
    bench.run(1)
    bench.monitor.set_blocked(True, bench.now_s)
    bench.run(1)
    bench.monitor.set_blocked(False, bench.now_s)
    status = [struct.unpack_from("<H", g.subrecords[1], 2)[0] & 1 for g in bench.run(1)]
    assert status == [1, 0, 0, 0, 0]


def test_a_stalled_monitor_does_not_make_up_for_lost_waves() -> None:
    bench = Bench()
    bench.ask(waves(1))
    bench.now_s = 60.0
    (got,) = bench.run(0.01, step_s=0.01)
    assert struct.unpack_from("<H", got.subrecords[1], 2)[0] & 1


def test_an_unplugged_sensor_gives_no_data() -> None:
    bench = Bench(
        "stable", Fault(FaultKind.SENSOR_OFF, 10, 10, target="spo2"), Fault(FaultKind.SENSOR_OFF, 10, 10, target="ecg")
    )
    bench.ask(displayed(5) + waves(1, 8))
    got = bench.run(24.9)
    basic = {g.time_s - int(START_S): g.parts[0][1] for g in got if g.main_type == 0}
    assert struct.unpack_from("<IHhh", basic[15], 122) == (1, 0, INVALID, INVALID)
    assert struct.unpack_from("<h", basic[15], 10) == (INVALID,)
    assert struct.unpack_from("<I", basic[20], 122) == (3,)
    assert struct.unpack_from("<h", basic[20], 10)[0] > 0
    off = [g for g in got if g.main_type == 1 and 11 <= g.time_s - START_S <= 18]
    assert {struct.unpack_from("<h", g.subrecords[8], 6)[0] for g in off} == {INVALID}
    assert {struct.unpack_from("<H", g.subrecords[1], 2)[0] for g in off} == {1 << 3}


def test_a_reboot_forgets_what_was_asked() -> None:
    bench = Bench("stable", Fault(FaultKind.REBOOT, 10, 5))
    bench.ask(displayed(5) + waves(1))
    bench.run(9.9)
    assert bench.run(20) == []
    bench.ask(displayed(5))
    assert len(bench.run(5)) >= 1


def test_requests_during_a_reboot_are_not_heard() -> None:
    bench = Bench("stable", Fault(FaultKind.REBOOT, 0, 5))
    bench.ask(displayed(5))
    assert bench.run(20) == []


def test_the_monitors_clock_drifts() -> None:
    bench = Bench("stable", Fault(FaultKind.DRIFT, 0, value=30_000), Fault(FaultKind.STEP, 50, value=-7))
    bench.ask(displayed(5))
    ahead: dict[int, int] = {}
    for t in range(1, 102):
        for got in bench.run(1, step_s=1):
            ahead[t] = got.time_s - int(START_S) - t
    # 3 % fast, and 7 s back at second 50.
    assert [ahead[t] for t in (1, 45, 50, 100)] == [0, 1, 1 - 7, 3 - 7]


def test_alarms_are_told_in_differential_mode_two_seconds_apart() -> None:
    bench = Bench("arrest", carescape=True)
    bench.ask(alarms(2))
    got = [(bench.now_s, g) for _ in range(2000) for g in bench.run(0.1)]
    assert got[0][0] < 1
    assert not any(got[0][1].subrecords[1])
    assert all(b - a >= 2 - 1e-6 for (a, _), (b, _) in pairwise(got))
    message = got[1][1].subrecords[1]
    assert 59 < got[1][0] < 63
    assert struct.unpack_from("<h", message, 2) == (1,)
    assert message[10:90].rstrip(b"\0") == b"ASYSTOLE"
    assert struct.unpack_from("<3h", message, 90) == (1, 3, 1)
    bench.ask(alarms(3))
    assert bench.run(200, step_s=1) == []


def test_alarm_status_is_told_once_and_only_by_carescape() -> None:
    for carescape, count in ((True, 1), (False, 0)):
        bench = Bench("arrest", carescape=carescape)
        bench.ask(alarms(0))
        assert len(bench.run(100, step_s=0.5)) == count


@given(st.lists(st.binary(max_size=80), max_size=10), st.integers(0, 9))
@settings(deadline=None, max_examples=40)
def test_rubbish_does_no_harm(pieces: list[bytes], seed: int) -> None:
    bench = Bench()
    for piece in pieces:
        bench.ask(piece)
        bench.ask(_enframe(request(seed % 5, piece)))
        bench.run(0.2)
    bench.ask(displayed(0) + waves(stop=True) + displayed(0, kind=2) + displayed(0, kind=3))
    bench.run(1)
    bench.ask(DISPLAYED_10_S)
    assert len(bench.run(1)) == 1


def test_what_is_due_next_is_never_missed() -> None:
    bench = Bench(carescape=True)
    bench.ask(waves(1) + displayed(5))
    sent = 0
    for _ in range(60):
        bench.now_s = bench.monitor.next_due_s(bench.now_s)
        sent += len(bench.monitor.poll(bench.now_s))
    assert sent == pytest.approx(bench.now_s * 5 + bench.now_s / 5 + 1, abs=2)
    assert bench.now_s > 10
