from __future__ import annotations

import struct
from collections.abc import Sequence
from dataclasses import replace
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ledger.errors import VerificationFailed
from ledger.limits import LIMITS, S_NS
from ledger.payload import encode_payload, pack, unpack
from ledger.records import (
    Clock,
    Event,
    Gap,
    Identity,
    Keyframe,
    Link,
    LinkId,
    LinkState,
    Numeric,
    Object,
    Quality,
    Record,
    Setting,
    Wave,
)
from ledger.state import LEDGER_FEED, RoomState, decode_state, encode_state
from tests import record_strategies

AT_NS = 1_764_000_000 * S_NS
PULSE = Numeric(at_ns=AT_NS, code="MDC_PULS_RATE", value=Decimal(72), unit="/min", channel="SpO2")
ALARM = Event(
    at_ns=AT_NS, kind="physiological_alarm", alarm_id="HR|high", phase="start", priority="high", code="MDC_EVT_HI"
)
WAVE = Wave(
    at_ns=AT_NS, code="MDC_ECG_ELEC_POTL_II", unit="mV", rate=(300, 1), index=0, width=2, samples=bytes(60),
    scale=0.01, offset=0.0,
)  # fmt: skip


def folded(*records: Record, feed: str = "monitor") -> RoomState:
    state = RoomState()
    for record in records:
        state.fold(feed, record)
    return state


def the_value(state: RoomState) -> Numeric:
    ((_, record),) = state.values()
    return record


# Few keys and times near each other, so that records meet; any shelf may be hit.
_small = {"sub": st.sampled_from(["", "p1"]), "at_ns": st.integers(AT_NS, AT_NS + 5 * S_NS)}
_quality = st.sampled_from([Quality.GOOD, Quality.STALE, Quality.INVALID, Quality.DEMO, Quality.UNAVAILABLE])
_values = st.none() | st.sampled_from([Decimal("7.10"), Decimal("7.1"), Decimal(-3), "A/C"])
meeting_records: st.SearchStrategy[Record] = st.one_of(
    st.builds(
        replace,
        st.sampled_from([PULSE, Setting(at_ns=0, code="MDC_PEEP", value=None, unit="cm[H2O]")]),
        value=_values, quality=_quality, **_small,
    ),
    st.builds(replace, st.just(WAVE), index=st.integers(0, 1000), quality=_quality, **_small),
    st.builds(
        replace,
        st.just(ALARM),
        kind=st.sampled_from(["physiological_alarm", "mode", "advisory", "marker"]),
        phase=st.sampled_from(["start", "continue", "change", "end", "once"]),
        alarm_id=st.sampled_from(["a", "b"]), quality=_quality, **_small,
    ),
    st.builds(
        Link, link=st.integers(1, 3), state=st.sampled_from(["up", "down", "identified", "refused"]), **_small
    ),
    record_strategies.records.filter(lambda record: type(record) is not Keyframe),
)  # fmt: skip
histories = st.lists(st.tuples(st.sampled_from(["monitor", "vent"]), meeting_records), max_size=30)


@given(histories, st.data())
def test_a_keyframe_of_the_beginning_and_the_rest_give_the_whole(
    history: list[tuple[str, Record]], data: st.DataObject
) -> None:
    cut = data.draw(st.integers(0, len(history)))
    whole, prefix, resumed = RoomState(), RoomState(), RoomState()
    for feed, record in history:
        whole.fold(feed, record)
    for feed, record in history[:cut]:
        prefix.fold(feed, record)
    resumed.fold("monitor", PULSE)  # must not survive the keyframe
    resumed.fold(LEDGER_FEED, Keyframe(at_ns=AT_NS, state=encode_state(prefix)))
    for feed, record in history[cut:]:
        resumed.fold(feed, record)
    assert encode_state(resumed) == encode_state(whole)


@given(histories)
def test_a_state_comes_back_byte_for_byte(history: list[tuple[str, Record]]) -> None:
    state = RoomState()
    for feed, record in history:
        state.fold(feed, record)
    data = encode_state(state)
    assert encode_state(decode_state(data)) == data


@given(histories, st.data())
def test_a_changed_keyframe_is_refused_or_is_itself_canonical(
    history: list[tuple[str, Record]], data: st.DataObject
) -> None:
    state = RoomState()
    for feed, record in history:
        state.fold(feed, record)
    changed = bytearray(encode_state(state))
    changed[data.draw(st.integers(0, len(changed) - 1))] ^= data.draw(st.integers(1, 255))
    try:
        back = decode_state(bytes(changed))
    except VerificationFailed:
        return
    assert encode_state(back) == bytes(changed)


