"""A B. Braun SpaceStation: a rack of infusion pumps behind its ComDevice, which speaks BCC when asked or in a cycle."""

from __future__ import annotations

import math
from dataclasses import dataclass

from firmware_sim.bcc import HostReader, block
from firmware_sim.device import SimulatedDevice
from firmware_sim.faults import FaultLine
from firmware_sim.patient import Patient
from firmware_sim.space_pumps import THERAPIES, Pump, Trouble

MOST_PUMPS = 27
SLOTS_A_PILLAR = 9
BETWEEN_GETS_S = 0.5
ACK_AFTER_S = 0.1
ACK_WITHIN_S = 10.0
NEXT_BLOCK_S = 0.05
FIRST_SERIAL = 210_001
NO_MORE, REMOVED, UNCLEAR, WRONG_SLOT = "11", "39", "68", "811"


@dataclass(frozen=True, slots=True)
class Happening:
    """What happens to the pump in ``slot``: "remove", "move" (to ``other``), "nearly-empty", "well", or a `Trouble`."""

    at_s: float
    what: str
    slot: str
    other: str = ""


@dataclass(frozen=True, slots=True)
class RackConfig:
    """How many pumps, how the ComDevice is set up, and what happens.

    ``goes_on``: sends the next block of an answer once the last was acknowledged; else each has to be asked for.
    """

    pumps: int = 4
    bed_id: str = "ComSystem"
    stuffing: bool = False
    cycle_s: float = math.inf
    goes_on: bool = True
    serials: bool = True
    happenings: tuple[Happening, ...] = ()


