from __future__ import annotations

import math
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ledger.limits import S_NS
from ledger.payload import encode_records
from ledger.records import DeviceTime, Gap, Numeric, Wave
from tests.drivers.hl7v2.feeding import Fed, framed, up

_OBR = "OBR|1|5678^SVC|1234^SVL|5^3-channel waveform^L|||20260101120000"
_CHN = "OBX|1|CD|5&CHN^3-channel waveform^L|1|1&ONE^^0.5&mV^1.1&-2^200^-2048&2047~2&TWO~3^I&II^0.25||||||F"
_TIM = "OBX|2|TS|5&TIM^3-channel waveform^L|1|20260101120000.5||||||F"
_START_NS = 1_767_265_200 * S_NS + S_NS // 2


def _given(*obx: str) -> Fed:
    return up().give(framed(_OBR, *obx, kind="ORU^W01^ORU_W01"))


def _wav(kind: str, values: str, sub_id: str = "1") -> str:
    return f"OBX|3|{kind}|5&WAV^3-channel waveform^L|{sub_id}|{values}||||||F"


def _values(wave: Wave) -> list[float]:
    samples = struct.unpack(f"<{len(wave.samples) // 2}h", wave.samples)
    return [round(wave.scale * sample + wave.offset, 6) for sample in samples]


@pytest.mark.parametrize(("kind", "values"), [("NA", "0^10~20^30~40^50"), ("MA", "0^20^40~10^30^50")])
def test_channels_are_told_apart_and_scaled_by_their_definitions(kind: str, values: str) -> None:
    fed = _given(_CHN, _TIM, _wav(kind, values))
    waves = fed.of(Wave)
    assert [(wave.code, wave.channel, wave.unit, wave.rate) for wave in waves] == [
        ("MDCX_HL7_5", channel, "mV", (200, 1)) for channel in ("ONE", "TWO", "I-II")
    ]
    # (number - baseline) * sensitivity * correction; what a channel leaves out is as in the one before
    assert [_values(wave) for wave in waves] == [[1.1, 6.6], [12.1, 17.6], [11.55, 14.3]]
    assert {wave.device_time for wave in waves} == {DeviceTime(_START_NS, "utc", S_NS // 10)}
    assert not fed.of(Numeric)
    assert not fed.of(Gap)


def test_the_next_array_goes_on_where_the_one_before_it_ended() -> None:
    chn = "OBX|1|CD|131330&CHN^MDC_ECG_ELEC_POTL_II^MDC|7|1^^^^100||||||F"
    fed = _given(chn, _TIM.replace("|1|2026", "|7|2026"), _wav("NA", "1^2", "7"), _wav("NA", "3^4", "7"))
    first, second = fed.of(Wave)
    assert (first.code, first.channel, first.unit, first.scale) == ("MDC_ECG_ELEC_POTL_II", "7/1", "", 1.0)
    assert (first.index, second.index) == (0, 2)
    assert second.device_time == DeviceTime(_START_NS + S_NS // 50, "utc", S_NS // 10)


@pytest.mark.parametrize(
    ("unread", "after_ms"),
    [("a^b", 20), ("1^2~3^4", None)],  # two samples that are none; as if there were two channels
)
def test_an_array_that_cannot_be_read_lends_its_time_to_no_other(unread: str, after_ms: int | None) -> None:
    chn = "OBX|1|CD|5&CHN^one channel^L|1|1^^^^100||||||F"
    (wave,) = _given(chn, _TIM, _wav("NA", unread), _wav("NA", "3^4")).of(Wave)
    at_ns = _START_NS - S_NS // 2 if after_ms is None else _START_NS + after_ms * 1_000_000
    assert wave.device_time is not None
    assert wave.device_time.value_ns == at_ns  # of OBR-7 where nothing better is known


@pytest.mark.parametrize(
    "obx",
    [
        (_wav("NA", "1^2"),),  # no channel is defined
        (_CHN, _wav("NA", "1^2")),  # three are
        (_CHN.replace("^200^", "^^"), _wav("MA", "1^2^3")),  # at which rate
        (_CHN, _wav("MA", "a^b^c")),
        (_CHN, "OBX|3|CE|5&ANO^3-channel waveform^L|1|1^pacer spike||||||F"),
    ],
)
def test_what_cannot_be_placed_is_a_gap(obx: tuple[str, ...]) -> None:
    fed = _given(*obx)
    assert fed.of(Wave) == []
    assert [gap.lost_items for gap in fed.of(Gap)] == [1]
    assert fed.codes == ["AA"]


_FIELD = st.text(alphabet="0123456789.-&^~EZ\\", max_size=40)


@given(st.lists(st.tuples(st.sampled_from(["CHN", "TIM", "WAV", "ANO"]), st.sampled_from(["CD", "TS", "NA", "MA", ""]),
                          _FIELD), max_size=6))  # fmt: skip
def test_whatever_stands_there_is_answered(parts: list[tuple[str, str, str]]) -> None:
    rows = [f"OBX|1|{kind}|5&{part}|1|{value}||||||F" for part, kind, value in parts]
    fed = _given(*rows)
    assert fed.codes == ["AA"]
    encode_records({"": fed.of(Wave)})


def test_a_definition_beyond_measure_gives_no_infinite_sample() -> None:
    fed = _given(_CHN.replace("0.5&mV^1.1&-2", "9E99&mV^9E99&9E99"), _wav("MA", "9E99^1^2~1^1^1"))
    assert all(math.isfinite(wave.scale) and math.isfinite(wave.offset) for wave in fed.of(Wave))
    encode_records({"": fed.of(Wave)})
