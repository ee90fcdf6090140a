"""A Philips IntelliVue monitor at its Data Export interface. Pure: bytes and time in, frames or datagrams out.

Where the guide leaves a choice: a second association request is refused; a single poll within a second of the one
before for the same class of objects is not answered; the first result of an extended poll, number 0, is empty.
"""

from __future__ import annotations

import math
import struct
from dataclasses import dataclass, field

from firmware_sim import intellivue_objects as objects
from firmware_sim import intellivue_wire as wire
from firmware_sim.device import SimulatedDevice
from firmware_sim.faults import FaultLine
from firmware_sim.intellivue_wire import Attributes, PollRequest, Request
from firmware_sim.patient import Patient

ENUMERATION, NUMERIC, WAVE, MDS, PATIENT, ALERT_MONITOR = 0x0005, 0x0006, 0x0009, 0x0021, 0x002A, 0x0036
GRANTABLE = 0x8A000000  # numerics every second, waves, numeric priority list; no enumerations
RTSA = 0x08000000
TIMEOUT_S = 10.0
MDS_CREATE_EVERY_S, MDS_CREATE_TIMES = 3.0, 3
SINGLE_POLL_S = 1.0
CONTEXT_S = 1.024
MONITORING, DEMO = 0x4000, 0x2000
WAVE_PRIORITY_LIST = b"\xf2\x3a"
MAX_ECG_WAVES, MAX_OTHER_WAVES = 3, 8
_PERIODS_S = {NUMERIC: 1.024, WAVE: objects.BLOCK_S, ALERT_MONITOR: 1.024}
_NO_SUCH_OBJECT_CLASS = 0


@dataclass(frozen=True, slots=True)
class IntelliVueConfig:
    """Which monitor it is. `lan`: datagrams, not frames. `extra`: session bytes in the accept, as some software has."""

    lan: bool = False
    demo: bool = False
    extra: bytes = b""

    @property
    def mtu(self) -> int:
        """The largest message."""
        return 1456 if self.lan else 0x3E4


@dataclass(slots=True)
class _Extended:
    """An extended poll that is being served."""

    request: PollRequest
    until_s: float
    period: int
    sequence: int = 0
    context: int = 0
    context_due_s: float = 0.0


@dataclass(slots=True)
class _Association:
    """The one client. `created`: it has answered the MDS create event."""

    extensions: int
    heard_s: float
    create_due_s: float
    creates: int = 0
    created: bool = False
    polls: dict[int, _Extended] = field(default_factory=dict)
    last_single_s: dict[int, float] = field(default_factory=dict)
    waves: tuple[int, ...] = objects.DEFAULT_WAVES


