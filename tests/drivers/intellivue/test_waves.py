from __future__ import annotations

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from drivers.intellivue.clock import MonitorClock
from drivers.intellivue.objects import Metric, MetricStore, Scale
from drivers.intellivue.rose import Observation, PollReply
from drivers.intellivue.samples import INVALID_16, INVALID_32, line_of, read_samples
from drivers.intellivue.waves import Blocks, WaveDecoder
from ledger.errors import DeviceFault
from ledger.limits import S_NS
from ledger.records import Quality
from tests.drivers.intellivue.building import NAN, WAVE, counted, fixed, now, samples, string, u16, u32

ECG_CONTEXT = (
    (0x0924, u32(0x00020102)),
    (0x0927, string("II")),
    (0x096D, u16(128) + b"\x10\x0e" + u16(0x3000)),
    (0x098D, u32(16)),
    (0x0996, u16(0x10B2)),
    (0x096F, u32(fixed(-4096, -2), fixed(40955, -3)) + u16(0, 16383)),
    (0x0A16, counted(u16(1, 0x8000), u16(2, 0x4000))),
)
MASKS = ((1, 0x8000), (2, 0x4000))


class Monitor:
    def __init__(self) -> None:
        self.decoder = WaveDecoder(MetricStore())
        self.clock = MonitorClock()

    def says(self, *found: tuple[int, bytes], ticks: int = 0, at_s: float | None = None, handle: int = 1) -> Blocks:
        observation = Observation(0, handle, list(found))
        reply = PollReply(1, 1, ticks, b"", WAVE, 0, [observation])
        at = now(ticks / 8_000 if at_s is None else at_s)
        return self.decoder.decode(reply, observation, self.clock, Quality.GOOD, at)


def big_endian(values: list[int]) -> bytes:
    return u16(*values)


def values_of(data: bytes, width: int) -> list[int]:
    return list(struct.unpack(f"<{len(data) // width}{'h' if width == 2 else 'i'}", data))


@given(st.lists(st.integers(0, 0x3FFF), min_size=1, max_size=130))
def test_samples_are_kept_and_turned(values: list[int]) -> None:
    found = read_samples(big_endian(values), Metric(significant_bits=14))
    assert (found.width, found.count, found.marks, found.invalid) == (2, len(values), (), None)
    assert values_of(found.data, 2) == values


@given(st.lists(st.tuples(st.integers(0, 0x3FFF), st.booleans(), st.booleans()), min_size=1, max_size=70))
def test_marks_are_taken_out_of_the_samples(rows: list[tuple[int, bool, bool]]) -> None:
    metric = Metric(significant_bits=14, sample_flags=0x1000, fixed_values=MASKS)
    raw = [value | paced << 14 | invalid << 15 for value, paced, invalid in rows]
    found = read_samples(big_endian(raw), metric)
    assert values_of(found.data, 2) == [INVALID_16 if invalid else value for value, _, invalid in rows]
    assert found.marks == tuple((at, "pacer") for at, (_, paced, _) in enumerate(rows) if paced)
    assert found.invalid_count == sum(invalid for _, _, invalid in rows)


def test_a_mark_that_is_a_whole_value_is_not_taken_for_a_mask() -> None:
    metric = Metric(significant_bits=12, fixed_values=((1, 0x0FFF),))
    found = read_samples(big_endian([0x0FFF, 0x0FFE, 0x0001]), metric)
    assert values_of(found.data, 2) == [INVALID_16, 0x0FFE, 1]


def test_bits_are_kept_when_the_monitor_does_not_say_that_they_are_to_be_masked() -> None:
    assert values_of(read_samples(big_endian([0x5001]), Metric(significant_bits=12)).data, 2) == [0x5001]


def test_signed_samples() -> None:
    metric = Metric(scale=Scale(fixed(-16384, -2), fixed(163835, -3), 0x8000, 0x7FFF))
    found = read_samples(big_endian([0x8001, 0xFFFF, 0, 0x7FFF]), metric)
    assert values_of(found.data, found.width) == [-32767, -1, 0, 32767]
    line = line_of(metric)
    assert line.scale * -1 + line.offset == pytest.approx(-0.005, abs=1e-9)


def test_unsigned_samples_that_use_the_sign_bit_have_four_bytes() -> None:
    found = read_samples(big_endian([0xFFFF, 1]), Metric(fixed_values=((1, 0x7FFF),)))
    assert (found.width, found.invalid, values_of(found.data, 4)) == (4, INVALID_32, [0xFFFF, 1])


def test_samples_of_eight_bits() -> None:
    found = read_samples(bytes([0, 127, 255]), Metric(sample_bits=8, significant_bits=8))
    assert values_of(found.data, 2) == [0, 127, 255]


@pytest.mark.parametrize(("raw", "bits"), [(b"123", 16), (b"1234", 24), (b"1234", 0)])
def test_other_samples_are_the_devices_fault(raw: bytes, bits: int) -> None:
    with pytest.raises(DeviceFault):
        read_samples(raw, Metric(sample_bits=bits))


