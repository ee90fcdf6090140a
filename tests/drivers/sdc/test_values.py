"""Codes, metrics, versions: the pure parts."""

from __future__ import annotations

from array import array
from decimal import Decimal
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from drivers.contract import Now
from drivers.sdc.alerts import Alerts
from drivers.sdc.codes import Coded, code_name, device_code, maker_word, unit_name
from drivers.sdc.description import Description, duration_s, read_description
from drivers.sdc.metrics import decimal_of, integers, packed, time_of
from drivers.sdc.versions import GRACE_NS, Versions
from drivers.sdc.xml import Element
from ledger.errors import DeviceFault
from ledger.limits import S_NS

PRIVATE = "urn:oid:1.3.6.1.4.1.53595.7"


@pytest.mark.parametrize(
    ("value", "name", "told"),
    [
        (Coded("147842", text="HR"), "MDC_ECG_HEART_RATE", "147842 HR"),
        (Coded("147842", "urn:oid:1.2.840.10004.1.1.1.0.0.1"), "MDC_ECG_HEART_RATE", "147842"),
        (Coded("4711", PRIVATE, translations=(("147842", ""),)), "MDC_ECG_HEART_RATE", f"4711@{PRIVATE}"),
        (Coded("4711", PRIVATE, translations=(("1", "urn:x"),)), "MDCX_MAKER_4711", f"4711@{PRIVATE}"),
        (Coded("147842", PRIVATE), "MDCX_MAKER_147842", f"147842@{PRIVATE}"),  # the number of another system
        (Coded("67108888"), "MDCX_MAKER_67108888", "67108888"),  # partition 1024 is the makers'
        (Coded("193000"), "MDCX_MAKER_193000", "193000"),  # so are terms from F000 on
        (Coded("150999"), "MDCX_MDC_150999", "150999"),
        (Coded("150999", symbol="MDC_SOMETHING_NEW"), "MDC_SOMETHING_NEW", "150999"),
        (Coded("150999", PRIVATE, symbol="MDC_SOMETHING_NEW"), "MDCX_MAKER_150999", f"150999@{PRIVATE}"),
        (Coded("a b/c", PRIVATE), "MDCX_MAKER_A_B_C", f"a b/c@{PRIVATE}"),
        (Coded(""), "MDCX_MAKER_UNNAMED", ""),
    ],
)
def test_a_code_is_sure_or_keeps_its_number(value: Coded, name: str, told: str) -> None:
    assert code_name(value, "MAKER") == name
    assert device_code(value) == told


@pytest.mark.parametrize(
    ("unit", "ucum"),
    [
        (Coded("266016"), "mm[Hg]"),
        (Coded("mm[Hg]", "http://unitsofmeasure.org"), "mm[Hg]"),
        (Coded("x", PRIVATE, translations=(("266016", ""),)), "mm[Hg]"),
        (Coded("x", PRIVATE), "{MDCX_MAKER_X}"),
        (Coded("299999"), "{MDCX_MDC_299999}"),
    ],
)
def test_a_unit_is_ucum_or_an_annotation(unit: Coded, ucum: str) -> None:
    assert unit_name(unit, "MAKER") == ucum


def test_a_makers_word() -> None:
    assert maker_word("Drägerwerk AG & Co. KGaA") == "DR_GERWERK_AG_CO_KGAA"
    assert maker_word("") == "SDC"


def test_times_and_durations() -> None:
    told = time_of("1700000000123")
    assert told is not None
    assert (told.value_ns, told.kind, told.resolution_ns) == (1_700_000_000_123_000_000, "utc", 1_000_000)
    assert [time_of(wrong) for wrong in ("", "-1", "1.5", "9" * 40, "12٣")] == [None] * 5
    assert duration_s("PT0.004S") == Fraction(1, 250)
    assert duration_s("PT1M0.5S") == Fraction(121, 2)
    assert duration_s("P0Y0M0DT0H0M0.004S") == Fraction(1, 250)  # as some libraries write every duration
    assert [duration_s(long) for long in ("PT1H", "P1D", "PT30.S")] == [3_600, 86_400, 30]
    assert [duration_s(wrong) for wrong in ("", "PT", "P1Y", "-PT1S", "PT" + "9" * 40 + "S")] == [0] * 5


def _alert_system(handle: str) -> Element:
    system = Element("AlertSystem", {"Handle": f"{handle}.as"})
    condition = Element("AlertCondition", {"Handle": f"{handle}.ac", "type": "pm:LimitAlertConditionDescriptor"})
    system.children.append(condition)
    return system


