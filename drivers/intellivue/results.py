"""Poll results into records: which decoder reads what, and what the results' numbering says was lost."""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass, field
from typing import Final

from drivers.clock_offset import ClockOffset, ClockStep
from drivers.contract import Now
from drivers.gaps import GapCollector
from drivers.intellivue.alerts import AlarmTracker
from drivers.intellivue.clock import MonitorClock
from drivers.intellivue.descriptions import DescriptionTracker
from drivers.intellivue.numerics import NumericsDecoder
from drivers.intellivue.objects import MetricStore
from drivers.intellivue.patient import PatientDecoder
from drivers.intellivue.rose import LINKED_FIRST, LINKED_LAST, MdsCreate, Message, ObjectClass, Observation, PollReply
from drivers.intellivue.rose import parse_action_result as parse_reply
from drivers.intellivue.system import SystemDecoder, clocks
from drivers.intellivue.values import absolute_time_ns
from drivers.intellivue.waves import WaveDecoder
from ledger.errors import DeviceFault
from ledger.limits import S_NS
from ledger.records import Gap, Record, Setting

_MAX_POLLS: Final = 32
_SEQUENCES: Final = 1 << 16
_PAUSE_NS: Final = 3 * S_NS
_SILENCE_NS: Final = 10 * S_NS
_VALUES: Final = (ObjectClass.NUMERIC, ObjectClass.ENUMERATION)


@dataclass(slots=True)
class Lasting:
    """What outlives a connection, so that what ended meanwhile is told after it."""

    identified: bool
    alarms: AlarmTracker = field(default_factory=AlarmTracker)
    metrics: MetricStore = field(default_factory=MetricStore)
    numerics: NumericsDecoder = field(init=False)
    descriptions: DescriptionTracker = field(init=False)
    patient: PatientDecoder = field(init=False)

    def __post_init__(self) -> None:
        self.numerics = NumericsDecoder(self.metrics)
        self.descriptions = DescriptionTracker(self.metrics)
        self.patient = PatientDecoder(identified=self.identified)


@dataclass(frozen=True, slots=True)
class _Numbered:
    """The last result of an extended poll."""

    sequence: int
    body: bytes


