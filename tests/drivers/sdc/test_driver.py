"""The driver against a scripted device: no network, virtual time."""

from __future__ import annotations

from decimal import Decimal

import pytest

from drivers.contract import Message
from drivers.sdc import SdcConfig
from drivers.sdc.frame import Frame, encode
from firmware_sim.sdc_mdib import PRIVATE_SYSTEM
from ledger.errors import OurFault
from ledger.records import Event, Gap, Identity, Link, Numeric, Quality, Setting, Wave
from tests.drivers.sdc.scripted import (
    DESCRIPTION,
    EPR,
    LINK,
    SEQUENCE,
    URL,
    Talk,
    alert_report,
    granted,
    mdib,
    metadata,
    metric_report,
    numeric,
    versions,
    wave_report,
)

OTHER = "urn:uuid:22222222-2222-2222-2222-222222222222"

RENEWED = "<wse:RenewResponse><wse:Expires>PT10S</wse:Expires></wse:RenewResponse>"


def report(version: int, handle: str, value: str, state_version: int, quality: str = "Vld") -> str:
    return metric_report(version, numeric(handle, value, state_version, tag="MetricState", quality=quality))


def values(talk: Talk) -> list[tuple[str, Decimal | str | None]]:
    return [(record.channel, record.value) for record in talk.take(Numeric) if isinstance(record, Numeric)]


def test_it_asks_subscribes_reads_and_records() -> None:
    talk = Talk()
    talk.open()
    talk.answer(metadata())
    (link,) = talk.take()
    assert isinstance(link, Link)
    assert (link.state, link.peer) == ("identified", EPR)
    talk.answer(granted())
    talk.notify(report(2, "hr", "71", 2))  # before the MDIB is there
    assert values(talk) == []
    talk.answer(mdib(numeric("hr", "70", 1), version=1))
    assert talk.asked == ["Get", "Subscribe", "GetMdib"]
    assert talk.urls == [URL, f"{URL}/All", f"{URL}/All"]
    records = talk.take()
    identity = next(record for record in records if isinstance(record, Identity))
    assert (identity.make, identity.serial, identity.software) == ("Simulated Medical", "SIM-1", "2.1.0")
    hr = [record for record in records if isinstance(record, Numeric)]
    assert [(one.code, one.value, one.unit) for one in hr] == [
        ("MDC_ECG_HEART_RATE", Decimal(70), "{beat}/min"), ("MDC_ECG_HEART_RATE", Decimal(71), "{beat}/min"),
    ]  # fmt: skip


def test_a_report_on_the_way_to_the_mdib_is_not_told_twice() -> None:
    talk = Talk()
    talk.open()
    talk.answer(metadata())
    talk.answer(granted())
    talk.notify(report(2, "hr", "70", 5))
    talk.notify(report(3, "hr", "71", 6))
    talk.notify(wave_report(4, "art", "80 81", 1_700_000_000_000))
    talk.answer(mdib(numeric("hr", "71", 6) + numeric("spo2", "98", 1), version=3))
    assert values(talk) == [("hr", Decimal(70)), ("hr", Decimal(71)), ("spo2", Decimal(98))]
    talk.notify(report(5, "hr", "69", 4))  # overtaken
    assert values(talk) == []


@pytest.mark.parametrize(
    ("validity", "quality"),
    [("Vld", Quality.GOOD), ("Vldated", Quality.VALIDATED), ("Ong", Quality.ONGOING), ("Qst", Quality.QUESTIONABLE),
     ("Calib", Quality.CALIBRATING), ("Inv", Quality.INVALID), ("Oflw", Quality.OVER_RANGE),
     ("Uflw", Quality.UNDER_RANGE), ("NA", Quality.UNAVAILABLE), ("new", Quality.UNCHECKED)],
)  # fmt: skip
def test_validity_is_quality(validity: str, quality: Quality) -> None:
    talk = Talk().running()
    talk.notify(report(2, "hr", "70", 2, quality=validity))
    (record,) = talk.take(Numeric)
    assert record.quality == quality


