"""GE DRI records as a monitor makes them: framing, header, subrecords (S/5 DRI specification, little endian)."""

from __future__ import annotations

import struct
from dataclasses import dataclass
from enum import IntEnum

FLAG = 0x7E
ESCAPE = 0x7D
HEADER = struct.Struct("<hBBHIBBHh")
HEADER_SIZE = 40
MAX_DATA = 1450
MAX_SUBRECORDS = 8
END_OF_SUBRECORDS = 0xFF
PHYS_SIZE = 278

INVALID = -32767
NOT_UPDATED = -32766


class MainType(IntEnum):
    """r_maintype: what a record is about."""

    PHYSIOLOGICAL = 0
    WAVEFORM = 1
    ALARM = 4


@dataclass(frozen=True, slots=True)
class Record:
    """One decoded record: main type, body after the header, and (offset, type) of its subrecords."""

    main_type: int
    body: bytes
    subrecords: tuple[tuple[int, int], ...]


def frame(record: bytes) -> bytes:
    """Put a record between flags with its checksum (8-bit sum), both escaped."""
    content = record + bytes((sum(record) & 0xFF,))
    escaped = content.replace(b"\x7d", b"\x7d\x5d").replace(b"\x7e", b"\x7d\x5e")
    return b"\x7e" + escaped + b"\x7e"


class RequestReader:
    """Finds the requests in what arrives at the monitor's serial port."""

    def __init__(self) -> None:
        self._buffer: bytearray | None = None
        self._escaped = False
        self.bad_frames = 0

    def feed(self, data: bytes) -> list[Record]:
        """Bytes in, whole and correct records out; anything else is counted in `bad_frames` and forgotten."""
        found: list[Record] = []
        for byte in data:
            if byte == FLAG:
                if self._buffer:
                    record = self._close(bytes(self._buffer))
                    if record is not None:
                        found.append(record)
                self._buffer = bytearray()
                self._escaped = False
            elif self._buffer is None:
                continue
            elif byte == ESCAPE:
                self._escaped = True
            elif len(self._buffer) > HEADER_SIZE + MAX_DATA:
                self.bad_frames += 1
                self._buffer = None
            else:
                self._buffer.append(byte | 0x20 if self._escaped else byte)
                self._escaped = False
        return found

    def _close(self, content: bytes) -> Record | None:
        record, checksum = content[:-1], content[-1]
        length_ok = len(record) >= HEADER_SIZE and HEADER.unpack_from(record)[0] == len(record)
        if sum(record) & 0xFF != checksum or not length_ok:
            self.bad_frames += 1
            return None
        subrecords: list[tuple[int, int]] = []
        for i in range(MAX_SUBRECORDS):
            offset, kind = struct.unpack_from("<hB", record, HEADER.size + 3 * i)
            if kind == END_OF_SUBRECORDS:
                break
            subrecords.append((offset, kind))
        return Record(HEADER.unpack_from(record)[8], record[HEADER_SIZE:], tuple(subrecords))


@dataclass(slots=True)
class RecordWriter:
    """Numbers and heads the records one monitor sends."""

    plug_id: int
    dri_level: int = 9
    subnet: int = 0
    number: int = 0

    def build(self, main_type: MainType, subrecords: list[tuple[int, bytes]], time_s: int) -> bytes:
        """One record of up to eight (type, bytes) subrecords; time_s is the monitor's own clock, unix seconds."""
        body = b"".join(data for _, data in subrecords)
        if len(subrecords) > MAX_SUBRECORDS or len(body) > MAX_DATA:
            raise ValueError(f"{len(subrecords)} subrecords, {len(body)} B do not fit into one DRI record")
        descriptors = bytearray()
        offset = 0
        for kind, data in subrecords:
            descriptors += struct.pack("<hB", offset, kind)
            offset += len(data)
        if len(subrecords) < MAX_SUBRECORDS:
            descriptors += struct.pack("<hB", 0, END_OF_SUBRECORDS)
        self.number = (self.number + 1) & 0xFF
        header = HEADER.pack(
            HEADER_SIZE + len(body), self.number, self.dri_level, self.plug_id, time_s, self.subnet, 0, 0, main_type
        )
        return (header + bytes(descriptors)).ljust(HEADER_SIZE, b"\0") + body


