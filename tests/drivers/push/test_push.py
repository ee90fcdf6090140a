from __future__ import annotations

import base64
import json
import struct
from decimal import Decimal
from pathlib import Path
from typing import Any, TypeVar

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from drivers.contract import Close, Emit, Now, Send, Ticket
from drivers.push import Push, PushConfig
from drivers.push.driver import recognise
from drivers.push.reading import Refused, parse
from drivers.push.schema import LONGEST_LINE_BYTES, json_schema
from ledger.limits import S_NS
from ledger.record_json import wave_samples
from ledger.records import Event, Gap, Identity, LinkId, Numeric, Quality, Record, Setting, Wave

LINK = LinkId(1)
SCHEMA = Path(__file__).parents[3] / "docs" / "push-v1.schema.json"
R = TypeVar("R", bound=Record)


def now(s: float) -> Now:
    return Now(round(s * S_NS), round((1_790_000_000 + s) * S_NS))


def value(seq: int, **more: Any) -> dict[str, Any]:
    return {"type": "numeric", "seq": seq, "code": "MDCX_X_A", "value": 1.5, "unit": "mm", **more}


def wave(seq: int, index: int, samples: Any, **more: Any) -> dict[str, Any]:
    told = {"code": "MDCX_X_W", "unit": "N", "rate_hz": 100, "index": index, "samples": samples}
    return {"type": "wave", "seq": seq, **told, **more}


HELLO = {"type": "hello", "version": 1, "session": "s1", "make": "Acme", "model": "R7", "serial": "9"}


class Bench:
    def __init__(self, *, greeted: bool = True, **options: int) -> None:
        self.driver = Push(PushConfig(**options))
        self.records: list[Record] = []
        self.answers: list[dict[str, Any]] = []
        self.after: list[Ticket | None] = []
        self.closed: list[str] = []
        self.s = 0.0
        self.up(greeted=greeted)

    def up(self, *, greeted: bool = True, session: str = "s1") -> None:
        self.driver.link_up(LINK, "console-1@10.0.0.7:4000", now(self.s))
        if greeted:
            self.say({**HELLO, "session": session})
            self.answers.clear()
            self.after.clear()

    def down(self) -> None:
        self.driver.link_down(LINK, "gone", now(self.s))
        self._drain()

    def say(self, *lines: Any, pieces: int = 1 << 20) -> None:
        self.s += 0.01
        data = b"".join(line if isinstance(line, bytes) else json.dumps(line).encode() + b"\n" for line in lines)
        for at in range(0, len(data), pieces):
            self.driver.receive(LINK, data[at : at + pieces], now(self.s))
            self._drain()

    def wait(self, s: float) -> None:
        self.s += s
        self.driver.wake(now(self.s))
        self._drain()

    def _drain(self) -> None:
        for action in self.driver.drain():
            if isinstance(action, Emit):
                self.records.append(action.record)
            elif isinstance(action, Send):
                assert self.driver.spec.may_send(action.data), action.data
                self.answers.append(json.loads(action.data))
                self.after.append(action.after)
            elif isinstance(action, Close):
                self.closed.append(action.reason)

    def of(self, kind: type[R]) -> list[R]:
        return [record for record in self.records if type(record) is kind]


def test_the_published_schema_is_that_of_the_code() -> None:
    assert json.loads(SCHEMA.read_text(encoding="utf-8")) == json.loads(json.dumps(json_schema()))
    closed = [part for part in json_schema()["$defs"].values() if "properties" in part]
    assert len(closed) == 10
    assert all(part["additionalProperties"] is False for part in closed)


def test_a_client_is_greeted_and_named_by_its_certificate() -> None:
    bench = Bench(greeted=False)
    bench.say(value(1))
    assert bench.answers == [
        {
            "type": "error",
            "line": 1,
            "field": "$.type",
            "text": 'say "hello" first, then this again',
            "seq": 1,
            "again": True,
        }
    ]
    bench.say(HELLO)
    assert bench.answers[1:] == [{"type": "welcome", "version": 1, "seq": 0}]
    (identity,) = bench.of(Identity)
    assert (identity.sub, identity.make, identity.model, identity.serial) == ("console-1", "Acme", "R7", "9")


