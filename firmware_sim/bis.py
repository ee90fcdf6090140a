"""A BIS monitor on its legacy binary protocol: it tells nothing until it is asked, then goes on by itself.

Written from Aspect Medical's published structures: processed variables once a second, EEG in 8 packets a second.
"""

from __future__ import annotations

import math
import struct
from dataclasses import dataclass
from typing import Final

from firmware_sim.device import SimulatedDevice
from firmware_sim.faults import FaultLine
from firmware_sim.patient import Patient
from firmware_sim.waves import WaveKind

SENSORS: Final = {"quatro": 2, "extend": 4, "demo": 5, "simulator": 9, "bilateral": 16}
_PIC_ID, _DSC_ID = 7, 11
_DATA, _ACK, _NAK = 1, 2, 3
_EEG_HZ, _EEG_PACKETS = 128, 8
_EEG_SAMPLES: Final = _EEG_HZ // _EEG_PACKETS
_GAIN: Final = (5, 100)
_OFFSET: Final = (-3234, 1)
_NO_VALUE: Final = -32768
_SPECTRUM_BINS: Final = 60
_FILTERS: Final = 0x00_01_02_01  # notch 50 Hz, low pass 50 Hz, high pass 1 Hz
_SMOOTHING: Final = 0x00_02  # spectral 10 s, bispectral 15 s
_REVISION: Final = bytes((3, 22, 0, 0, 1, 10, 0, 0, 1, 16, 0, 0, 1, 10, 0, 0, 0, 0, 0, 0x42, 1, 0, 0, 0))
_SERIAL: Final = (1234).to_bytes(3, "little") + b"V"


@dataclass(slots=True)
class _Asked:
    """What it was asked for; counts of what was sent."""

    processed: bool = False
    spectra: bool = False
    eeg: bool = False
    next_second: int = 0
    next_packet: int = 0


