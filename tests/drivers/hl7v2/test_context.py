"""Hospital messages: whom they are about, where they belong, and that nothing of another room's is kept."""

from __future__ import annotations

from decimal import Decimal

import pytest

from drivers.hl7v2 import Bed, Hl7Config
from ledger.records import Event, Gap, Numeric, PatientContext, Raw
from tests.drivers.hl7v2.feeding import HEART_RATE, Fed, framed, up

HERE = "OR^3^1^ST-MARY"
PID = "PID|1||4711^^^MRN&1.2.3&ISO^MR~99^^^SSN^SS||Doe^Jane^Q^^^^L||19700203|F||||||||||ACC7"
ROOM = Hl7Config(beds=(Bed("OR^3", "room"),))


def pv1(location: str, prior: str = "", visit: str = "V55") -> str:
    return f"PV1|1|I|{location}|||{prior}|||||||||||||{visit}"


def told(fed: Fed) -> list[PatientContext]:
    return fed.of(PatientContext)


def test_an_admission_tells_patient_visit_and_place() -> None:
    fed = up(ROOM).give(framed("EVN|A01|20260101", PID, pv1(HERE), kind="ADT^A01^ADT_A01"))
    (context,) = told(fed)
    assert context.trigger == "ADT^A01"
    assert context.sub == "room"
    assert context.facts == {
        "patient_ids": "4711^^^MRN^MR~99^^^SSN^SS", "name": "Doe^Jane^Q", "birth_date": "19700203", "sex": "F",
        "account": "ACC7", "patient_class": "I", "location": "OR^3^1^ST-MARY", "visit": "V55", "place": "here",
    }  # fmt: skip
    assert type(fed.actions[0].record) is PatientContext  # type: ignore[union-attr] # before the bytes it is told of
    assert len(fed.of(Raw)) == 1
    assert fed.codes == ["AA"]
    assert fed.sends[0].after == fed.last_ticket


@pytest.mark.parametrize(
    "kind", ["ADT^A01^ADT_A01", "ADT^A03^ADT_A03", "ADT^A08^ADT_A01", "ORM^O01", "OMG^O19^OMG_O19"]
)
def test_a_message_about_another_room_is_answered_and_nothing_of_it_is_kept(kind: str) -> None:
    data = framed(PID, pv1("OR^4^1^ST-MARY"), "ORC|NW|P1", kind=kind)
    fed = up(ROOM).give(data)
    assert fed.codes == ["AR"]
    assert b"ERR|||204^^HL70357|E" in fed.sends[0].data
    assert not told(fed)
    assert not fed.of(Raw)
    ignoring = up(Hl7Config(beds=ROOM.beds, other_beds="ignore")).give(data)
    assert ignoring.codes == ["AA"]
    assert b"ERR" not in ignoring.sends[0].data
    assert not told(ignoring)
    assert not ignoring.of(Raw)


def test_a_transfer_tells_whether_the_patient_comes_or_goes() -> None:
    comes = up(ROOM).give(framed(PID, pv1(HERE, "W^5"), kind="ADT^A02^ADT_A02"))
    goes = up(ROOM).give(framed(PID, pv1("PACU^2", HERE), kind="ADT^A02^ADT_A02"))
    assert [context.facts["place"] for context in (*told(comes), *told(goes))] == ["here", "left"]
    other = up(ROOM).give(framed(PID, pv1("PACU^2", "OR^4"), kind="ADT^A02^ADT_A02"))
    assert other.codes == ["AR"]
    update = up(ROOM).give(framed(PID, pv1("PACU^2", HERE), kind="ADT^A08^ADT_A01"))
    assert update.codes == ["AR"]  # PV1-6 tells of now only in a transfer