def test_a_device_in_demo_marks_all_it_shows() -> None:
    demo = '<pm:State xsi:type="pm:MdsState" DescriptorHandle="mds" OperatingMode="Dmo"/>'
    talk = Talk().running(numeric("hr", "70", 1) + demo)
    records = talk.take()
    assert [record.quality for record in records if isinstance(record, Numeric)] == [Quality.DEMO]
    assert [record.text for record in records if isinstance(record, Event)] == ["on, demo"]
    component = (
        f'<msg:EpisodicComponentReport {versions(2)}><msg:ReportPart><msg:ComponentState xsi:type="pm:MdsState" '
        'DescriptorHandle="mds" StateVersion="2"/></msg:ReportPart></msg:EpisodicComponentReport>'
    )
    talk.notify(component)
    talk.notify(report(3, "hr", "71", 2))
    assert [record.quality for record in talk.take(Numeric)] == [Quality.GOOD]


def test_a_metric_that_is_switched_off_shows_an_old_value_or_none() -> None:
    talk = Talk().running(numeric("hr", "70", 1, 'ActivationState="Off"') + numeric("rr", "", 1))
    shown = {record.channel: (record.value, record.quality) for record in talk.take(Numeric)
             if isinstance(record, Numeric)}  # fmt: skip
    assert shown == {"hr": (Decimal(70), Quality.STALE), "rr": (None, Quality.UNAVAILABLE)}


def test_settings_and_private_codes() -> None:
    text = (
        '<pm:State xsi:type="pm:EnumStringMetricState" DescriptorHandle="vent.mode" StateVersion="1">'
        '<pm:MetricValue Value="VCV"><pm:MetricQuality Validity="Vld"/></pm:MetricValue></pm:State>'
    )
    talk = Talk().running(numeric("set.peep", "5", 1) + text + numeric("co2.absorber", "37", 1))
    shown = [(type(record), record.code, record.value, record.device_code)
             for record in talk.take(Numeric) if isinstance(record, Numeric)]  # fmt: skip
    assert shown == [
        (Setting, "MDCX_SIMULATED_MEDICAL_4713", Decimal(5), f"4713@{PRIVATE_SYSTEM} PEEP"),
        (Setting, "MDCX_SIMULATED_MEDICAL_4714", "VCV", f"4714@{PRIVATE_SYSTEM} Mode"),
        (Numeric, "MDCX_SIMULATED_MEDICAL_4712", Decimal(37), f"4712@{PRIVATE_SYSTEM} Absorber"),
    ]


# Waves --------------------------------------------------------------------------------------------------------


def test_waves_count_and_a_hole_is_a_gap() -> None:
    talk = Talk().running()
    t0 = 1_700_000_000_000
    talk.notify(wave_report(2, "art", "80.5 81 81.5", t0))
    talk.notify(wave_report(3, "art", "82 82.5", t0 + 30))
    talk.notify(wave_report(4, "art", "90 91", t0 + 1_050))
    waves = talk.take()
    art = [record for record in waves if isinstance(record, Wave)]
    assert [(wave.index, wave.rate, wave.scale, wave.code) for wave in art] == [
        (0, (100, 1), 0.1, "MDC_PRESS_BLD_ART"), (3, (100, 1), 0.1, "MDC_PRESS_BLD_ART"),
        (105, (100, 1), 0.1, "MDC_PRESS_BLD_ART"),
    ]  # fmt: skip
    assert art[0].samples == b"%b%b%b" % tuple(n.to_bytes(2, "little") for n in (805, 810, 815))
    (gap,) = (record for record in waves if isinstance(record, Gap))
    assert (gap.cause, gap.lost_items, gap.until_ns - gap.since_ns) == ("sequence", 100, 1_000_000_000)


def test_waves_that_stay_away_are_told_while_the_device_answers() -> None:
    talk = Talk().running()
    talk.notify(wave_report(2, "art", "80", 1_700_000_000_000))
    talk.take()
    for _ in range(5):
        talk.wait(1.0)
        if talk.asked:
            talk.answer(RENEWED)
            talk.asked.clear()
    gaps = talk.take(Gap)
    assert [(gap.cause, gap.detail) for gap in gaps if isinstance(gap, Gap)] == [
        ("silence", "no waves come, though the device is there")
    ]


