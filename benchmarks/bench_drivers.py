"""How fast drivers decode, on one core: what a driver takes in, against what its device sends.

Run: python -m benchmarks.bench_drivers. Every driver is fed its captures of tests/captures, at their own pace; beside
them stand busier cases, each a stream and the seconds that it takes its device to send it: add one by a function that
returns a ``Case``. Their bytes are built here, not by the drivers or the simulator.
"""

from __future__ import annotations

import math
import struct
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec

from benchmarks import report
from benchmarks.report import Line
from drivers import registry
from drivers.capture import CapturedMessage, CaptureItem, CaptureReader
from drivers.capture_file import open_capture
from drivers.checksums import crc16_x25
from drivers.contract import Driver, Emit, Now
from drivers.ge_dri import GeDri, GeDriConfig
from drivers.hl7v2 import Hl7Config, Hl7v2
from drivers.intellivue import IntelliVue, IntelliVueConfig
from drivers.replay import Replay
from ledger.limits import S_NS
from ledger.records import Gap, Link, LinkId, Numeric, Raw, Wave

LINK = LinkId(1)
START_S = 1_790_000_000
CAPTURES = Path(__file__).parents[1] / "tests" / "captures"
REPLAY_S = 1.0
"""Each capture is decoded again and again for so long."""
BUDGET = 0.01
"""Decoding may take this part of a core for one device: a room has several, and the recorder 5 % for all it does."""


@dataclass(frozen=True, slots=True)
class Case:
    """``pieces`` as the line delivers them; ``device_s``: how long the device takes to send them all."""

    name: str
    driver: Driver
    pieces: Sequence[bytes]
    device_s: float


def _dri_frame(main_type: int, parts: list[tuple[int, bytes]], time_s: int) -> bytes:
    body, descriptors = b"", b""
    for kind, data in parts:
        descriptors += struct.pack("<hB", len(body), kind)
        body += data
    descriptors += b"\0\0\xff" if len(parts) < 8 else b""
    head = struct.pack("<hBBHIBBHh", 40 + len(body), 0, 9, 1, time_s, 0, 0, 0, main_type)
    record = (head + descriptors).ljust(40, b"\0") + body
    content = record + bytes([sum(record) & 0xFF])
    return b"\x7e" + content.replace(b"\x7d", b"\x7d\x5d").replace(b"\x7e", b"\x7d\x5e") + b"\x7e"


def _dri_wave(rate_hz: int, second: int) -> bytes:
    samples = [round(900 * math.sin((second + n / rate_hz) * 7.5)) for n in range(rate_hz)]
    return struct.pack(f"<hHH{rate_hz}h", rate_hz, 0, 2, *samples)


def _dri_values(class_number: int, second: int) -> bytes:
    """Every module active, every value there."""
    data = struct.pack("<I", START_S + second) + struct.pack("<135h", *[3] * 135)  # as a status, 3 is: there and active
    return data + struct.pack("<BBH", 0, 0, class_number << 8 | 0x91)


def ge_dri(seconds: int = 300) -> Case:
    """A CARESCAPE with eight waves, 1,050 samples/s, and all four classes of values every 5 s, in pieces of 64 B."""
    waves = [(1, 300), (2, 300), (4, 100), (5, 100), (8, 100), (15, 25), (18, 100), (13, 25)]
    wire = bytearray()
    for second in range(seconds):
        for half in (waves[:1], waves[1:2], waves[2:]):
            parts = [(number, _dri_wave(rate_hz, second)) for number, rate_hz in half]
            wire += _dri_frame(1, parts, START_S + second)
        if second % 5 == 0:
            wire += _dri_frame(0, [(1, _dri_values(c, second)) for c in range(4)], START_S + second)
    names = ("ECG1", "ECG2", "INVP1", "INVP2", "PLETH", "RESP", "EEG1", "AWP")
    pieces = [bytes(wire[i : i + 64]) for i in range(0, len(wire), 64)]
    return Case("ge-dri", GeDri(GeDriConfig(waves=names, carescape=True)), pieces, seconds)


def _hl7_message(second: int, kind: str, rows: Sequence[str]) -> bytes:
    when = f"20260921{second // 3_600:02d}{second // 60 % 60:02d}{second % 60:02d}.000+0000"
    head = (
        f"MSH|^~\\&|GW^0011^EUI-64|BENCH|||{when}||ORU^R01^ORU_R01|{kind}{second}|P|2.6|||AL|NE||UNICODE UTF-8\r"
        f"PID|||1\rPV1||I|OR^3^1\rOBR|1|||{kind}|||{when}\r"
        "OBX|1||69965^MDC_DEV_MON_PHYSIO_MULTI_PARAM_MDS^MDC|1.0.0.0|||||||X|||||||SN42^ACME\r"
    )
    body = "".join(f"OBX|{n}|{row.replace('@', when)}\r" for n, row in enumerate(rows, start=2))
    return b"\x0b" + (head + body).encode() + b"\x1c\r"