class IntelliVueMonitor(SimulatedDevice):
    """The monitor. `now_s` is seconds since the simulation's start and the patient's time; it must not go backwards."""

    def __init__(
        self,
        patient: Patient,
        started_unix_s: float,
        config: IntelliVueConfig | None = None,
        line: FaultLine | None = None,
    ) -> None:
        super().__init__(line)
        self.config = config or IntelliVueConfig()
        self._patient = patient
        self._started_unix_s = started_unix_s
        self._on_since_s = -500.0
        self._was_off = False
        self._reader = wire.FrameReader()
        self._association: _Association | None = None

    def restart(self) -> None:
        """State as after power on: no association; the relative time begins at 0 when it is on again."""
        self._reader = wire.FrameReader()
        self._association = None
        self._was_off = True

    @property
    def associated(self) -> bool:
        """Whether a client has an association."""
        return self._association is not None

    @property
    def waves_flowing(self) -> tuple[int, ...]:
        """TextIds of the waves on the priority list of the association."""
        return self._association.waves if self._association else ()

    @property
    def _state(self) -> int:
        return objects.DEMO_DATA if self.config.demo else 0

    def _ticks(self, now_s: float) -> int:
        return int((now_s - self._on_since_s) * wire.TICKS_PER_S + 1e-6)

    def _send(self, message: bytes) -> bytes:
        return message if self.config.lan else wire.frame(message)

    # In -------------------------------------------------------------------------------------------------------

    def answer(self, data: bytes, now_s: float) -> list[bytes]:
        """Requests in, their answers out; data of extended polls is due later."""
        messages = [data] if self.config.lan else self._reader.feed(data)
        return [self._send(answer) for message in messages for answer in self._on_message(message, now_s)]

    def _on_message(self, message: bytes, now_s: float) -> list[bytes]:
        kind = message[0] if message else 0
        if kind == wire.ASSOC_REQ:
            return self._on_association_request(message, now_s)
        if kind == wire.RELEASE_REQ and self._association and self._association.created:
            self._association = None
            return [wire.RELEASED]
        if kind == wire.ASSOC_ABORT:
            self._association = None
        if kind != 0xE1 or self._association is None:
            return []
        self._association.heard_s = now_s
        request = wire.read_request(message)
        if isinstance(request, PollRequest):
            return self._on_poll(self._association, request, now_s) if self._association.created else []
        return self._on_request(self._association, request) if request is not None else []

    def _on_association_request(self, message: bytes, now_s: float) -> list[bytes]:
        if self._association is not None:
            return [wire.REFUSE]
        if self._was_off:
            self._was_off, self._on_since_s = False, now_s
        granted = wire.requested_extensions(message) & GRANTABLE
        self._association = _Association(granted, now_s, now_s + 0.05)
        return [wire.accept(granted, self.config.mtu, extra=self.config.extra)]

    def _on_request(self, association: _Association, request: Request) -> list[bytes]:
        if request.operation == wire.RORS and request.code == wire.CONFIRMED_EVENT:
            association.created = True
        elif request.operation == wire.ROIV and request.code == wire.CONFIRMED_SET and len(request.body) >= 24:
            wanted = struct.unpack_from(f">{int.from_bytes(request.body[20:22], 'big')}I", request.body, 24)
            association.waves = _exportable(wanted)
            return [self._wave_list(association, request)]
        elif request.operation == wire.ROIV and request.code == wire.GET:
            return [self._wave_list(association, request)]
        return []

    @staticmethod
    def _wave_list(association: _Association, request: Request) -> bytes:
        labels = wire.counted([struct.pack(">I", text_id) for text_id in association.waves])
        body = wire.MDS_OBJECT + wire.attribute_list([(0xF23A, labels)])
        return wire.data_message(wire.RORS, request.invoke_id, request.code, body)

    def _on_poll(self, association: _Association, request: PollRequest, now_s: float) -> list[bytes]:
        if request.active_s:
            known = request.object_class in _PERIODS_S
            if not known or (request.object_class == WAVE and not association.extensions & RTSA):
                return [wire.error(request.invoke_id, _NO_SUCH_OBJECT_CLASS)]
            period = self._period(request.object_class, now_s)
            association.polls[request.object_class] = _Extended(request, now_s + request.active_s, period)
            return wire.poll_reply(request, 0, self._ticks(now_s), [], self.config.mtu)
        if now_s - association.last_single_s.get(request.object_class, -math.inf) < SINGLE_POLL_S:
            return []
        association.last_single_s[request.object_class] = now_s
        found = self._single(association, request, now_s)
        if found is None:
            return [wire.error(request.invoke_id, _NO_SUCH_OBJECT_CLASS)]
        return wire.poll_reply(request, 0, self._ticks(now_s), found, self.config.mtu)

    def _single(
        self, association: _Association, request: PollRequest, now_s: float
    ) -> list[tuple[int, Attributes]] | None:
        off = self.line.sensors_off(now_s)
        if request.object_class == NUMERIC:
            return [(handle, objects.numeric_context(handle) + seen) for handle, seen in self._numerics(now_s)]
        if request.object_class == WAVE:
            waves = [objects.WAVE_BY_TEXT_ID[text_id] for text_id in association.waves]
            return [(wave.handle, objects.wave_context(wave)) for wave in waves]
        if request.object_class == MDS:
            return [(0, self._mds(now_s, whole=request.group == 0))]
        if request.object_class == PATIENT:
            return [(0x50, objects.demographics())]
        if request.object_class == ALERT_MONITOR:
            static = request.group == 0x0811
            return [(0x01, [] if static else objects.alert_attributes(self._patient, now_s, off, self._alert_state))]
        return None

    # Out ------------------------------------------------------------------------------------------------------

    def due(self, now_s: float) -> list[bytes]:
        """MDS create events, results of extended polls, an abort when the client has fallen silent."""
        association = self._association
        if association is None:
            return []
        given_up = association.creates >= MDS_CREATE_TIMES and now_s >= association.create_due_s
        if now_s - association.heard_s >= TIMEOUT_S or (not association.created and given_up):
            self._association = None
            return [self._send(wire.ABORT)]
        messages = []
        if not association.created and now_s >= association.create_due_s:
            association.creates += 1
            association.create_due_s = now_s + MDS_CREATE_EVERY_S
            messages = [wire.mds_create(association.creates, self._ticks(now_s), self._mds(now_s, whole=True))]
        polls = [*association.polls.values()]
        messages += [message for extended in polls for message in self._results(association, extended, now_s)]
        return [self._send(message) for message in messages]

    def next_due_s(self, now_s: float) -> float:
        """When to poll again."""
        association = self._association
        if association is None:
            return math.inf
        due = [association.heard_s + TIMEOUT_S]
        if not association.created:
            due.append(association.create_due_s)
        polls = association.polls.values()
        due += [(extended.period + 1) * _PERIODS_S[extended.request.object_class] for extended in polls]
        return max(now_s + 0.001, min(due))

    def _period(self, object_class: int, now_s: float) -> int:
        return math.floor(now_s / _PERIODS_S[object_class] + 1e-6)

    def _results(self, association: _Association, extended: _Extended, now_s: float) -> list[bytes]:
        """Results of all periods that have passed: of waves, each tells the block that ended with its period."""
        object_class = extended.request.object_class
        messages: list[bytes] = []
        while extended.period < self._period(object_class, now_s):
            period_s = extended.period * _PERIODS_S[object_class]
            extended.period += 1
            if now_s > extended.until_s:
                association.polls.pop(object_class, None)
                break
            extended.sequence = extended.sequence % 0xFFFF + 1
            found = self._extended(association, extended, period_s, now_s)
            at_s = period_s if object_class == WAVE else extended.period * _PERIODS_S[object_class]
            messages += wire.poll_reply(extended.request, extended.sequence, self._ticks(at_s), found, self.config.mtu)
        return messages

    def _extended(
        self, association: _Association, extended: _Extended, period_s: float, now_s: float
    ) -> list[tuple[int, Attributes]]:
        off = self.line.sensors_off(now_s)
        if extended.request.object_class == NUMERIC:
            seen = self._numerics(now_s)
            turn = self._turn(extended, len(seen), now_s)
            return [
                (handle, (objects.numeric_context(handle) if at == turn else []) + attributes)
                for at, (handle, attributes) in enumerate(seen)
            ]
        if extended.request.object_class == WAVE:
            waves = [objects.WAVE_BY_TEXT_ID[text_id] for text_id in association.waves]
            turn = self._turn(extended, len(waves), now_s)
            return [
                (
                    wave.handle,
                    (objects.wave_context(wave) if at == turn else [])
                    + objects.wave_block(self._patient, wave, period_s, off, self._state),
                )
                for at, wave in enumerate(waves)
            ]
        return [(0x01, objects.alert_attributes(self._patient, now_s, off, self._alert_state))]

    @staticmethod
    def _turn(extended: _Extended, count: int, now_s: float) -> int:
        """Whose context comes now, when all groups were asked for: one object's in 1,024 ms; -1 for nobody's."""
        if extended.request.group != 0 or not count or now_s < extended.context_due_s:
            return -1
        extended.context_due_s = now_s + CONTEXT_S - 0.01
        extended.context += 1
        return extended.context % count

    def _numerics(self, now_s: float) -> list[tuple[int, Attributes]]:
        clock_s = self._started_unix_s + self.line.clock_error_s(now_s)
        return objects.numeric_objects(self._patient.at(now_s), self.line.sensors_off(now_s), clock_s, self._state)

    @property
    def _alert_state(self) -> int:
        return 0x0100 if self.config.demo else 0

    def _mds(self, now_s: float, *, whole: bool) -> Attributes:
        unix_s = self._started_unix_s + now_s + self.line.clock_error_s(now_s)
        mode = DEMO if self.config.demo else MONITORING
        return objects.mds_attributes(unix_s, self._ticks(now_s), mode, whole=whole)


def _exportable(wanted: tuple[int, ...]) -> tuple[int, ...]:
    """What the monitor makes of a priority list: unknown labels and what is too much are left out without a word."""
    ecg: list[int] = []
    others: list[int] = []
    for text_id in dict.fromkeys(wanted):
        wave = objects.WAVE_BY_TEXT_ID.get(text_id)
        if wave is not None:
            (ecg if wave.is_ecg else others).append(text_id)
    kept = {*ecg[:MAX_ECG_WAVES], *others[:MAX_OTHER_WAVES]}
    return tuple(text_id for text_id in dict.fromkeys(wanted) if text_id in kept)