def test_waves_can_be_left_out() -> None:
    talk = Talk(SdcConfig(waves=False)).running()
    talk.notify(wave_report(2, "art", "80", 1_700_000_000_000))
    assert talk.take(Wave) == []


# Alarms -------------------------------------------------------------------------------------------------------


def condition(present: str, version: int, more: str = "") -> str:
    return (
        f'<msg:AlertState xsi:type="pm:LimitAlertConditionState" DescriptorHandle="ac.spo2.lo" Presence="{present}" '
        f'StateVersion="{version}" ActivationState="On" MonitoredAlertLimits="All" {more}><pm:Limits Lower="90"/>'
        "</msg:AlertState>"
    )


def signal(end: str, presence: str, version: int, activation: str = "On") -> str:
    return (
        f'<msg:AlertState xsi:type="pm:AlertSignalState" DescriptorHandle="ac.spo2.lo.{end}" Presence="{presence}" '
        f'StateVersion="{version}" ActivationState="{activation}"/>'
    )


def told(talk: Talk) -> list[tuple[str, str, bool, str]]:
    return [(event.phase, event.priority, event.latched, event.silence) for event in talk.take(Event)
            if isinstance(event, Event)]  # fmt: skip


def test_an_alarm_from_start_to_end() -> None:
    talk = Talk().running()
    talk.notify(alert_report(2, condition("true", 2), signal("vis", "On", 2), signal("aud", "On", 2)))
    (event,) = talk.take(Event)
    assert isinstance(event, Event)
    assert (event.kind, event.alarm_id, event.phase, event.priority, event.code, event.source, event.limits) == (
        "physiological_alarm", "ac.spo2.lo", "start", "high", "MDC_EVT_LO", "MDC_PULS_OXIM_SAT_O2", (Decimal(90), None),
    )  # fmt: skip
    talk.notify(alert_report(3, signal("aud", "On", 3, "Psd")))
    talk.notify(alert_report(4, signal("vis", "Ack", 4)))
    talk.notify(alert_report(5, condition("true", 5, 'ActualPriority="Me"')))
    talk.notify(alert_report(6, condition("false", 6), signal("vis", "Latch", 6)))
    talk.notify(alert_report(7, signal("vis", "Off", 7), signal("aud", "Off", 7)))
    assert told(talk) == [
        ("change", "high", False, "audio_paused"), ("change", "high", False, "acknowledged"),
        ("change", "medium", False, "acknowledged"), ("change", "high", True, "audio_paused"),
        ("end", "high", False, "audio_paused"),
    ]  # fmt: skip
    talk.notify(alert_report(8, condition("false", 8)))
    assert told(talk) == []


def test_an_alarm_that_is_there_after_a_new_connection_is_told_again_and_one_that_is_not_ends() -> None:
    state = condition("true", 2).replace("msg:AlertState", "pm:State")
    talk = Talk().running(state)
    assert [event.phase for event in talk.take(Event) if isinstance(event, Event)] == ["start"]
    talk.down()
    (marked,) = talk.take(Event)
    assert isinstance(marked, Event)
    assert (marked.phase, marked.quality) == ("change", Quality.UNAVAILABLE)
    talk.asked.clear()
    talk.running(state)
    (again,) = talk.take(Event)
    assert isinstance(again, Event)
    assert (again.phase, again.quality) == ("continue", Quality.GOOD)
    talk.down()
    assert [event.phase for event in talk.take(Event) if isinstance(event, Event)] == ["change"]
    talk.running(condition("false", 2).replace("msg:AlertState", "pm:State"))
    assert [event.phase for event in talk.take(Event) if isinstance(event, Event)] == ["end"]