def test_scale_and_range() -> None:
    line = line_of(Metric(scale=Scale(fixed(-40), fixed(520), 160, 9_120)))
    assert (line.scale, line.offset, line.known) == (0.0625, -50.0, True)


def test_without_absolute_values_the_calibration_serves_and_else_none() -> None:
    bare = Scale(NAN, NAN, 0, 4_095)
    calibrated = line_of(Metric(scale=bare, calibration=Scale(fixed(0), fixed(100), 0, 1_000)))
    assert (calibrated.scale, calibrated.offset) == (0.1, 0.0)
    assert (line_of(Metric(scale=bare)).scale, line_of(Metric(scale=bare)).known) == (1.0, True)
    assert line_of(Metric()).known is False


@given(st.integers(0, 2**32 - 1), st.integers(0, 2**32 - 1), st.integers(0, 0xFFFF), st.integers(0, 0xFFFF))
def test_any_scale_is_a_line(lower: int, upper: int, low: int, high: int) -> None:
    assert isinstance(line_of(Metric(scale=Scale(lower, upper, low, high))).scale, float)


def test_an_ecg_block() -> None:
    (wave,) = Monitor().says(*ECG_CONTEXT, samples(0x0102, [8_192] * 128)).waves
    assert (wave.code, wave.unit, wave.channel, wave.rate) == ("MDC_ECG_ELEC_POTL_II", "mV", "", (500, 1))
    assert (wave.index, wave.width, wave.invalid, wave.quality) == (0, 2, INVALID_16, Quality.GOOD)
    assert wave.scale * 8_192 + wave.offset == pytest.approx(0.0, abs=0.01)
    assert wave.at_ns == now(0).utc_ns - 256_000_000
    assert wave.device_time is not None
    assert wave.device_time.value_ns == 0


def test_before_the_context_comes_rate_is_known_by_the_block_and_values_are_bare() -> None:
    (wave,) = Monitor().says(samples(0x4BB4, [1] * 32)).waves
    assert (wave.rate, wave.scale, wave.offset) == ((125, 1), 1.0, 0.0)
    assert wave.quality == Quality.QUESTIONABLE
    (slow,) = Monitor().says(samples(0x50AC, [1] * 16)).waves
    assert slow.rate == (125, 2)


def test_a_compound_of_the_same_lead_leaves_the_lead_its_context() -> None:
    monitor = Monitor()
    monitor.says(*ECG_CONTEXT, samples(0x0102, [1] * 128))
    other_scale = (0x096F, u32(fixed(0), fixed(100)) + u16(0, 100))
    array = u16(0x0102, 0, 128) + u16(*[5] * 64)
    (half,) = monitor.says((0x0927, string("II")), (0x0924, u32(0x00020102)), (0x098D, u32(32)), other_scale,
                           (0x0967, counted(array)), ticks=2_048).waves  # fmt: skip
    (lead,) = monitor.says(samples(0x0102, [1] * 128), ticks=2_048).waves
    assert (half.channel, half.rate, half.scale) == ("compound", (250, 1), 1.0)
    assert (lead.channel, lead.rate, lead.index) == ("", (500, 1), 128)
    assert lead.scale == pytest.approx(0.005, abs=1e-4)


def test_two_waves_of_one_code_whose_labels_are_not_told_stay_apart() -> None:
    """As an EEG's two channels in what a client asked for that never asked for labels."""
    monitor = Monitor()
    told = [
        wave
        for block in range(8)
        for handle in (0x21, 0x22)
        for wave in monitor.says(samples(0x592C, [handle] * 32), ticks=2_048 * block, handle=handle).waves
    ]
    assert [(w.channel, w.index) for w in told[-2:]] == [("", 7 * 32), ("object 0022", 7 * 32)]
    assert {(wave.channel, wave.samples[0]) for wave in told} == {("", 0x21), ("object 0022", 0x22)}
    later = monitor.says(samples(0x592C, [0x22] * 32), ticks=2_048 * 60, handle=0x22).waves
    assert [wave.channel for wave in later] == [""]  # the other one is there no longer


def test_a_compound_has_one_context_for_all() -> None:
    arrays = [u16(code, 0, 128) + u16(*[5] * 64) for code in (0x0101, 0x0102, 0x013D)]
    context = ((0x0924, u32(0x00020100)), (0x098D, u32(32)), ECG_CONTEXT[5])
    waves = Monitor().says(*context, (0x0967, counted(*arrays))).waves
    assert [wave.code for wave in waves] == ["MDC_ECG_ELEC_POTL_I", "MDC_ECG_ELEC_POTL_II", "MDC_ECG_ELEC_POTL_III"]
    assert {wave.rate for wave in waves} == {(250, 1)}
    assert all(wave.quality == Quality.GOOD for wave in waves)


