"""Blocks cut at a case's boundaries: nothing of one patient stands in another's block or state."""

from __future__ import annotations

from collections.abc import Iterable
from decimal import Decimal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agent.alerts import Alerts
from agent.case_desk import CaseDesk, newest_sign_ns
from agent.intake import Cut, Intake
from agent.recorder import Closed, Recorder
from ledger.block import ClockQuality, ClockState, Header, decode_signed_header
from ledger.cases import CaseRules, Cases
from ledger.errors import OperatorFault
from ledger.instant import Now
from ledger.limits import MS_NS, S_NS
from ledger.notices import CaseBoundary
from ledger.payload import decode_payload
from ledger.records import CaseChange, Identity, Keyframe, LinkId, Numeric, PatientContext, Raw, Record
from ledger.state import LEDGER_FEED, RoomState, decode_state, encode_state
from tests.ledger.cluster import Cluster

UTC_NS = 1_700_000_000 * S_NS
ANNA = {"patient_ids": "1^^^A", "name": "Berg^Anna", "place": "here"}
BORIS = {"patient_ids": "2^^^A", "name": "Dahl^Boris", "place": "here"}

Opened = tuple[Header, dict[str, tuple[Record, ...]]]


class Room:
    """A box alone with its intake, ticked by hand."""

    def __init__(self, rules: CaseRules | None = None) -> None:
        self.box = Cluster(1).boxes["or-1"]
        self.recorder = Recorder(self.box.member, RoomState(), lambda: ClockQuality(ClockState.SYNCHRONISED, 1))
        self.intake = Intake()
        self.alerts = Alerts()
        count = iter(range(1, 10_000))
        cases = Cases(rules or CaseRules(), lambda size: next(count).to_bytes(size, "big"))
        self.desk = CaseDesk(cases, self.recorder, self.intake, self.alerts)
        self.now = Now(S_NS, UTC_NS)
        self.blocks: list[Opened] = []
        self.tick()

    def tick(self, ms: int = 100) -> list[Opened]:
        self.now = Now(self.now.mono_ns + ms * MS_NS, self.now.utc_ns + ms * MS_NS)
        return self.keep(self.desk.tick(self.now))

    def keep(self, closed: Iterable[Closed]) -> list[Opened]:
        found = []
        for each in closed:
            header = decode_signed_header(each.block.signed_header)
            (key,) = [key for key in self.box.member.writer.data_keys._of_case.values() if key.key_id == header.key_id]
            plain = key.open_payload(each.block.payload, header.log.incarnation, header.seq, header.associated_data())
            found.append((header, decode_payload(plain, header.codec)))
        self.blocks += found
        return found

    def say(self, trigger: str, facts: dict[str, str], **more: str) -> None:
        """One message: its context, its bytes, a value of it."""
        self.now = Now(self.now.mono_ns + 1, self.now.utc_ns + 1)
        told, at_ns = {**facts, **more}, self.now.utc_ns
        context = PatientContext(at_ns=at_ns, trigger=trigger, facts=told)
        text = f"{trigger} {told.get('name', '')}".encode()
        raw = Raw(at_ns=at_ns, link=LinkId(1), direction="<", data=text, pieces=((0, len(text)),))
        self.intake.offer("hospital", (context,))
        self.intake.offer("hospital", (raw,))

    def measure(self, code: str) -> None:
        self.now = Now(self.now.mono_ns + 1, self.now.utc_ns + 1)
        self.intake.offer("monitor", (Numeric(at_ns=self.now.utc_ns, code=code, value=Decimal(1), unit=""),))

    @property
    def case_id(self) -> bytes | None:
        current = self.desk.cases.current
        return None if current is None else current.case_id

    def codes(self) -> set[str]:
        return {value.code for _, value in self.recorder.state.values()}


def test_a_case_is_opened_before_its_message_and_closed_after_it() -> None:
    room = Room()
    room.measure("before")
    room.say("ADT^A01", ANNA)
    room.measure("anna")
    first, opened = room.tick()
    assert (first[0].case_id, opened[0].case_id) == (None, room.case_id)
    assert opened[0].notices == (CaseBoundary("open", room.case_id or b""),)
    keyframe, change = opened[1][LEDGER_FEED]
    assert isinstance(keyframe, Keyframe)
    assert not list(decode_state(keyframe.state).values())
    assert isinstance(change, CaseChange)
    assert change.facts["name"] == "Berg^Anna"
    assert {type(record) for record in opened[1]["hospital"]} == {PatientContext, Raw}
    assert room.codes() == {"anna"}
    room.say("ADT^A03", ANNA)
    room.measure("after")
    closing, empty = room.tick()
    assert closing[0].case_id == opened[0].case_id
    assert b"ADT^A03 Berg^Anna" in [record.data for record in closing[1]["hospital"] if isinstance(record, Raw)]
    assert closing[0].notices == (CaseBoundary("close", opened[0].case_id or b""),)
    assert empty[0].case_id is None
    assert empty[0].keyframe_seq == empty[0].seq
    assert room.codes() == {"after"}


def test_what_is_about_somebody_else_has_a_block_and_a_key_of_its_own() -> None:
    room = Room()
    room.say("ADT^A01", ANNA)
    room.tick()
    room.measure("anna")
    room.say("SIU^S12", BORIS, place="")
    room.measure("anna too")
    before, apart, after = room.tick()
    assert before[0].case_id == after[0].case_id == room.case_id
    assert apart[0].case_id not in {None, room.case_id}
    assert apart[0].key_id != before[0].key_id == after[0].key_id
    assert apart[0].notices == ()
    room.say("ADT^A01", BORIS)
    _, opened = room.tick()
    assert opened[0].case_id == apart[0].case_id == room.case_id
    assert opened[0].key_id == apart[0].key_id


