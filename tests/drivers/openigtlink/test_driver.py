from __future__ import annotations

import struct
from collections.abc import Iterable
from typing import TypeVar

import pytest

from drivers.contract import Close, Emit, Now, Send
from drivers.openigtlink import OpenIgtLink, OpenIgtLinkConfig
from drivers.openigtlink.driver import recognise
from ledger.limits import S_NS
from ledger.record_json import wave_samples
from ledger.records import Clock, Event, Gap, Identity, LinkId, Numeric, Quality, Record, Wave
from tests.drivers.openigtlink.golden import MATRIX, SENSOR, message

LINK = LinkId(1)
T0_S = 1_790_000_000
FORCE = struct.pack(">BBQ", 3, 0, 0x0B << 54 | 1 << 50)
R = TypeVar("R", bound=Record)


def now(s: float) -> Now:
    return Now(round(s * S_NS), round((T0_S + s) * S_NS))


def matrix(x: float) -> bytes:
    return struct.pack(">12f", 1, 0, 0, 0, 1, 0, 0, 0, 1, x, 2, 3)


class Bench:
    def __init__(self, **options: object) -> None:
        self.driver = OpenIgtLink(OpenIgtLinkConfig(**options))  # type: ignore[arg-type]
        self.records: list[Record] = []
        self.sent: list[bytes] = []
        self.closed: list[str] = []
        self.driver.link_up(LINK, "robot:1", now(0))
        self._drain()

    def _drain(self) -> None:
        for action in self.driver.drain():
            if isinstance(action, Emit):
                self.records.append(action.record)
            elif isinstance(action, Send):
                assert self.driver.spec.may_send(action.data)
                self.sent.append(action.data)
            elif isinstance(action, Close):
                self.closed.append(action.reason)

    def hear(self, data: bytes, s: float) -> None:
        self.wait(s)
        self.driver.receive(LINK, data, now(s))
        self._drain()

    def wait(self, s: float) -> None:
        while (due_ns := self.driver.deadline_ns()) is not None and due_ns <= s * S_NS:
            self.driver.wake(Now(due_ns, T0_S * S_NS + due_ns))
            self._drain()

    def end(self, s: float) -> None:
        self.driver.link_down(LINK, "unplugged", now(s))
        self._drain()

    def of(self, kind: type[R], channel: str = "") -> list[R]:
        return [
            r for r in self.records if isinstance(r, kind) and (not channel or getattr(r, "channel", "") == channel)
        ]


def force_at(bench: Bench, places: Iterable[int], *, hz: int = 100, ids: bool = False, stamped: bool = True) -> None:
    for place in places:
        content = FORCE + struct.pack(">3d", place, -0.5 * place, 0.25)
        stamp = T0_S + place / hz if stamped else 0
        bench.hear(message("SENSOR", "Force", content, stamp, place if ids else None), place / hz + 0.002)


def test_a_slow_pose_is_recorded_message_by_message_exactly() -> None:
    bench = Bench(make="Maker", model="Arm")
    for place in range(30):
        bench.hear(message("TRANSFORM", "Tip", matrix(0.1 * place), T0_S + place / 10), place / 10)
    bench.end(4)
    values = bench.of(Numeric, "Tip")
    assert values.pop().quality == Quality.UNAVAILABLE
    assert len(values) == 30
    assert not bench.of(Wave)
    assert (values[3].code, values[3].unit, values[3].value) == (
        "MDCX_OPENIGTLINK_TRANSFORM", "mm", "1 0 0 0.3; 0 1 0 2; 0 0 1 3"
    )  # fmt: skip
    assert values[3].device_time is not None
    assert values[3].device_time.kind == "utc"
    assert values[3].device_time.value_ns == pytest.approx((T0_S + 0.3) * S_NS, abs=1000)
    (identity,) = bench.of(Identity)
    assert (identity.make, identity.model) == ("Maker", "Arm")


def test_a_fast_force_is_waves_of_a_tenth_of_a_second_and_the_latest_value() -> None:
    bench = Bench()
    force_at(bench, range(100))
    bench.end(1)
    waves = [wave for wave in bench.of(Wave) if wave.code == "MDCX_OPENIGTLINK_SENSOR_1"]
    assert {(wave.rate, wave.unit, wave.channel, wave.width) for wave in waves} == {((100, 1), "N", "Force", 4)}
    assert {len(wave_samples(wave)) for wave in waves[:-1]} == {10}
    told = {
        wave.index + place: sample * wave.scale for wave in waves for place, sample in enumerate(wave_samples(wave))
    }
    assert told == {place: pytest.approx(place) for place in range(32, 100)}
    slow = [value for value in bench.of(Numeric) if value.value is not None]
    assert len(slow) == 32 + len(waves)
    assert slow[-1].value == "99 -49.5 0.25"
    assert len(bench.of(Wave)) == 3 * len(waves)
    assert not bench.of(Gap)


