"""What is said and when: ACK, NAK, questions, stuffing, cyclic mode, calling anew."""

from __future__ import annotations

from decimal import Decimal
from itertools import pairwise

from drivers.bbraun_bcc import BBraunBccConfig
from ledger.records import Clock, Gap, Identity, Link
from tests.drivers.bbraun_bcc.feeding import ACK, NAK, Line, block, frame, pump, shown, talking

CALL = b"\x0100031\x021/1/1>ADMIN:ALIVE\x0300061\x04"
STUFFED_CALL = b"\x0100031\x021/1/1>AEXMIN:ALIVEE\x0300061\x04"
GET = frame("MEM:GET")
VERSION = frame("ADMIN:VERSION")
ONE = block(*pump("11", INRT="1"))
MORE = block(*pump("11", INRT="1"), last=False)
PLAIN = BBraunBccConfig(stuffing="off")


def test_it_begins_with_a_call_and_uses_the_bed_id_it_is_told() -> None:
    line = Line(PLAIN)
    assert [data for _, data in line.said] == [CALL]
    line.hear(block("300,50100,GNACK,0"))
    assert line.wait(1.0) == [ACK, VERSION]
    line.hear(block("301,50100,V3.30"))
    assert line.wait(1.0) == [ACK, GET]
    assert [r.protocol for r in line.records if isinstance(r, Identity)] == ["BCC", "BCC 3.30"]
    assert [r.state for r in line.records if isinstance(r, Link)] == ["identified", "changed"]
    assert line.hear(ONE)


def test_the_version_may_be_a_parameter_and_is_never_a_value_of_a_pump() -> None:
    line = Line(PLAIN)
    line.hear(block("300,50100,GNACK,0"))
    line.wait(1.0)
    line.hear(block("301,50100,VERSION,3.21", *pump("11", TCIPLA="2.04"), "301,50112,V9.99,"))
    assert [r.protocol for r in line.records if isinstance(r, Identity) and not r.sub] == ["BCC", "BCC 3.21"]
    assert shown(line.records, "MDCX_BBRAUN_TCIPLA") == [Decimal("2.04")]


def test_a_bed_id_that_could_not_be_said_back_is_not() -> None:
    line = Line(PLAIN)
    line.hear(frame("300,50100,GNACK,0", bed="Säle 4/1/1"))
    assert line.wait(1.0) == [ACK, frame("ADMIN:VERSION", bed="1/1/1")]


def test_stuffing_is_found_out() -> None:
    line = Line()
    assert [data for _, data in line.said] == [STUFFED_CALL]
    assert line.wait(4.5) == [CALL, STUFFED_CALL]
    line.hear(block("300,50100,GNACK,0", stuffed=True))
    assert line.wait(1.0) == [ACK, frame("ADMIN:VERSION", stuffed=True)]


def test_not_understood_is_said_again_without_stuffing() -> None:
    line = Line()
    line.hear(frame("300,50100,GNERR,68", bed="Theatr4/1/1".replace("e", "3")))
    assert line.wait(1.0) == [ACK, CALL]
    other = Line()
    other.hear(b"\x15")
    assert other.wait(1.0) == [CALL]


def test_the_stuffing_of_the_answer_decides() -> None:
    line = Line()
    line.hear(block("300,50100,GNERR,68"))
    assert line.wait(1.0) == [ACK, CALL]
    line.hear(block("301,50100,GNACK,0"))
    assert line.wait(1.0) == [ACK, VERSION]


def test_a_block_is_acknowledged_a_tenth_of_a_second_later() -> None:
    line = talking()
    line.hear(MORE)
    assert line.wait(0.1) == []
    assert line.wait(0.02) == [ACK]


def test_questions_are_half_a_second_apart_however_fast_the_answers() -> None:
    line = talking(BBraunBccConfig(stuffing="off", poll_s=0.5))
    line.hear(ONE)
    for _ in range(60):
        if GET in line.wait(0.05):
            line.hear(ONE)
    asked = [at_s for at_s, data in line.said if data == GET]
    assert len(asked) > 4
    assert all(after - before >= 0.5 for before, after in pairwise(asked))


def test_all_pumps_are_asked_for_every_poll() -> None:
    line = talking()
    asked_s = line.said[-1][0]
    line.hear(ONE)
    line.wait(10.0)
    assert [round(at_s - asked_s, 3) for at_s, data in line.said if data == GET] == [0, 5.0, 8.0]


