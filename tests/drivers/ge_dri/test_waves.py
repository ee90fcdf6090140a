from __future__ import annotations

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from drivers import nomenclature
from drivers.ge_dri.waves import BY_NAME, INVALID_SAMPLE, KINDS, WaveDecoder
from ledger.errors import DeviceFault
from ledger.limits import S_NS
from ledger.records import Gap, Quality, Record, Wave
from tests.drivers.ge_dri.building import T0_S, now, wave

ECG1, PLETH = 1, 8


def only_wave(records: list[Record]) -> Wave:
    (found,) = [record for record in records if isinstance(record, Wave)]
    return found


def decode(number: int, samples: list[int], status: int = 0, label: int = 0) -> Wave:
    return only_wave(WaveDecoder().decode(number, wave(samples, status, label), T0_S, now()))


def values(found: Wave) -> list[int]:
    return list(struct.unpack(f"<{len(found.samples) // 2}h", found.samples))


def test_every_code_is_known_or_ours() -> None:
    for number in KINDS:
        for label in range(40):
            code = decode(number, [1], label=label).code
            assert nomenclature.is_known(code) or code.startswith("MDCX_GE_"), code


@given(st.sampled_from(sorted(KINDS)), st.lists(st.integers(-31999, 32767), min_size=1, max_size=300))
def test_samples_are_kept_as_sent(number: int, samples: list[int]) -> None:
    found = decode(number, samples)
    assert values(found) == samples
    assert (found.rate, found.width, found.index) == ((KINDS[number].rate_hz, 1), 2, 0)
    assert found.at_ns == now().utc_ns - len(samples) * S_NS // KINDS[number].rate_hz


def test_lead_and_pressure_labels() -> None:
    ecg, art = decode(ECG1, [-177], label=2), decode(BY_NAME["INVP1"].number, [12000], label=1)
    assert (ecg.code, ecg.channel, ecg.unit, ecg.scale) == ("MDC_ECG_ELEC_POTL_II", "ECG1", "uV", 1.0)
    assert (art.code, art.channel, art.unit, art.scale) == ("MDC_PRESS_BLD_ART", "ART", "mm[Hg]", 0.01)
    assert decode(BY_NAME["AA"].number, [150], label=6).code == "MDC_CONC_AWAY_SEVOFL"


def test_control_codes_become_the_one_invalid_sample() -> None:
    found = decode(PLETH, [100, -32000, -32766, -31999])
    assert values(found) == [100, INVALID_SAMPLE, INVALID_SAMPLE, -31999]
    assert (found.invalid, found.quality) == (INVALID_SAMPLE, Quality.GOOD)
    assert decode(PLETH, [-32767] * 4).quality == Quality.UNAVAILABLE


def test_pacer_and_lead_off_are_marked() -> None:
    assert decode(ECG1, [1], status=1 << 2 | 1 << 3).marks == ((0, "pacer"), (0, "lead_off"))
    assert decode(ECG1, [1], status=0x2C90).marks == ()


def test_the_index_counts_samples_and_late_blocks_are_no_gap() -> None:
    decoder = WaveDecoder()
    arrivals_s = [0, 1, 3.2, 3.3, 4]
    found = [decoder.decode(PLETH, wave([1] * 100), T0_S, now(at_s)) for at_s in arrivals_s]
    assert [only_wave(records).index for records in found] == [0, 100, 200, 300, 400]
    assert all(len(records) == 1 for records in found)


def test_a_gap_the_monitor_tells_is_recorded_and_the_index_jumps() -> None:
    decoder = WaveDecoder()
    decoder.decode(PLETH, wave([1] * 100), T0_S, now(0))
    gap, found = decoder.decode(PLETH, wave([1] * 100, status=1), T0_S, now(2.5))
    assert isinstance(gap, Gap)
    assert isinstance(found, Wave)
    assert (gap.cause, gap.lost_items, found.index) == ("device_gap", 150, 250)
    assert (gap.since_ns, gap.until_ns) == (now(0).utc_ns, now(1.5).utc_ns)


def test_a_gap_told_of_no_measurable_length_still_jumps() -> None:
    decoder = WaveDecoder()
    decoder.decode(PLETH, wave([1] * 100), T0_S, now(0))
    assert only_wave(decoder.decode(PLETH, wave([1] * 100, status=1), T0_S, now(1))).index == 101


def test_a_gap_before_the_first_block_has_no_length() -> None:
    gap, found = WaveDecoder().decode(PLETH, wave([1], status=1), T0_S, now())
    assert isinstance(gap, Gap)
    assert isinstance(found, Wave)
    assert (gap.lost_items, found.index) == (None, 0)


def test_a_block_lost_on_the_line_is_a_jump() -> None:
    decoder = WaveDecoder()
    decoder.decode(PLETH, wave([1] * 100), T0_S, now(0))
    decoder.line_fault()
    assert only_wave(decoder.decode(PLETH, wave([1] * 100), T0_S, now(2))).index == 200
    decoder.line_fault()
    assert only_wave(decoder.decode(PLETH, wave([1] * 100), T0_S, now(3.1))).index == 300


def test_a_long_silence_is_a_jump() -> None:
    decoder = WaveDecoder()
    decoder.decode(PLETH, wave([1] * 100), T0_S, now(0))
    assert only_wave(decoder.decode(PLETH, wave([1] * 100), T0_S, now(10))).index == 1000


def test_an_empty_block_is_nothing_but_its_gap_is_remembered() -> None:
    decoder = WaveDecoder()
    decoder.decode(PLETH, wave([1] * 100), T0_S, now(0))
    assert decoder.decode(PLETH, wave([], status=1), T0_S, now(1)) == []
    assert only_wave(decoder.decode(PLETH, wave([1] * 100), T0_S, now(2))).index == 200


@given(st.sampled_from(sorted(KINDS)), st.binary(max_size=60))
def test_other_bytes_are_decoded_or_the_devices_fault(number: int, data: bytes) -> None:
    try:
        records = WaveDecoder().decode(number, data, T0_S, now())
    except DeviceFault:
        return
    assert all(isinstance(record, Wave | Gap) for record in records)


def test_a_count_beyond_the_data_is_refused() -> None:
    with pytest.raises(DeviceFault):
        WaveDecoder().decode(PLETH, struct.pack("<hHH", 3, 0, 0) + bytes(4), T0_S, now())
    with pytest.raises(DeviceFault):
        WaveDecoder().decode(PLETH, struct.pack("<hHH", -1, 0, 0), T0_S, now())