def test_what_is_known_of_the_devices_stays_over_a_boundary() -> None:
    room = Room()
    room.intake.offer("monitor", (Identity(at_ns=UTC_NS, make="GE", model="B650"),))
    room.measure("x")
    room.tick()
    room.keep(room.desk.open(room.now, "anna (uid 1)", {}))
    assert [identity.model for _, identity in room.recorder.state.identities()] == ["B650"]
    assert not room.codes()


def test_by_hand_it_opens_changes_and_closes_and_says_who_did_it() -> None:
    room = Room()
    room.measure("before")
    room.keep(room.desk.open(room.now, "anna (uid 1000)", {"name": "Berg^Anna"}))
    opened = room.desk.cases.current
    assert opened is not None
    assert opened.by == "anna (uid 1000)"
    room.keep(room.desk.change(room.now, "boris (uid 1001)", {"name": "Holm^Anna"}, "married"))
    case = room.recorder.state.case()
    assert case is not None
    assert (case.case_id, case.facts["name"], case.reason) == (opened.case_id, "Holm^Anna", "married")
    room.keep(room.desk.close(room.now, "boris (uid 1001)", "done"))
    assert room.recorder.state.case() is None
    with pytest.raises(OperatorFault):
        room.keep(room.desk.close(room.now, "boris (uid 1001)", "done"))
    changes = [record for _, groups in room.blocks for record in groups.get(LEDGER_FEED, ())
               if isinstance(record, CaseChange)]  # fmt: skip
    assert [change.phase for change in changes] == ["open", "change", "close"]


def test_a_case_of_which_nothing_is_heard_is_closed_by_rule() -> None:
    room = Room(CaseRules(idle_ns=3_600 * S_NS))
    room.keep(room.desk.open(room.now, "x", {}))
    room.measure("x")
    room.tick(1_000)
    assert newest_sign_ns(room.recorder.state) > UTC_NS
    for _ in range(59):
        room.tick(60_000)
    assert room.case_id is not None
    room.tick(60_000)
    room.tick(60_000)
    assert room.desk.cases.current is None
    assert room.recorder.state.case() is None


def test_a_device_that_names_another_patient_raises_an_alert_until_the_case_ends() -> None:
    room = Room()
    room.say("ADT^A01", ANNA)
    room.say("ORU^R01", BORIS, kind="device")
    assert len(room.tick()) == 1
    assert [alert.warning.id for alert in room.alerts.active()] == ["case.other-patient"]
    room.say("ORU^R01", ANNA, kind="device")
    room.tick()
    assert not room.alerts.active()
    room.say("ORU^R01", BORIS, kind="device")
    room.tick()
    assert room.alerts.active()
    room.keep(room.desk.close(room.now, "x", ""))
    assert not room.alerts.active()


def test_a_log_never_begins_with_what_stands_apart() -> None:
    room = Room()
    room.tick()
    room.box.member.writer._open_provisional()
    room.say("SIU^S12", BORIS, place="")
    blocks = room.tick()
    assert [(header.seq, header.keyframe_seq) for header, _ in blocks][:2] == [(0, 0), (1, 0)]
    assert blocks[1][0].case_id is not None


def test_positions_stay_exact_where_a_batch_is_cut() -> None:
    intake = Intake()
    for number in range(3):
        intake.offer("a", (PatientContext(at_ns=number, trigger="ADT^A01"),))
        intake.offer("a", (Numeric(at_ns=number, code=str(number), value=None, unit=""),))
    assert intake.take(lambda _record, is_first: Cut.NONE if is_first else Cut.BEFORE).last_position == 2
    assert intake.nothing().last_position == 2
    assert intake.take(lambda _record, _is_first: Cut.AFTER).last_position == 4
    assert intake.take().last_position == 6
    intake.durable(6)


steps = st.one_of(
    st.tuples(st.just("say"), st.sampled_from(["ADT^A01", "ADT^A03", "ADT^A08", "ADT^A13", "SIU^S12", "ORM^O01"]),
              st.sampled_from(["Anna", "Boris", "Carl"])),
    st.tuples(st.just("measure"), st.just(""), st.just("")),
    st.tuples(st.just("tick"), st.just(""), st.just("")),
)  # fmt: skip


@settings(max_examples=40)
@given(st.lists(steps, max_size=25))
def test_no_block_names_a_patient_of_another_case_and_folding_gives_the_recorders_state(
    story: list[tuple[str, str, str]],
) -> None:
    """However messages come: a name stands only under its own case's key, and never in a keyframe of another's."""
    room = Room()
    number = 0
    for kind, trigger, name in story:
        if kind == "say":
            room.say(trigger, {"patient_ids": name, "name": f"Family^{name}", "place": "here"})
        elif kind == "measure":
            number += 1
            room.measure(f"value-{number}")
        else:
            room.tick()
    room.tick()
    room.tick(6_000)
    folded = RoomState()
    owner: dict[bytes, str] = {}
    for header, groups in room.blocks:
        folded.fold_groups(groups)
        for records in groups.values():
            for record in records:
                text = repr(record)
                for name in ("Anna", "Boris", "Carl"):
                    if name in text:
                        assert header.case_id is not None
                        assert owner.setdefault(header.case_id, name) == name
    assert encode_state(folded) == encode_state(room.recorder.state)
    # A value is in the state only if it was measured in the stretch that goes on now.
    last_boundary = max((at for at, (header, _) in enumerate(room.blocks) if header.notices), default=0)
    since = {record.code for _, groups in room.blocks[last_boundary:] for record in groups.get("monitor", ())
             if isinstance(record, Numeric)}  # fmt: skip
    assert room.codes() <= since