def test_each_kind_becomes_its_record() -> None:
    bench = Bench()
    event = {"type": "event", "seq": 6, "kind": "technical_alarm", "id": "e1", "phase": "start", "priority": "high",
             "code": "MDCX_X_E", "text": "hot"}  # fmt: skip
    bench.say(
        value(1, time="2026-11-26T10:00:00.5+01:00", quality=["questionable", "test"], channel="j1"),
        value(2, value="on", unit=""),
        value(3, value=None, code="MDC_ECG_HEART_RATE", unit="/min"),
        {**value(4, value=7), "type": "setting"},
        wave(5, 0, [1, -2, 3], scale=0.5, offset=1, invalid=-32768),
        event,
        wave(7, 3, base64.b64encode(struct.pack("<2i", 70_000, -5)).decode(), width=4),
    )
    first, text, none = bench.of(Numeric)
    assert (first.sub, first.value, first.channel, first.unit) == ("console-1", Decimal("1.5"), "j1", "mm")
    assert first.quality == Quality.QUESTIONABLE | Quality.TEST
    assert first.device_time is not None
    assert (first.device_time.value_ns, first.device_time.kind) == (1_795_683_600_500_000_000, "utc")
    assert (text.value, none.value, none.code) == ("on", None, "MDC_ECG_HEART_RATE")
    assert [setting.value for setting in bench.of(Setting)] == [Decimal(7)]
    short, long = bench.of(Wave)
    assert (short.rate, short.width, wave_samples(short), short.scale, short.offset) == (
        (100, 1),
        2,
        [1, -2, 3],
        0.5,
        1.0,
    )
    assert (long.width, long.index, wave_samples(long)) == (4, 3, [70_000, -5])
    (told,) = bench.of(Event)
    assert (told.alarm_id, told.phase, told.priority, told.text) == ("e1", "start", "high", "hot")
    assert bench.answers == [{"type": "ack", "seq": seq} for seq in range(1, 8)]
    assert all(after is not None for after in bench.after)


@pytest.mark.parametrize(
    ("line", "field", "says"),
    [
        (value(5, colour="red"), "$.colour", "unknown field"),
        (value(5, code="HR"), "$.code", "regex"),
        (value(5, code="MDC_NO_SUCH_THING"), "$.code", "reference id"),
        (value(5, code="MDCX_A\n"), "$.code", "line feed"),
        (value(5, quality=["fine"]), "$.quality[0]", "Invalid"),
        ({**value(5), "seq": "5"}, "$.seq", "Expected `int`"),
        (value(5, time="2026-11-26T10:00:00"), "$.time", "timezone"),
        ({"type": "numeric", "seq": 5}, "$.code", "missing"),
        ({"type": "command", "seq": 5}, "$.type", "Invalid"),
        (wave(5, 0, []), "$.samples", "length"),
        (wave(5, 0, [40_000]), "$.samples", "width"),
        (wave(5, 0, [4], invalid=40_000), "$.invalid", "width"),
        (wave(5, 0, base64.b64encode(b"abc").decode()), "$.samples", "whole samples"),
        (wave(5, 0, [1], rate_hz=0), "$.rate_hz", ">="),
        (b"[1]\n", "$", "Expected"),
        (b"not json\n", "", "not JSON"),
        (b'{"type":"numeric","seq":5,"code":"MDCX_A","value":1e999,"unit":"1"}\n', "$.value", "range"),
        (b"\xff\n", "", "not JSON"),
        (b"[" * 60_000 + b"\n", "$", "Expected"),
        (b"x" * (LONGEST_LINE_BYTES + 1) + b"\n", "", "longer"),
    ],
)  # fmt: skip
def test_a_wrong_line_is_answered_with_its_field_and_stops_nothing(line: Any, field: str, says: str) -> None:
    bench = Bench()
    bench.say(value(4), line, value(6))
    bench.wait(2)
    error = bench.answers[1]
    assert (error["type"], error["line"], error["field"], error["again"]) == ("error", 3, field, False)
    assert says in error["text"]
    assert [answer.get("seq") for answer in bench.answers if answer["type"] == "ack"] == [4, 6]
    assert [record.value for record in bench.of(Numeric)] == [Decimal("1.5")] * 2
    refused = [gap for gap in bench.of(Gap) if gap.cause in ("undecodable", "oversize")]
    assert [(gap.sub, gap.lost_items) for gap in refused] == [("console-1", 1)]
    assert "colour" not in refused[0].detail


def test_a_line_that_comes_twice_is_recorded_once_and_acknowledged_twice() -> None:
    bench = Bench()
    bench.say(value(1), value(2), value(1))
    bench.down()
    bench.up()
    bench.say(value(2), value(3))
    assert len(bench.of(Numeric)) == 3
    assert [answer["seq"] for answer in bench.answers] == [2, 3]
    assert all(after is not None for after in bench.after)


def test_a_new_session_counts_anew_and_the_welcome_says_where_the_old_one_is() -> None:
    bench = Bench()
    bench.say(value(1), value(2))
    bench.say(HELLO)
    assert bench.answers[-1] == {"type": "welcome", "version": 1, "seq": 2}
    bench.down()
    bench.up(session="s2")
    bench.say(value(1))
    assert len(bench.of(Numeric)) == 3


def test_numbers_that_never_came_are_a_gap_and_may_come_late() -> None:
    bench = Bench()
    bench.say(value(1), value(5), value(1 << 50), value(3))
    bench.wait(2)
    (gap,) = bench.of(Gap)
    assert (gap.cause, gap.lost_items) == ("sequence", 3 + (1 << 50) - 6)
    assert [answer["seq"] for answer in bench.answers] == [1, 5, 1 << 50, 3]
    assert len(bench.of(Numeric)) == 4