# Groups of the physiological subrecords: name -> (offset in the subrecord, value fields in order). Every group starts
# with status u32 and label u16, except ecg_extra, which has neither.
_PRESSURE = ("sys", "dia", "mean", "hr")
_TEMPERATURE = ("temp",)
_LEADS = ("I", "II", "III", "AVL", "AVR", "AVF", "V1", "V2", "V3", "V4", "V5", "V6")
GROUPS: tuple[dict[str, tuple[int, tuple[str, ...]]], ...] = (
    {
        "ecg": (4, ("hr", "st1", "st2", "st3", "imp_rr")),
        "p1": (20, _PRESSURE),
        "p2": (34, _PRESSURE),
        "p3": (48, _PRESSURE),
        "p4": (62, _PRESSURE),
        "nibp": (76, _PRESSURE),
        "t1": (90, _TEMPERATURE),
        "t2": (98, _TEMPERATURE),
        "t3": (106, _TEMPERATURE),
        "t4": (114, _TEMPERATURE),
        "spo2": (122, ("spo2", "pr", "ir_amp", "svo2")),
        "co2": (136, ("et", "fi", "rr", "amb_press")),
        "o2": (150, ("et", "fi")),
        "n2o": (160, ("et", "fi")),
        "aa": (170, ("et", "fi", "mac_sum")),
        "flow_vol": (182, ("rr", "ppeak", "peep", "pplat", "tv_insp", "tv_exp", "compliance", "mv_exp")),
        "co_wedge": (204, ("co", "blood_temp", "ref", "pcwp")),
        "nmt": (218, ("t1", "tratio", "ptc")),
        "svo2": (236, ("svo2",)),
        "p5": (244, _PRESSURE),
        "p6": (258, _PRESSURE),
    },
    {
        "arrh_ecg": (4, ("hr", "rr_time", "pvc")),
        "ecg12": (52, tuple(f"st{lead}" for lead in _LEADS)),
        "p7": (82, _PRESSURE),
        "p8": (96, _PRESSURE),
        "spo2_ch2": (110, ("spo2", "pr", "ir_amp", "svo2")),
        "t5": (124, _TEMPERATURE),
        "t6": (132, _TEMPERATURE),
    },
    {
        "nmt2": (4, ("count", "t1_abs", "t2_abs", "t3_abs", "t4_abs")),
        "eeg": (28, ("femg",)),
        "eeg_bis": (100, ("bis", "sqi", "emg", "sr")),
        "entropy": (116, ("se", "re", "bsr")),
        "spi": (234, ("spi",)),
    },
    {
        "gasex": (4, ("vo2", "vco2", "ee", "rq")),
        "flow_vol2": (18, ("ipeep", "pmean", "raw", "mv_insp", "epeep", "mv_spont", "ie_ratio", "insp_time")),
        "bal_gas": (64, ("et", "fi")),
        "aa2": (96, ("mac_age_sum",)),
    },
)
ECG_EXTRA = (230, ("hr_ecg", "hr_max", "hr_min"))
_FIRST_VALUE = 6  # after status and label


class PhysSubrecord:
    """One 278-byte physiological subrecord of a class, every group absent and every value invalid until set."""

    def __init__(self, class_number: int, subtype: int, dri_level: int, time_s: int) -> None:
        self._groups = GROUPS[class_number]
        self._data = bytearray(PHYS_SIZE)
        struct.pack_into("<I", self._data, 0, time_s)
        struct.pack_into("<BBH", self._data, 274, 0, 0, class_number << 8 | dri_level << 4 | subtype)
        for offset, fields in self._groups.values():
            struct.pack_into(f"<{len(fields)}h", self._data, offset + _FIRST_VALUE, *(INVALID for _ in fields))
        if class_number == 0:
            struct.pack_into("<3h", self._data, ECG_EXTRA[0], *(INVALID for _ in ECG_EXTRA[1]))

    def group(self, name: str, status: int, label: int = 0, **values: int) -> None:
        """Set a group's status and label and some of its values (raw, already scaled)."""
        offset, fields = self._groups[name]
        struct.pack_into("<IH", self._data, offset, status, label)
        for field, value in values.items():
            struct.pack_into("<h", self._data, offset + _FIRST_VALUE + 2 * fields.index(field), value)

    def ecg_extra(self, hr_ecg: int, hr_max: int, hr_min: int) -> None:
        """Set the three extra heart rates of the basic class."""
        struct.pack_into("<3h", self._data, ECG_EXTRA[0], hr_ecg, hr_max, hr_min)

    def build(self) -> bytes:
        """The bytes."""
        return bytes(self._data)


def aux_subrecord(nibp_time_s: int, bsa_m2_100: int = INVALID) -> bytes:
    """Auxiliary subrecord (type 4): when the cuff reading was taken; no cardiac output or wedge measured."""
    return struct.pack("<IhIIh", nibp_time_s, INVALID, 0, 0, bsa_m2_100).ljust(114, b"\0")


def wave_subrecord(samples: list[int], status: int, label: int = 0) -> bytes:
    """Waveform subrecord: number of samples, status bits, label, samples."""
    return struct.pack(f"<hHH{len(samples)}h", len(samples), status, label, *samples)


@dataclass(frozen=True, slots=True)
class AlarmLine:
    """One of the five alarm lines on the monitor's screen."""

    text: str = ""
    colour: int = 0
    text_changed: bool = False
    colour_changed: bool = False


def alarm_subrecord(lines: list[AlarmLine], sound: bool) -> bytes:
    """Alarm display message: five lines, the sound, no silencing."""
    out = bytearray(struct.pack("<5h", 0, int(sound), 0, 0, 0))
    for line in (*lines[:5], *(AlarmLine() for _ in range(5 - len(lines)))):
        text = line.text.encode("ascii", "replace")[:79]
        out += struct.pack("<80s3h12x", text, line.text_changed, line.colour, line.colour_changed)
    return bytes(out) + bytes(10)


def scaled(value: float | None, factor: float) -> int:
    """A number as the monitor sends it, `INVALID` for None; out of range becomes the over or under range code."""
    if value is None:
        return INVALID
    raw = round(value * factor)
    if raw > 32000:
        return -32763
    return raw if raw >= -32000 else -32764
