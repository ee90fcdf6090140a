from __future__ import annotations

from decimal import Decimal

from hypothesis import given
from hypothesis import strategies as st

from drivers.intellivue.clock import MonitorClock
from drivers.intellivue.numerics import MAX_VALUES, NumericsDecoder
from drivers.intellivue.objects import MetricStore
from drivers.intellivue.rose import Observation, PollReply
from ledger.errors import DeviceFault
from ledger.limits import S_NS
from ledger.records import Numeric, Quality, Setting
from tests.drivers.intellivue.building import ENUMERATION, NAN, NUMERIC, counted, fixed, now, numeric, string, u16, u32

MMHG = 0x0F20
ART_LABEL = ((0x092F, u16(2, 0x4A11)), (0x0924, u32(0x00024A10)), (0x0927, string("ART")))


class Monitor:
    """One decoder, and one numeric of a handle after the other."""

    def __init__(self) -> None:
        self.decoder = NumericsDecoder(MetricStore())
        self.clock = MonitorClock()

    def says(
        self,
        *found: tuple[int, bytes],
        handle: int = 1,
        at_s: float = 0,
        mode: Quality = Quality.GOOD,
        object_class: int = NUMERIC,
    ) -> list[Numeric]:
        observation = Observation(0, handle, list(found))
        reply = PollReply(1, 1, round(at_s * 8_000), b"", object_class, 0, [observation])
        return self.decoder.decode(reply, observation, self.clock, mode, now(at_s))


def test_a_value_keeps_its_code_unit_label_and_digits() -> None:
    (hr,) = Monitor().says((0x0924, u32(0x00024182)), (0x0927, string("HR")), numeric(0x4182, fixed(705, -1)))
    assert (hr.code, str(hr.value), hr.unit) == ("MDC_ECG_HEART_RATE", "70.5", "{beat}/min")
    assert (hr.device_code, hr.channel, hr.quality) == ("00024182 HR", "", Quality.GOOD)


def test_a_compound_is_one_value_each() -> None:
    entries = [u16(code, 0, MMHG) + u32(value) for code, value in ((0x4A11, 120), (0x4A12, 70), (0x4A13, 87))]
    values = Monitor().says(*ART_LABEL, (0x094B, counted(*entries)))
    assert [(v.code, str(v.value), v.channel) for v in values] == [
        ("MDC_PRESS_BLD_ART_SYS", "120", ""),
        ("MDC_PRESS_BLD_ART_DIA", "70", ""),
        ("MDC_PRESS_BLD_ART_MEAN", "87", ""),
    ]


def test_private_and_unknown_codes_keep_their_numbers() -> None:
    private, unknown = Monitor().says(numeric(0xF04E, 45, unit=0xF123)), Monitor().says(numeric(0x0FFF, 1, unit=0x7FFF))
    assert (private[0].code, private[0].unit) == ("MDCX_PHILIPS_0002F04E", "{MDCX_PHILIPS_0004F123}")
    assert (unknown[0].code, unknown[0].unit) == ("MDCX_PHILIPS_00020FFF", "{MDCX_PHILIPS_00047FFF}")


def test_labels_that_say_more_than_the_code_are_the_channel() -> None:
    (right,) = Monitor().says((0x0924, u32(0x80155402)), (0x0927, string("Pulse r")), numeric(0x4822, 70))
    (bare,) = Monitor().says((0x0924, u32(0x80155402)), numeric(0x4822, 70))
    assert (right.channel, bare.channel) == ("Pulse r", "80155402")


def test_two_values_of_one_code_whose_labels_are_not_told_stay_apart() -> None:
    monitor = Monitor()
    told = [
        (value.channel, str(value.value))
        for _ in range(2)
        for handle, number in ((0x31, 36), (0x32, 39))
        for value in monitor.says(numeric(0x4B48, number), handle=handle)
    ]
    assert told == [("", "36"), ("object 0032", "39")] * 2


def test_context_that_came_before_is_remembered() -> None:
    monitor = Monitor()
    assert monitor.says(*ART_LABEL) == []
    (value,) = monitor.says(numeric(0x4A13, 87, unit=MMHG))
    assert value.device_code == "00024A13 ART"


def test_a_label_heard_of_later_ends_the_unnamed_value() -> None:
    monitor = Monitor()
    monitor.says(numeric(0x4B48, 36))
    gone, named = monitor.says((0x0924, u32(0x0002F0C7)), (0x0927, string("T1")), numeric(0x4B48, 36), at_s=1)
    assert (gone.value, gone.quality, gone.channel) == (None, Quality.UNAVAILABLE, "")
    assert (str(named.value), named.channel) == ("36", "T1")


def test_no_value_is_told_once_and_again_when_its_reason_changes() -> None:
    monitor = Monitor()
    (first,) = monitor.says(numeric(0x4182, NAN, state=0x2000))
    assert (first.value, first.quality) == (None, Quality.UNAVAILABLE)
    assert monitor.says(numeric(0x4182, NAN, state=0x2000), at_s=1) == []
    (other,) = monitor.says(numeric(0x4182, NAN, state=0x8000), at_s=2)
    assert other.quality == Quality.INVALID | Quality.UNAVAILABLE
    (back,) = monitor.says(numeric(0x4182, 70), at_s=3)
    assert back.value == 70