class SpaceRack(SimulatedDevice):
    """The device. A pump is unplugged by the fault ``sensor-off:pump-13`` (pillar 1, slot 3)."""

    def __init__(self, patient: Patient, config: RackConfig | None = None, line: FaultLine | None = None) -> None:
        super().__init__(line)
        self.config = config or RackConfig()
        self._patient = patient
        self._slots = {_slot(place): _pump(place) for place in range(self.config.pumps)}
        self._waiting = sorted(self.config.happenings, key=lambda happening: happening.at_s)
        self._started_s = 0.0
        self._off = False
        self.restart()

    def restart(self) -> None:
        """As after power on. The pumps have their own batteries and go on."""
        self._off = True
        self._reader = HostReader(self.config.stuffing)
        self._present: set[str] = set()
        self._blocks: list[list[str]] = []
        self._unacknowledged = False
        self._sent_s = -math.inf
        self._last: bytes = b""
        self._get_s = -math.inf
        self._next_s = math.inf
        self._known = False
        self._cycle_due_s = math.inf

    # In -------------------------------------------------------------------------------------------------------

    def answer(self, data: bytes, now_s: float) -> list[bytes]:
        """What the computer said, and what is answered at once."""
        self._switched_on(now_s)
        frames: list[bytes] = []
        for said in self._reader.feed(data):
            frames += self._answer(said.what, now_s)
        return frames

    def _answer(self, what: str, now_s: float) -> list[bytes]:
        if what == "ACK":
            self._acknowledged(now_s)
            return []
        if what == "NAK":
            return [self._last] if self._last else []
        if what == "damaged":
            return [b"\x15"]
        if what == "ADMIN:ALIVE":
            self._known = True
            self._cycle_due_s = min(self._cycle_due_s, now_s + 1.0) if math.isfinite(self.config.cycle_s) else math.inf
            return self._begin([[self._system(now_s, "GNACK,0")]], now_s)
        if what == "ADMIN:VERSION":
            return self._begin([[self._system(now_s, "V3.30")]], now_s)
        if what == "MEM:GET":
            return self._get(now_s)
        if what.startswith("MEM:GETSLOT#"):
            return self._get_slot(what.removeprefix("MEM:GETSLOT#"), now_s)
        return self._begin([[self._system(now_s, f"GNERR,{UNCLEAR}")]], now_s)

    def _get(self, now_s: float) -> list[bytes]:
        if now_s - self._get_s < BETWEEN_GETS_S:
            return []
        self._get_s = now_s
        if not self.config.goes_on and self._blocks and not self._unacknowledged:
            return self._send(now_s)
        return self._begin(self._everything(now_s), now_s)

    def _get_slot(self, slot: str, now_s: float) -> list[bytes]:
        pump = self._there(now_s).get(slot)
        if pump is None:
            return self._begin([[f"{self._uptime(now_s)},501{slot},GNERR,{WRONG_SLOT}"]], now_s)
        return self._begin([self._report(slot, pump, now_s)], now_s)

    def _acknowledged(self, now_s: float) -> None:
        if not self._unacknowledged or now_s - self._sent_s < ACK_AFTER_S:
            return
        self._unacknowledged = False
        if self._blocks and self.config.goes_on:
            self._next_s = now_s + NEXT_BLOCK_S

    # Out ------------------------------------------------------------------------------------------------------

    def due(self, now_s: float) -> list[bytes]:
        """The next block, or a cycle's first."""
        self._switched_on(now_s)
        self._happen(now_s)
        if self._unacknowledged and now_s - self._sent_s >= ACK_WITHIN_S:
            self._blocks, self._unacknowledged = [], False
        if now_s >= self._next_s:
            self._next_s = math.inf
            return self._send(now_s)
        if now_s >= self._cycle_due_s and not self._blocks:
            self._cycle_due_s = now_s + self.config.cycle_s
            return self._begin(self._everything(now_s), now_s)
        return []

    def next_due_s(self, now_s: float) -> float:
        """When to poll again, if nothing is received before."""
        due = [self._next_s, self._waiting[0].at_s if self._waiting else math.inf]
        due.append(now_s + 1.0 if self._blocks or self._off else self._cycle_due_s)
        if self._unacknowledged:
            due.append(self._sent_s + ACK_WITHIN_S)
        return max(now_s + 0.001, min(due))

    def _begin(self, blocks: list[list[str]], now_s: float) -> list[bytes]:
        self._blocks, self._next_s = blocks, math.inf
        return self._send(now_s)

    def _send(self, now_s: float) -> list[bytes]:
        quadruples = self._blocks.pop(0)
        bed_id = f"{self.config.bed_id}/1/1"
        self._last = block(bed_id, quadruples, last=not self._blocks, stuffing=self.config.stuffing)
        self._unacknowledged, self._sent_s = True, now_s
        return [self._last]

    # What it says ---------------------------------------------------------------------------------------------

    def _switched_on(self, now_s: float) -> None:
        if self._off:
            self._off = False
            self._started_s = now_s - 214.0 if now_s == 0 else now_s

    def _uptime(self, now_s: float) -> int:
        return math.floor(now_s - self._started_s + self.line.clock_error_s(now_s))

    def _system(self, now_s: float, told: str) -> str:
        return f"{self._uptime(now_s)},50100,{told}"

    def _there(self, now_s: float) -> dict[str, Pump]:
        off = self.line.sensors_off(now_s)
        return {slot: pump for slot, pump in sorted(self._slots.items()) if f"pump-{slot}" not in off}

    def _everything(self, now_s: float) -> list[list[str]]:
        there = self._there(now_s)
        system = (
            f"FMNOR,{len({slot[0] for slot in there}) or 1}", "FMSTAT,00051", "FMDONGLE,T", "FMBANY,_NV",
            "FMRT,FMS1NSNS", "FMRSTAT,00051",
        )  # fmt: skip
        uptime, gone = self._uptime(now_s), sorted(self._present - there.keys())
        blocks = [[f"{uptime},501{slot},GNERR,{REMOVED}"] for slot in gone]
        blocks += [self._report(slot, pump, now_s) for slot, pump in there.items()]
        first = [self._system(now_s, told) for told in system]
        if not there:
            first.append(self._system(now_s, f"GNERR,{NO_MORE}"))
        self._present = set(there)
        return [first + blocks[0], *blocks[1:]] if blocks else [first]

    def _report(self, slot: str, pump: Pump, now_s: float) -> list[str]:
        pump.advance(now_s, self._patient.smoothed(now_s))
        told = [(name, value) for name, value in pump.shown() if self.config.serials or name != "INSERNUM"]
        if slot not in self._present:
            told.insert(0, ("GNNEW", dict(told)["GNMODEL"]))
        return [f"{self._uptime(now_s)},501{slot},{name},{value}" for name, value in told]

    # What happens ---------------------------------------------------------------------------------------------

    def _happen(self, now_s: float) -> None:
        while self._waiting and self._waiting[0].at_s <= now_s:
            happening = self._waiting.pop(0)
            pump = self._slots.get(happening.slot)
            if pump is None:
                continue
            if happening.what in ("remove", "move"):
                del self._slots[happening.slot]
            if happening.what == "move":
                self._slots[happening.other] = pump
            elif happening.what == "nearly-empty":
                pump.left_ml = pump.rate_ml_h * 60 / 3600
            elif happening.what == "well":
                pump.troubles.clear()
            elif happening.what != "remove":
                pump.troubles.add(Trouble(happening.what))


def _slot(place: int) -> str:
    return f"{place // SLOTS_A_PILLAR + 1}{place % SLOTS_A_PILLAR + 1}"


def _pump(place: int) -> Pump:
    therapy = THERAPIES[place % len(THERAPIES)]
    left_ml = therapy.volume_ml - 20 if therapy.syringe_ml == 0 else 40.0 - place % 7
    return Pump(FIRST_SERIAL + 37 * place, therapy, left_ml)