def test_a_schedule_belongs_where_its_location_resource_is() -> None:
    sch = "SCH|PL1|FI9||||^Knee|||||^^^202601020800||||||||||||||Booked"
    resources = (
        "RGS|1",
        "AIS|1||27447^Total knee arthroplasty^CPT|20260102080000",
        "AIP|1||77^House^Greg|SURGEON^Surgeon",
    )
    ours = up(ROOM).give(framed(sch, PID, pv1("W^5^2"), *resources, f"AIL|1||{HERE}", kind="SIU^S12^SIU_S12"))
    (context,) = told(ours)
    facts = context.facts
    assert (facts["procedure"], facts["procedure_code"], facts["surgeon"]) == (
        "Total knee arthroplasty", "27447", "77^House^Greg",
    )  # fmt: skip
    assert (facts["appointment"], facts["scheduled"], facts["status"]) == ("FI9", "202601020800", "Booked")
    assert (facts["room"], facts["place"]) == ("OR^3^1^ST-MARY", "here")
    theirs = up(ROOM).give(framed(sch, PID, pv1(HERE), *resources, "AIL|1||OR^4^1", kind="SIU^S12^SIU_S12"))
    assert theirs.codes == ["AR"]
    assert not theirs.of(Raw)


def test_an_order_tells_procedure_and_accession_number() -> None:
    obr = "OBR|1|P1|F1|71020^Chest X-ray^CPT||||||||||||||A-1"
    (context,) = told(up(ROOM).give(framed(PID, pv1(HERE), "ORC|NW|P1|F1||SC", obr, kind="ORM^O01")))
    facts = context.facts
    assert (facts["order"], facts["ordered"], facts["accession"], facts["status"]) == (
        "P1",
        "Chest X-ray",
        "A-1",
        "SC",
    )
    omi = framed(
        PID, pv1(HERE), "ORC|NW|P2", "TQ1|1||||||20260102", "OBR|1|P2||1^MR^L", "IPC|ACC9|R1|S1", kind="OMI^O23"
    )
    (imaging,) = told(up(ROOM).give(omi))
    assert (imaging.facts["accession"], imaging.facts["scheduled"]) == ("ACC9", "20260102")


def test_a_merge_names_the_id_that_goes_and_each_of_several() -> None:
    merge = ("PID|1||9^^^A", "MRG|4711^^^A", "PID|2||8^^^A", "MRG|5^^^A")
    fed = up(ROOM)
    fed.driver.case_changed({"patient_ids": "5^^^A"})
    contexts = told(fed.give(framed(*merge, kind="ADT^A40^ADT_A39")))
    assert [(each.facts["patient_ids"], each.facts["prior_patient_ids"]) for each in contexts] == [
        ("9^^^A", "4711^^^A"), ("8^^^A", "5^^^A"),
    ]  # fmt: skip


def test_of_two_who_swap_beds_each_is_told_by_himself_and_who_leaves_first() -> None:
    comes, goes = ("PID|1||8^^^MRN", pv1(HERE, "W^5")), ("PID|2||9^^^MRN", pv1("W^5", HERE))
    elsewhere = ("PID|3||7^^^MRN", pv1("W^6", "W^7"))
    for several in ((*comes, *goes), (*goes, *comes), (*elsewhere, *goes, *comes)):
        contexts = told(up(ROOM).give(framed(*several, kind="ADT^A17^ADT_A17")))
        assert [(each.facts["place"], each.facts["patient_ids"]) for each in contexts] == [
            ("left", "9^^^MRN"), ("here", "8^^^MRN"),
        ]  # fmt: skip


def test_of_two_who_swap_beds_of_one_room_each_is_told_where_his_bed_is() -> None:
    beds = Hl7Config(beds=(Bed("OR^3", "left"), Bed("OR^4", "right")))
    swap = ("PID|1||8^^^MRN", pv1("OR^3", "OR^4"), "PID|2||9^^^MRN", pv1("OR^4", "OR^3"))
    contexts = told(up(beds).give(framed(*swap, kind="ADT^A17^ADT_A17")))
    assert [(each.sub, each.facts["patient_ids"]) for each in contexts] == [("left", "8^^^MRN"), ("right", "9^^^MRN")]


