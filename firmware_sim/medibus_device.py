"""A Dräger ventilator or anaesthesia machine at its MEDIBUS port. Pure: bytes and time in, frames out.

It behaves as the protocol definition says: calls with ICC while nobody speaks, wants a computer to name itself with an
id number, forgets all configuration after 3 s of silence, answers every command, sends NOP when idle for 2 s, and mixes
real-time records into whatever it is sending, and now and then a command into a long response.
"""

from __future__ import annotations

import math
from array import array
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import lru_cache

from firmware_sim.device import SimulatedDevice
from firmware_sim.faults import FaultLine
from firmware_sim.medibus import (
    DC1,
    DC3,
    ESC,
    MONTHS,
    SOH,
    HostReader,
    Message,
    RealtimeWriter,
    WaveOffer,
    alarm_segment,
    frame,
    text_segment,
)
from firmware_sim.medibus_profiles import CO2_IN_KPA, EVITA_4, Profile, alarm_list, limit_bodies, values_body
from firmware_sim.patient import Patient
from firmware_sim.waves import WaveKind

SILENCE_S = 3.0
IDLE_S = 2.0
RESPONSE_S = 10.0
TRIES = 3
STEP_S = 0.016
GRID_HZ = 125  # samples lie on every second point of it: 62.5 a second
BLOCK_POINTS = 128
INSPIRATION = 1 / 3
LONG_RESPONSE_BYTES = 80
MAX_CATCH_UP_STEPS = 64

ICC, IDENTIFY, NOP, REALTIME_CONFIG, CONFIGURE_REALTIME, STOP, REALTIME_CHANGED = (
    0x51,
    0x52,
    0x30,
    0x53,
    0x54,
    0x55,
    0x56,
)
CORRUPT = 0x15


@dataclass(frozen=True, slots=True)
class MedibusConfig:
    """Which device it is and what happens at it.

    ``line_bytes_a_s``: what the line carries (1745 at 19200 8E1). ``suspend_every_s``: now and then it asks for half a
    second of quiet. ``co2_to_kpa_s``: when somebody changes the unit of CO2 at the device.
    """

    profile: Profile = EVITA_4
    line_bytes_a_s: float = 1745.0
    suspend_every_s: float = math.inf
    co2_to_kpa_s: float = math.inf