@pytest.mark.parametrize("part", range(9))
def test_a_record_on_the_wrong_shelf_is_refused(part: int) -> None:
    version, parts = unpack(encode_state(folded(PULSE)))
    moved: list[Any] = [(0, ())] * len(parts)
    moved[part] = parts[0]
    data = pack((version, moved))
    if part == 0:
        assert the_value(decode_state(data)) == PULSE
    else:
        with pytest.raises(VerificationFailed):
            decode_state(data)


@pytest.mark.parametrize("data", [b"", b"\x92\x01\x90", b"\x92\x02\x90", b"\x90", b"\xc0", b"\x92\x01\x01"])
def test_bytes_that_are_no_state_are_refused(data: bytes) -> None:
    with pytest.raises(VerificationFailed):
        decode_state(data)


def test_nothing_crosses_a_case_boundary() -> None:
    state = folded(PULSE, ALARM, WAVE)
    state.fold(LEDGER_FEED, Keyframe(at_ns=AT_NS, state=encode_state(RoomState())))
    assert encode_state(state) == encode_state(RoomState())
    assert not list(state.values())


def test_a_block_is_folded_in_the_order_of_its_feeds() -> None:
    keyframe = Keyframe(at_ns=AT_NS, state=encode_state(RoomState()))
    groups: dict[str, Sequence[Record]] = {"monitor": [PULSE], LEDGER_FEED: [keyframe]}
    state = RoomState()
    state.fold_groups(groups)
    assert the_value(state) == PULSE  # the keyframe is the state before its block


@pytest.mark.parametrize("flag", [Quality.TEST, Quality.DEMO, Quality.TEST | Quality.STALE])
def test_test_and_demo_records_never_reach_the_patients_state(flag: Quality) -> None:
    assert encode_state(folded(*(replace(r, quality=flag) for r in (PULSE, ALARM, WAVE)))) == encode_state(RoomState())
    after = folded(PULSE, replace(PULSE, value=Decimal(200), at_ns=AT_NS + 1, quality=flag))
    assert the_value(after) == PULSE


def test_a_stale_repeat_keeps_the_time_of_the_measurement() -> None:
    repeat = replace(PULSE, at_ns=AT_NS + 60 * S_NS, quality=Quality.STALE)
    state = folded(PULSE, repeat, replace(repeat, at_ns=AT_NS + 120 * S_NS))
    assert the_value(state) == replace(PULSE, quality=Quality.STALE)


def test_a_stale_value_never_seen_fresh_dates_from_its_first_sight() -> None:
    other = replace(PULSE, value=Decimal(80), at_ns=AT_NS + 60 * S_NS, quality=Quality.STALE)
    assert the_value(folded(PULSE, other, replace(other, at_ns=AT_NS + 90 * S_NS))) == other


def test_a_fresh_measurement_of_the_same_value_is_new() -> None:
    again = replace(PULSE, at_ns=AT_NS + S_NS)
    assert the_value(folded(PULSE, again)) == again


@pytest.mark.parametrize(
    "gone",
    [
        replace(PULSE, value=None),
        replace(PULSE, quality=Quality.INVALID),
        replace(PULSE, quality=Quality.UNAVAILABLE | Quality.STALE),
    ],
)
def test_a_value_that_is_gone_is_kept_as_none_since_then(gone: Numeric) -> None:
    lost_ns = AT_NS + S_NS
    gone = replace(gone, at_ns=lost_ns)
    kept = the_value(folded(PULSE, gone, replace(gone, at_ns=lost_ns + S_NS)))
    assert (kept.value, kept.at_ns) == (None, lost_ns)
    back = replace(PULSE, at_ns=lost_ns + 2 * S_NS)
    assert the_value(folded(PULSE, gone, back)) == back


def test_settings_and_measurements_channels_and_devices_are_told_apart() -> None:
    setting = Setting(at_ns=AT_NS, code=PULSE.code, value=Decimal(60), unit="/min", channel="SpO2")
    state = folded(PULSE, setting, replace(PULSE, channel="ECG"), replace(PULSE, sub="bed-2"))
    state.fold("other", PULSE)
    assert len(list(state.values())) == 5


def test_an_alarm_is_active_from_its_start_to_its_end() -> None:
    louder = replace(ALARM, phase="change", priority="medium", at_ns=AT_NS + S_NS)
    state = folded(ALARM, louder)
    assert list(state.alarms()) == [("monitor", replace(louder, at_ns=AT_NS))]
    state.fold("vent", replace(ALARM, phase="end"))  # another feed's alarm of the same id
    assert list(state.alarms())
    state.fold("monitor", replace(ALARM, phase="end", at_ns=AT_NS + 2 * S_NS))
    assert not list(state.alarms())