def test_test_and_demo_are_kept_from_the_state_and_from_the_mode() -> None:
    monitor = Monitor()
    assert monitor.says(numeric(0x4182, 70, state=0x0400))[0].quality == Quality.DEMO
    assert monitor.says(numeric(0x4182, 70, state=0x0800), at_s=1)[0].quality == Quality.TEST
    assert monitor.says(numeric(0x4182, 70), at_s=2, mode=Quality.DEMO)[0].quality == Quality.DEMO


def test_settings_and_limits_are_settings() -> None:
    for category, kind in ((1, Numeric), (3, Setting), (4, Setting), (130, Setting), (5, Numeric)):
        specification = u32(8_000) + u16(category, 0x4000) + b"\0\0" + u16(0)
        (value,) = Monitor().says((0x093F, specification), numeric(0x50F0, 5))
        assert type(value) is kind


def test_a_cuff_reading_is_new_once_and_keeps_its_own_time() -> None:
    monitor = Monitor()
    monitor.clock.relate(0, 1_795_421_642 * S_NS)
    stamp = (0x0990, bytes.fromhex("2026112308140200"))
    (new,) = monitor.says(stamp, numeric(0x4A05, 120), at_s=5)
    (repeated,) = monitor.says(stamp, numeric(0x4A05, 120), at_s=6)
    (next_one,) = monitor.says((0x0990, bytes.fromhex("2026112308160000")), numeric(0x4A05, 130), at_s=120)
    assert (new.quality, repeated.quality, next_one.quality) == (Quality.GOOD, Quality.STALE, Quality.GOOD)
    assert new.device_time is not None
    assert (new.device_time.value_ns, new.device_time.kind) == (1_795_421_642 * S_NS, "local")
    assert repeated.device_time == new.device_time


def test_a_cuff_reading_that_is_old_when_first_heard_of_is_stale() -> None:
    monitor = Monitor()
    monitor.clock.relate(0, 1_795_421_642 * S_NS)
    (old,) = monitor.says((0x0990, bytes.fromhex("2026112308130000")), numeric(0x4A05, 120), at_s=5)
    assert old.quality == Quality.STALE


def test_a_relative_stamp() -> None:
    (value,) = Monitor().says((0x0991, u32(8_000)), numeric(0x4182, 70), at_s=3)
    assert value.device_time is not None
    assert (value.device_time.value_ns, value.device_time.kind) == (1 * S_NS, "uptime")


def test_enumerations() -> None:
    monitor = Monitor()
    rhythm = u16(0xD000, 0, 1, 2, 0xF0AA)
    (state,) = monitor.says((0x099E, rhythm), object_class=ENUMERATION)
    assert (state.code, state.value) == ("MDCX_PHILIPS_0002D000", "MDCX_PHILIPS_0002F0AA")
    number = u16(0xD001, 0x2000, 4, 8, 0x4182) + u32(fixed(12, -1)) + u16(0x0200)
    (valued,) = monitor.says((0x099E, number), handle=2, object_class=ENUMERATION)
    assert (valued.value, valued.unit, valued.quality) == (Decimal("1.2"), "1", Quality.UNAVAILABLE)
    assert valued.channel == "MDC_ECG_HEART_RATE"


def test_an_object_that_is_gone_leaves_one_unavailable() -> None:
    monitor = Monitor()
    monitor.says(numeric(0x4182, 70))
    monitor.says(numeric(0x4BB8, 97), handle=2)
    monitor.says(numeric(0x4182, 71), at_s=12)
    (gone,) = monitor.decoder.withdraw(NUMERIC, now(12))
    assert (gone.code, gone.value, gone.quality) == ("MDC_PULS_OXIM_SAT_O2", None, Quality.UNAVAILABLE)
    assert monitor.decoder.withdraw(NUMERIC, now(13)) == []


def test_a_value_that_goes_on_under_another_handle_is_not_gone() -> None:
    monitor = Monitor()
    monitor.says(numeric(0x4182, 70))
    monitor.says(numeric(0x4182, 71), handle=9, at_s=12)
    assert monitor.decoder.withdraw(NUMERIC, now(12)) == []


def test_what_is_remembered_is_bounded() -> None:
    monitor = Monitor()
    for handle in range(MAX_VALUES + 50):
        monitor.says(numeric(handle & 0xFFF, 1), handle=handle)
    assert len(monitor.decoder._tracks) == MAX_VALUES
    assert len(monitor.decoder._metrics._families) <= 1_024


ATTRIBUTES = st.sampled_from(
    [
        0x0924,
        0x0927,
        0x092F,
        0x093F,
        0x0940,
        0x094B,
        0x0950,
        0x0964,
        0x096F,
        0x0990,
        0x0991,
        0x0996,
        0x099E,
        0x0A16,
    ]
)


@given(st.lists(st.tuples(ATTRIBUTES, st.binary(max_size=30)), max_size=5))
def test_any_attributes_are_values_or_the_devices_fault(found: list[tuple[int, bytes]]) -> None:
    try:
        values = Monitor().says(*found)
    except DeviceFault:
        return
    assert all(isinstance(value, Numeric) for value in values)