@pytest.mark.parametrize("ids", [False, True])
def test_missing_messages_are_a_gap_and_a_jump_of_the_index(ids: bool) -> None:
    bench = Bench()
    force_at(bench, (place for place in range(120) if place not in (60, 61, 62)), ids=ids)
    bench.end(2)
    (gap,) = bench.of(Gap)
    assert (gap.cause, gap.lost_items) == ("sequence" if ids else "device_gap", 3)
    waves = [wave for wave in bench.of(Wave) if wave.code == "MDCX_OPENIGTLINK_SENSOR_1"]
    told = {
        wave.index + place: sample * wave.scale for wave in waves for place, sample in enumerate(wave_samples(wave))
    }
    assert told == {place: pytest.approx(place) for place in range(32, 120) if place not in (60, 61, 62)}


def test_ids_of_the_whole_connection_do_not_count_against_one_stream() -> None:
    bench = Bench()
    number = 0
    for place in range(200):
        for kind, device, content in [("SENSOR", "Force", FORCE + bytes(24)), ("TRANSFORM", "Tip", matrix(place))]:
            if kind == "TRANSFORM" and place % 10:
                continue
            number += 1
            if number != 150:
                bench.hear(message(kind, device, content, T0_S + place / 100, number), place / 100)
    bench.end(3)
    assert [(gap.cause, gap.lost_items) for gap in bench.of(Gap)] == [("sequence", 1)]


def test_unused_ids_are_no_loss() -> None:
    bench = Bench()
    for place in range(40):
        bench.hear(message("TRANSFORM", "Tip", matrix(place), T0_S + place / 100, 0), place / 100)
    bench.end(1)
    assert not bench.of(Gap)


def test_an_uneven_sender_loses_nothing() -> None:
    bench = Bench()
    uneven = [0, 4, -3, 6, -5, 2, 7, -6, 1, -2]
    for place in range(300):
        stamp = T0_S + place / 100 + uneven[place % 10] / 1000
        bench.hear(message("SENSOR", "Force", FORCE + bytes(24), stamp), place / 100 + 0.01)
    bench.end(4)
    assert not bench.of(Gap)
    assert {wave.rate for wave in bench.of(Wave)} == {(100, 1)}


