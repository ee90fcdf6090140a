"""The pumps of a rack: who sits where, who came, moved or went; each a logical device named by its serial number.

Which pumps are there is told by rounds. A round ends when an address comes again that was in it. A pump is gone when
the ComDevice says so (GNERR 39), when another sits in its slot, or when two sound rounds in a row do not name it. That
holds whether all come as blocks of one answer, each in an answer of its own, or by themselves.
"""

from __future__ import annotations

import re
from collections.abc import Generator, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Final, Literal

from drivers.bbraun_bcc.parameters import IDENTIFIERS, MEASURES, PRIVATE
from drivers.bbraun_bcc.quadruple import SYSTEM, Quadruple, position_of, slot_of
from drivers.bbraun_bcc.source import Report, Source
from drivers.contract import Now
from ledger.records import Event, Identity, Record

REMOVED: Final = "39"
NO_MORE: Final = "11"
MISSED_ROUNDS: Final = 2
MAX_HELD_BYTES: Final = 128 * 1024
MAX_ADDRESSES: Final = 128
"""Of one round; a rack has 100 of them with its pillars."""
_HELD_QUADRUPLE_BYTES: Final = 64
_SERIAL: Final = re.compile(r"(?=.*[1-9A-Za-z])[0-9A-Za-z-]{1,24}")
_MODELS: Final = {"686": "Infusomat Space", "688": "Perfusor Space"}
_ERRORS: Final = {
    NO_MORE: "no more data, or no pumps", REMOVED: "pump removed", "68": "request not understood",
    "811": "no such pump address",
}  # fmt: skip
MAKER: Final = "B. Braun"


@dataclass(slots=True)
class Pump:
    """One that is in the rack. ``known``: its identity was told on this link; ``missed``: sound rounds without it."""

    sub: str
    address: str
    source: Source
    identity: Identity | None = None
    known: bool = False
    missed: int = 0


@dataclass(slots=True)
class _Round:
    """What came since the last turn. ``pumps``: who was found at each address."""

    sound: bool = True
    addresses: set[str] = field(default_factory=set)
    pumps: dict[str, Pump] = field(default_factory=dict)


