from __future__ import annotations

from collections.abc import Mapping

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ledger.cases import CaseRules, Cases, Fate, ids_of, merged, of_a_case
from ledger.errors import OperatorFault
from ledger.limits import LIMITS, S_NS
from ledger.records import PatientContext, Quality

ANNA = {"patient_ids": "1^^^A^MR", "name": "Berg^Anna", "place": "here"}
BORIS = {"patient_ids": "2^^^A^MR", "name": "Dahl^Boris", "place": "here"}
HOUR_NS = 3_600 * S_NS


def said(
    trigger: str, facts: Mapping[str, str], at_ns: int = 1, quality: Quality = Quality.GOOD, **more: str
) -> PatientContext:
    return PatientContext(at_ns=at_ns, trigger=trigger, facts={**facts, **more}, quality=quality)


def room(rules: CaseRules | None = None) -> Cases:
    count = iter(range(1, 1_000))
    return Cases(rules or CaseRules(), lambda size: next(count).to_bytes(size, "big"))


def with_anna(rules: CaseRules | None = None) -> Cases:
    cases = room(rules)
    cases.opening(1, "hl7", "ADT^A01", ANNA)
    return cases


@pytest.mark.parametrize("trigger", ["ADT^A01", "ADT^A02", "ADT^A04", "ADT^A13", "ADT^A17"])
def test_an_arrival_opens_a_case_and_says_so_once(trigger: str) -> None:
    cases = room()
    verdict = cases.judge(said(trigger, ANNA))
    assert verdict.fate is Fate.OPEN
    turn = cases.opening(1, "hl7", trigger, verdict.facts or {}, verdict.case_id)
    assert turn.opening is not None
    assert turn.closing is None
    assert turn.opening.facts == {"patient_ids": "1^^^A^MR", "name": "Berg^Anna"}
    assert cases.judge(said(trigger, ANNA)).fate is Fate.KEEP


def test_the_next_patient_in_the_room_closes_the_case_before() -> None:
    cases = with_anna()
    before = cases.current
    assert cases.judge(said("ADT^A01", BORIS)).fate is Fate.OPEN
    turn = cases.opening(2, "hl7", "ADT^A01", BORIS)
    assert before is not None
    assert turn.closing is not None
    assert turn.opening is not None
    assert (turn.closing.case_id, turn.closing.phase, turn.closing.cause) == (before.case_id, "close", "next")
    assert turn.closing.facts == {}
    assert turn.opening.case_id != before.case_id


@pytest.mark.parametrize("trigger", ["ADT^A03", "ADT^A11"])
def test_only_its_own_patients_discharge_closes_a_case(trigger: str) -> None:
    cases = with_anna()
    assert cases.judge(said(trigger, BORIS)).fate is Fate.APART
    assert cases.judge(said(trigger, ANNA)).fate is Fate.CLOSE


def test_a_transfer_out_of_the_room_closes_unless_the_rules_say_otherwise() -> None:
    away = {**ANNA, "place": "left"}
    assert with_anna().judge(said("ADT^A02", away)).fate is Fate.CLOSE
    assert with_anna(CaseRules(close_on_leaving=False)).judge(said("ADT^A02", away)).fate is Fate.KEEP


def test_an_update_and_a_merge_rename_the_case_and_keep_its_id() -> None:
    cases = with_anna()
    verdict = cases.judge(said("ADT^A08", ANNA, name="Holm^Anna", procedure="Hip"))
    assert verdict.fate is Fate.CHANGE
    change = cases.changing(2, "hl7", "ADT^A08", verdict.facts or {})
    assert change.facts["name"] == "Holm^Anna"
    merge = cases.judge(said("ADT^A40", {"patient_ids": "9^^^A^MR", "prior_patient_ids": "1^^^A^MR"}))
    assert merge.fate is Fate.CHANGE
    after = cases.changing(3, "hl7", "ADT^A40", merge.facts or {})
    assert after.facts["patient_ids"] == "9^^^A^MR"
    assert after.case_id == change.case_id
    assert after.facts["procedure"] == "Hip"