def test_without_timestamps_bunched_messages_are_no_gap() -> None:
    bench = Bench()
    for place in range(200):
        bench.hear(message("SENSOR", "Force", FORCE + bytes(24)), (place // 5 * 5) / 100)
    bench.end(3)
    assert not bench.of(Gap)
    assert not bench.of(Clock)


def test_a_tool_out_of_sight_is_withdrawn_and_its_wave_goes_on_where_time_is() -> None:
    bench = Bench()

    def tools(*names: bytes) -> bytes:
        return b"".join(name.ljust(20, b"\0") + b"\x02\0" + matrix(1) for name in names)

    for place in range(80):
        seen = (b"A",) if 40 <= place < 60 else (b"A", b"B")
        bench.hear(message("TDATA", "Tracker", tools(*seen), T0_S + place / 50), place / 50)
    bench.end(3)
    gone = [value for value in bench.of(Numeric, "Tracker/B") if value.value is None]
    assert [(value.quality, round(value.at_ns / S_NS - T0_S)) for value in gone] == [
        (Quality.UNAVAILABLE, 1), (Quality.UNAVAILABLE, 3),
    ]  # fmt: skip
    indexes = [
        wave.index + place
        for wave in bench.of(Wave, "Tracker/B") if wave.code.endswith("_TX")
        for place in range(len(wave_samples(wave)))
    ]  # fmt: skip
    assert indexes == [*range(32, 40), *range(60, 80)]
    assert not bench.of(Gap)


def test_a_tool_that_plus_says_is_out_of_view_has_no_value() -> None:
    bench = Bench()
    words = [("TransformValid", "False"), ("TransformStatus", "OUT_OF_VIEW")]
    index = struct.pack(">H", 2) + b"".join(struct.pack(">HHI", len(key), 3, len(value)) for key, value in words)
    text = "".join(key + value for key, value in words).encode()
    body = struct.pack(">HHII", 12, len(index), len(text), 1) + MATRIX + index + text
    head = message("TRANSFORM", "Tip", b"")[:42]
    whole = b"\0\x02" + head[2:] + struct.pack(">Q", len(body)) + message("X", "", body)[50:58] + body
    bench.hear(whole, 1)
    bench.hear(whole, 2)
    told = bench.of(Numeric, "Tip")
    assert [value.quality for value in told if value.code == "MDCX_OPENIGTLINK_TRANSFORM"] == [Quality.INVALID] * 2
    metadata = [(value.device_code, value.value) for value in told if value.code == "MDCX_OPENIGTLINK_METADATA"]
    assert metadata == words


def test_status_is_a_value_and_while_it_is_not_well_an_event() -> None:
    bench = Bench()
    for s, code, text in [(1, 13, b"homing"), (2, 13, b"homing"), (3, 18, b"joint 3"), (4, 1, b"")]:
        bench.hear(message("STATUS", "Robot", struct.pack(">Hq20s", code, 5, b"x") + text, T0_S + s), s)
    assert [(event.phase, event.kind, event.code) for event in bench.of(Event)] == [
        ("start", "advisory", "MDCX_OPENIGTLINK_STATUS_13"),
        ("change", "technical_alarm", "MDCX_OPENIGTLINK_STATUS_18"),
        ("end", "technical_alarm", "MDCX_OPENIGTLINK_STATUS_18"),
    ]
    assert [value.value for value in bench.of(Numeric)] == [
        "13 device not ready: x: homing", "18 hardware failure: x: joint 3", "1 OK: x"
    ]  # fmt: skip


def test_unknown_messages_keep_their_name_and_bytes() -> None:
    bench = Bench()
    bench.hear(message("ARMSTATE", "Arm1", b"\x01\x02\xff"), 1)
    bench.hear(message("odd~type", "Arm1", b"\x03"), 1)
    bench.hear(message("IMAGE", "Probe", bytes(200_000)), 1)
    told = [(value.code, value.device_code, value.channel, value.value) for value in bench.of(Numeric)]
    assert told == [
        ("MDCX_OPENIGTLINK_ARMSTATE", "ARMSTATE", "Arm1", "0102ff"),
        ("MDCX_OPENIGTLINK_OTHER", "odd~type", "Arm1", "03"),
        ("MDCX_OPENIGTLINK_IMAGE", "IMAGE", "Probe", "200000 bytes"),
    ]


def test_what_is_configured_is_asked_and_asked_again_while_nothing_comes() -> None:
    bench = Bench(start=("TDATA", "TRANS"), interval_ms=50, coordinate_system="Patient", device="Cam", ask_status_s=5,
                  ask_capability=True)  # fmt: skip
    assert [sent[2:14].rstrip(b"\0") for sent in bench.sent] == [
        b"GET_CAPABIL",
        b"STT_TDATA",
        b"STT_TRANS",
        b"GET_STATUS",
    ]
    assert bench.sent[1][58:] == struct.pack(">I32s", 50, b"Patient")
    bench.sent.clear()
    bench.wait(3.5)
    assert [sent[2:5] for sent in bench.sent] == [b"STP", b"STT"] * 2
    for s in range(4, 12):
        bench.hear(message("STATUS", "Robot", struct.pack(">Hq20s", 1, 0, b"OK"), T0_S + s), s)
    bench.sent.clear()
    bench.wait(13.9)
    assert not bench.sent
    bench.wait(40)
    assert bench.closed
    assert all(sent[2:6] in (b"STT_", b"STP_", b"GET_") for sent in bench.sent)


def test_it_sends_nothing_unless_configured() -> None:
    bench = Bench()
    force_at(bench, range(50))
    bench.wait(60)
    assert not bench.sent
    assert not bench.driver.spec.may_send(message("TRANSFORM", "Tip", MATRIX))
    assert not bench.driver.spec.may_send(message("STT_TDATA", "x" * 20, bytes(37)))


def test_a_clock_that_was_set_is_no_loss_of_messages() -> None:
    bench = Bench()
    force_at(bench, range(60))
    for place in range(60, 120):
        bench.hear(message("SENSOR", "Force", FORCE + bytes(24), T0_S + 3600 + place / 100), place / 100)
    bench.end(2)
    assert [gap.cause for gap in bench.of(Gap)] == ["clock_jump"]


def test_messages_are_recognised() -> None:
    heard = recognise(b"x" + SENSOR * 3)
    assert heard is not None
    assert (heard.frames, heard.device) == (3, "OpenIGTLink DeviceName")
    assert recognise(bytes(500)) is None


@pytest.mark.parametrize(
    ("option", "value"),
    [("device", "x" * 21), ("start", ("TRANS", "TRANS")), ("interval_ms", -1), ("ask_status_s", -1)],
)
def test_an_option_out_of_range_is_named(option: str, value: object) -> None:
    with pytest.raises(ValueError, match=option):
        OpenIgtLinkConfig(**{option: value})  # type: ignore[arg-type]


# Silence ------------------------------------------------------------------------------------------------------


def status(code: int, text: str = "") -> bytes:
    return struct.pack(">HQ20s", code, 0, b"") + text.encode() + b"\0"


def withdrawn(bench: Bench) -> list[tuple[float, str]]:
    return [
        (round((value.at_ns - T0_S * S_NS) / S_NS, 1), value.channel)
        for value in bench.of(Numeric) if value.value is None and value.quality == Quality.UNAVAILABLE
    ]  # fmt: skip


def test_a_stream_that_stops_is_withdrawn_though_others_of_its_connection_go_on() -> None:
    bench = Bench()
    for place in range(200):
        bench.hear(message("TRANSFORM", "Arm", matrix(place), T0_S + place / 10), place / 10)
        if place < 50:
            bench.hear(message("SENSOR", "Force", FORCE + bytes(24), T0_S + place / 10), place / 10)
    assert withdrawn(bench) == [(9.9, "Force")]
    bench.hear(message("SENSOR", "Force", FORCE + bytes(24), T0_S + 20), 20)
    assert bench.of(Numeric, "Force")[-1].value is not None


def test_a_slow_stream_is_given_three_of_its_intervals() -> None:
    bench = Bench()
    for place in range(4):
        bench.hear(message("POSITION", "Head", struct.pack(">3f", place, 1, 2), T0_S + 10 * place), 10 * place)
    bench.wait(200)
    assert withdrawn(bench) == [(60.0, "Head")]


def test_what_is_said_once_stands_as_long_as_anything_comes() -> None:
    bench = Bench()
    bench.hear(message("TRANSFORM", "ImageToPatient", matrix(1), T0_S), 0)
    bench.hear(message("STATUS", "Arm", status(14, "by hand"), T0_S), 0)
    bench.hear(message("STRING", "Note", struct.pack(">HH", 3, 2) + b"hi", T0_S), 0)
    for place in range(100):
        bench.hear(message("SENSOR", "Force", FORCE + bytes(24), T0_S + place), place)
    assert withdrawn(bench) == []
    bench.wait(300)
    assert sorted(withdrawn(bench)) == [
        (104.0, "Force"), (159.0, "Arm"), (159.0, "ImageToPatient"), (159.0, "Note"),
    ]  # fmt: skip
    bench.hear(message("SENSOR", "Force", FORCE + bytes(24), T0_S + 300), 300)
    events = [(event.phase, event.quality) for event in bench.of(Event)]
    assert events == [("start", Quality.GOOD), ("change", Quality.UNAVAILABLE), ("continue", Quality.GOOD)]
    bench.end(301)
    assert [event.phase for event in bench.of(Event)][3:] == ["change"]
    assert [channel for _, channel in withdrawn(bench)][4:] == ["Force"]


def test_a_device_on_a_second_connection_is_not_withdrawn_by_the_end_of_its_first() -> None:
    bench = Bench()
    other = LinkId(2)
    both = message("TRANSFORM", "Arm", matrix(1), T0_S) + message("STATUS", "Arm", status(6), T0_S)
    bench.hear(both + message("TRANSFORM", "Old", matrix(1), T0_S), 0)
    bench.driver.link_up(other, "robot:2", now(1))
    bench.driver.receive(other, both, now(1))
    bench.end(2)
    assert withdrawn(bench) == [(2.0, "Old")]
    assert [event.phase for event in bench.of(Event)] == ["start", "start"]


def test_words_are_bounded_and_the_first_are_withdrawn() -> None:
    bench = Bench()
    for number in range(600):
        bench.hear(message("STRING", f"Note{number}", struct.pack(">HH", 3, 2) + b"hi", T0_S), number / 100)
    assert len(withdrawn(bench)) == 600 - 512
    bench.end(10)
    assert len(withdrawn(bench)) == 600