def test_an_alarm_first_seen_while_active_counts() -> None:
    running = replace(ALARM, phase="continue")
    assert list(folded(running).alarms()) == [("monitor", running)]


@pytest.mark.parametrize("moment", [replace(ALARM, kind="marker"), replace(ALARM, phase="once")])
def test_a_moment_is_not_a_state(moment: Event) -> None:
    assert encode_state(folded(moment)) == encode_state(RoomState())


def test_the_last_mode_is_kept() -> None:
    mode = replace(ALARM, kind="mode", phase="once", code="MDC_VENT_MODE", text="SIMV")
    later = replace(mode, text="CPAP", at_ns=AT_NS + 1)
    assert list(folded(mode, later).modes()) == [("monitor", later)]


def test_two_seconds_of_a_wave_are_kept_as_recorded() -> None:
    pieces = [replace(WAVE, at_ns=AT_NS + n * S_NS // 10, index=30 * n) for n in range(50)]
    ((feed, kept),) = folded(*pieces).waves()
    assert feed == "monitor"
    assert list(kept) == pieces[-20:]


def test_a_wave_is_bounded_when_the_clock_stands_still() -> None:
    ((_, kept),) = folded(*[WAVE] * (LIMITS.state_wave_pieces + 5)).waves()
    assert len(kept) == LIMITS.state_wave_pieces


def link(number: int, state: LinkState) -> Link:
    return Link(at_ns=AT_NS, link=LinkId(number), state=state)


def test_a_lost_link_stays_until_the_next_comes() -> None:
    down = link(1, "down")
    assert [record for _, record in folded(link(1, "up"), down).links()] == [down]
    again = link(2, "up")
    assert [record for _, record in folded(link(1, "up"), down, again).links()] == [again]
    two = folded(link(1, "up"), link(2, "up"))
    assert len(list(two.links())) == 2


def test_the_rest_is_kept_once_per_device() -> None:
    identity = Identity(at_ns=AT_NS, make="GE", model="B650")
    clock = Clock(at_ns=AT_NS, offset_ns=5, error_ns=1, drift_ppm=None, samples=3)
    gap = Gap(at_ns=AT_NS, cause="silence", since_ns=AT_NS, until_ns=AT_NS + 1)
    image = Object(at_ns=AT_NS, sha256=bytes(32), size=1, media_type="application/dicom", name="1.2.3")
    newer = [replace(record, at_ns=AT_NS + 1) for record in (identity, clock, gap, image)]
    state = folded(identity, clock, gap, image, *newer)
    kept = [next(part)[1] for part in (state.identities(), state.clocks(), state.gaps(), state.objects())]
    assert kept == newer


def test_the_longest_untouched_goes_first_and_is_counted() -> None:
    state = RoomState()
    for number in range(LIMITS.state_values + 10):
        state.fold("monitor", replace(PULSE, device_code=str(number)))
        state.fold("monitor", PULSE)
    kept = [record.device_code for _, record in state.values()]
    assert len(kept) <= LIMITS.state_values
    assert kept[-1] == ""
    assert state.evicted == LIMITS.state_values + 11 - len(kept)


def test_an_entry_too_large_is_left_out_with_what_it_replaces() -> None:
    endless = replace(PULSE, value="x" * LIMITS.state_values_bytes)
    state = folded(PULSE, endless)
    assert not list(state.values())  # the old value must not pass for the present one
    assert state.evicted == 1


def test_the_fullest_state_fits_in_one_payload() -> None:
    state = RoomState()
    word = "\N{GRINNING FACE}" * 100
    for number in range(3_000):
        common: dict[str, Any] = {"at_ns": AT_NS, "sub": f"{number}"}
        state.fold("f", Numeric(**common, code=word, value=Decimal(-1234567890123456789), unit=word))
        state.fold("f", replace(WAVE, sub=f"{number}", samples=struct.pack("<h", number % 30_000) * 2_000))
        state.fold("f", replace(ALARM, sub=f"{number}", text=word))
        state.fold("f", replace(ALARM, sub=f"{number}", kind="mode", text=word))
        state.fold("f", Identity(**common, make=word, model=word))
        state.fold("f", Link(**common, link=LinkId(1), state="up", reason=word))
        state.fold("f", Gap(**common, cause="silence", since_ns=0, until_ns=1, detail=word))
        state.fold("f", Clock(**common, offset_ns=1, error_ns=1, drift_ppm=0.5, samples=1))
        state.fold("f", Object(**common, sha256=bytes(32), size=1, media_type=word, name=f"{number}", meta={"k": word}))
    data = encode_state(state)
    assert encode_payload({LEDGER_FEED: [Keyframe(at_ns=AT_NS, state=data)]})
    assert encode_state(decode_state(data)) == data