def _described(alerts: Alerts) -> Description:
    """A device and a module of it, each with an alert system of its own."""
    mds, vmd = Element("Mds", {"Handle": "mds"}), Element("Vmd", {"Handle": "vmd"})
    mds.children += [_alert_system("mds"), vmd]
    vmd.children.append(_alert_system("vmd"))
    root = Element("MdDescription", {})
    root.children.append(mds)
    description = read_description(root)
    alerts.describe(description)
    return description


def test_an_alert_system_silences_its_own_conditions_alone() -> None:
    alerts, now = Alerts(), Now(0, 0)
    description = _described(alerts)
    for handle, told in (
        ("mds.as", {"ActivationState": "On"}), ("vmd.as", {"ActivationState": "Psd"}),
        ("mds.ac", {"Presence": "true"}), ("vmd.ac", {"Presence": "true"}),
    ):  # fmt: skip
        assert alerts.take(description.descriptors[handle], Element("State", told))
    silences = {event.alarm_id: event.silence for event in alerts.settle(description, {}, now)}
    assert silences == {"mds.ac": "unknown", "vmd.ac": "alarm_paused"}
    alerts.take(description.descriptors["vmd.as"], Element("State", {"ActivationState": "On"}))
    (changed,) = alerts.settle(description, {}, now)
    assert (changed.alarm_id, changed.silence) == ("vmd.ac", "unknown")


@pytest.mark.parametrize(
    ("watched", "limits"),
    [("All", (90, 100)), ("", (90, 100)), ("LoOff", (None, 100)), ("HiOff", (90, None)), ("None", (None, None))],
)
def test_a_limit_that_is_not_watched_is_none(watched: str, limits: tuple[int | None, int | None]) -> None:
    alerts = Alerts()
    description = _described(alerts)
    state = Element("State", {"Presence": "true", "MonitoredAlertLimits": watched} if watched else {"Presence": "true"})
    state.children.append(Element("Limits", {"Lower": "90", "Upper": "100"}))
    alerts.take(description.descriptors["mds.ac"], state)
    (event,) = alerts.settle(description, {}, Now(0, 0))
    assert event.limits == limits


def test_decimals_keep_their_digits_and_nothing_else_is_one() -> None:
    assert str(decimal_of(" 7.10 ")) == "7.10"
    for wrong in ("", "NaN", "Infinity", "1e400", "0x10", "1,5", "9" * 40):
        with pytest.raises(DeviceFault):
            decimal_of(wrong)


@given(st.lists(st.decimals(min_value=-20_000, max_value=20_000, places=3), min_size=1, max_size=60))
def test_samples_come_back_to_the_digit(samples: list[Decimal]) -> None:
    whole, digits = integers(" ".join(f"{sample:f}" for sample in samples), 0)
    assert [Decimal(sample) / 10**digits for sample in whole] == samples
    width, data = packed(whole)
    again = array("h" if width == 2 else "i")
    again.frombytes(data)
    assert list(again) == list(whole)


def test_samples_beyond_32_bits_lose_digits_and_not_their_size() -> None:
    whole, digits = integers("300000000.123 1", 3)
    assert (whole[0] / 10**digits, digits) == (300000000, 0)
    for wrong in ("1 2 x", "NaN 1", "1e999", "Infinity"):
        with pytest.raises(DeviceFault):
            integers(wrong, 0)


def at(seconds: float) -> Now:
    return Now(int(seconds * S_NS), int(seconds * S_NS))


@given(st.permutations(range(2, 12)), st.sets(st.integers(2, 11), max_size=4))
def test_what_never_comes_is_missed_and_what_comes_late_is_not(order: list[int], lost: set[int]) -> None:
    watch = Versions()
    watch.read(1)
    came = [version for version in order if version not in lost]
    for version in came:
        watch.saw(version, at(0), at(0))
    missed = watch.overdue(at(1.1))
    expected = {version for version in lost if came and version < max(came)}
    assert (missed.count if missed is not None else 0) == len(expected)
    assert watch.overdue(at(9)) is None
    assert watch.deadline_ns() is None


def test_an_mdib_that_was_read_tells_what_was_missing() -> None:
    watch = Versions()
    watch.read(1)
    watch.saw(5, at(1), at(2))
    assert watch.deadline_ns() == at(2).mono_ns + GRACE_NS
    watch.read(4)
    assert watch.overdue(at(9)) is None
    watch.saw(9, at(3), at(4))
    for version in range(20, 400, 3):
        watch.saw(version, at(4), at(4))  # many gaps take bounded room
    missed = watch.overdue(at(9))
    assert missed is not None
    assert (missed.count, missed.since) == (3 + 10 + 126 * 2, at(3))