def test_a_damaged_block_is_asked_for_again_three_times() -> None:
    line = talking()
    damaged = MORE.replace(b"INRT,1", b"INRT,2")
    for _ in range(3):
        line.hear(damaged)
        assert line.wait(0.2) == [NAK]
    line.hear(damaged)
    assert line.wait(0.2) == []
    line.hear(MORE)
    assert line.wait(0.2) == [ACK]
    line.hear(damaged)
    assert line.wait(0.2) == [NAK]


def test_a_comdevice_that_goes_on_by_itself_is_not_asked_between() -> None:
    line = talking()
    for _ in range(4):
        line.hear(MORE)
        assert line.wait(1.5) == [ACK]
    line.hear(ONE)
    assert line.wait(0.2) == [ACK]


def test_one_that_waits_is_asked_for_each_block() -> None:
    line = talking()
    line.hear(MORE)
    assert line.wait(2.2) == [ACK, GET]
    for _ in range(3):
        line.hear(MORE)
        assert line.wait(0.6) == [ACK, GET]


def test_without_answers_it_calls_anew() -> None:
    line = talking()
    said = line.wait(9.5)
    assert said == [GET, GET, CALL]
    line.hear(b"???")
    assert line.wait(2.1) == [CALL]


def test_bytes_that_are_no_answer_leave_a_gap() -> None:
    line = talking()
    for _ in range(20):
        line.hear(b"??", after_s=0.5)
    assert CALL in [data for _, data in line.said[3:]]
    (gap,) = [r for r in line.records if isinstance(r, Gap) and r.cause == "silence"]
    assert gap.since_ns < gap.until_ns


def test_questions_without_answer_leave_a_gap_unless_the_shell_tells_it() -> None:
    for missing_s, gaps in ((7.5, 0), (8.5, 1), (12.5, 0)):
        line = talking()
        line.hear(ONE)
        line.hear(ONE, after_s=missing_s)
        assert len([r for r in line.records if isinstance(r, Gap) and r.cause == "silence"]) == gaps


def test_three_times_not_understood_is_called_anew() -> None:
    line = talking(BBraunBccConfig(stuffing="off", poll_s=0.5))
    for _ in range(3):
        line.hear(block("300,50100,GNERR,68"))
        line.wait(0.6)
    assert line.said[-1][1] == CALL


def test_in_cyclic_mode_nothing_is_asked() -> None:
    line = talking(BBraunBccConfig(stuffing="off", mode="cyclic"))
    for _ in range(5):
        line.hear(MORE, after_s=4)
        assert line.wait(0.2) == [ACK]
        line.hear(ONE)
        assert line.wait(0.2) == [ACK]
    assert GET not in [data for _, data in line.said]
    assert line.wait(30) == [CALL]


def test_what_comes_unasked_stops_the_questions_as_long_as_it_comes() -> None:
    line = talking(BBraunBccConfig(stuffing="off", poll_s=10.0))
    line.hear(ONE)
    for _ in range(6):
        line.hear(ONE, after_s=3)
    before = len(line.said)
    for _ in range(6):
        line.hear(ONE, after_s=3)
    assert {data for _, data in line.said[before:]} == {ACK}
    assert GET in line.wait(31)


def test_answers_in_many_messages_do_not_stop_the_questions() -> None:
    line = talking()
    for _ in range(6):
        for slot in ("11", "12", "13", "14"):
            line.hear(block(*pump(slot, INRT="1")), after_s=0.15)
        assert GET in line.wait(5.0)


def test_who_only_listens_says_nothing() -> None:
    line = Line(BBraunBccConfig(listen_only=True))
    line.hear(ONE, b"\x15", MORE.replace(b"INRT,1", b"INRT,2"))
    line.wait(100)
    assert line.said == []


def test_the_uptime_tells_the_clock_and_a_start_anew() -> None:
    line = Line(BBraunBccConfig(listen_only=True))
    for step in range(16):
        line.hear(block(*pump("11", at_s=1000 + 5 * step, INRT="1")), after_s=5)
    (clock,) = [r for r in line.records if isinstance(r, Clock)]
    assert clock.error_ns == 1_000_000_000
    line.hear(block(*pump("11", at_s=3, INRT="1")), after_s=5)
    line.cut()
    (gap,) = [r for r in line.records if isinstance(r, Gap)]
    assert gap.cause == "clock_jump"
    assert "began anew" in gap.detail