def test_a_visit_number_tells_the_patient_too() -> None:
    cases = room()
    cases.opening(1, "hl7", "ADT^A01", {**ANNA, "visit": "V7"})
    assert cases.judge(said("ADT^A08", {"patient_ids": "77", "visit": "V7"})).fate is Fate.CHANGE


def test_what_is_about_somebody_else_stands_apart_and_becomes_their_case() -> None:
    cases = with_anna()
    first = cases.judge(said("SIU^S12", BORIS, procedure="Knee", place=""))
    again = cases.judge(said("SIU^S14", BORIS, scheduled="202611270800", place=""))
    assert first.fate is again.fate is Fate.APART
    assert first.case_id == again.case_id
    opening = cases.judge(said("ADT^A01", BORIS))
    assert opening.case_id == first.case_id
    assert opening.facts is not None
    assert opening.facts["procedure"] == "Knee"


def test_an_appointment_that_is_called_off_is_nobodys_case() -> None:
    cases = room()
    booked = cases.judge(said("SIU^S12", BORIS, procedure="Knee", place=""))
    assert cases.judge(said("SIU^S15", BORIS, place="")).case_id == booked.case_id
    opening = cases.judge(said("ADT^A01", BORIS))
    assert opening.case_id is None
    assert "procedure" not in (opening.facts or {})


def test_another_appointment_of_the_open_cases_patient_changes_nothing_of_the_case() -> None:
    cases = room()
    cases.opening(1, "hl7", "ADT^A01", {**ANNA, "appointment": "F1", "procedure": "Hip"})
    for trigger in ("SIU^S12", "SIU^S13", "SIU^S14", "SIU^S15"):
        assert cases.judge(said(trigger, ANNA, appointment="F2", procedure="Knee")).fate is Fate.KEEP
    renamed = cases.judge(said("SIU^S14", {**ANNA, "name": "Roe^Anna"}, appointment="F2", procedure="Knee"))
    assert renamed.facts is not None
    assert (renamed.facts["name"], renamed.facts["procedure"]) == ("Roe^Anna", "Hip")
    moved = cases.judge(said("SIU^S13", ANNA, appointment="F1", scheduled="202611270800"))
    assert moved.facts is not None
    assert moved.facts["scheduled"] == "202611270800"
    cases.changing(2, "hl7", "SIU^S13", moved.facts)
    ordered = cases.judge(said("OMI^O23", ANNA, order="I1", ordered="Chest X-ray", scheduled="202612010900"))
    assert ordered.facts is not None
    assert (ordered.facts["ordered"], ordered.facts["scheduled"]) == ("Chest X-ray", "202611270800")


@pytest.mark.parametrize("trigger", ["SIU^S15", "SIU^S16", "SIU^S17"])
def test_the_open_cases_own_appointment_is_called_off(trigger: str) -> None:
    cases = room()
    booked = {**ANNA, "appointment": "F1", "procedure": "Hip", "scheduled": "20261127"}
    cases.opening(1, "hl7", "ADT^A01", {**booked, "accession": "A7"})
    verdict = cases.judge(said(trigger, booked))
    assert verdict.fate is Fate.CHANGE
    assert verdict.facts == {"patient_ids": ANNA["patient_ids"], "name": ANNA["name"], "accession": "A7"}


def test_a_booking_goes_with_its_patient_through_a_merge_and_other_ids() -> None:
    cases = room()
    booked = cases.judge(said("SIU^S12", {"patient_ids": "7^^^A~x^^^B"}, procedure="Knee", place=""))
    merge = cases.judge(said("ADT^A40", BORIS, prior_patient_ids="7^^^A", place=""))
    opening = cases.judge(said("ADT^A01", {"patient_ids": "2^^^A~0^^^C", "place": "here"}))
    assert booked.case_id == merge.case_id == opening.case_id
    assert opening.facts is not None
    assert opening.facts["procedure"] == "Knee"
    cases.opening(1, "hl7", "ADT^A01", opening.facts, opening.case_id)
    assert cases.judge(said("ADT^A01", ANNA)).case_id is None


