from __future__ import annotations

import contextlib

from hypothesis import given
from hypothesis import strategies as st

from drivers.intellivue.descriptions import MAX_DESCRIPTIONS, DescriptionTracker
from drivers.intellivue.objects import MetricStore
from drivers.intellivue.rose import Observation, PollReply
from ledger.errors import DeviceFault
from ledger.records import DeviceTime, Quality, Setting
from tests.drivers.intellivue.building import WAVE, now, string, u16, u32

TIME = DeviceTime(0, "uptime", 1)
LEAD_II, LEAD_V = (0x0924, u32(0x00020102)), (0x0924, u32(0x00020143))


def says(tracker: DescriptionTracker, *found: tuple[int, bytes], handle: int = 1) -> list[Setting]:
    observation = Observation(0, handle, list(found))
    reply = PollReply(1, 1, 0, b"", WAVE, 0, [observation])
    return tracker.update(reply, observation, TIME, Quality.GOOD, now())


def test_modes_and_remarks_are_told_when_they_change() -> None:
    tracker = DescriptionTracker(MetricStore())
    label = (0x0927, string("II"))
    (mode,) = says(tracker, LEAD_II, label, (0x0945, u16(0x0144)))
    assert (mode.code, mode.value, mode.channel) == (
        "MDCX_PHILIPS_00010945",
        "ECG not paced, ECG monitoring, ECG primary lead",
        "II",
    )
    assert says(tracker, LEAD_II, label, (0x0945, u16(0x0144))) == []
    (changed,) = says(tracker, LEAD_II, label, (0x0945, u16(0x0082)))
    assert changed.value == "ECG diagnostic, 0002"
    (remark,) = says(tracker, LEAD_II, label, (0x093D, string("manual")))
    assert (remark.value, remark.device_code) == ("manual", "0001093D II")


def test_no_remark_is_told_only_after_one() -> None:
    tracker = DescriptionTracker(MetricStore())
    assert says(tracker, (0x093D, string(""))) == []
    says(tracker, (0x093D, string("manual")))
    assert [setting.value for setting in says(tracker, (0x093D, string("")))] == [""]


def test_leads_of_one_handle_have_modes_of_their_own() -> None:
    tracker = DescriptionTracker(MetricStore())
    for lead, mode in ((LEAD_II, 0x0104), (LEAD_V, 0x0100)):
        assert len(says(tracker, lead, (0x0945, u16(mode)))) == 1
    for lead, mode in ((LEAD_II, 0x0104), (LEAD_V, 0x0100)):
        assert says(tracker, lead, (0x0945, u16(mode))) == []


def test_what_is_remembered_is_bounded() -> None:
    tracker = DescriptionTracker(MetricStore())
    for handle in range(MAX_DESCRIPTIONS + 20):
        says(tracker, (0x0945, u16(1)), handle=handle)
    assert len(tracker._last) == MAX_DESCRIPTIONS


@given(st.dictionaries(st.sampled_from([0x0924, 0x0927, 0x093D, 0x0945]), st.binary(max_size=12)))
def test_any_attributes_are_settings_or_the_devices_fault(found: dict[int, bytes]) -> None:
    with contextlib.suppress(DeviceFault):
        assert len(says(DescriptionTracker(MetricStore()), *found.items())) <= 2