def hl7(seconds: int = 120) -> Case:
    """A gateway: 20 values every 2 s and four waves, 750 samples/s, every second, in pieces of 1,400 B."""
    wire = bytearray()
    for second in range(seconds):
        rows = []
        for number, rate_hz in ((1, 250), (2, 250), (3, 125), (4, 125)):
            values = "^".join(f"{math.sin((second + n / rate_hz) * 7.5):.3f}" for n in range(rate_hz))
            unit = "266418^MDC_DIM_MILLI_VOLT^MDC"
            rows += [
                f"NA|{131_328 + number}^MDC_ECG_ELEC_POTL_{number}^MDC|1.1.1.{number}|{values}|{unit}|||||R|||@",
                f"NM|0^MDC_ATTR_SAMP_RATE^MDC|1.1.1.{number}.1|{rate_hz}|264608^MDC_DIM_PER_SEC^MDC|||||R",
            ]
        wire += _hl7_message(second, "W", rows)
        if second % 2 == 0:
            unit = "266016^MDC_DIM_MMHG^MDC"
            rows = [f"NM|{150_033 + n}^MDC_BENCH_{n}^MDC|1.2.1.{n + 1}|{70 + n}.5|{unit}|||||R|||@" for n in range(20)]
            wire += _hl7_message(second, "N", rows)
    pieces = [bytes(wire[i : i + 1_400]) for i in range(0, len(wire), 1_400)]
    return Case("hl7", Hl7v2(Hl7Config()), pieces, seconds)


def _iv_list(items: Sequence[bytes]) -> bytes:
    return struct.pack(">HH", len(items), sum(map(len, items))) + b"".join(items)


def _iv_frame(message: bytes) -> bytes:
    content = struct.pack(">BBH", 0x11, 1, len(message)) + message
    content += crc16_x25(content).to_bytes(2, "little")
    for byte in (0x7D, 0xC0, 0xC1):
        content = content.replace(bytes([byte]), bytes([0x7D, byte ^ 0x20]))
    return b"\xc0" + content + b"\xc1"


def _iv_result(object_class: int, sequence: int, ticks: int, objects: list[tuple[int, dict[int, bytes]]]) -> bytes:
    """One extended poll result, as linked results of 5 waves or 12 other objects each."""
    size = 5 if object_class == 9 else 12
    parts = [objects[at : at + size] for at in range(0, len(objects), size)]
    wire = b""
    for count, part in enumerate([*parts, []] if len(parts) > 1 else parts, start=1):
        items = [
            struct.pack(">H", handle) + _iv_list([struct.pack(">HH", a, len(v)) + v for a, v in found.items()])
            for handle, found in part
        ]
        contexts = _iv_list([bytes(2) + _iv_list(items)] if items else [])
        reply = struct.pack(">HHI8sHHH", 1, sequence, ticks, b"\xff" * 8, 1, object_class, 0) + contexts
        body = struct.pack(">HHHHH", 0x21, 0, 0, 0xF13B, len(reply)) + reply
        linked = len(parts) > 1 and bool(items)
        inner = bytes([1 if count == 1 else 3 if count == len(parts) else 2, count]) if linked else b""
        inner += struct.pack(">HHH", object_class, 7, len(body)) + body
        wire += _iv_frame(bytes.fromhex("e1000002") + struct.pack(">HH", 5 if linked else 2, len(inner)) + inner)
    return wire