class Rack:
    """Bounded: a pump for each of the 72 addresses of three pillars, ``MAX_HELD_BYTES`` of pumps not named yet."""

    def __init__(self, demographics: Literal["none", "measures", "all"]) -> None:
        hidden = {"none": MEASURES | IDENTIFIERS, "measures": IDENTIFIERS, "all": frozenset[str]()}
        self._hidden = hidden[demographics]
        self._pumps: dict[str, Pump] = {}
        self._system = Source("")
        self._round = _Round()
        self._answer: dict[str, str] = {}
        self._last_address: str | None = None
        self._held: dict[str, list[Report]] = {}
        self._held_bytes = 0
        self._nameless: set[str] = set()
        self._to_ask: list[str] = []
        self.overflowed = 0

    def new_link(self) -> None:
        """Nothing that came before belongs to what comes now; what did not change is told once more."""
        self._drop_held()
        self._round = _Round()
        self._answer.clear()
        self._last_address = None
        self._nameless.clear()
        self._to_ask.clear()
        for source in self._sources():
            source.tell_anew()
        for pump in self._pumps.values():
            pump.known = False

    def tell_again(self) -> None:
        """Whoever keeps the state forgot it: what did not change is told once more."""
        for source in self._sources():
            source.tell_again()

    def hurt(self) -> None:
        """Something was lost: what is missing in this round need not be gone."""
        self._round.sound = False
        self._answer.clear()
        self._drop_held()
        for source in self._sources():
            source.incomplete()

    def to_ask(self) -> list[str]:
        """Slots whose pump did not tell its serial number, to be asked once each."""
        asked, self._to_ask = self._to_ask, []
        return asked

    def take(self, quadruples: Iterable[Quadruple], now: Now, *, last: bool) -> Iterator[Record]:
        """One block. ``last``: its answer ends with it."""
        for report in _reports(quadruples, now):
            yield from self._turn(report.address, now)
            if slot_of(report.address) is None:
                yield from self._of_system(report)
            else:
                yield from self._of_pump(report)
        if last:
            yield from self._answer_ended(now)
        self._count_overflow()

    # Rounds ---------------------------------------------------------------------------------------------------

    def _turn(self, address: str, now: Now) -> Iterator[Record]:
        if address != self._last_address:
            if address in self._round.addresses:
                yield from self._round_ended(now)
            elif len(self._round.addresses) >= MAX_ADDRESSES:
                self._round = _Round(sound=False)  # no rack has so many: what they are cannot be told
            self._round.addresses.add(address)
        self._last_address = address

    def _round_ended(self, now: Now) -> Iterator[Record]:
        ended, self._round = self._round, _Round()
        self._answer.clear()
        if not ended.sound:
            return
        there = {pump.sub for pump in ended.pumps.values()}
        for pump in [pump for pump in self._pumps.values() if pump.sub not in there]:
            pump.missed += 1
            if pump.missed >= MISSED_ROUNDS:
                yield from self._remove(pump, now)

    def _answer_ended(self, now: Now) -> Iterator[Record]:
        self._last_address = None
        self._answer.clear()
        for source in self._sources():
            yield from source.complete(now)
        for address in self._held:
            slot = slot_of(address)
            if address not in self._nameless and slot is not None:
                self._nameless.add(address)
                self._to_ask.append(slot)
        self._drop_held()

    # What the blocks say --------------------------------------------------------------------------------------

    def _of_system(self, report: Report) -> Iterator[Record]:
        error = report.value("GNERR")
        if error is not None and error != NO_MORE and report.address == SYSTEM:
            yield _error_event("", report, error)
        yield from self._system.report(self._shown_of(report))

    def _of_pump(self, report: Report) -> Iterator[Record]:
        error = report.value("GNERR")
        if error == NO_MORE:
            return
        if error is not None:
            sitting = self._at(report.address)
            yield _error_event(sitting.sub if sitting is not None else "", report, error)
            if error == REMOVED and sitting is not None:
                yield from self._remove(sitting, report.now)
            return
        pump = self._round.pumps.get(report.address)
        if pump is not None and pump.address != report.address:
            pump = None  # it was there, and has moved
        name = self._name(report)
        if pump is None and name is None:
            self._hold(report)
            return
        parts = [*self._held.pop(report.address, ()), report]
        for part in parts:
            if name is not None:
                pump = yield from self._seat(name, part)
            if pump is not None:
                yield from self._identify(pump, part, report.value("INSERNUM") or "")
                yield from pump.source.report(self._shown_of(part))

    def _name(self, report: Report) -> str | None:
        """The name of the pump that sits there: the serial number, or the next best if it told none though asked."""
        serial = report.value("INSERNUM")
        if serial is not None and _SERIAL.fullmatch(serial):
            return f"pump-{serial}"
        if report.address not in self._nameless:
            return None
        unique = report.value("INNR")
        if unique is not None and _SERIAL.fullmatch(unique):
            return f"pump-innr-{unique}"
        return f"slot-{slot_of(report.address)}"

    def _hold(self, report: Report) -> None:
        size = sum(_HELD_QUADRUPLE_BYTES + len(told.value or "") for told in report.told.values())
        if self._held_bytes + size > MAX_HELD_BYTES:
            self.overflowed += len(report.told)
            return
        self._held_bytes += size
        self._held.setdefault(report.address, []).append(report)

    def _drop_held(self) -> None:
        self._held, self._held_bytes = {}, 0

    # Who sits where -------------------------------------------------------------------------------------------

    def _at(self, address: str) -> Pump | None:
        return next((pump for pump in self._pumps.values() if pump.address == address), None)

    def _seat(self, name: str, report: Report) -> Generator[Record, None, Pump]:
        """The pump of this name, which now sits where the report comes from."""
        address = report.address
        if self._answer.setdefault(name, address) != address:
            name = f"{name}-slot-{slot_of(address)}"  # two of one number: of different types, or it was misread
        sitting = self._at(address)
        if sitting is not None and sitting.sub != name:
            yield from self._remove(sitting, report.now)
        pump = self._pumps.get(name)
        if pump is None:
            pump = self._pumps[name] = Pump(name, address, Source(name))
        pump.address, pump.missed = address, 0
        self._round.pumps[address] = pump
        return pump

    def _identify(self, pump: Pump, report: Report, serial: str) -> Iterator[Identity]:
        told = report.value("GNMODEL") or report.value("GNNEW")
        before = pump.identity
        software = told or (before.software if before is not None else "")
        slot = slot_of(pump.address)
        identity = Identity(
            sub=pump.sub,
            at_ns=report.now.utc_ns,
            device_time=report.device_time,
            make=MAKER,
            model=_MODELS.get(software[:3], software),
            serial=serial or (before.serial if before is not None else ""),
            software=software,
            protocol="BCC",
            position=position_of(slot) if slot is not None else "",
        )
        if before is None or not pump.known or _who(before) != _who(identity):
            pump.identity, pump.known = identity, True
            yield identity

    def silent(self, now: Now) -> Iterator[Record]:
        """The ComDevice fell silent: nothing that it or a pump showed holds."""
        for source in self._sources():
            yield from source.silent(now)

    def _remove(self, pump: Pump, now: Now) -> Iterator[Record]:
        del self._pumps[pump.sub]
        self._nameless.discard(pump.address)
        self._round.pumps = {place: other for place, other in self._round.pumps.items() if other is not pump}
        yield from pump.source.withdraw(now)
        if pump.identity is not None:
            known = pump.identity
            yield Identity(
                sub=known.sub,
                at_ns=now.utc_ns,
                make=known.make,
                model=known.model,
                serial=known.serial,
                software=known.software,
                protocol=known.protocol,
            )

    # All of it ------------------------------------------------------------------------------------------------

    def _sources(self) -> list[Source]:
        return [self._system, *(pump.source for pump in self._pumps.values())]

    def _shown_of(self, report: Report) -> Report:
        if self._hidden.isdisjoint(report.told):
            return report
        shown = {name: told for name, told in report.told.items() if name not in self._hidden}
        return Report(report.address, shown, report.now)

    def _count_overflow(self) -> None:
        for source in self._sources():
            self.overflowed += source.overflowed
            source.overflowed = 0


def _who(identity: Identity) -> tuple[str, ...]:
    return identity.model, identity.serial, identity.software, identity.position


def _error_event(sub: str, report: Report, error: str) -> Event:
    return Event(
        sub=sub,
        at_ns=report.now.utc_ns,
        device_time=report.device_time,
        kind="advisory",
        alarm_id=f"{report.address}:GNERR",
        phase="once",
        priority="none",
        code=PRIVATE + "GNERR",
        source=report.address,
        text=_ERRORS.get(error, ""),
        device_code=f"GNERR={error}",
    )


def _reports(quadruples: Iterable[Quadruple], now: Now) -> list[Report]:
    by_address: dict[str, dict[str, Quadruple]] = {}
    for quadruple in quadruples:
        by_address.setdefault(quadruple.address, {})[quadruple.parameter] = quadruple
    return [Report(address, told, now) for address, told in by_address.items()]