def test_in_a_new_case_the_mdib_is_read_again_and_all_of_it_told() -> None:
    state = condition("true", 2).replace("msg:AlertState", "pm:State") + numeric("hr", "70", 1)
    talk = Talk().running(state)
    talk.take()
    talk.asked.clear()
    talk.driver.case_changed({"patient_ids": "5^^^A"})
    talk.wait(0)
    assert talk.asked == ["GetMdib"]
    talk.answer(mdib(state, version=1))
    assert [(one.code, one.value) for one in talk.take(Numeric)] == [("MDC_ECG_HEART_RATE", Decimal(70))]  # type: ignore[attr-defined]
    talk.driver.case_changed(None)
    talk.wait(0)
    talk.answer(mdib(state, version=1))
    assert [event.phase for event in talk.take(Event) if isinstance(event, Event)] == ["continue"]
    talk.notify(report(2, "hr", "71", 2))
    assert values(talk) == [("hr", Decimal(71))]


# Contexts -----------------------------------------------------------------------------------------------------

PATIENT = (
    '<pm:State xsi:type="pm:PatientContextState" DescriptorHandle="pc" Handle="p1" ContextAssociation="{}" '
    'StateVersion="{}"><pm:Identification Root="urn:oid:1.2" Extension="PID-77"/><pm:CoreData>'
    "<pm:Givenname>Max</pm:Givenname><pm:Sex>M</pm:Sex>"
    '<pm:Weight MeasuredValue="80.5"><pm:MeasurementUnit Code="263875"/></pm:Weight></pm:CoreData></pm:State>'
)


def test_who_the_patient_is_happens_once_and_is_no_state() -> None:
    talk = Talk().running(PATIENT.format("Assoc", 1))
    records = talk.take()
    events = [(event.kind, event.phase, event.alarm_id, event.text) for event in records if isinstance(event, Event)]
    assert events == [
        ("mode", "once", "pc/association", "associated"),
        ("operator", "once", "pc/Identification", "PID-77@urn:oid:1.2"),
        ("operator", "once", "pc/Givenname", "Max"),
    ]
    settings = [(one.code, one.value, one.unit) for one in records if isinstance(one, Setting)]
    assert settings == [("MDCX_SDC_PATIENT_SEX", "male", ""), ("MDC_ATTR_PT_WEIGHT", Decimal("80.5"), "kg")]


@pytest.mark.parametrize(("wanted", "count"), [("none", 0), ("measures", 3), ("all", 5)])
def test_how_much_of_it_is_recorded_is_an_option(wanted: str, count: int) -> None:
    talk = Talk(SdcConfig(context=wanted)).running(PATIENT.format("Assoc", 1))  # type: ignore[arg-type]
    records = talk.take()
    assert len([record for record in records if isinstance(record, Event | Setting)]) == count
    if wanted != "all":
        assert "Max" not in repr(records)
        assert "PID-77" not in repr(records)


# What changes and what is missed ------------------------------------------------------------------------------


def test_versions_that_never_come_are_a_gap_and_the_mdib_is_read_again() -> None:
    talk = Talk().running(numeric("hr", "70", 1))
    talk.take()
    talk.wait(0.5)
    talk.notify(report(2, "hr", "71", 2))
    talk.wait(0.5)
    talk.notify(report(8, "hr", "72", 3))
    talk.wait(2.5)
    (gap,) = (gap for gap in talk.take(Gap) if isinstance(gap, Gap))
    assert (gap.cause, gap.lost_items, gap.until_ns - gap.since_ns) == ("sequence", 5, 500_000_000)
    assert talk.asked[-1] == "GetMdib"
    talk.answer(mdib(numeric("hr", "72", 3) + numeric("spo2", "97", 4), version=8))
    assert values(talk) == [("spo2", Decimal(97))]


def test_reports_that_overtake_each_other_are_no_gap() -> None:
    talk = Talk().running()
    for version in (3, 2, 5, 4):
        talk.notify(report(version, "hr", str(60 + version), version))
    talk.wait(0.9)
    assert talk.take(Gap) == []
    assert talk.asked == []


@pytest.mark.parametrize("change", ["sequence", "instance"])
def test_an_mdib_that_begins_anew_is_read_again_before_anything_is_decoded(change: str) -> None:
    talk = Talk().running(numeric("hr", "70", 9))
    talk.take()
    talk.wait(0.9)
    sequence = OTHER if change == "sequence" else f'{SEQUENCE}" InstanceId="7'
    state = numeric("hr", "75", 1, tag="MetricState")
    talk.notify(metric_report(1, state, sequence=sequence))
    talk.wait(0.2)
    assert talk.asked == ["GetMdib"]
    assert [gap.cause for gap in talk.take(Gap) if isinstance(gap, Gap)] == ["sequence"]
    talk.answer(mdib(numeric("hr", "74", 0), version=0, sequence=sequence))
    assert values(talk) == [("hr", Decimal(74)), ("hr", Decimal(75))]


