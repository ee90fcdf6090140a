"""What is known of one client beyond a connection: which lines were taken, and where its waves are."""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass, field
from typing import Final

from drivers.contract import Ticket
from drivers.push.reading import Refused, sample_count
from drivers.push.schema import Wave
from drivers.push.standing import Standing

_MOST_TAKEN: Final = 4_096
_MOST_WAVES: Final = 512
_MOST_CLIENTS: Final = 64


@dataclass(slots=True)
class Client:
    """One session of one client. ``last``: the highest number heard of.

    Only what is remembered as recorded counts as a repeat. So a line is never acknowledged that was not recorded,
    whatever numbers a client gives; one sent again after 4,096 others is recorded twice.
    """

    name: str
    session: str
    last: int = 0
    taken: dict[int, Ticket] = field(default_factory=dict)
    waves: dict[tuple[str, str], int] = field(default_factory=dict)
    standing: Standing = field(default_factory=Standing)

    def heard(self, seq: int) -> int:
        """A line of this number came, to be recorded or refused. How many before it never came."""
        never_came = max(0, seq - self.last - 1)
        self.last = max(self.last, seq)
        return never_came

    def recorded(self, seq: int, ticket: Ticket) -> None:
        """It has this ticket."""
        self.taken[seq] = ticket
        if len(self.taken) > _MOST_TAKEN:
            del self.taken[next(iter(self.taken))]

    def lost(self, seq: int) -> None:
        """It was not recorded after all: it may come again."""
        self.taken.pop(seq, None)

    def missing_samples(self, wave: Wave) -> int:
        """How many samples are missing before this wave's first. Raises Refused if it goes back in time."""
        key = (wave.code, wave.channel)
        expected = self.waves.get(key)
        if expected is None and len(self.waves) >= _MOST_WAVES:
            raise Refused("$.channel", f"more than {_MOST_WAVES} waves")
        if expected is not None and wave.index < expected:
            if wave.seq <= self.last:
                return 0  # it comes late: those after it came before
            raise Refused("$.index", f"must be at least {expected}: those samples came already")
        self.waves[key] = wave.index + sample_count(wave)
        return wave.index - expected if expected is not None else 0


class Clients:
    """All that are known, the one heard longest ago forgotten first."""

    def __init__(self) -> None:
        self._known: OrderedDict[str, Client] = OrderedDict()

    def tell_again(self) -> None:
        """Another case has begun."""
        for client in self._known.values():
            client.standing.tell_again()

    def of(self, name: str, session: str) -> Client:
        """The client of this name; anew if it begins another session."""
        client = self._known.pop(name, None)
        if client is None or client.session != session:
            client = Client(name, session)
        self._known[name] = client
        if len(self._known) > _MOST_CLIENTS:
            self._known.popitem(last=False)
        return client