class MedibusDevice(SimulatedDevice):
    """The device. `now_s` is seconds since its start and the patient's time; it must not go backwards."""

    def __init__(
        self,
        patient: Patient,
        started_unix_s: float,
        config: MedibusConfig | None = None,
        line: FaultLine | None = None,
    ) -> None:
        super().__init__(line)
        self.config = config or MedibusConfig()
        self._patient = patient
        self._started_unix_s = started_unix_s
        self._block = lru_cache(maxsize=64)(self._draw)
        self._in_kpa = False
        self._suspend_due_s = self.config.suspend_every_s
        self._resume_due_s = math.inf
        self._responses = 0
        self.restart()

    def restart(self) -> None:
        """State as after power on: nobody is known, nothing is configured."""
        self._reader = HostReader()
        self._forget()
        self._identified = False
        self._heard_s = -math.inf
        self._called_s = -math.inf
        self._spoke_s = -math.inf
        self._pending = bytearray()
        self._step = -1

    def _forget(self) -> None:
        self._reader.enabled = [0, 0, 0]
        self._streams: list[tuple[WaveOffer, WaveKind, float, str, int]] = []
        self._writer = RealtimeWriter()
        self._asked: tuple[int, float, int] | None = None

    @property
    def waves(self) -> Mapping[str, tuple[WaveOffer, WaveKind, float, str]]:
        """What it offers just now."""
        offered = dict(self.config.profile.waves)
        if self._in_kpa and "06" in offered:
            del offered["06"]
            offered["07"] = CO2_IN_KPA
        return offered

    @property
    def flowing(self) -> bool:
        """Whether real-time records leave."""
        return bool(self._streams) and bool(self._reader.enabled_streams())

    # In -------------------------------------------------------------------------------------------------------

    def answer(self, data: bytes, now_s: float) -> list[bytes]:
        """Bytes of the computer; answers leave at once, or between records while waves flow."""
        if any(byte < 0x80 for byte in data):
            if now_s - self._heard_s > SILENCE_S:
                self._forget()
            self._heard_s = now_s
        flowed = self.flowing
        for message in self._reader.feed(data):
            if message is None:
                self._put(frame(SOH, CORRUPT), now_s)
            elif message.is_command:
                self._on_command(message, now_s)
            else:
                self._on_response(message, now_s)
        if self.flowing and not flowed:
            self._step = math.floor(now_s / STEP_S)
        return [] if self.flowing else self._take_all()

    def _on_command(self, message: Message, now_s: float) -> None:
        code = message.code
        if code == ICC:
            self._forget()
            self._identified = False
        elif code == STOP:
            self._forget()
            self._heard_s = -math.inf
        elif code == CONFIGURE_REALTIME:
            self._configure(message.body)
        self._put(frame(SOH, code, self._body(code, now_s)), now_s, long=True)
        if code == ICC:
            self._ask(IDENTIFY, now_s)

    def _on_response(self, message: Message, now_s: float) -> None:
        if self._asked is not None and self._asked[0] == message.code:
            self._asked = None
        if message.code == ICC:
            self._forget()
            self._identified = False
            self._ask(IDENTIFY, now_s)
        elif message.code == IDENTIFY:
            # Evita 4 and Cicero B refuse a computer that gives no id number.
            self._identified = message.body[:4].isdigit()
            if not self._identified:
                self._call(now_s)

    def _configure(self, body: bytes) -> None:
        text = body.decode("ascii", "replace")
        self._streams = []
        for at in range(0, len(text), 4):
            wave = self.waves.get(text[at : at + 2])
            if wave is not None:
                self._streams.append((*wave, max(1, int(text[at + 2 : at + 4], 16))))
        self._writer = RealtimeWriter()

    # What it says ---------------------------------------------------------------------------------------------

    def _body(self, code: int, now_s: float) -> bytes:
        profile, off = self.config.profile, self.line.sensors_off(now_s)
        bodies: dict[int, Callable[[], bytes]] = {
            IDENTIFY: profile.identification,
            0x24: lambda: values_body(profile.measured, self._patient.at(now_s), off),
            0x2B: lambda: values_body(profile.measured_cp2, self._patient.at(now_s), off),
            0x25: lambda: limit_bodies(profile)[0],
            0x26: lambda: limit_bodies(profile)[1],
            0x27: lambda: b"".join(alarm_segment(*alarm) for alarm in alarm_list(self._patient, now_s, off)),
            0x28: lambda: self._clock(now_s) if profile.has_clock else b"",
            0x29: lambda: "".join(code + text for code, text in profile.settings.items()).encode(),
            0x2A: self._texts,
            REALTIME_CONFIG: lambda: b"".join(wave[0].config() for wave in self.waves.values()),
        }
        return bodies[code]() if code in bodies else b""

    def _clock(self, now_s: float) -> bytes:
        clock = datetime.fromtimestamp(self._started_unix_s + now_s + self.line.clock_error_s(now_s), UTC)
        return f"{clock:%H:%M:%S%d}-{MONTHS[clock.month - 1]}-{clock:%y}".encode()

    def _texts(self) -> bytes:
        texts = dict(self.config.profile.texts)
        if self._in_kpa:
            texts.pop("22", None)
            texts["23"] = "CO2 in kPa"
        return b"".join(text_segment(*text) for text in texts.items())

    def _put(self, data: bytes, now_s: float, *, long: bool = False) -> None:
        """On its way out; every fifth long response has a NOP in its middle."""
        if long and len(data) > LONG_RESPONSE_BYTES:
            self._responses += 1
            if self._responses % 5 == 0:
                middle = len(data) // 2
                data = data[:middle] + frame(ESC, NOP) + data[middle:]
        self._spoke_s = now_s
        self._pending += data

    def _take_all(self) -> list[bytes]:
        pending, self._pending = bytes(self._pending), bytearray()
        return [pending] if pending else []

    def _ask(self, code: int, now_s: float, tries: int = 1) -> None:
        self._asked = (code, now_s, tries)
        self._put(frame(ESC, code), now_s)

    def _call(self, now_s: float) -> None:
        self._forget()
        self._identified = False
        self._called_s = now_s
        self._put(frame(ESC, ICC), now_s)

    # Out ------------------------------------------------------------------------------------------------------

    def due(self, now_s: float) -> list[bytes]:
        """What leaves by itself."""
        if now_s - max(self._heard_s, self._called_s) >= SILENCE_S:
            self._pending.clear()
            self._call(now_s)
        if self._asked is not None and now_s - self._asked[1] >= RESPONSE_S:
            code, _, tries = self._asked
            if tries < TRIES:
                self._ask(code, now_s, tries + 1)
            else:
                self._call(now_s)
        if self._identified and now_s - self._spoke_s >= IDLE_S:
            self._ask(NOP, now_s)
        self._happen(now_s)
        return self._stream(now_s) if self.flowing else self._take_all()

    def _happen(self, now_s: float) -> None:
        if now_s >= self.config.co2_to_kpa_s and not self._in_kpa:
            self._in_kpa = True
            self._streams = []
            self._ask(REALTIME_CHANGED, now_s)
        if now_s >= self._suspend_due_s:
            self._suspend_due_s += self.config.suspend_every_s
            self._resume_due_s = now_s + 0.5
            self._pending += DC1
        if now_s >= self._resume_due_s:
            self._resume_due_s = math.inf
            self._pending += DC3

    def next_due_s(self, now_s: float) -> float:
        """When `poll` should be called again, if nothing is received before."""
        if self.flowing or self._pending:
            return max(now_s + 0.001, (self._step + 1) * STEP_S)
        due = [
            max(self._heard_s, self._called_s) + SILENCE_S,
            self.config.co2_to_kpa_s if not self._in_kpa else math.inf,
        ]
        if self._asked is not None:
            due.append(self._asked[1] + RESPONSE_S)
        if self._identified:
            due.append(self._spoke_s + IDLE_S)
        return max(now_s + 0.001, min(*due, self._suspend_due_s, self._resume_due_s, now_s + 1.0))

    def _stream(self, now_s: float) -> list[bytes]:
        """Records up to now, and between them as much of the answers as the line has room for."""
        last = math.floor(now_s / STEP_S + 1e-6)
        self._step = max(self._step, last - MAX_CATCH_UP_STEPS)
        out = bytearray()
        while self._step < last:
            self._step += 1
            record = self._record(self._step)
            room = max(1, int(self.config.line_bytes_a_s * STEP_S) - len(record))
            # The record falls into the middle of whatever is on its way.
            half = room // 2
            out += self._pending[:half] + record + self._pending[half:room]
            del self._pending[:room]
        return [bytes(out)] if out else []

    def _record(self, step: int) -> bytes:
        enabled = self._reader.enabled_streams()
        off = self.line.sensors_off(step * STEP_S)
        bins: dict[int, int] = {}
        for stream, (offer, kind, factor, sensor, multiplier) in enumerate(self._streams):
            if stream in enabled and step % multiplier == 0 and sensor not in off:
                bins[stream] = offer.bin(self._sample(kind, step) * factor)
        return self._writer.build(bins, self._cycle(step)) if bins else b""

    def _cycle(self, step: int) -> int | None:
        breath_s = 60 / self._patient.resp_rate
        before, now = ((s * STEP_S / breath_s) % 1 for s in (step - 1, step))
        if now < before:
            return 0
        return 1 if before < INSPIRATION <= now else None

    def _sample(self, kind: WaveKind, step: int) -> float:
        point = 2 * step
        return self._block(kind, point // BLOCK_POINTS)[point % BLOCK_POINTS]

    def _draw(self, kind: WaveKind, block: int) -> array[float]:
        return self._patient.wave(kind, block * BLOCK_POINTS / GRID_HZ, BLOCK_POINTS, GRID_HZ)
