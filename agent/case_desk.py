"""Between the intake and the recorder: blocks end where a case does, and what is about somebody else stands apart.

The rules are ``ledger.cases``'s. What opens a case is recorded in it, whole; what closes a case is its last word.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping

from agent.alerts import Alerts
from agent.intake import Batch, Cut, Intake
from agent.recorder import Closed, Recorder
from ledger.cases import DEVICE, KIND, Cases, Fate, Turn, Verdict
from ledger.instant import Now
from ledger.limits import LIMITS
from ledger.outbox import Warn
from ledger.records import PatientContext
from ledger.state import RoomState

_LOG = logging.getLogger(__name__)


class CaseDesk:
    """One room's. Everything it closes must go to the pump, in order."""

    def __init__(self, cases: Cases, recorder: Recorder, intake: Intake, alerts: Alerts) -> None:
        self.cases = cases
        self._recorder = recorder
        self._intake = intake
        self._alerts = alerts
        self._pending: list[tuple[Verdict, PatientContext]] = []
        self._done: PatientContext | None = None
        self._strangers: set[str] = set()
        self._look_due_ns = 0
        self._now = Now(0, 0)
        self.on_case: Callable[[Mapping[str, str] | None], None] = _nobody

    def tick(self, now: Now) -> Iterator[Closed]:
        """Close the blocks that this tick needs: mostly one, one more for each boundary within it."""
        self._now = now
        if now.mono_ns >= self._look_due_ns:
            self._look_due_ns = now.mono_ns + LIMITS.case_look_ns
            turn = self.cases.step(newest_sign_ns(self._recorder.state), now.utc_ns)
            if turn is not None:
                yield from self._turn(now, self._intake.nothing(), turn)
        for _ in range(LIMITS.case_turns_per_tick):
            self._pending.clear()
            batch = self._intake.take(self._judge)
            if not self._pending:
                closed = self._recorder.tick(now, batch)
                if closed is not None:
                    yield closed
                return
            yield from self._follow(now, batch, *self._pending[0])

    def _judge(self, record: PatientContext, is_first: bool) -> Cut:
        if record is self._done:
            return Cut.NONE
        verdict = self.cases.judge(record)
        if record.facts.get(KIND) == DEVICE:
            self._weigh(record.sub, is_stranger=verdict.other_patient)
        if verdict.fate is Fate.KEEP:
            return Cut.NONE
        if verdict.fate is Fate.CHANGE:
            change = self.cases.changing(record.at_ns, "hl7", record.trigger, verdict.facts or {})
            self._recorder.own_record(change)
            self.on_case(change.facts)
            return Cut.NONE
        self._pending.append((verdict, record))
        if verdict.fate is Fate.CLOSE:
            return Cut.AFTER
        return Cut.AFTER if verdict.fate is Fate.APART and is_first else Cut.BEFORE

    def _follow(self, now: Now, batch: Batch, verdict: Verdict, record: PatientContext) -> Iterator[Closed]:
        if verdict.fate is Fate.CLOSE:
            yield from self._turn(now, batch, self.cases.closing(record.at_ns, "hl7", record.trigger))
        elif verdict.fate is Fate.OPEN:
            turn = self.cases.opening(record.at_ns, "hl7", record.trigger, verdict.facts or {}, verdict.case_id)
            self._done = record
            yield from self._turn(now, batch, turn)
        elif verdict.case_id is not None and _holds(batch, record):
            yield from self._recorder.close_apart(now, batch, verdict.case_id, verdict.facts or {})
        else:  # what came before it belongs to the room's own case
            closed = self._recorder.tick(now, batch)
            if closed is not None:
                yield closed

    def _turn(self, now: Now, batch: Batch, turn: Turn) -> Iterator[Closed]:
        if turn.closing is not None:
            _LOG.info("case %s is closed: %s", turn.closing.case_id.hex(), turn.closing.cause)
            yield self._recorder.close_case(now, batch, turn.closing)
        else:
            closed = self._recorder.tick(now, batch)
            if closed is not None:
                yield closed
        self._recorder.enter_case(turn.opening)
        self.on_case(None if turn.opening is None else turn.opening.facts)
        self._strangers.clear()
        self._alerts.clear(_OTHER.id, _OTHER.subject, now.utc_ns)
        if turn.opening is not None:
            _LOG.info("case %s is open: %s", turn.opening.case_id.hex(), turn.opening.cause)

    # ---- by hand -----------------------------------------------------------------------------------------------

    def open(self, now: Now, by: str, facts: Mapping[str, str]) -> Iterator[Closed]:
        """Open a case now; one that is open is closed by it."""
        yield from self.tick(now)
        turn = self.cases.opening(now.utc_ns, "operator", by, facts)
        yield from self._turn(now, self._intake.nothing(), turn)
        yield from self.tick(now)

    def change(self, now: Now, by: str, facts: Mapping[str, str], reason: str) -> Iterator[Closed]:
        """The open case's context from here on. Raises OperatorFault ``case.none-open``."""
        change = self.cases.changing(now.utc_ns, "operator", by, facts, reason)
        self._recorder.own_record(change)
        self.on_case(change.facts)
        yield from self.tick(now)

    def close(self, now: Now, by: str, reason: str) -> Iterator[Closed]:
        """Close the open case. Raises OperatorFault ``case.none-open``."""
        yield from self.tick(now)
        turn = self.cases.closing(now.utc_ns, "operator", by, reason)
        yield from self._turn(now, self._intake.nothing(), turn)
        yield from self.tick(now)

    def _weigh(self, sub: str, *, is_stranger: bool) -> None:
        """A device has said whom it is connected to: it is told of until it names the open case's patient."""
        if not is_stranger:
            self._strangers.discard(sub)
        elif len(self._strangers) < LIMITS.cases_announced:
            self._strangers.add(sub)
        if self._strangers:
            self._alerts.take(_OTHER, self._now.utc_ns)
        else:
            self._alerts.clear(_OTHER.id, _OTHER.subject, self._now.utc_ns)


_OTHER = Warn(
    "case.other-patient", "warning", "operator", "case",
    "a device's messages name another patient than the open case",
    "compare the patient at the monitor with: orledger case show --patient; then orledger case rename, or open --next",
)  # fmt: skip


def newest_sign_ns(state: RoomState) -> int:
    """When a patient was last measured (UTC ns): a value or a wave, not the lack of one. 0 without any."""
    values = (record.at_ns for _, record in state.values() if record.value is not None)
    waves = (pieces[-1].at_ns for _, pieces in state.waves())
    return max(max(values, default=0), max(waves, default=0))


def _holds(batch: Batch, record: PatientContext) -> bool:
    return any(each is record for records in batch.groups.values() for each in records)


def _nobody(_facts: Mapping[str, str] | None) -> None:
    """Nobody asks whose case it is."""
