"""A Maquet Servo-i at its Computer Interface Emulator (CIE). Pure: bytes and time in, frames out.

It behaves as the reference manual says: basic mode until RCTY with its check, error answers, lists of channels, then a
stream of blocks until ESC or standby. What its alarm channels are called is made up here.
"""

from __future__ import annotations

import math
from array import array
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache, reduce
from operator import xor

from firmware_sim.alarms import active_alarms
from firmware_sim.device import SimulatedDevice
from firmware_sim.faults import FaultLine
from firmware_sim.patient import Numerics, Patient
from firmware_sim.waves import WaveKind

GRID_HZ = 200
BLOCK_POINTS = 200
BATCH_S = 0.1
MAX_CATCH_UP_S = 2.0
INSPIRATION = 1 / 3
NONE = 0x7EFF
MISSING_DIGITS = b"9999"


@dataclass(frozen=True, slots=True)
class Form:
    """One channel: gain and offset as it tells them, unit code, type, name, the sensor behind it and the value."""

    gain: str
    offset: str
    unit: str
    kind: str
    name: str
    sensor: str
    value: Callable[[Numerics], float]

    def raw(self, numerics: Numerics, off: frozenset[str]) -> int:
        """The number that it sends for the value."""
        return NONE if self.sensor in off else raw_of(self.value(numerics), self.gain, self.offset)


def raw_of(value: float, gain: str, offset: str) -> int:
    """The number for a value, which is number * gain - offset."""
    return min(NONE - 1, max(0, round((value + float(offset)) / float(gain))))


CURVES = {
    100: (WaveKind.FLOW, 1000 / 60, "+2713E-004", "+3333E+000", "02", "Airway Flow", "flow"),
    113: (WaveKind.AWP, 1.0, "+6510E-005", "+1333E-001", "04", "Airway pressure", "pressure"),
    114: (WaveKind.VOLUME, 1.0, "+4000E-004", "+0000E+000", "01", "Volume", "flow"),
    119: (WaveKind.CO2, 1.0, "+1000E-004", "+0000E+000", "10", "CO2 concentration", "co2"),
}
_TENTH, _ONE, _HUNDREDTH, _NO_OFFSET = "+1000E-004", "+1000E-003", "+1000E-005", "+0000E+000"


def _breath(gain: str, unit: str, name: str, sensor: str, value: Callable[[Numerics], float]) -> Form:
    return Form(gain, _NO_OFFSET, unit, "BT", name, sensor, value)


def _set(gain: str, unit: str, name: str, value: float) -> Form:
    return Form(gain, _NO_OFFSET, unit, "SD", name, "", lambda _now: value)


BREATHS = {
    200: _breath(_TENTH, "06", "RR", "flow", lambda n: n.resp_rate),
    201: _breath(_ONE, "01", "VTe", "flow", lambda n: n.tidal_exp),
    202: _breath(_ONE, "01", "VTi", "flow", lambda n: n.tidal_insp),
    203: _breath(_TENTH, "08", "MVi", "flow", lambda n: n.tidal_insp * n.resp_rate / 1000),
    204: _breath(_TENTH, "08", "MVe", "flow", lambda n: n.minute_volume),
    205: _breath(_TENTH, "04", "Ppeak", "pressure", lambda n: n.ppeak),
    206: _breath(_TENTH, "04", "Pmean", "pressure", lambda n: n.peep + (n.ppeak - n.peep) * 0.3),
    207: _breath(_TENTH, "04", "Pplat", "pressure", lambda n: n.pplat),
    208: _breath(_TENTH, "04", "PEEP", "pressure", lambda n: n.peep),
    209: _breath(_TENTH, "07", "O2 conc.", "o2", lambda n: n.fio2),
    232: Form("+4976E-004", "+2000E+000", "05", "BT", "C static", "flow", lambda n: n.compliance),
    239: _breath("+3300E-006", "14", "Ti", "flow", lambda n: 60 / n.resp_rate * INSPIRATION),
    244: _breath("+1100E-007", "--", "Ti/Ttot", "flow", lambda _n: INSPIRATION),
    254: Form("+6510E-005", "+1333E-001", "04", "BT", "P0.1", "effort", lambda _n: 0.0),
    260: _breath(_TENTH, "10", "etCO2", "co2", lambda n: n.etco2_mmhg),
}
ALARMS = {401: ("ppeak", "Airway pressure high"), 407: ("etco2_mmhg", "etCO2 alarm")}


