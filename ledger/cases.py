"""The room's case: which one is open, and what opens it, changes it and closes it. Pure: words in, verdicts out.

A case is one operation on one patient. It has a random id, which may stand in clear, and a context (the facts), which
stands only in sealed records. Docs: docs/cases.md.
"""

from __future__ import annotations

import enum
from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Final

from ledger.errors import OperatorFault
from ledger.limits import LIMITS, S_NS
from ledger.record_codec import CASE_ID_BYTES
from ledger.records import NOT_A_PATIENT, CaseCause, CaseChange, PatientContext

PATIENT_IDS: Final = "patient_ids"
"""PID-3 as sent, repetitions joined by ``~``, each ``id^^^authority^type``."""
PRIOR_IDS: Final = "prior_patient_ids"
VISIT: Final = "visit"
PLACE: Final = "place"
KIND: Final = "kind"
STATUS: Final = "status"
MESSAGE_ONLY: Final = frozenset({PRIOR_IDS, PLACE, KIND, STATUS, "prior_location"})
"""Facts that tell of one message and not of the case."""

FACTS: Final = (
    PATIENT_IDS, PRIOR_IDS, "name", "birth_date", "sex", "patient_class", VISIT, "account", "location",
    "prior_location", "room", "procedure", "procedure_code", "accession", "order", "ordered", "ordered_code",
    "appointment", "scheduled",
    "surgeon", "anaesthetist", "reason", PLACE, KIND, STATUS, "note",
)  # fmt: skip
"""Every fact there is, by name. All of them are sealed; none ever stands in a header, an alert or a metric."""

_TAKES_BACK: Final = frozenset({"ADT^A12", "ADT^A13"})
"""Cancels a transfer or a discharge: the case that it closed goes on under its id."""
CALLED_OFF: Final = frozenset({"SIU^S15", "SIU^S16", "SIU^S17"})
_APPOINTMENT: Final = "appointment"
_SCHEDULED: Final = "scheduled"
_OF_AN_APPOINTMENT: Final = (
    _APPOINTMENT, "procedure", "procedure_code", _SCHEDULED, "room", "surgeon", "anaesthetist",
)  # fmt: skip
HERE: Final = "here"
LEFT: Final = "left"
DEVICE: Final = "device"


@dataclass(frozen=True, slots=True)
class CaseRules:
    """What messages do. A trigger is ``ADT^A01``, or with a status ``SIU^S14:STARTED``. ``idle_ns`` 0: no such rule."""

    open_on: frozenset[str] = frozenset({"ADT^A01", "ADT^A02", "ADT^A04", "ADT^A13", "ADT^A17"})
    close_on: frozenset[str] = frozenset({"ADT^A03", "ADT^A11"})
    close_on_leaving: bool = True
    idle_ns: int = 12 * 3_600 * S_NS


class Fate(enum.Enum):
    """What a message means for the case."""

    KEEP = "keep"
    CHANGE = "change"
    OPEN = "open"
    CLOSE = "close"
    APART = "apart"


@dataclass(frozen=True, slots=True)
class Verdict:
    """``case_id``: of the case that opens, or that a message which stands apart is of; ``facts``: all of it that is
    known then.
    """

    fate: Fate
    case_id: bytes | None = None
    facts: Mapping[str, str] | None = None
    other_patient: bool = False


_KEEP: Final = Verdict(Fate.KEEP)


@dataclass(frozen=True, slots=True)
class Turn:
    """A boundary, or a change within a case: what is to be written of it."""

    closing: CaseChange | None = None
    opening: CaseChange | None = None