def test_of_results_of_several_patients_those_of_this_room_are_recorded() -> None:
    def of(patient: str, place: str, value: int) -> tuple[str, ...]:
        obr = "OBR|1||L1|CBC||||||||||||||||||||HM|F"
        return (f"PID|||{patient}^^^MRN", pv1(place), obr, f"OBX|1|NM|718-7^Hb^LN||{value}|g/dL|||||F")

    fed = up(ROOM).give(framed(*of("9", "W^5", 7), *of("8", HERE, 12)))
    assert [numeric.value for numeric in fed.of(Numeric)] == [12]
    assert [each.facts["patient_ids"] for each in told(fed)] == ["8^^^MRN"]


def test_the_patient_of_the_open_case_is_followed_wherever_a_message_places_him() -> None:
    merge = framed("PID|1||9^^^MRN", "MRG|4711^^^MRN", kind="ADT^A40^ADT_A39")
    lab = framed(PID, pv1("W^5"), "OBR|1||L1|CBC||||||||||||||||||||HM|F",
                 "OBX|1|NM|718-7^Hemoglobin^LN||8.1|g/dL|12-16|L|||F", id="43")  # fmt: skip
    fed = up(ROOM).give(merge + lab)
    assert fed.codes == ["AR", "AR"]
    fed.driver.case_changed({"patient_ids": "4711^^^MRN^MR"})
    fed.give(merge + lab)
    assert fed.codes == ["AR", "AR", "AA", "AA"]
    assert [context.facts.get("kind") for context in told(fed)] == [None, "laboratory"]
    (value,) = fed.of(Numeric)
    assert (value.code, value.value, value.device_code) == ("MDCX_LOINC_718_7", Decimal("8.1"), "718-7^Hemoglobin^LN")
    fed.driver.case_changed(None)
    assert fed.give(framed(PID, pv1("W^5"), kind="ADT^A08", id="44")).codes[-1] == "AR"


def test_of_many_patients_the_last_is_found_as_well() -> None:
    others = [segment for n in range(20) for segment in (f"PID|||{n + 100}^^^MRN", pv1("W^5"))]
    obr = "OBR|1||L1|CBC||||||||||||||||||||HM|F"
    obx = "OBX|1|NM|718-7^Hb^LN||12|g/dL|||||F"
    fed = up(ROOM).give(framed(*others, "PID|||8^^^MRN", pv1(HERE), obr, obx))
    assert [numeric.value for numeric in fed.of(Numeric)] == [12]
    assert [each.facts["patient_ids"] for each in told(fed)] == ["8^^^MRN"]


def test_an_appointment_of_several_patients_keeps_its_room_and_its_time() -> None:
    sch = "SCH|APP1||||||HIP^Hip|||||^^^20260102083000"
    rooms = ("RGS|1", "AIL|1||OR^3")
    fed = up(ROOM).give(framed(sch, PID, "PID|2||8^^^MRN", *rooms, kind="SIU^S12^SIU_S12"))
    assert [(each.facts["appointment"], each.facts["place"]) for each in told(fed)] == [("APP1", "here")]


def test_a_prior_result_s_order_is_not_the_patient_s_new_one() -> None:
    new = (PID, pv1(HERE), "ORC|NW|NEW1", "OBR|1|NEW1||1^X^L")
    prior = (PID, pv1(HERE), "ORC|RE|OLD1", "OBR|1|OLD1||2^Y^L")
    contexts = told(up(ROOM).give(framed(*new, *prior, kind="OML^O21^OML_O21")))
    assert [each.facts["order"] for each in contexts] == ["NEW1"]


def test_bedside_monitoring_is_no_laboratory() -> None:
    obr = "OBR|1|1|1|x" + "|" * 20 + "ICU"
    fed = up(ROOM).give(framed(PID, pv1(HERE), obr, HEART_RATE))
    assert [context.facts["kind"] for context in told(fed)] == ["device"]


