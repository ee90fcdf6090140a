"""GE S/5 or CARESCAPE monitor at its computer interface: answers DRI requests. Pure: bytes and time in, frames out.

Where the public description leaves a choice: a wave request replaces the one before; waves from the first one that
would pass the limit on are dropped; a displayed-values interval under 5 s counts as 5 s.
"""

from __future__ import annotations

import math
import struct
from dataclasses import dataclass

from firmware_sim.alarms import active_alarms
from firmware_sim.device import SimulatedDevice
from firmware_sim.faults import FaultLine
from firmware_sim.ge_dri import (
    MAX_SUBRECORDS,
    AlarmLine,
    MainType,
    PhysSubrecord,
    Record,
    RecordWriter,
    RequestReader,
    alarm_subrecord,
    aux_subrecord,
    frame,
    wave_subrecord,
)
from firmware_sim.ge_values import WAVE_GAP, WAVES, alarm_lines, fill, wave_samples
from firmware_sim.patient import Patient

DISPLAYED, TREND_10_S, TREND_60_S, AUX_INFO = 1, 2, 3, 4
MIN_INTERVAL_S = 5
WAVE_BLOCKS_PER_S = 5
WAVE_LIMIT_HZ = 600
MAX_CATCH_UP_BLOCKS = 5
BLOCKED_LIMIT_S = 2.0
ALARM_SPACING_S = 2.0
ALARM_STATUS, ALARM_ENTER_DIFFERENTIAL, ALARM_EXIT_DIFFERENTIAL = 0, 2, 3
_WAVE_START, _WAVE_STOP = 0, 1


def _block_number(now_s: float) -> int:
    """Number of the wave block that is being filled at now_s."""
    return math.floor(now_s * WAVE_BLOCKS_PER_S + 1e-6)


@dataclass(frozen=True, slots=True)
class S5Config:
    """Which monitor it is. `carescape` lifts the wave limit and answers alarm requests."""

    carescape: bool = False
    plug_id: int = 35536
    case_open: bool = True

    @property
    def dri_level(self) -> int:
        """Interface level: 8 (2005) for S/5, 11 (2015) for CARESCAPE."""
        return 11 if self.carescape else 8


@dataclass(slots=True)
class _Subscription:
    """One physiological request that is being served."""

    interval_s: float
    classes: tuple[int, ...]
    due_s: float