class Cases:
    """Holds the open case; asked about each message in order, told by an operator. ``random`` gives secret bytes."""

    def __init__(self, rules: CaseRules, random: Callable[[int], bytes], current: CaseChange | None = None) -> None:
        self.current = current
        self._rules = rules
        self._random = random
        self._last_closed: CaseChange | None = None
        self._announced: OrderedDict[str, tuple[bytes, dict[str, str]]] = OrderedDict()

    def recall(self, case_id: bytes, facts: Mapping[str, str]) -> None:
        """Before the first message: what the process before this one was told of somebody who has not come yet."""
        if _name(facts):
            self._announced[_name(facts)] = (case_id, of_a_case(facts))

    # ---- messages ----------------------------------------------------------------------------------------------

    def judge(self, record: PatientContext) -> Verdict:
        """What this message means for the case. Nothing changes yet but what is announced."""
        facts = record.facts
        if int(record.quality) & int(NOT_A_PATIENT):
            return _KEEP
        if facts.get(KIND) == DEVICE:
            named = bool(facts.get(PATIENT_IDS))
            return Verdict(Fate.KEEP, other_patient=named and self.current is not None and not self._is_current(facts))
        same = self._is_current(facts)
        if self._opens(record):
            return self._on_opening(record, same=same)
        if same and self._closes(record):
            return Verdict(Fate.CLOSE)
        if same:
            return self._change(self._of_its_appointment(record))
        return self._apart(facts, is_called_off=record.trigger in CALLED_OFF)

    def _on_opening(self, record: PatientContext, *, same: bool) -> Verdict:
        current, facts = self.current, record.facts
        if current is not None and (same or not current.facts.get(PATIENT_IDS)):
            return self._change(facts)  # a case opened by hand for somebody unknown has got its name
        closed = self._last_closed
        if closed is not None and record.trigger in _TAKES_BACK and is_same(closed.facts, facts):
            return Verdict(Fate.OPEN, closed.case_id, merged(closed.facts, facts))
        case_id, known = self._announced.get(self._remembered(facts), (None, {}))
        return Verdict(Fate.OPEN, case_id, merged(known, facts))

    def _of_its_appointment(self, record: PatientContext) -> Mapping[str, str]:
        """What a message tells of the open case: of another appointment of its patient nothing but whose it is; of its
        own, once that is called off, that it has none.
        """
        facts, told = record.facts, record.facts.get(_APPOINTMENT, "")
        own = "" if self.current is None else self.current.facts.get(_APPOINTMENT, "")
        of_patient = {name: text for name, text in facts.items() if name not in _OF_AN_APPOINTMENT}
        if record.trigger in CALLED_OFF:
            return {**of_patient, **dict.fromkeys(_OF_AN_APPOINTMENT, "")} if told and told == own else of_patient
        if own and not told:  # when an order is to be done says nothing of the operation that was booked
            return {name: text for name, text in facts.items() if name != _SCHEDULED}
        return of_patient if own and told != own else facts

    def _remembered(self, facts: Mapping[str, str]) -> str:
        """The name under which a patient was announced: by the same ids, by another one of theirs, by one merged away;
        else the one that these facts give.
        """
        name = _name(facts)
        if name in self._announced:
            return name
        return next((each for each, (_, known) in self._announced.items() if is_same(known, facts)), name)

    def _apart(self, facts: Mapping[str, str], *, is_called_off: bool) -> Verdict:
        """A message about a patient who is not the open case's: kept under the key of the case it may become."""
        name = _name(facts)
        if not name:
            return _KEEP
        case_id, known = self._announced.pop(self._remembered(facts), (None, {}))
        case_id = case_id or self._random(CASE_ID_BYTES)
        told, booked = facts.get(_APPOINTMENT, ""), known.get(_APPOINTMENT, "")
        if not is_called_off:
            known = merged(known, facts)
        elif not (told and booked and told != booked):
            return Verdict(Fate.APART, case_id)
        self._announced[_name(known) or name] = (case_id, known)
        if len(self._announced) > LIMITS.cases_announced:
            self._announced.popitem(last=False)
        return Verdict(Fate.APART, case_id, known)

    def _change(self, facts: Mapping[str, str]) -> Verdict:
        if self.current is None:
            return _KEEP
        after = merged(self.current.facts, facts)
        return Verdict(Fate.CHANGE, self.current.case_id, after) if after != dict(self.current.facts) else _KEEP

    def _opens(self, record: PatientContext) -> bool:
        told = record.facts.get(PLACE) == HERE and bool(record.facts.get(PATIENT_IDS))
        return told and _listed(record, self._rules.open_on)

    def _closes(self, record: PatientContext) -> bool:
        left = record.facts.get(PLACE) == LEFT and self._rules.close_on_leaving
        return left or _listed(record, self._rules.close_on)

    def _is_current(self, facts: Mapping[str, str]) -> bool:
        return self.current is not None and is_same(self.current.facts, facts)

    # ---- what is done ------------------------------------------------------------------------------------------

    def opening(
        self, at_ns: int, cause: CaseCause, by: str, facts: Mapping[str, str], case_id: bytes | None = None
    ) -> Turn:
        """Open a case; one that is open is closed by it."""
        closing = self._closing(at_ns, "next", by, "another case opens in this room") if self.current else None
        self._announced.pop(self._remembered(facts), None)
        case = CaseChange(
            at_ns=at_ns, case_id=case_id or self._random(CASE_ID_BYTES), phase="open", cause=cause, by=_short(by),
            opened_ns=at_ns, facts=of_a_case(facts),
        )  # fmt: skip
        self.current, self._last_closed = case, None
        return Turn(closing, case)

    def changing(self, at_ns: int, cause: CaseCause, by: str, facts: Mapping[str, str], reason: str = "") -> CaseChange:
        """The open case's context from here on; it keeps its id. Raises OperatorFault ``case.none-open``."""
        current = self._require()
        self.current = replace(
            current, at_ns=at_ns, phase="change", cause=cause, by=_short(by), reason=_short(reason),
            facts=of_a_case(facts),
        )  # fmt: skip
        return self.current

    def closing(self, at_ns: int, cause: CaseCause, by: str, reason: str = "") -> Turn:
        """Close the open case. Raises OperatorFault ``case.none-open``."""
        self._require()
        closed = self._closing(at_ns, cause, by, reason)
        self.current = None
        return Turn(closed, None)

    def _closing(self, at_ns: int, cause: CaseCause, by: str, reason: str) -> CaseChange:
        current = self._require()
        closed = replace(
            current, at_ns=at_ns, phase="close", cause=cause, by=_short(by), reason=_short(reason), facts={}
        )
        self._last_closed = replace(current, at_ns=at_ns)
        return closed

    def step(self, newest_sign_ns: int, now_ns: int) -> Turn | None:
        """Time passes (UTC): a case of whose patient nothing was heard for so long is closed by rule."""
        closed = self._last_closed
        if closed is not None and now_ns - closed.at_ns > LIMITS.case_reopen_ns:
            self._last_closed = None
        current, idle_ns = self.current, self._rules.idle_ns
        if current is None or not idle_ns:
            return None
        since_ns = max(newest_sign_ns, current.at_ns)
        if now_ns - since_ns < idle_ns:
            return None
        hours = idle_ns / (3_600 * S_NS)
        return self.closing(now_ns, "idle", "rule", f"nothing of a patient for {hours:g} hours")

    def _require(self) -> CaseChange:
        if self.current is None:
            raise OperatorFault("case.none-open", "no case is open in this room", "orledger case open")
        return self.current