def test_an_older_order_tells_its_time_in_orc() -> None:
    orc = "ORC|NW|P1|F1||SC||1^^^20260102083000^^R"
    (context,) = told(up(ROOM).give(framed(PID, pv1(HERE), orc, "OBR|1|P1|F1|1^X^L", kind="ORM^O01")))
    assert context.facts["scheduled"] == "20260102083000"


def test_a_device_tells_once_whom_it_is_connected_to() -> None:
    obx = "OBX|1|NM|147842^MDC_ECG_CARD_BEAT_RATE^MDC|1.1.1.1|72|264864^MDC_DIM_BEAT_PER_MIN^MDC|||||R"
    one = [framed(PID, pv1(HERE), "OBR|1|1|1|x", obx, id=str(number)) for number in range(3)]
    fed = up(ROOM).give(b"".join(one) + framed("PID|||5^^^MRN", pv1(HERE), "OBR|1|1|1|x", obx, id="9"))
    assert [(context.facts["kind"], context.facts["patient_ids"][:4]) for context in told(fed)] == [
        ("device", "4711"), ("device", "5^^^"),
    ]  # fmt: skip
    fed.driver.case_changed({"patient_ids": "5^^^MRN"})  # so that it is weighed against every case
    fed.give(framed("PID|||5^^^MRN", pv1(HERE), "OBR|1|1|1|x", obx, id="10"))
    assert len(told(fed)) == 3


def test_a_context_without_a_patient_is_kept_and_refused_only_where_that_is_asked_for() -> None:
    nameless = framed(pv1(HERE), kind="ADT^A01")
    kept = up(ROOM).give(nameless)
    assert kept.codes == ["AA"]
    assert len(kept.of(Gap)) == 1
    strict = up(Hl7Config(beds=ROOM.beds, undecodable="reject")).give(nameless)
    assert strict.codes == ["AE"]
    assert b"ERR|||101^^HL70357|E" in strict.sends[0].data


def test_where_no_bed_is_this_room_messages_are_kept_and_tell_of_no_case() -> None:
    """A feed of the whole hospital without ``beds``, or that keeps others, must not open the whole hospital's cases."""
    obx = "OBX|1|NM|147842^MDC_ECG_CARD_BEAT_RATE^MDC|1.1.1.1|72|264864^MDC_DIM_BEAT_PER_MIN^MDC|||||R"
    for options, location in ((Hl7Config(), HERE), (Hl7Config(beds=ROOM.beds, other_beds="keep"), "OR^4")):
        data = framed(PID, pv1(location), kind="ADT^A01") + framed(PID, pv1(location), "OBR|1|1|1|x", obx, id="43")
        fed = up(options).give(data)
        assert fed.codes == ["AA", "AA"]
        assert len(fed.of(Raw)) == 2
        assert not told(fed)


def test_test_messages_are_marked() -> None:
    (context,) = told(up(ROOM).give(framed(PID, pv1(HERE), kind="ADT^A01", processing="T")))
    assert [flag.name for flag in context.quality] == ["TEST"]


def test_a_withdrawn_fact_is_empty_and_a_silent_one_absent() -> None:
    (context,) = told(up(ROOM).give(framed('PID|||1^^^A||""||19700101', pv1(HERE), kind="ADT^A08")))
    assert context.facts["name"] == ""
    assert "sex" not in context.facts


def test_a_pump_event_is_a_moment() -> None:
    fed = up(ROOM).give(framed(
        PID, pv1(HERE), "OBR|1|1|1|0^PCD^MDC",
        "OBX|1||69985^MDC_DEV_PUMP_INFUS_MDS^MDC|1.0.0.0||||||X|||||||^^P7^V",
        "OBX|2|CWE|68487^MDC_ATTR_EVT_COND^MDC|1.0.0.2|197288^MDC_EVT_PUMP_DELIV_START^MDC||||||R",
        kind="ORU^R42^ORU_R42",
    ))  # fmt: skip
    (event,) = fed.of(Event)
    assert (event.code, event.kind, event.phase) == ("MDC_EVT_PUMP_DELIV_START", "marker", "once")
