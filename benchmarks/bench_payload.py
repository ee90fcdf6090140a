"""What one tick costs: encoding, decoding and folding the records of a busy room, and its keyframe.

Run: python -m benchmarks.bench_payload. One tick is 100 ms of a monitor with 8 waves at 300 and 500 Hz with 60 values,
a ventilator with 40 values and settings, and their raw bytes: far more than the average tick, which has no values.
"""

from __future__ import annotations

import math
import random
import struct
import sys
import time
from collections.abc import Callable, Sequence
from decimal import Decimal
from typing import TypeVar

from benchmarks import report
from benchmarks.report import Line
from ledger.limits import S_NS
from ledger.payload import compress, decode_payload, encode_payload, encode_records
from ledger.records import LinkId, Numeric, Raw, Record, Setting, Wave
from ledger.state import RoomState, decode_state, encode_state

TICKS = 100
TICK_NS = S_NS // 10
START_NS = 1_764_000_000 * S_NS
T = TypeVar("T")
Groups = dict[str, list[Record]]


def wave(number: int, tick: int, noise: random.Random) -> Wave:
    """100 ms of a sine with noise, as an amplifier would give it."""
    rate = 500 if number < 3 else 300
    count = rate // 10
    first = tick * count
    samples = [round(400 * math.sin((first + n) * 2 * math.pi * 1.2 / rate) + noise.gauss(0, 4)) for n in range(count)]
    return Wave(
        at_ns=START_NS + tick * TICK_NS, code=f"MDC_ECG_ELEC_POTL_{number}", unit="mV", channel=f"ECG{number}",
        rate=(rate, 1), index=first, width=2, samples=struct.pack(f"<{count}h", *samples), scale=0.0025, offset=0.0,
    )  # fmt: skip


def one_tick(tick: int, noise: random.Random, *, values: bool) -> Groups:
    """The records of one tick, with or without a telegram of values."""
    at_ns = START_NS + tick * TICK_NS
    monitor: list[Record] = [wave(number, tick, noise) for number in range(8)]
    vent: list[Record] = []
    for link, feed, size in ((1, monitor, 1_200), (2, vent, 60)):
        data = b"".join(struct.pack("<h", round(noise.gauss(0, 40))) for _ in range(size // 2))
        feed.append(Raw(at_ns=at_ns, link=LinkId(link), direction="<", data=data, pieces=((0, size),)))
    if values:
        for number in range(60):
            value = Decimal(noise.randrange(300, 1_500)).scaleb(-1)
            monitor.append(
                Numeric(at_ns=at_ns, code=f"MDC_PRESS_{number}", value=value, unit="mm[Hg]", device_code=f"p{number}")
            )
        for number in range(40):
            kind = Numeric if number < 20 else Setting
            vent.append(
                kind(at_ns=at_ns, code=f"MDC_VENT_{number}", value=Decimal("7.10"), unit="L", device_code=f"${number}")
            )
    return {"monitor": monitor, "vent": vent}


def best_us(work: Callable[[T], object], items: Sequence[T]) -> float:
    """Microseconds per item, best of five passes."""
    passes = []
    for _ in range(5):
        start = time.perf_counter()
        for item in items:
            work(item)
        passes.append((time.perf_counter() - start) / len(items))
    return min(passes) * 1e6


def measure(name: str, ticks: Sequence[Groups]) -> list[Line]:
    """What each step costs for these ticks."""
    plain = [encode_records(groups) for groups in ticks]
    payloads = [encode_payload(groups) for groups in ticks]
    state = RoomState()
    count = sum(len(records) for groups in ticks for records in groups.values()) / len(ticks)
    note = f"{count:.0f} records, {len(plain[0])} B plain, {len(compress(plain[0]))} B zstd"
    return [
        Line(f"encode payload, {name}", best_us(encode_payload, ticks), "us", note=note),
        Line(f"decode payload, {name}", best_us(decode_payload, payloads), "us"),
        Line(f"fold, {name}", best_us(state.fold_groups, ticks), "us"),
    ]


def main() -> int:
    """Print the table."""
    options = report.parser(__doc__).parse_args()
    noise = random.Random(7)
    full = [one_tick(tick, noise, values=True) for tick in range(TICKS)]
    waves = [one_tick(tick, noise, values=False) for tick in range(TICKS)]
    lines = [*measure("telegram of 100 values", full), *measure("waves and raw bytes", waves)]
    state = RoomState()
    for groups in full:
        state.fold_groups(groups)
    data = encode_state(state)
    note = f"{len(data)} B plain, {len(compress(data))} B zstd"
    lines += [
        Line("encode keyframe", best_us(lambda _: encode_state(state), [0]), "us", note=note),
        Line("decode keyframe", best_us(decode_state, [data]), "us"),
    ]
    return report.finish(lines, options.json)


if __name__ == "__main__":
    sys.exit(main())