def of_a_case(facts: Mapping[str, str]) -> dict[str, str]:
    """Those facts that belong to a case and are not empty, cut to ``LIMITS.case_fact_chars``; of more than
    ``case_facts_bytes`` the least important are left out.
    """
    order = {name: place for place, name in enumerate(FACTS)}
    kept: dict[str, str] = {}
    left = LIMITS.case_facts_bytes
    for name in sorted(facts, key=lambda name: (order.get(name, len(FACTS)), name)):
        text = _short(facts[name])
        left -= len(name) + len(text.encode("utf-8", "replace"))
        if text and name not in MESSAGE_ONLY and left >= 0:
            kept[name] = text
    return dict(sorted(kept.items()))


def merged(before: Mapping[str, str], told: Mapping[str, str]) -> dict[str, str]:
    """The facts of a case after a message: what it tells replaces, an empty text withdraws, the rest stays."""
    return of_a_case({**before, **told})


def ids_of(raw: str) -> frozenset[tuple[str, str]]:
    """The (id, authority) pairs of ``patient_ids``."""
    parts = [[*one.split("^"), "", "", "", ""] for one in raw.split("~") if one]
    return frozenset((part[0].strip(), part[3].split("&")[0].strip()) for part in parts if part[0].strip())


def is_same(case: Mapping[str, str], told: Mapping[str, str]) -> bool:
    """Whether a message is about this patient: by an id they share, by the id merged away, or by the visit."""
    held = ids_of(case.get(PATIENT_IDS, ""))
    for name in (PATIENT_IDS, PRIOR_IDS):
        if any(_agree(mine, theirs) for mine in held for theirs in ids_of(told.get(name, ""))):
            return True
    visit = case.get(VISIT, "")
    return bool(visit) and visit == told.get(VISIT, "")


def _agree(mine: tuple[str, str], theirs: tuple[str, str]) -> bool:
    """The same id, and of the same authority where both name one."""
    return mine[0] == theirs[0] and (mine[1] == theirs[1] or not mine[1] or not theirs[1])


def _name(facts: Mapping[str, str]) -> str:
    """What a patient not yet here is remembered by."""
    ids = sorted(ids_of(facts.get(PATIENT_IDS, "")))
    return "^".join(ids[0]) if ids else ""


def _listed(record: PatientContext, triggers: frozenset[str]) -> bool:
    status = record.facts.get(STATUS, "").upper()
    return record.trigger in triggers or bool(status and f"{record.trigger}:{status}" in triggers)


def _short(text: str) -> str:
    return text[: LIMITS.case_fact_chars]
