from __future__ import annotations

from typing import Any, ClassVar

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from drivers.contract import Emit, Now, Send, Spec, Transport
from drivers.line_device import NOISE, LineDevice, LineSession, ShapeGuard
from ledger.errors import DeviceFault
from ledger.limits import S_NS
from ledger.records import Clock, Gap, Identity, Link, LinkId, Numeric, Record

LINK = LinkId(1)
LONGEST = 40
UTC_S = 1_790_000_000


class Echo(LineDevice):
    """Reads "<seconds> <serial>"."""

    spec: ClassVar[Spec[Any]] = Spec(
        name="echo", devices=("Echo",), transports=(Transport.SERIAL,), config=msgspec.Struct, silence_s=20.0
    )

    def __init__(self) -> None:
        super().__init__(LONGEST)

    def read(self, session: LineSession, line: bytes, now: Now) -> None:
        parts = line.split(b" ")
        if len(parts) != 2 or not parts[0].isdigit():
            raise DeviceFault("echo.line", "no line of Echo's")
        self.identified(session, Identity(at_ns=now.utc_ns, make="Echo", model="1", serial=parts[1].decode("latin-1")))
        self.clocked(session, int(parts[0]) * S_NS, now)
        self.emit(Numeric(at_ns=now.utc_ns, code="MDCX_ECHO", value=parts[0].decode(), unit="s"))


class Quiet(Echo):
    """Another, of whose lines noise is no part."""

    def __init__(self) -> None:
        LineDevice.__init__(self, LONGEST, noise=NOISE)


def now(s: float) -> Now:
    return Now(round(s * S_NS), round((UTC_S + s) * S_NS))


def records(driver: LineDevice) -> list[Record]:
    actions = driver.drain()
    assert not [action for action in actions if isinstance(action, Send)]
    return [action.record for action in actions if isinstance(action, Emit)]


def up() -> Echo:
    driver = Echo()
    driver.link_up(LINK, "port", now(0))
    return driver


def test_an_identity_is_told_once_and_again_when_it_changes() -> None:
    driver = up()
    driver.receive(LINK, b"1 A\r\n2 A\r\n3 B\r\n", now(1))
    found = records(driver)
    assert [record.serial for record in found if isinstance(record, Identity)] == ["A", "B"]
    assert [record.state for record in found if isinstance(record, Link)] == ["identified", "changed"]


def test_what_cannot_be_read_becomes_one_gap_a_second_with_its_bytes() -> None:
    driver = up()
    driver.receive(LINK, b"nonsense\r\nmore nonsense\r\n" + b"x" * 100 + b"\r\n", now(1))
    assert records(driver) == []
    assert driver.deadline_ns() == now(2).mono_ns
    driver.wake(now(2))
    gaps = [record for record in records(driver) if isinstance(record, Gap)]
    assert {gap.cause: gap.lost_bytes for gap in gaps} == {"undecodable": 21, "oversize": 100}


def test_a_line_cut_by_the_end_of_the_connection_is_told() -> None:
    driver = up()
    driver.receive(LINK, b"1 A\r\n2 ", now(1))
    driver.link_down(LINK, "unplugged", now(1))
    assert [record.lost_bytes for record in records(driver) if isinstance(record, Gap)] == [2]
    driver.receive(LINK, b"3 A\r\n", now(2))
    assert records(driver) == []


def test_the_clock_s_offset_is_told_and_its_steps_are_gaps() -> None:
    driver = up()
    for second in range(62):
        driver.receive(LINK, b"%d A\r\n" % (1_000 + second), now(second))
    (clock,) = [record for record in records(driver) if isinstance(record, Clock)]
    assert clock.offset_ns == (UTC_S - 1_000) * S_NS
    driver.receive(LINK, b"9000 A\r\n", now(63))
    driver.wake(now(65))
    assert [record.cause for record in records(driver) if isinstance(record, Gap)] == ["clock_jump"]


@given(st.lists(st.sampled_from([b"1 A", b"\r\n", b"\n", b"2 B\r\n", b"\x00\xff", b" ", b"y" * 50]), max_size=20))
def test_one_by_one_is_all_at_once(pieces: list[bytes]) -> None:
    wire = b"".join(pieces)
    whole, singly = up(), up()
    whole.receive(LINK, wire, now(1))
    for i in range(len(wire)):
        singly.receive(LINK, wire[i : i + 1], now(1))
    for driver in (whole, singly):
        driver.link_down(LINK, "unplugged", now(2))
    assert records(singly) == records(whole)


def test_noise_around_a_line_is_no_part_of_it() -> None:
    driver = Quiet()
    driver.link_up(LINK, "port", now(0))
    driver.receive(LINK, b"\x001 A\r\x00\n\x112 A\x13\x00\r\n", now(1))
    driver.wake(now(9))
    found = records(driver)
    assert [str(record.value) for record in found if isinstance(record, Numeric)] == ["1", "2"]
    assert not [record for record in found if isinstance(record, Gap)]


def test_a_new_shape_counts_from_its_second_line_and_damage_never_does() -> None:
    guard = ShapeGuard()
    assert [guard.trusts(shape) for shape in "aabaccadbaa"] == [
        True, True, False, True, False, True, False, False, False, False, True,
    ]  # fmt: skip