def test_missing_samples_are_a_gap_and_samples_cannot_come_twice() -> None:
    bench = Bench()
    bench.say(wave(1, 0, [1, 2]), wave(2, 7, [3]), wave(3, 7, [3]))
    bench.wait(2)
    assert [(gap.cause, gap.lost_items) for gap in bench.of(Gap)] == [("device_gap", 5), ("undecodable", 1)]
    assert bench.answers[2]["field"] == "$.index"


def test_a_new_case_holds_what_a_client_set_and_raised_and_no_value_of_the_one_before() -> None:
    def setting(seq: int, value: str | None, code: str = "MDCX_X_MODE") -> dict[str, Any]:
        return {"type": "setting", "seq": seq, "code": code, "value": value, "unit": ""}

    def event(seq: int, id: str, phase: str) -> dict[str, Any]:
        return {"type": "event", "seq": seq, "kind": "technical_alarm", "id": id, "phase": phase, "code": "MDCX_X_E",
                "priority": "low"}  # fmt: skip

    bench = Bench()
    bench.say(value(1), setting(2, "teach"), setting(3, "3:1", "MDCX_X_SCALE"), setting(4, "x", "MDCX_X_OLD"))
    bench.say(setting(5, None, "MDCX_X_OLD"), event(6, "a", "start"), event(7, "b", "start"), event(8, "b", "end"))
    bench.records.clear()
    bench.driver.case_changed({"patient_ids": "5^^^A"})
    bench.say({"type": "ping"})
    assert bench.records == []
    bench.say(setting(9, "run"))
    told = [(record.code, record.phase if isinstance(record, Event) else record.value) for record in bench.records
            if isinstance(record, Setting | Event | Numeric)]  # fmt: skip
    assert told == [("MDCX_X_SCALE", "3:1"), ("MDCX_X_E", "continue"), ("MDCX_X_MODE", "run")]
    bench.records.clear()
    bench.say(value(10))
    assert [type(record) for record in bench.records] == [Numeric]


def test_what_the_store_refuses_may_be_sent_again() -> None:
    bench = Bench()
    bench.say(wave(1, 0, [1]))
    ticket = bench.after[0]
    assert ticket is not None
    bench.driver.refused(ticket, "no room to record it", now(1))
    bench.say(wave(1, 0, [1]))
    assert bench.answers[1:] == [
        {"type": "error", "line": 2, "field": "", "text": "no room to record it", "seq": 1, "again": True},
        {"type": "ack", "seq": 1},
    ]
    assert len(bench.of(Wave)) == 2


def test_a_client_that_is_too_fast_is_cut_off() -> None:
    bench = Bench(most_lines_per_s=20)
    bench.wait(2)
    bench.say(*[value(seq) for seq in range(1, 60)])
    assert len(bench.of(Numeric)) == 20
    assert bench.answers[-1]["again"] is True
    assert bench.closed == ["more than 20 lines a second"]
    bench.down()
    assert [(gap.cause, gap.lost_items) for gap in bench.of(Gap)] == [("overflow", 39)]
    bench.wait(2)
    bench.up()
    bench.say(*[value(seq) for seq in range(15, 30)])
    assert len(bench.of(Numeric)) == 29


def test_ping_is_answered_and_a_cut_line_told() -> None:
    bench = Bench()
    bench.say({"type": "ping"}, b'{"type":')
    assert bench.answers == [{"type": "pong"}]
    bench.down()
    assert [gap.cause for gap in bench.of(Gap)] == ["framing"]


@settings(max_examples=40)
@given(st.integers(1, 200))
def test_pieces_change_nothing(pieces: int) -> None:
    lines = [value(1), wave(2, 0, [1]), b"x\n", value(1), value(4)]
    whole, cut = Bench(), Bench()
    whole.say(*lines)
    cut.say(*lines, pieces=pieces)
    assert (cut.records, cut.answers, cut.after) == (whole.records, whole.answers, whole.after)


SCALARS = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5)
TREES = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["type", "seq", "value"]), inner),
    max_leaves=8,
)


@settings(max_examples=60)
@given(st.binary(max_size=80) | TREES.map(lambda tree: json.dumps(tree).encode()))
def test_nothing_but_a_refusal_comes_of_nonsense(line: bytes) -> None:
    with pytest.raises(Refused, match=r"\w"):
        parse(line)


def test_lines_are_recognised() -> None:
    heard = recognise(json.dumps(HELLO).encode() + b"\n" + json.dumps(value(1)).encode() + b"\nxx")
    assert heard is not None
    assert (heard.frames, heard.device) == (2, "Acme R7")
    assert recognise(b"nothing\n") is None
    with pytest.raises(ValueError, match="most_lines_per_s"):
        PushConfig(most_lines_per_s=0)
