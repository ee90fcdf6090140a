"""When to say what: associate, answer, ask, renew, keep alive, give up. Times are monotonic nanoseconds."""

from __future__ import annotations

from enum import Enum, auto
from typing import Final

from drivers.intellivue.requests import ACTIVE_S, Ask
from drivers.intellivue.session import Profile
from ledger.limits import S_NS

RETRY_NS: Final = 5 * S_NS
AFTER_ABORT_NS: Final = 1 * S_NS
REFRESH_NS: Final = 60 * S_NS
AGAIN_NS: Final = 15 * S_NS
"""Between two attempts to get what does not come: a monitor in standby has no waves."""
REFUSED_POLL_NS: Final = 300 * S_NS
_RENEW_NS: Final = ACTIVE_S * S_NS // 2
_TIMEOUT_SHARE: Final = 3
_STEP_NS: Final = S_NS // 10
_CLASS_NS: Final = S_NS + _STEP_NS
"""The monitor processes one single poll a second for each class of objects and ignores the rest."""
_PATIENCE_NS: Final = {Ask.NUMERICS: 5 * S_NS, Ask.ALERTS: 10 * S_NS, Ask.WAVES: 5 * S_NS}


class Phase(Enum):
    """Where an association is."""

    IDLE = auto()
    """Not connected, or waiting before the next attempt."""
    REQUESTED = auto()
    ACCEPTED = auto()
    """The monitor has agreed; it presents itself next."""
    POLLING = auto()


class Say(Enum):
    """What to send beside polls."""

    ASSOCIATE = auto()
    ABORT = auto()
    SET_WAVES = auto()
    GET_WAVES = auto()


Due = Say | Ask
_RARE: Final[frozenset[Due]] = frozenset((Ask.MDS, Ask.PATIENT, Say.GET_WAVES))