class Results:
    """Reads the poll results of one connection. What is wrong in them goes to the collector of gaps."""

    __slots__ = (
        "_clock", "_created_ticks", "_gaps", "_heard", "_lasting", "_linked", "_offset", "_offset_kind", "_sequences",
        "_system", "_values_mono_ns", "_waves",
    )  # fmt: skip

    def __init__(self, lasting: Lasting, gaps: GapCollector) -> None:
        self._lasting = lasting
        self._gaps = gaps
        self._clock = MonitorClock()
        self._offset = ClockOffset(S_NS)
        self._offset_kind = ""
        self._system = SystemDecoder()
        self._waves = WaveDecoder(lasting.metrics)
        self._sequences: OrderedDict[tuple[int, int], _Numbered] = OrderedDict()
        self._linked: OrderedDict[tuple[int, int], tuple[int, int]] = OrderedDict()
        self._values_mono_ns: dict[int, int] = {}
        self._heard: Now | None = None
        self._created_ticks: int | None = None

    def tell_again(self) -> None:
        """Another case: what is told only when it changes is told as it comes."""
        self._system.tell_again()
        self._lasting.descriptions.tell_again()
        self._lasting.patient.tell_again()

    def create(self, event: MdsCreate, now: Now) -> list[Record]:
        """The monitor presents itself. Raises DeviceFault ``intellivue.bad-message``."""
        if event.event_ticks != self._created_ticks:
            # A new association, not the same event again: handles and numbers start anew.
            self._created_ticks = event.event_ticks
            self._lasting.metrics.clear()
            self._sequences.clear()
            self._linked.clear()
        return self._of_system(dict(event.attributes), event.event_ticks, now)

    def take(self, message: Message, now: Now) -> tuple[PollReply | None, list[Record]]:
        """A result of an action, linked or not. Raises DeviceFault ``intellivue.bad-message``."""
        reply = parse_reply(message.body)
        if reply is None:
            return None, []
        self._check_linked(reply, message, now)
        if self._is_repeated(reply, message, now):
            return reply, []
        records = self._silence(now)
        self._relate(reply)
        for observation in reply.observations:
            try:
                records += self._of_object(reply, observation, now)
            except DeviceFault as fault:
                self._gaps.add("undecodable", now, _size(observation), fault.text)
        if reply.lost_bytes:
            detail = f"the end of a poll result of class {reply.object_class:04X} cannot be read"
            self._gaps.add("undecodable", now, reply.lost_bytes, detail)
        records += self._after(reply, message.linked is not None, now)
        self._heard = now
        return reply, records

    # What each object is --------------------------------------------------------------------------------------

    def _of_object(self, reply: PollReply, observation: Observation, now: Now) -> list[Record]:
        mode = self._system.quality
        if reply.object_class in _VALUES:
            values = self._lasting.numerics.decode(reply, observation, self._clock, mode, now)
            return [*values, *self._described(reply, observation, now)]
        if reply.object_class == ObjectClass.WAVE:
            blocks = self._waves.decode(reply, observation, self._clock, mode, now)
            if blocks.since is not None:
                self._gaps.add("device_gap", now, None, "samples are missing by the monitor's time", since=blocks.since)
            return [*blocks.waves, *self._described(reply, observation, now)]
        told, time = dict(observation.attributes), self._clock.at(reply.ticks)
        if reply.object_class == ObjectClass.ALERT_MONITOR:
            return [*self._lasting.alarms.update(told, time, mode, now)]
        if reply.object_class == ObjectClass.MDS:
            return self._of_system(told, reply.ticks, now)
        if reply.object_class == ObjectClass.PATIENT:
            return self._lasting.patient.update(told, time, mode, now)
        return []  # no class that was asked for; kept raw

    def _described(self, reply: PollReply, observation: Observation, now: Now) -> list[Setting]:
        time = self._clock.at(reply.ticks)
        return self._lasting.descriptions.update(reply, observation, time, self._system.quality, now)

    def _of_system(self, told: dict[int, bytes], ticks: int, now: Now) -> list[Record]:
        related = clocks(told, ticks)
        if related is not None:
            self._clock.relate(*related)
        time = self._clock.at(ticks)
        found = (self._system.identify(told, now), self._system.mode_event(told, time, now))
        return [record for record in found if record is not None]

    # Time -----------------------------------------------------------------------------------------------------

    def _relate(self, reply: PollReply) -> None:
        date_ns = absolute_time_ns(reply.absolute)  # not supported, says the guide: FF
        if date_ns is not None:
            self._clock.relate(reply.ticks, date_ns)

    def _after(self, reply: PollReply, more_follows: bool, now: Now) -> list[Record]:
        """What a result tells beside its objects: the time, and that objects are gone."""
        if reply.object_class == ObjectClass.WAVE:
            return []  # its time is when the block began
        records: list[Record] = [*self._observe_clock(reply, now)]
        if reply.object_class in _VALUES and reply.sequence is not None and not more_follows:
            before_ns = self._values_mono_ns.get(reply.object_class, 0)
            self._values_mono_ns[reply.object_class] = now.mono_ns
            if now.mono_ns - before_ns > _PAUSE_NS:
                self._lasting.numerics.resume(now)
            records += self._lasting.numerics.withdraw(reply.object_class, now)
        return records

    def _observe_clock(self, reply: PollReply, now: Now) -> list[Record]:
        time = self._clock.at(reply.ticks)
        if time.kind != self._offset_kind:
            self._offset, self._offset_kind = ClockOffset(time.resolution_ns), time.kind
        outcome = self._offset.observe(time.value_ns, now)
        if isinstance(outcome, ClockStep):
            moved = f"the monitor's clock moved by {outcome.step_ns / S_NS:+.1f} s"
            self._gaps.add("clock_jump", now, None, moved, since=self._heard)
            return []
        return [] if outcome is None else [outcome]

    # What is missing ------------------------------------------------------------------------------------------

    def _check_linked(self, reply: PollReply, message: Message, now: Now) -> None:
        """Linked results count up from their first; behind the last comes one that is not linked.

        Some clients give all their requests one invoke id, so the class belongs to the key.
        """
        key = (message.invoke_id, reply.object_class)
        state, count = self._linked.pop(key, (LINKED_LAST, 0))
        if message.linked is None:
            whole = state == LINKED_LAST
        else:
            is_first = message.linked[0] == LINKED_FIRST
            whole = state == LINKED_LAST if is_first else message.linked[1] == count + 1
            self._linked[key] = message.linked
            if len(self._linked) > _MAX_POLLS:
                self._linked.popitem(last=False)
        if not whole:
            self._gaps.add("sequence", now, None, "a part of a linked poll result is missing", since=self._heard)

    def _is_repeated(self, reply: PollReply, message: Message, now: Now) -> bool:
        """Whether this is a datagram that came twice; a number left out becomes a gap."""
        if reply.sequence is None:
            return False
        key = (message.invoke_id, reply.object_class)
        last = self._sequences.pop(key, None)
        self._sequences[key] = _Numbered(reply.sequence, message.body)
        if len(self._sequences) > _MAX_POLLS:
            self._sequences.popitem(last=False)
        if last is None or reply.sequence == 0:
            return False  # 0 confirms a request: counting begins anew
        ahead = (reply.sequence - last.sequence) % _SEQUENCES
        if ahead == 0:
            return last.body == message.body
        if ahead > 1:
            late = ahead >= _SEQUENCES // 2
            if late:
                self._sequences[key] = last
            detail = "a poll result came late" if late else f"{ahead - 1} poll results are missing by their numbers"
            self._gaps.add("sequence", now, None, detail, since=self._heard)
        return False

    def _silence(self, now: Now) -> list[Record]:
        """What was not recorded while no results came."""
        since = self._heard
        if since is None or now.mono_ns - since.mono_ns < _SILENCE_NS:
            return []
        return [
            Gap(
                at_ns=now.utc_ns,
                cause="silence",
                since_ns=since.utc_ns,
                until_ns=max(since.utc_ns, now.utc_ns),
                detail="the monitor sent no values",
            )
        ]


def _size(observation: Observation) -> int:
    return sum(4 + len(value) for _, value in observation.attributes)