def test_an_mdib_that_is_found_begun_anew_when_it_is_read_again_is_a_gap_too() -> None:
    talk = Talk().running(numeric("hr", "70", 9))
    talk.wait(0.9)
    talk.notify(report(9, "hr", "71", 10))  # some are missing before it
    talk.wait(1.05)
    assert [gap.cause for gap in talk.take(Gap) if isinstance(gap, Gap)] == ["sequence"]
    assert talk.asked[-1] == "GetMdib"
    talk.answer(mdib(numeric("hr", "74", 0), version=0, sequence=OTHER))
    (gap,) = (gap for gap in talk.take(Gap) if isinstance(gap, Gap))
    assert (gap.cause, "began anew" in gap.detail) == ("sequence", True)
    assert gap.since_ns < gap.until_ns


def test_a_changed_description_is_read_before_what_follows_it() -> None:
    talk = Talk().running(numeric("co2.absorber", "37", 1))
    talk.take()
    talk.wait(0.9)
    talk.notify(f"<msg:DescriptionModificationReport {versions(2)}/>")
    talk.notify(report(3, "co2.absorber", "36", 2))
    talk.wait(0.2)
    assert talk.asked == ["GetMdib"]
    talk.answer(mdib(numeric("co2.absorber", "37", 1), 2, description=DESCRIPTION.replace("4712", "4799")))
    shown = [(one.code, one.value) for one in talk.take(Numeric) if isinstance(one, Numeric)]
    assert shown == [("MDCX_SIMULATED_MEDICAL_4712", None), ("MDCX_SIMULATED_MEDICAL_4799", Decimal(36))]


def test_a_handle_that_is_not_described_is_looked_for_once() -> None:
    talk = Talk().running()
    read_again = 0
    for version in range(2, 8):
        talk.notify(report(version, "no.such", "1", version))
        talk.wait(0.9)
        talk.notify(report(version, "hr", "70", version))
        talk.wait(0.9)
        for asked in list(talk.asked):
            talk.answer(mdib(version=version) if asked == "GetMdib" else RENEWED)
            read_again += asked == "GetMdib"
        talk.asked.clear()
    assert read_again == 1
    assert [gap.cause for gap in talk.take(Gap) if isinstance(gap, Gap)] == ["undecodable"]


def test_reports_held_are_bounded_and_their_loss_is_told() -> None:
    talk = Talk()
    talk.open()
    talk.answer(metadata())
    for version in range(400):
        talk.notify(report(version, "hr", "70", version))
    talk.answer(granted())
    talk.answer(mdib())
    talk.wait(1.2)
    gaps = [gap for gap in talk.take(Gap) if isinstance(gap, Gap)]
    assert ("overflow", 400 - 256) in [(gap.cause, gap.lost_items) for gap in gaps]


# Whether it is there ------------------------------------------------------------------------------------------


def test_a_device_that_falls_silent_is_asked_and_then_taken_for_gone_within_three_seconds() -> None:
    talk = Talk().running()
    talk.wait(1.05)
    assert talk.asked == ["Renew"]
    talk.wait(1.9)
    assert talk.closed == ["no answer to Renew within 1.5 s"]
    talk.wait(100)
    assert talk.asked == ["Renew"]