def intellivue(seconds: int = 120) -> Case:
    """All that RS-232 can bring: 61 values a second, 3 ECGs of 500/s, 5 waves of 125/s, 3 alarms, in pieces of 64 B."""
    wire = bytearray()
    waves = [(0x40, 0x0102, 128), (0x40, 0x0101, 128), (0x40, 0x013D, 128)]
    waves += [(0x41 + n, code, 32) for n, code in enumerate((0x4A10, 0x4BB4, 0x4A44, 0x4A1C, 0x500A))]
    scale = struct.pack(">IIHH", 0xFE000000, 0xFE009FFF, 0, 16383)
    context = {0x096F: scale, 0x096D: struct.pack(">HBBH", 128, 16, 14, 0x3000), 0x0996: b"\x10\xb2"}
    context |= {0x0A16: _iv_list([struct.pack(">HH", 1, 0x8000), struct.pack(">HH", 2, 0x4000)])}
    alarms = [struct.pack(">9H", 0x4BB8 + n, 62, 0x200, 0, 6, 0, n, 513, 10) + bytes(10) for n in range(3)]
    for block in range(round(seconds / 0.256)):
        ticks, found = block * 2_048, []
        for at, (handle, code, count) in enumerate(waves):
            samples = struct.pack(f">{count}H", *(round(8_000 + 4_000 * math.sin(n / 9 + block)) for n in range(count)))
            told = context | {0x098D: struct.pack(">I", 2_048 // count)} if block % 32 == 4 * at else {}
            found.append((handle, told | {0x096E: struct.pack(">HHH", code, 0, len(samples)) + samples}))
        wire += _iv_result(9, block + 1, ticks, found)
        if block % 4 == 0:
            values = [struct.pack(">HHHI", 0x4000 + 4 * n, 0, 0x0AA0, 70 + n) for n in range(61)]
            simple = [(0x100 + n, {0x0950: value}) for n, value in enumerate(values[:40])]
            threes = [(0x200 + n, {0x094B: _iv_list(values[40 + 3 * n : 43 + 3 * n])}) for n in range(7)]
            wire += _iv_result(6, block // 4 + 1, ticks, [*simple, *threes])
            wire += _iv_result(0x36, block // 4 + 1, ticks, [(1, {0x0902: _iv_list(alarms), 0x0904: _iv_list([])})])
    pieces = [bytes(wire[i : i + 64]) for i in range(0, len(wire), 64)]
    return Case("intellivue", IntelliVue(IntelliVueConfig(interface="rs232")), pieces, seconds)


CASES: tuple[Callable[[], Case], ...] = (ge_dri, hl7, intellivue)


def run(case: Case) -> list[Line]:
    """Decode all of it: the part of a core that the live device takes, and how fast it goes."""
    driver, samples, values = case.driver, 0, 0
    driver.link_up(LINK, "bench", Now(0, START_S * S_NS))
    step_ns = round(case.device_s * S_NS / len(case.pieces))
    started_s = time.process_time()
    for i, piece in enumerate(case.pieces):
        driver.receive(LINK, piece, Now(i * step_ns, START_S * S_NS + i * step_ns))
        for action in driver.drain():
            if isinstance(action, Emit) and isinstance(action.record, Wave):
                samples += len(action.record.samples) // action.record.width
            elif isinstance(action, Emit) and isinstance(action.record, Numeric):
                values += 1
    took_s = time.process_time() - started_s
    size = sum(map(len, case.pieces))
    return [
        Line(f"decode {case.name}: live device", took_s / case.device_s * 100, "% of a core", BUDGET * 100),
        Line(f"decode {case.name}: bytes", size / took_s / 1e6, "MB/s"),
        Line(f"decode {case.name}: samples", samples / took_s / 1e6, "M samples/s"),
        Line(f"decode {case.name}: values", values / took_s, "values/s"),
    ]


@dataclass(slots=True)
class _Sum:
    """What all captures of one driver come to."""

    device_s: float = 0.0
    took_s: float = 0.0
    size: int = 0
    samples: int = 0
    values: int = 0


def _replayed(capture: CaptureReader, total: _Sum) -> None:
    """Decode one capture again and again for a while."""
    header, items = capture.header, list(capture)
    kind: Any = registry.get(header.driver)
    config = msgspec.convert(header.options, kind.spec.config)
    received = [item for item in items if not isinstance(item, Gap | Link) and not _is_sent(item)]
    size = sum(len(item.message.body if isinstance(item, CapturedMessage) else item.data) for item in received)
    until_s = time.process_time() + REPLAY_S
    while time.process_time() < until_s:
        playing = Replay(kind(config), header.t0_ns)
        started_s = time.process_time()
        records = [
            action.record for step in playing.steps(items) for action in step.actions if isinstance(action, Emit)
        ]
        total.took_s += time.process_time() - started_s
        total.device_s += (items[-1].at_ns - items[0].at_ns) / S_NS
        total.size += size
        for record in records:
            if isinstance(record, Wave):
                total.samples += len(record.samples) // record.width
            elif isinstance(record, Numeric):
                total.values += 1


def _is_sent(item: CaptureItem) -> bool:
    return isinstance(item, Raw) and item.direction == ">"


def captures() -> list[Line]:
    """Every driver that has captures: what they cost to decode."""
    sums: dict[str, _Sum] = {}
    for path in sorted(CAPTURES.glob("*.orcap*")):
        with open_capture(path) as reader:
            driver = reader.header.driver
            _replayed(reader, sums.setdefault(driver, _Sum()))
    lines = []
    for driver, total in sorted(sums.items()):
        share = total.took_s / total.device_s * 100
        lines += [
            Line(f"captures {driver}: live device", share, "% of a core", BUDGET * 100),
            Line(f"captures {driver}: bytes", total.size / total.took_s / 1e6, "MB/s"),
            Line(f"captures {driver}: samples", total.samples / total.took_s / 1e6, "M samples/s"),
            Line(f"captures {driver}: values", total.values / total.took_s, "values/s"),
        ]
    return lines


def main() -> int:
    """Every case; 1 if one takes more than its budget."""
    options = report.parser(__doc__).parse_args()
    return report.finish([*captures(), *(line for case in CASES for line in run(case()))], options.json)


if __name__ == "__main__":
    sys.exit(main())