class S5Monitor(SimulatedDevice):
    """The monitor. `now_s` is seconds since its start and the patient's time; it must not go backwards."""

    def __init__(
        self,
        patient: Patient,
        started_unix_s: float,
        config: S5Config | None = None,
        line: FaultLine | None = None,
    ) -> None:
        super().__init__(line)
        self.config = config or S5Config()
        self._patient = patient
        self._started_unix_s = started_unix_s
        self._reader = RequestReader()
        self._writer = RecordWriter(self.config.plug_id, self.config.dri_level)
        self._blocked_since_s: float | None = None
        self.restart()

    def restart(self) -> None:
        """State as after power on: nothing asked, nothing sent."""
        self._reader = RequestReader()
        self._phys: dict[int, _Subscription] = {}
        self._singles: list[tuple[int, tuple[int, ...]]] = []
        self._last_single_s = -math.inf
        self._waves: tuple[int, ...] = ()
        self._wave_block = 0
        self._wave_gap = False
        self._alarm_once = False
        self._alarm_differential = False
        self._alarm_sent_s = -math.inf
        self._alarm_lines: list[AlarmLine] = []

    @property
    def waves_flowing(self) -> tuple[int, ...]:
        """Numbers of the waves being sent."""
        return self._waves

    @property
    def bad_requests(self) -> int:
        """Frames received that were not whole and correct."""
        return self._reader.bad_frames

    # In -------------------------------------------------------------------------------------------------------

    def answer(self, data: bytes, now_s: float) -> list[bytes]:
        """Requests in; what they ask for is due from then on."""
        for record in self._reader.feed(data):
            if record.main_type == MainType.PHYSIOLOGICAL:
                self._on_phys_request(record, now_s)
            elif record.main_type == MainType.WAVEFORM:
                self._on_wave_request(record, now_s)
            elif record.main_type == MainType.ALARM and self.config.carescape:
                self._on_alarm_request(record)
        return []

    def _on_phys_request(self, record: Record, now_s: float) -> None:
        if len(record.body) < 9:
            return
        kind, interval_s, mask = struct.unpack_from("<BhI", record.body)
        if kind not in (DISPLAYED, TREND_10_S, TREND_60_S):
            return
        classes = tuple(c for c in range(4) if (mask & 1 == 0 if c == 0 else mask >> c & 1))
        if interval_s == 0:
            self._phys.pop(kind, None)
        elif interval_s == -1:
            if now_s - self._last_single_s >= MIN_INTERVAL_S:
                self._last_single_s = now_s
                self._singles.append((kind, classes))
        elif interval_s > 0:
            self._phys[kind] = _Subscription(max(MIN_INTERVAL_S, interval_s), classes, now_s)

    def _on_wave_request(self, record: Record, now_s: float) -> None:
        if len(record.body) < 32:
            return
        (command,) = struct.unpack_from("<h", record.body)
        if command == _WAVE_STOP:
            self._waves = ()
        if command != _WAVE_START:
            return
        # CARESCAPE takes sixteen more numbers in a request that is longer by as much.
        numbers = record.body[4 : 28 if self.config.carescape and len(record.body) >= 48 else 12]
        chosen: list[int] = []
        total_hz = 0
        for number in numbers.split(b"\xff")[0]:
            if number not in WAVES or number in chosen:
                continue
            total_hz += WAVES[number].rate_hz
            if total_hz > WAVE_LIMIT_HZ and not self.config.carescape:
                break
            chosen.append(number)
        self._waves = tuple(chosen)
        self._wave_block = _block_number(now_s)
        self._wave_gap = False

    def _on_alarm_request(self, record: Record) -> None:
        if len(record.body) < 12:
            return
        (command,) = struct.unpack_from("<h", record.body)
        if command in (ALARM_STATUS, ALARM_ENTER_DIFFERENTIAL):
            self._alarm_once = True
        if command in (ALARM_ENTER_DIFFERENTIAL, ALARM_EXIT_DIFFERENTIAL):
            self._alarm_differential = command == ALARM_ENTER_DIFFERENTIAL

    def set_blocked(self, blocked: bool, now_s: float) -> None:
        """CTS as the monitor sees it: the reader takes nothing. Over 2 s the waves stop until they are asked for."""
        if not blocked:
            self._blocked_since_s = None
        elif self._blocked_since_s is None:
            self._blocked_since_s = now_s

    # Out ------------------------------------------------------------------------------------------------------

    def due(self, now_s: float) -> list[bytes]:
        """Frames that are due."""
        if self._blocked_since_s is not None:
            if now_s - self._blocked_since_s > BLOCKED_LIMIT_S:
                self._waves = ()
            self._wave_gap = self._wave_gap or bool(self._waves)
            self._wave_block = _block_number(now_s)
            return []
        records = [*self._due_phys(now_s), *self._due_waves(now_s), *self._due_alarms(now_s)]
        return [frame(record) for record in records]

    def next_due_s(self, now_s: float) -> float:
        """When `poll` should be called again, if nothing is received before."""
        due = [now_s + 1.0]
        due += [subscription.due_s for subscription in self._phys.values()]
        if self._waves:
            due.append((self._wave_block + 1) / WAVE_BLOCKS_PER_S)
        return max(now_s, min(due))

    def _clock_s(self, now_s: float) -> int:
        return int(self._started_unix_s + now_s + self.line.clock_error_s(now_s))

    def _due_phys(self, now_s: float) -> list[bytes]:
        wanted, self._singles = self._singles, []
        for kind, subscription in self._phys.items():
            if subscription.due_s > now_s:
                continue
            missed = math.floor((now_s - subscription.due_s) / subscription.interval_s)
            subscription.due_s += (missed + 1) * subscription.interval_s
            wanted.append((kind, subscription.classes))
        trends = DISPLAYED in self._phys and self.config.case_open
        return [self._phys_record(k, c, now_s) for k, c in wanted if c and (k == DISPLAYED or trends)]

    def _phys_record(self, kind: int, classes: tuple[int, ...], now_s: float) -> bytes:
        time_s = self._clock_s(now_s)
        numerics = self._patient.at(now_s)
        off = self.line.sensors_off(now_s)
        subrecords: list[tuple[int, bytes]] = []
        for class_number in classes:
            sub = PhysSubrecord(class_number, kind, self.config.dri_level, time_s)
            fill(sub, class_number, numerics, off)
            subrecords.append((kind, sub.build()))
        if kind == DISPLAYED and numerics.nibp is not None and "nibp" not in off:
            subrecords.append((AUX_INFO, aux_subrecord(self._clock_s(numerics.nibp.taken_s))))
        return self._writer.build(MainType.PHYSIOLOGICAL, subrecords, time_s)

    def _due_waves(self, now_s: float) -> list[bytes]:
        records: list[bytes] = []
        last = _block_number(now_s)
        if self._waves and last - self._wave_block > MAX_CATCH_UP_BLOCKS:
            self._wave_gap = True
            self._wave_block = last - 1
        while self._waves and self._wave_block < last:
            records += self._wave_records(now_s)
            self._wave_block += 1
            self._wave_gap = False
        return records

    def _wave_records(self, now_s: float) -> list[bytes]:
        off = self.line.sensors_off(now_s)
        subrecords: list[tuple[int, bytes]] = []
        for number in self._waves:
            n = WAVES[number].rate_hz // WAVE_BLOCKS_PER_S
            samples, status, label = wave_samples(self._patient, number, self._wave_block / WAVE_BLOCKS_PER_S, n, off)
            subrecords.append((number, wave_subrecord(samples, status | (WAVE_GAP if self._wave_gap else 0), label)))
        time_s = self._clock_s(now_s)
        return [
            self._writer.build(MainType.WAVEFORM, subrecords[i : i + MAX_SUBRECORDS], time_s)
            for i in range(0, len(subrecords), MAX_SUBRECORDS)
        ]

    def _due_alarms(self, now_s: float) -> list[bytes]:
        if not (self._alarm_once or self._alarm_differential) or now_s - self._alarm_sent_s < ALARM_SPACING_S:
            return []
        alarms = active_alarms(self._patient.smoothed(now_s))
        lines = alarm_lines(alarms, self._alarm_lines)
        if not self._alarm_once and not any(line.text_changed or line.colour_changed for line in lines):
            return []
        self._alarm_once = False
        self._alarm_sent_s = now_s
        self._alarm_lines = lines
        body = alarm_subrecord(lines, sound=bool(alarms))
        return [self._writer.build(MainType.ALARM, [(1, body)], self._clock_s(now_s))]
