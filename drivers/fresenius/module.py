"""One module of a base (or a pump without one): what is asked of it when, and what it showed."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Final

from drivers.conditions import Conditions
from drivers.contract import Now
from drivers.fresenius.values import MODULES, condition, conditions_in, measured, settings
from drivers.shown_values import ShownValues
from ledger.records import Identity, Record, Setting

CONNECT, READ_TYPE, READ_DRUG = "DC", "LF;b", "LP"
VARIABLES: Final = ("daemrks", "daemr", "dr")
"""What is asked after: all; fewer where a pump refuses."""
SPONTANEOUS: Final = ("daemr", "dr")
READ_MODULES: Final = "LE;b"
_TYPE: Final = re.compile(MODULES + "[A-Z]")


@dataclass(slots=True)
class Module:
    """``due_ns``: when each question is due; ``fewer``: how far down VARIABLES it had to go."""

    number: str
    sub: str
    due_ns: dict[str, int]
    connected: bool = False
    missed: int = 0
    fewer: int = 0
    spontaneous_fewer: int = 0
    identity: Identity | None = None
    drug: str = ""
    shown: ShownValues = field(default_factory=ShownValues)
    settings: dict[str, Setting] = field(default_factory=dict)
    words: dict[str, Conditions] = field(default_factory=dict)

    def begin(self, now: Now) -> None:
        """A connection begins, or it was found: its session is to be opened."""
        self.connected = False
        self.missed = self.fewer = self.spontaneous_fewer = 0
        self.settings.clear()
        self.due_ns = {CONNECT: now.mono_ns}

    def question(self, kind: str) -> str:
        """The text of a question of this kind."""
        if kind == "LE":
            return f"LE;{VARIABLES[self.fewer]}"
        if kind == "DE":
            return f"DE;{SPONTANEOUS[self.spontaneous_fewer]}"
        return kind

    def told_already(self, asked: str, text: str) -> bool:
        """Whether this text is the pump's type when its drug is asked for, or the drug's name when the type is.

        An answer that came late, or again because its acknowledgement was lost, must not become the other one.
        """
        if asked == READ_DRUG:
            known = self.identity is not None and text.strip() == MODULES + self.identity.model
            return known or _TYPE.match(text) is not None
        return asked == READ_TYPE and text != "" and text == self.drug

    def tell(self, variables: dict[str, str], now: Now) -> Iterator[Record]:
        """Variables were told."""
        for numeric in measured(self.sub, variables, now):
            yield from self.shown.show(numeric.code, numeric)
        for setting in settings(self.sub, variables, now):
            yield from self.set(setting)
        for letter, digits in conditions_in(variables):
            word = self.words.setdefault(letter, Conditions(self.sub))
            yield from word.update(condition(letter, digits), now)

    def set(self, setting: Setting) -> Iterator[Setting]:
        """A setting was told; it is recorded when it changes."""
        before = self.settings.get(setting.code)
        if before is None or before.value != setting.value:
            self.settings[setting.code] = setting
            yield setting

    def silent(self, now: Now) -> Iterator[Record]:
        """It does not answer: its values are withdrawn, and nobody knows of its alarms."""
        self.connected = False
        self.settings.clear()
        yield from self.shown.silent(now)
        for word in self.words.values():
            yield from word.silent(now)

    def tell_again(self) -> None:
        """Another case: settings and alarms are told with their next answer, and what is asked rarely is asked now."""
        self.settings.clear()
        for word in self.words.values():
            word.tell_again()
        self.due_ns |= {kind: 0 for kind in (READ_DRUG, "LE") if kind in self.due_ns}

    def gone(self, now: Now) -> Iterator[Record]:
        """It is not there any more: its values are withdrawn, its alarms end with it."""
        self.connected = False
        self.settings.clear()
        yield from self.shown.withdraw(now.utc_ns)
        for word in self.words.values():
            yield from word.update((), now)