@pytest.mark.parametrize("how", ["frozen", "unplugged", "forgot", "farewell"])
def test_once_it_is_lost_nothing_measured_stands_and_what_was_set_does(how: str) -> None:
    talk = Talk().running(numeric("hr", "70", 1) + numeric("set.peep", "5", 1))
    talk.take()
    if how == "frozen":
        talk.wait(3)
    elif how == "unplugged":
        talk.down()
    elif how == "forgot":
        talk.wait(1.05)
        talk.answer("<s:Fault><s:Code><s:Value>s:Sender</s:Value></s:Code></s:Fault>", status=400)
    else:
        talk.notify("<wse:SubscriptionEnd><wse:Status>x/SourceShuttingDown</wse:Status></wse:SubscriptionEnd>")
    withdrawn = [(record.channel, record.value, record.quality) for record in talk.take(Numeric)
                 if isinstance(record, Numeric)]  # fmt: skip
    assert withdrawn == [("hr", None, Quality.UNAVAILABLE)]
    talk.down()
    assert talk.take(Numeric) == []
    talk.asked.clear()
    talk.running(numeric("hr", "70", 1) + numeric("set.peep", "5", 1))
    assert values(talk) == [("hr", Decimal(70)), ("set.peep", Decimal(5))]


def test_a_value_that_does_not_change_stands_while_the_device_answers() -> None:
    talk = Talk().running(numeric("hr", "70", 1))
    talk.take()
    for _ in range(60):
        talk.wait(1.05)
        talk.answer(RENEWED)
    assert talk.closed == []
    assert talk.take(Numeric) == []


def test_a_subscription_is_renewed_after_half_its_time_though_reports_come() -> None:
    talk = Talk().running()
    for second in range(2, 8):
        talk.wait(1 / 1.1)
        talk.notify(report(second, "hr", "70", second))
    assert talk.asked == ["Renew"]
    talk.answer(RENEWED)
    assert talk.closed == []


def test_a_device_that_forgot_the_subscription_is_asked_anew() -> None:
    talk = Talk().running()
    talk.wait(1.05)
    talk.answer("<s:Fault><s:Code><s:Value>s:Sender</s:Value></s:Code></s:Fault>", status=400)
    assert talk.closed == ["the device refused Renew: HTTP 400 Sender"]


def test_the_devices_farewell_ends_the_link() -> None:
    talk = Talk().running()
    status = "http://schemas.xmlsoap.org/ws/2004/08/eventing/SourceShuttingDown"
    talk.notify(f"<wse:SubscriptionEnd><wse:Status>{status}</wse:Status></wse:SubscriptionEnd>")
    assert talk.closed == ["the device ended the subscription: SourceShuttingDown"]


def test_another_device_at_the_address_is_refused() -> None:
    talk = Talk()
    talk.open(epr=EPR)
    talk.answer(metadata(epr="urn:uuid:another"))
    assert talk.closed == ["another device answers at this address: its EPR is not the one that was configured"]


@pytest.mark.parametrize(
    ("services", "asked"),
    [("GetService StateEventService SetService", ["Get", "Subscribe", "GetMdib"]), ("GetService", ["Get", "GetMdib"])],
)
def test_what_it_hosts_is_what_is_asked_for(services: str, asked: list[str]) -> None:
    talk = Talk()
    talk.open()
    talk.answer(metadata(services=services))
    if len(asked) == 3:
        talk.answer(granted())
    talk.answer(mdib())
    assert talk.asked == asked
    assert talk.closed == ([] if len(asked) == 3 else ["the device granted no subscription"])


def test_a_refused_subscription_is_a_gap_with_its_reason() -> None:
    talk = Talk()
    talk.open()
    talk.answer(metadata())
    talk.answer("<s:Fault><s:Code><s:Value>s:Receiver</s:Value></s:Code></s:Fault>", status=500)
    talk.answer(mdib())
    (gap,) = talk.take(Gap)
    assert isinstance(gap, Gap)
    assert gap.cause == "device_gap"
    assert gap.detail.endswith(": HTTP 500 Receiver")
    assert talk.closed == ["the device granted no subscription"]


@pytest.mark.parametrize(
    "body", ["", "<a:x/>", "<wsx:Metadata xmlns:wsx='http://schemas.xmlsoap.org/ws/2004/09/mex'/>"]
)
def test_a_device_without_services_is_closed_and_not_a_crash(body: str) -> None:
    talk = Talk()
    talk.open()
    talk.answer(body)
    assert talk.closed == [
        "the device's answer to Get cannot be used: the device hosts no SDC GetService"
    ]  # fmt: skip