class BisMonitor(SimulatedDevice):
    """The monitor. ``sensor`` is one of `SENSORS`; the extend sensor counts bursts too."""

    def __init__(self, patient: Patient, sensor: str = "quatro", line: FaultLine | None = None) -> None:
        super().__init__(line)
        self._patient = patient
        self._sensor = SENSORS[sensor]
        self._numbers: dict[int, int] = {}
        self._packets = 0
        self._pending = b""
        self._asked = _Asked()

    def restart(self) -> None:
        """As after power on."""
        self._asked = _Asked()
        self._pending = b""
        self._numbers.clear()
        self._packets = 0

    def answer(self, data: bytes, now_s: float) -> list[bytes]:
        """Packets of the computer."""
        self._pending = (self._pending + data)[-256:]
        replies: list[bytes] = []
        while (at := self._pending.find(b"\xba\xab")) >= 0 and len(self._pending) >= at + 8:
            number, length, directive = struct.unpack_from("<HHH", self._pending, at + 2)
            end = at + 8 + length + 2
            if length > 64:
                self._pending = self._pending[at + 2 :]
                continue
            if len(self._pending) < end:
                break
            packet, self._pending = self._pending[at:end], self._pending[end:]
            if directive != _DATA:
                continue
            right = sum(packet[2:-2]) & 0xFFFF == int.from_bytes(packet[-2:], "little")
            replies.append(_packet(number, _ACK if right else _NAK, b""))
            if right:
                replies += self._obey(packet[8:-2], now_s)
        return replies

    def _obey(self, message: bytes, now_s: float) -> list[bytes]:
        _, message_id, _, _ = struct.unpack_from("<IIHH", message)
        asked = self._asked
        if message_id == 1004:
            return [self._message(6, 1102, _REVISION + _SERIAL)]
        if message_id == 115:
            if not asked.processed:
                asked.next_second = math.floor(now_s) + 1
            asked.processed, asked.spectra = True, message[12:13] == b"\x01"
        elif message_id == 116:
            asked.processed = False
        elif message_id == 111 and message[12:14] == _EEG_HZ.to_bytes(2, "little"):
            if not asked.eeg:
                asked.next_packet = math.floor(now_s * _EEG_PACKETS) + 1
            asked.eeg = True
        elif message_id == 112:
            asked.eeg = False
        return []

    def due(self, now_s: float) -> list[bytes]:
        """What is due by now; what was due long ago is lost, not sent late."""
        asked, frames = self._asked, list[bytes]()
        if asked.eeg:
            until = math.floor(now_s * _EEG_PACKETS + 1e-6)
            for number in range(max(asked.next_packet, until - 3), until + 1):
                frames.append(self._eeg(number))
            asked.next_packet = max(asked.next_packet, until + 1)
        if asked.processed and now_s + 1e-6 >= asked.next_second:
            asked.next_second = math.floor(now_s + 1e-6) + 1
            frames.append(self._processed(now_s))
        return frames

    def next_due_s(self, now_s: float) -> float:
        """When the next packet is due."""
        asked = self._asked
        due = [float(asked.next_second)] if asked.processed else []
        due += [asked.next_packet / _EEG_PACKETS] if asked.eeg else []
        return max(min(due), now_s + 1e-3) if due else math.inf

    def _off(self, now_s: float) -> bool:
        return "eeg" in self.line.sensors_off(now_s)

    def _eeg(self, number: int) -> bytes:
        """The packet that ends at ``number`` eighths of a second."""
        start_s = (number - 1) / _EEG_PACKETS
        if self._off(start_s):
            samples = [round(_OFFSET[0] / _OFFSET[1])] * _EEG_SAMPLES * 2
        else:
            wave = self._patient.wave(WaveKind.EEG, max(0.0, start_s), _EEG_SAMPLES, _EEG_HZ)
            samples = [_converted(value * part) for value in wave for part in (1.0, 0.85)]
        return self._message(4, 50, struct.pack(f"<HH{2 * _EEG_SAMPLES}h", 2, _EEG_HZ, *samples))

    def _processed(self, now_s: float) -> bytes:
        off = self._off(now_s)
        shown = self._patient.at(now_s)
        extra = SENSORS["extend"] == self._sensor
        head = struct.pack("<BBBBHH", _DSC_ID, 1, self._sensor * 10 + _PIC_ID, 0 if off else 1, 2, 0)
        head += struct.pack("<4i", *_GAIN, *_OFFSET)
        head += struct.pack("<4H", 0 if off else 21, 4 if off else 0, 0 if off else 34, 4 if off else 0)
        head += struct.pack("<4I", _FILTERS, _SMOOTHING, 0, 0)
        bis, sr = round(shown.bis * 10), round(shown.bis_sr * 10)
        # The edge falls and the power grows as the patient sleeps deeper.
        edge, power = round(800 + shown.bis * 17), round(6_800 - shown.bis * 12)
        emg, sqi = round(shown.bis_emg * 100), round(shown.bis_sqi * 10)
        values = [sr, edge, 0, bis, bis, bis, power, emg, sqi, 0]
        if off:
            values = [*[_NO_VALUE] * 8, _NO_VALUE, 0]
        trend = struct.pack("<8hiI", *values)
        if extra:
            trend += struct.pack("<6h", _NO_VALUE if off else min(30, round(shown.bis_sr / 5)), 0, 0, 0, 0, 0)
        data = head + trend * 3
        if self._asked.spectra:
            bins = [0 if off else max(0, power - 90 * at) for at in range(_SPECTRUM_BINS)]
            data += struct.pack(f"<HH{2 * _SPECTRUM_BINS}h", 2, _SPECTRUM_BINS, *bins, *bins)
        return self._message(4, (1120 if extra else 52) + self._asked.spectra, data)

    def _message(self, routing: int, message_id: int, data: bytes) -> bytes:
        number = self._numbers.get(message_id, 0)
        self._numbers[message_id] = (number + 1) & 0xFFFF
        self._packets = (self._packets + 1) & 0xFFFF
        return _packet(self._packets, _DATA, struct.pack("<IIHH", routing, message_id, number, len(data)) + data)


def _converted(microvolts: float) -> int:
    sample = microvolts * _GAIN[1] / _GAIN[0] + _OFFSET[0] / _OFFSET[1]
    return min(32_767, max(-32_768, round(sample)))


def _packet(number: int, directive: int, data: bytes) -> bytes:
    summed = struct.pack("<HHH", number, len(data), directive) + data
    return b"\xba\xab" + summed + struct.pack("<H", sum(summed) & 0xFFFF)