class Schedule:
    """The association's life. ``due`` gives what to send now; bounded by the number of things to say."""

    __slots__ = ("_due", "_heard_ns", "_sent_ns", "_stray_data", "_timeout_ns", "_wanted", "_watch", "phase")

    def __init__(self, wanted: frozenset[Due]) -> None:
        self._wanted = wanted
        self.phase = Phase.IDLE
        self._due: dict[Due, int] = {}
        self._watch: dict[Ask, int] = {}
        self._heard_ns = self._sent_ns = 0
        self._timeout_ns = Profile().timeout_ns
        self._stray_data = False

    @property
    def timeout_ns(self) -> int:
        """After so long without a word the association is dead."""
        return self._timeout_ns

    def begin(self, mono_ns: int, wait_ns: int = 0) -> None:
        """Ask for an association after ``wait_ns``; whatever there was is over."""
        self.phase = Phase.IDLE
        self._due = {Say.ASSOCIATE: mono_ns + wait_ns}
        self._watch = {}
        self._heard_ns = mono_ns
        self._stray_data = False

    def accepted(self, profile: Profile, mono_ns: int) -> None:
        """The monitor agreed: wait for it to present itself. An accept that comes twice changes nothing."""
        if self.phase in (Phase.ACCEPTED, Phase.POLLING):
            return
        self.phase = Phase.ACCEPTED
        self._timeout_ns = profile.timeout_ns
        self._due = {}
        self._heard_ns = mono_ns

    def created(self, without: frozenset[Due], mono_ns: int) -> None:
        """The monitor presented itself and was answered: ask for everything but ``without``, not all at once."""
        self._heard_ns = mono_ns
        if self.phase is Phase.POLLING:
            return  # it repeats itself until it hears the answer
        self.phase = Phase.POLLING
        first = {
            Ask.MDS: _STEP_NS,
            Ask.NUMERICS_ONCE: _STEP_NS,
            Say.SET_WAVES: _STEP_NS,
            Ask.WAVES_ONCE: 2 * _STEP_NS,
            Ask.ALERTS: 3 * _STEP_NS,
            Ask.PATIENT: 4 * _STEP_NS,
            Ask.NUMERICS: _STEP_NS + _CLASS_NS,
            Ask.WAVES: 2 * _STEP_NS + _CLASS_NS,
            Ask.ENUMERATIONS: 4 * _STEP_NS + _CLASS_NS,
            Say.GET_WAVES: 5 * _STEP_NS + _CLASS_NS,
        }
        wanted = self._wanted - without
        self._due = {item: mono_ns + wait_ns for item, wait_ns in first.items() if item in wanted}

    def heard(self, mono_ns: int, object_class: int | None = None) -> None:
        """A message came; of a poll result, the class of its objects."""
        self._heard_ns = mono_ns
        if self.phase is Phase.REQUESTED and object_class is not None:
            self._stray_data = True
        if self.phase is not Phase.POLLING:
            return
        for ask, patience_ns in _PATIENCE_NS.items():
            if ask.object_class == object_class and ask in self._wanted:
                self._watch[ask] = mono_ns + patience_ns

    def refused(self, ask: Ask, mono_ns: int) -> None:
        """The monitor answered a poll with an error: ask again much later."""
        self._watch.pop(ask, None)
        self._due[ask] = mono_ns + REFUSED_POLL_NS

    def ask_again(self, without: frozenset[Due]) -> None:
        """Ask now what is asked rarely or once, but for what the monitor does not grant.

        Which waves it sends is not asked before it was told which are wanted: that question comes of itself.
        """
        if self.phase is Phase.POLLING:
            to_come = {Say.GET_WAVES} & self._due.keys()
            self._due |= dict.fromkeys(_RARE & self._wanted - without - to_come, 0)

    def due(self, mono_ns: int) -> list[Due]:
        """What to send now, in order."""
        if self.phase in (Phase.ACCEPTED, Phase.POLLING) and mono_ns - self._heard_ns >= self._timeout_ns:
            self.begin(mono_ns, AFTER_ABORT_NS)
            return [Say.ABORT]
        late = [ask for ask, due_ns in self._watch.items() if due_ns <= mono_ns]
        for ask in late:
            self._watch[ask] = mono_ns + AGAIN_NS
            self._due[ask] = min(mono_ns, self._due.get(ask, mono_ns))
        found: list[Due] = []
        for item in [item for item, due_ns in self._due.items() if due_ns <= mono_ns]:
            found += self._say(item, mono_ns)
        if self.phase is Phase.POLLING and not found and mono_ns >= self._keep_alive_ns():
            found.append(Ask.KEEP_ALIVE)
        if found:
            self._sent_ns = mono_ns
        return found

    def _say(self, item: Due, mono_ns: int) -> list[Due]:
        del self._due[item]
        if item is Say.ASSOCIATE:
            if self.phase is Phase.REQUESTED and self._stray_data:
                # Data without an accept: an association of ours from before, which the monitor holds on to.
                self.begin(mono_ns, AFTER_ABORT_NS)
                return [Say.ABORT]
            self.phase = Phase.REQUESTED
            self._due[item] = mono_ns + RETRY_NS
        elif isinstance(item, Ask):
            if item.is_extended:
                self._due[item] = mono_ns + _RENEW_NS
                if item in _PATIENCE_NS:
                    self._watch.setdefault(item, mono_ns + REFRESH_NS)
            elif item in (Ask.MDS, Ask.PATIENT):
                self._due[item] = mono_ns + REFRESH_NS
        return [item]

    def _keep_alive_ns(self) -> int:
        return self._sent_ns + self._timeout_ns // _TIMEOUT_SHARE

    def deadline_ns(self) -> int | None:
        """When ``due`` is wanted next."""
        deadlines = [*self._due.values(), *self._watch.values()]
        if self.phase in (Phase.ACCEPTED, Phase.POLLING):
            deadlines.append(self._heard_ns + self._timeout_ns)
        if self.phase is Phase.POLLING:
            deadlines.append(self._keep_alive_ns())
        return min(deadlines, default=None)
