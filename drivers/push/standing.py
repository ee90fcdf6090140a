"""What a client said that holds until it says otherwise: settings, and alarms and modes that have not ended."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator
from dataclasses import replace
from typing import Final

from drivers.contract import Now
from ledger.records import Event, Record, Setting

_MOST: Final = 1_024
_STATES: Final = frozenset({"physiological_alarm", "technical_alarm", "advisory", "mode"})


class Standing:
    """Of one session of one client. Bounded: what was said longest ago is forgotten first."""

    __slots__ = ("_holds", "_untold")

    def __init__(self) -> None:
        self._holds: OrderedDict[tuple[str, str], Setting | Event] = OrderedDict()
        self._untold: list[tuple[str, str]] = []

    def note(self, record: Record) -> None:
        """This was said."""
        if isinstance(record, Setting):
            key, holds = (record.code, record.channel), record.value is not None
        elif isinstance(record, Event) and record.kind in _STATES and record.phase != "once":
            key, holds = ("", record.alarm_id), record.phase != "end"
        else:
            return
        self._holds.pop(key, None)
        if holds:
            self._holds[key] = record
            if len(self._holds) > _MOST:
                self._holds.popitem(last=False)

    def tell_again(self) -> None:
        """Another case has begun, and its state holds nothing of it yet."""
        self._untold = list(self._holds)

    def again(self, said: Record, now: Now) -> Iterator[Record]:
        """The client speaks, and so what it said last still holds, but for what it says now."""
        untold, self._untold = self._untold, []
        for key in untold:
            held = self._holds.get(key)
            if isinstance(held, Setting) and not (isinstance(said, Setting) and key == (said.code, said.channel)):
                yield replace(held, at_ns=now.utc_ns)
            elif isinstance(held, Event) and not (isinstance(said, Event) and key == ("", said.alarm_id)):
                yield replace(held, at_ns=now.utc_ns, phase="continue")