def test_one_of_two_appointments_that_is_called_off_leaves_the_other() -> None:
    cases = room()
    cases.judge(said("SIU^S12", BORIS, appointment="F2", procedure="Knee", place=""))
    verdict = cases.judge(said("SIU^S15", BORIS, appointment="F1", procedure="Hip", place=""))
    assert (verdict.facts or {})["procedure"] == "Knee"
    assert (cases.judge(said("ADT^A01", BORIS)).facts or {})["procedure"] == "Knee"
    assert cases.judge(said("SIU^S15", BORIS, appointment="F2", place="")).facts is None


def test_a_case_opened_by_hand_for_somebody_unknown_gets_its_name() -> None:
    cases = room()
    turn = cases.opening(1, "operator", "anna (uid 1000)", {})
    verdict = cases.judge(said("ADT^A04", ANNA))
    assert turn.opening is not None
    assert (verdict.fate, verdict.case_id) == (Fate.CHANGE, turn.opening.case_id)


def test_a_discharge_taken_back_goes_on_under_the_same_id() -> None:
    cases = with_anna()
    closed = cases.closing(2, "hl7", "ADT^A03").closing
    assert closed is not None
    verdict = cases.judge(said("ADT^A13", ANNA))
    assert (verdict.fate, verdict.case_id) == (Fate.OPEN, closed.case_id)
    assert cases.judge(said("ADT^A01", ANNA)).case_id is None  # another operation


def test_test_messages_open_nothing() -> None:
    assert room().judge(said("ADT^A01", ANNA, quality=Quality.TEST)).fate is Fate.KEEP


def test_a_device_that_names_another_patient_is_told_of_and_recorded_in_place() -> None:
    cases = with_anna()
    verdict = cases.judge(said("ORU^R01", BORIS, kind="device"))
    assert verdict.fate is Fate.KEEP
    assert verdict.other_patient
    assert not cases.judge(said("ORU^R01", ANNA, kind="device")).other_patient


def test_a_status_can_be_what_opens() -> None:
    cases = room(CaseRules(open_on=frozenset({"SIU^S14:STARTED"})))
    assert cases.judge(said("SIU^S14", ANNA, status="Booked")).fate is Fate.APART
    assert cases.judge(said("SIU^S14", ANNA, status="Started")).fate is Fate.OPEN


def test_a_case_without_a_sign_of_its_patient_is_closed_by_rule() -> None:
    cases = with_anna(CaseRules(idle_ns=2 * HOUR_NS))
    assert cases.step(HOUR_NS, 3 * HOUR_NS - 1) is None
    turn = cases.step(HOUR_NS, 3 * HOUR_NS)
    assert turn is not None
    assert turn.closing is not None
    assert turn.closing.cause == "idle"
    assert cases.current is None
    assert with_anna(CaseRules(idle_ns=0)).step(0, 10**19) is None


def test_nothing_is_changed_or_closed_where_no_case_is_open() -> None:
    for ask in (lambda: room().closing(1, "operator", "x"), lambda: room().changing(1, "operator", "x", {})):
        with pytest.raises(OperatorFault, match="no case is open"):
            ask()


def test_ids_agree_where_an_authority_is_not_told() -> None:
    assert ids_of("1^^^A&1.2&ISO^MR~2") == {("1", "A"), ("2", "")}
    cases = with_anna()
    assert cases.judge(said("ADT^A03", {"patient_ids": "1"})).fate is Fate.CLOSE
    assert cases.judge(said("ADT^A03", {"patient_ids": "1^^^B"})).fate is Fate.APART


@given(st.dictionaries(st.text(max_size=20), st.text(max_size=400), max_size=80))
def test_the_facts_of_a_case_are_bounded_and_merging_again_changes_nothing(facts: dict[str, str]) -> None:
    kept = of_a_case(facts)
    assert all(0 < len(text) <= LIMITS.case_fact_chars for text in kept.values())
    size = sum(len(name) + len(text.encode("utf-8", "replace")) for name, text in kept.items())
    assert size <= LIMITS.case_facts_bytes
    assert merged(kept, {}) == kept