def test_who_operates_the_device_is_recorded() -> None:
    talk = Talk().running()
    info = "<msg:InvocationInfo><msg:TransactionId>3</msg:TransactionId><msg:InvocationState>Fin</msg:InvocationState>"
    part = (
        '<msg:ReportPart OperationHandleRef="op.peep" OperationTarget="set.peep">'
        f'{info}</msg:InvocationInfo><msg:InvocationSource Root="urn:x" Extension="STAFF-1"/></msg:ReportPart>'
    )
    talk.notify(f"<msg:OperationInvokedReport {versions(1)}>{part}</msg:OperationInvokedReport>")
    (event,) = talk.take(Event)
    assert isinstance(event, Event)
    assert (event.kind, event.alarm_id, event.text) == (
        "operator", "operation/op.peep/3", "Fin, target set.peep, by STAFF-1@urn:x"
    )  # fmt: skip


def with_metric(kind: str, content: str = "") -> str:
    """The description with one metric more."""
    extra = (
        f'<pm:Channel Handle="ch.x"><pm:Metric xsi:type="pm:{kind}Descriptor" Handle="spectrum" '
        f'MetricCategory="Msrmt"><pm:Type Code="1"/><pm:Unit Code="268001"/>{content}</pm:Metric></pm:Channel></pm:Vmd>'
    )
    return DESCRIPTION.replace("</pm:Vmd>", extra, 1)


def test_states_that_are_not_decoded_are_told_once() -> None:
    state = '<pm:State xsi:type="pm:NewKindMetricState" DescriptorHandle="spectrum" StateVersion="1"/>'
    talk = Talk()
    talk.open()
    talk.answer(metadata())
    talk.answer(granted())
    talk.answer(mdib(state, description=with_metric("NewKindMetric")))
    assert [gap.detail for gap in talk.take(Gap) if isinstance(gap, Gap)] == [
        "states of NewKindMetric are not decoded on this connection, only kept raw"
    ]


@pytest.mark.parametrize(
    ("samples", "value", "lost"),
    [
        ('Samples="1.50 2 -0.25"', "1.50 2 -0.25", 0),
        ("", None, 0),
        ('Samples="1 x"', None, 1),
        (f'Samples="{"12345 " * 1_000}"', f"{'12345 ' * 682}…", 0),
    ],
)
def test_a_spectrum_is_recorded_as_sent_with_what_it_is_spread_over(samples: str, value: str | None, lost: int) -> None:
    content = '<pm:DomainUnit Code="264640"/><pm:DistributionRange Lower="0" Upper="32"/>'
    state = (
        '<pm:State xsi:type="pm:DistributionSampleArrayMetricState" DescriptorHandle="spectrum" StateVersion="1">'
        f'<pm:MetricValue {samples} DeterminationTime="1700000000000"><pm:MetricQuality Validity="Vld"/>'
        "</pm:MetricValue></pm:State>"
    )
    talk = Talk()
    talk.open()
    talk.answer(metadata())
    talk.answer(granted())
    talk.answer(mdib(state, description=with_metric("DistributionSampleArrayMetric", content)))
    talk.wait(1.2)
    records = talk.take()
    told = [each for each in records if isinstance(each, Numeric) and each.channel == "spectrum"]
    assert [each.cause for each in records if isinstance(each, Gap)] == ["undecodable"] * lost
    if lost:
        assert told == []
        return
    (spectrum,) = told
    assert spectrum.value == value
    assert spectrum.quality == (Quality.GOOD if value else Quality.UNAVAILABLE)
    assert spectrum.device_code.endswith("over 0 to 32 Hz")


def test_a_transport_that_frames_is_our_own_fault() -> None:
    talk = Talk()
    talk.open()
    with pytest.raises(OurFault):
        talk.driver.receive(LINK, Message("x", {}), talk.now)


def test_bytes_that_are_no_frame_close_the_link() -> None:
    talk = Talk().running()
    talk.driver.receive(LINK, encode(Frame("NOTIFY", b""))[:-2] + b"x\n" * 5_000, talk.now)
    talk._drain()
    assert len(talk.closed) == 1