def test_ecg_waves_of_one_handle_keep_their_own_labels() -> None:
    monitor = Monitor()
    for text_id, label in ((0x00020102, "II"), (0x00020101, "I"), (0x0002013D, "III")):
        monitor.says((0x0924, u32(text_id)), (0x0927, string(label)), *ECG_CONTEXT[2:])
    for code in (0x0102, 0x0101, 0x013D):
        (wave,) = monitor.says(samples(code, [1] * 128)).waves
        assert (wave.channel, wave.unit, wave.rate) == ("", "mV", (500, 1))


def test_a_lead_does_not_take_over_another_leads_label() -> None:
    monitor = Monitor()
    monitor.says(*ECG_CONTEXT)
    (wave,) = monitor.says(samples(0x0101, [1] * 128)).waves
    assert (wave.channel, wave.unit) == ("", "mV")


def test_the_index_counts_on_and_jitter_is_no_gap() -> None:
    monitor = Monitor()
    ticks = [0, 2_048, 4_112, 6_144, 8_180]
    found = [monitor.says(*ECG_CONTEXT, samples(0x0102, [1] * 128), ticks=tick) for tick in ticks]
    assert [blocks.waves[0].index for blocks in found] == [0, 128, 256, 384, 512]
    assert all(blocks.since is None for blocks in found)


def test_a_lost_block_is_a_jump() -> None:
    monitor = Monitor()
    monitor.says(*ECG_CONTEXT, samples(0x0102, [1] * 128))
    blocks = monitor.says(samples(0x0102, [1] * 128), ticks=3 * 2_048)
    assert (blocks.waves[0].index, blocks.since) == (384, now(0))


def test_a_block_that_comes_twice_or_late_is_left_out() -> None:
    monitor = Monitor()
    for ticks in (0, 2_048, 2_048, 0):
        blocks = monitor.says(*ECG_CONTEXT, samples(0x0102, [1] * 128), ticks=ticks, at_s=1)
    assert blocks.waves == []
    assert monitor.says(samples(0x0102, [1] * 128), ticks=4_096, at_s=1).waves[0].index == 256


def test_the_counters_turn_is_no_gap() -> None:
    monitor = Monitor()
    monitor.says(*ECG_CONTEXT, samples(0x0102, [1] * 128), ticks=2**32 - 1_024, at_s=1)
    blocks = monitor.says(samples(0x0102, [1] * 128), ticks=1_024, at_s=1.256)
    assert (blocks.waves[0].index, blocks.since) == (128, None)


def test_after_a_restart_of_the_monitor_the_boxs_time_tells_what_is_missing() -> None:
    monitor = Monitor()
    monitor.says(*ECG_CONTEXT, samples(0x0102, [1] * 128), ticks=900_000_000, at_s=0)
    blocks = monitor.says(samples(0x0102, [1] * 128), ticks=100, at_s=20)
    assert blocks.waves[0].index == 20 * 500


def test_all_samples_invalid_is_an_invalid_block() -> None:
    (wave,) = Monitor().says(*ECG_CONTEXT, samples(0x0102, [0x8000] * 128)).waves
    assert wave.quality == Quality.INVALID
    (unplugged,) = Monitor().says(*ECG_CONTEXT, samples(0x0102, [1] * 128, state=0x8000)).waves
    assert unplugged.quality == Quality.INVALID


def test_relative_time_becomes_local_time_once_the_date_is_known() -> None:
    clock = MonitorClock()
    assert clock.at(8_000).kind == "uptime"
    clock.relate(16_000, 1_000 * S_NS)
    assert (clock.at(24_000).value_ns, clock.at(24_000).kind) == (1_001 * S_NS, "local")
    clock.relate(32_000, 1_002 * S_NS)
    clock.relate(39_900, 1_002 * S_NS)
    assert clock.at(24_000).value_ns == 1_001 * S_NS
    clock.relate(40_000, 2_000 * S_NS)
    assert clock.at(40_000).value_ns == 2_000 * S_NS


@given(st.lists(st.integers(0, 2**32 - 1), max_size=20))
def test_any_ticks_are_a_time(ticks: list[int]) -> None:
    clock = MonitorClock()
    assert all(clock.at(tick).value_ns >= 0 for tick in ticks)


ATTRIBUTES = st.sampled_from([0x0924, 0x0964, 0x0967, 0x096D, 0x096E, 0x096F, 0x098D, 0x0996, 0x0A16])


@given(st.lists(st.tuples(ATTRIBUTES, st.binary(max_size=40)), max_size=5), st.integers(0, 2**32 - 1))
def test_any_attributes_are_waves_or_the_devices_fault(found: list[tuple[int, bytes]], ticks: int) -> None:
    monitor = Monitor()
    monitor.says(*ECG_CONTEXT, samples(0x0102, [1] * 128))
    try:
        blocks = monitor.says(*found, samples(0x0102, [1] * 7), ticks=ticks, at_s=1)
    except DeviceFault:
        return
    for wave in blocks.waves:
        assert len(wave.samples) % wave.width == 0
        assert wave.rate[0] > 0