@dataclass(frozen=True, slots=True)
class ServoIConfig:
    """What happens at it. ``standby_s``: from when to when it ventilates nobody. ``peep_set_s``: when the set PEEP is
    turned from 5 to 8. ``newest_protocol``: the newest version it speaks. ``knows_channels``: whether it answers RCCO.
    """

    standby_s: tuple[float, float] = (math.inf, math.inf)
    peep_set_s: float = math.inf
    newest_protocol: int = 5
    knows_channels: bool = True


class ServoI(SimulatedDevice):
    """The device. `now_s` is seconds since its start and the patient's time; it must not go backwards."""

    def __init__(self, patient: Patient, config: ServoIConfig | None = None, line: FaultLine | None = None) -> None:
        super().__init__(line)
        self.config = config or ServoIConfig()
        self._patient = patient
        self._block: Callable[[WaveKind, int], array[float]] = lru_cache(maxsize=64)(self._draw)
        self.restart()

    def restart(self) -> None:
        """As after power on: basic mode, nothing asked for."""
        self._asked = bytearray()
        self._extended = False
        self._lists: dict[str, list[int]] = {letter: [] for letter in "CBSA"}
        self._sample_ms = 20
        self._streams = False
        self._step = 0
        self._in_block = bytearray()
        self._before: list[int] = []
        self._told: dict[str, tuple[int, ...]] = {}

    def _standby(self, now_s: float) -> bool:
        start_s, end_s = self.config.standby_s
        return start_s <= now_s < end_s

    def _settings(self, now_s: float) -> dict[int, Form]:
        mean = self._patient.smoothed(0.0)
        return {
            300: _set(_TENTH, "06", "CMV freq", mean.resp_rate),
            304: _set(_TENTH, "07", "Rise %", 5.0),
            308: _set(_TENTH, "04", "PEEP set", 8.0 if now_s >= self.config.peep_set_s else 5.0),
            310: Form("----------", "----------", "--", "SD", "Mode", "", lambda _now: 3.0),
            314: _set(_TENTH, "08", "MVe low", 4.0),
            315: _set(_ONE, "04", "Paw high", 40.0),
            323: _set(_TENTH, "07", "O2 set", 45.0),
            334: _set(_ONE, "01", "VT set", 480.0),
            343: _set(_HUNDREDTH, "14", "Ti set", 60 / mean.resp_rate * INSPIRATION),
        }

    # In -------------------------------------------------------------------------------------------------------

    def answer(self, data: bytes, now_s: float) -> list[bytes]:
        """Commands end with EOT; ESC acts at once."""
        frames: list[bytes] = []
        for byte in data:
            if byte == 0x1B:
                frames += self._stop()
                self._asked.clear()
            elif byte == 0x04:
                asked, self._asked = bytes(self._asked), bytearray()
                frames += self._command(asked, now_s)
            else:
                self._asked.append(byte)
                del self._asked[:-400]
        return frames

    def _command(self, asked: bytes, now_s: float) -> list[bytes]:
        if not asked:
            return []
        if asked == b"HO":
            self._extended = False
            return [b"900PCI\x04"]
        text, check = asked[:-2], asked[-2:]
        right = check == _check(text)
        if text == b"RCTY" and right:
            self._extended = True
            return _say(b"Servo-i0")
        if not self._extended:
            return [b"ER10\x04"]
        if not right:
            return _say(b"ER18")
        return self._extended_command(text, now_s)

    def _extended_command(self, text: bytes, now_s: float) -> list[bytes]:
        name, argument = text[:4], text[4:]
        fixed = {b"RSEN": b"14233", b"RSWV": b"V08.00", b"RHVE": b"%03d" % self.config.newest_protocol}
        if name in fixed:
            return _say(fixed[name])
        if name == b"SPVE":
            return _say(b"*" if 1 <= int(argument or 0) <= self.config.newest_protocol else b"ER12")
        if name == b"SSMP":
            self._sample_ms = int(argument)
            return _say(b"*" if 10 <= self._sample_ms <= 224 else b"ER12")
        if name == b"RCCO":
            return self._configuration(int(argument), now_s)
        if name == b"SDAD":
            return self._list(argument, now_s)
        if name == b"RADA":
            return self._read_now(argument.decode(), now_s)
        if name == b"RADC":
            return self._begin(now_s)
        return _say(b"ER10")

    def _configuration(self, number: int, now_s: float) -> list[bytes]:
        if not self.config.knows_channels:
            return _say(b"ER10")
        if number in CURVES:
            _, _, gain, offset, unit, name, _ = CURVES[number]
            told = f"{gain},{offset},{unit},CU,{name}"
        elif number in ALARMS:
            told = f"----------,----------,--,AL,{ALARMS[number][1]}"
        else:
            form = (BREATHS | self._settings(now_s)).get(number)
            if form is None:
                return _say(b"ER15")
            told = f"{form.gain},{form.offset},{form.unit},{form.kind},{form.name}"
        return _say(f"{self._sample_ms:03d};{number},{told};".encode())

    def _list(self, argument: bytes, now_s: float) -> list[bytes]:
        letter, digits = argument[:1].decode(), argument[1:]
        numbers = [int(digits[at : at + 3]) for at in range(0, len(digits), 3)]
        known: dict[str, set[int]] = {
            "C": set(CURVES), "B": set(BREATHS), "S": set(self._settings(now_s)), "A": set(ALARMS)
        }  # fmt: skip
        if letter not in known or not set(numbers) <= known[letter] or (letter == "C" and len(numbers) > 4):
            return _say(b"ER12")
        self._lists[letter] = numbers
        return _say(b"*")

    def _read_now(self, letter: str, now_s: float) -> list[bytes]:
        if self._standby(now_s):
            return _say(b"ER17")
        raws = self._raws(letter, now_s)
        digits = b"".join(MISSING_DIGITS if raw == NONE else b"%04d" % raw for raw in raws)
        return _say(digits) if raws else _say(b"ER16")

    def _begin(self, now_s: float) -> list[bytes]:
        if self._standby(now_s):
            return _say(b"ER17")
        if not any(self._lists.values()):
            return _say(b"ER16")
        self._streams = True
        self._step = math.floor(now_s * 1000 / self._sample_ms)
        self._before = []
        self._told = {letter: self._raws(letter, now_s) for letter in "SA"}
        return []

    def _stop(self) -> list[bytes]:
        self._streams = False
        return self._close_block()

    # Out ------------------------------------------------------------------------------------------------------

    def due(self, now_s: float) -> list[bytes]:
        """Samples up to now; breath values at each new breath; settings and alarms when they change."""
        if not self._streams:
            return []
        if self._standby(now_s):
            return [*self._stop(), _checked(b"\xe0\x11")]
        last = math.floor(now_s * 1000 / self._sample_ms)
        self._step = max(self._step, last - round(MAX_CATCH_UP_S * 1000 / self._sample_ms))
        frames: list[bytes] = []
        out = bytearray()
        while self._step < last:
            self._step += 1
            frames += self._happen(out)
            self._sample(out)
        return [*frames, bytes(out)] if out else frames

    def next_due_s(self, now_s: float) -> float:
        """The next batch while it streams."""
        return math.floor(now_s / BATCH_S + 1e-6) * BATCH_S + BATCH_S if self._streams else math.inf

    def _at_s(self, step: int) -> float:
        return step * self._sample_ms / 1000

    def _happen(self, out: bytearray) -> list[bytes]:
        """Whole frames that come before this sample; a block of curves in ``out`` is closed before them."""
        at_s = self._at_s(self._step)
        blocks = []
        if self._begins_breath() and self._lists["B"]:
            blocks.append(("B", self._raws("B", at_s)))
        for letter in "SA":
            raws = self._raws(letter, at_s)
            if raws != self._told[letter]:
                self._told[letter] = raws
                blocks.append((letter, raws))
        if not blocks:
            return []
        frames = [bytes(out)] if out else []
        out.clear()
        frames += self._close_block()
        return frames + [
            _checked(letter.encode() + b"".join(raw.to_bytes(2, "big") for raw in raws)) for letter, raws in blocks
        ]

    def _close_block(self) -> list[bytes]:
        block, self._in_block = bytes(self._in_block), bytearray()
        return [_checked(block)[len(block) :]] if block else []

    def _begins_breath(self) -> bool:
        breath_s = 60 / self._patient.resp_rate
        return (self._at_s(self._step) / breath_s) % 1 < (self._at_s(self._step - 1) / breath_s) % 1

    def _sample(self, out: bytearray) -> None:
        off = self.line.sensors_off(self._at_s(self._step))
        raws = [self._curve(number, self._step, off) for number in self._lists["C"]]
        if not raws:
            return
        data = self._phase()
        fresh = not self._in_block or len(self._before) != len(raws)
        for place, raw in enumerate(raws):
            step = 0 if fresh else raw - self._before[place]
            plain = not fresh and -126 <= step <= 126 and NONE not in (raw, self._before[place])
            data += (step & 0xFF).to_bytes(1, "big") if plain else b"\x80" + raw.to_bytes(2, "big")
        self._before = raws
        self._in_block += data
        out += data

    def _phase(self) -> bytes:
        breath_s = 60 / self._patient.resp_rate
        before, now = ((self._at_s(step) / breath_s) % 1 for step in (self._step - 1, self._step))
        if now < before:
            return b"\x81\x10"
        return b"\x81\x30" if before < INSPIRATION <= now else b""

    def _curve(self, number: int, step: int, off: frozenset[str]) -> int:
        kind, factor, gain, offset, _, _, sensor = CURVES[number]
        if sensor in off:
            return NONE
        point = round(self._at_s(step) * GRID_HZ)
        return raw_of(self._block(kind, point // BLOCK_POINTS)[point % BLOCK_POINTS] * factor, gain, offset)

    def _draw(self, kind: WaveKind, block: int) -> array[float]:
        return self._patient.wave(kind, block * BLOCK_POINTS / GRID_HZ, BLOCK_POINTS, GRID_HZ)

    def _raws(self, letter: str, now_s: float) -> tuple[int, ...]:
        off = self.line.sensors_off(now_s) | {"effort"}  # nobody draws breath by himself under anaesthesia
        numbers = self._lists[letter]
        if letter == "A":
            sources = {alarm.source for alarm in active_alarms(self._patient.smoothed(now_s))}
            return tuple(int(ALARMS[number][0] in sources) for number in numbers)
        forms, numerics = BREATHS if letter == "B" else self._settings(now_s), self._patient.at(now_s)
        return tuple(
            round(form.value(numerics)) if form.gain.startswith("--") else form.raw(numerics, frozenset(off))
            for form in (forms[number] for number in numbers)
        )


def _check(text: bytes) -> bytes:
    return b"%02X" % reduce(xor, text, 0)


def _say(text: bytes) -> list[bytes]:
    return [text + _check(text) + b"\x04"]


def _checked(block: bytes) -> bytes:
    """A block with its end and its check."""
    whole = block + b"\x7f"
    return whole + bytes((reduce(xor, whole, 0),))
