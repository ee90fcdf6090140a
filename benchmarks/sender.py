"""An HL7 sender that knows nothing of the box: how long from the last byte on the wire to the acknowledgment."""

from __future__ import annotations

import asyncio
import random
import time
from datetime import UTC, datetime

_HOST = "127.0.0.1"
_END = b"\x1c\r"
_MEAN_PAUSE_S = 0.6
_ANSWER_S = 10.0
_RETRY_S = 0.005


def message(control_id: str) -> bytes:
    """One framed ORU with three values; original mode, so that MSA-1 is AA once it is stored."""
    when = datetime.now(UTC).strftime("%Y%m%d%H%M%S.%f")[:-3] + "+0000"
    rows = "".join(
        f"OBX|{n}|NM|{code}^MDC_PROBE_{n}^MDC|1.1.1.{n}|{70 + n}|264864^MDC_DIM_BEAT_PER_MIN^MDC|||||R|||{when}\r"
        for n, code in enumerate((147_842, 150_456, 149_530), start=1)
    )
    head = f"MSH|^~\\&|PROBE|BENCH|||{when}||ORU^R01^ORU_R01|{control_id}|P|2.6\rPID|||1\rOBR|1|||P|||{when}\r"
    return b"\x0b" + (head + rows).encode() + _END


async def round_trips(port: int, connections: int, seconds: float) -> list[float]:
    """Milliseconds from sending to AA, of every message that many connections send at random moments.

    Raises RuntimeError for any other answer, TimeoutError for none.
    """
    until = time.monotonic() + seconds
    found = await asyncio.gather(*(_one(port, number, until) for number in range(connections)))
    return [took for each in found for took in each]


async def _one(port: int, number: int, until: float) -> list[float]:
    took: list[float] = []
    reader, writer = await asyncio.open_connection(_HOST, port)
    try:
        while time.monotonic() < until:
            await asyncio.sleep(random.expovariate(1 / _MEAN_PAUSE_S))  # moments, not secrets
            took.append(await _round_trip(reader, writer, f"P{number}-{len(took)}"))
    finally:
        writer.close()
    return took


async def _round_trip(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, control_id: str) -> float:
    began = time.perf_counter()
    writer.write(message(control_id))
    async with asyncio.timeout(_ANSWER_S):
        answer = await reader.readuntil(_END)
    ended = time.perf_counter()
    if f"MSA|AA|{control_id}".encode() not in answer:
        raise RuntimeError(f"{control_id} was answered {answer!r}")
    return (ended - began) * 1e3


async def until_acknowledged(port: int, control_id: str) -> None:
    """Connect again and again until somebody listens, send one message, wait for its AA."""
    while True:
        try:
            reader, writer = await asyncio.open_connection(_HOST, port)
            break
        except OSError:
            await asyncio.sleep(_RETRY_S)
    try:
        await _round_trip(reader, writer, control_id)
    finally:
        writer.close()
