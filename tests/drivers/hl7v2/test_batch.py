"""Several messages in one frame: batches, and messages put one after another."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from drivers import mllp
from drivers.hl7v2 import batch
from ledger.records import Gap, Numeric, Raw
from tests.drivers.hl7v2.feeding import HEART_RATE, framed, message, up

_OBR = "OBR|1|||182777000^monitoring of patient^SCT|||20260101115959"
_HEADS = b"FHS|^~\\&|GW|HOSPITAL\rBHS|^~\\&|GW|HOSPITAL\r"
_TAILS = b"BTS|2\rFTS|1\r"


def _batch() -> bytes:
    return _HEADS + message(_OBR, HEART_RATE, id="1") + message(_OBR, HEART_RATE, id="2") + _TAILS


def test_each_message_of_a_batch_is_recorded_and_answered() -> None:
    fed = up().give(mllp.frame(_batch()))
    assert fed.codes == ["AA", "AA"]
    assert [send.data.split(b"MSA|AA|")[1][:1] for send in fed.sends] == [b"1", b"2"]
    assert [record.code for record in fed.of(Numeric)] == ["MDC_ECG_CARD_BEAT_RATE"] * 2
    assert fed.of(Gap) == []


def test_nothing_of_a_batch_is_lost_from_the_raw_record() -> None:
    kept = up().give(mllp.frame(_batch())).of(Raw)
    assert b"".join(raw.data[1:-2] for raw in kept) == _batch()


def test_messages_one_after_another_in_a_frame_are_two() -> None:
    fed = up().give(mllp.frame(message(_OBR, HEART_RATE, id="1") + message(_OBR, HEART_RATE, id="2")))
    assert (fed.codes, len(fed.of(Numeric)), fed.of(Gap)) == (["AA", "AA"], 2, [])


def test_a_batch_of_one_message_is_that_message() -> None:
    fed = up().give(mllp.frame(_HEADS + message(_OBR, HEART_RATE) + _TAILS)).give(framed(_OBR, HEART_RATE))
    assert (fed.codes, len(fed.of(Numeric))) == (["AA", "AA"], 1)  # the same message in and out of a batch


def test_a_bad_message_of_a_batch_costs_no_other() -> None:
    fed = up().give(mllp.frame(_HEADS + b"MSH|^^\r" + message(_OBR, HEART_RATE, id="2")))
    assert [gap.cause for gap in fed.of(Gap)] == ["undecodable"]
    assert len(fed.of(Numeric)) == 1


def test_each_message_of_a_batch_is_routed_by_itself() -> None:
    here, away = "PV1||I|ST-MARY^OR^3", "PV1||I|ST-MARY^OR^4"
    fed = up().give(mllp.frame(message(here, _OBR, HEART_RATE, id="1") + message(away, _OBR, HEART_RATE, id="2")))
    assert [record.sub for record in fed.of(Numeric)] == ["bed-ST-MARY^OR^3", "bed-ST-MARY^OR^4"]


def test_more_messages_than_any_batch_has_are_not_split() -> None:
    body = b"MSH|^~\\&|\r" * (batch.MAX_MESSAGES + 1)
    assert batch.split(body) == [batch.Part(body, body)]


_PIECE = st.sampled_from(
    [b"MSH|^~\\&|A\r", b"FHS|^~\\&\r", b"BHS|^~\\&\n", b"BTS|1\r\n", b"FTS", b"OBX|1|TX|||MSH|\r", b"\r", b"x", b" "]
)


@given(st.lists(_PIECE, max_size=12))
def test_the_parts_together_are_the_frame(pieces: list[bytes]) -> None:
    body = b"".join(pieces)
    parts = batch.split(body)
    assert b"".join(part.kept for part in parts) == body
    assert all(len(part.message) <= len(part.kept) for part in parts)
