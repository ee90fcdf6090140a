"""Records the SDC captures anew from the simulated workstation: ``python -m tests.captures.live_sdc``.

Unlike the other captures they are not made in virtual time: the workstation is the library sdc11073 with its threads
and its network, and independent of our driver. So they differ from one recording to the next, and no plan makes them.
"""

from __future__ import annotations

import asyncio
import io
import sys
import time
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

import msgspec
import zstandard

from agent.capture_recorder import CaptureRecorder
from drivers.capture import CaptureReader, CaptureWriter, t0_text
from drivers.contract import Now, Send, Transport
from drivers.replay import Replay
from drivers.sdc import Sdc, SdcConfig
from drivers.transports.sdc_config import SdcLinkConfig
from drivers.transports.sdc_link import SdcTransport
from firmware_sim.clock import SimClock
from firmware_sim.patient import Patient
from firmware_sim.sdc_provider import SdcConfig as WorkstationConfig
from firmware_sim.sdc_provider import SdcWorkstation
from ledger.records import Link, Raw
from tests.captures.conversation import driver_of, header
from tests.captures.make import HERE, records_text

EPR = uuid.UUID("8c26f673-fdbf-4380-b5ad-9e2454a65b6b")
GROUP = ("239.255.255.250", 3702)
Step = tuple[float, str]

ORDINARY: tuple[Step, ...] = (
    (1.2, "validity spo2 Qst"), (0.1, "mode temp Test"), (0.1, "validity cvp.mean Calib"), (0.1, "validity rr Inv"),
    (0.3, "alarm ac.lead-off on"), (0.3, "alarm ac.lead-off pause"), (0.3, "alarm ac.hr.hi on"),
    (0.3, "alarm ac.hr.hi latch"), (0.3, "alarm ac.lead-off off"), (0.3, "alarm ac.hr.hi ack"), (0.2, "select PCV"),
    (0.2, "alarm ac.hr.hi off"), (0.2, "validity spo2 Vld"), (0.2, "mode temp Real"), (0.9, "patient Erika Musterfrau"),
    (0.6, ""),
)  # fmt: skip
CHANGES: tuple[Step, ...] = (
    (1.2, "jump 7"), (2.2, "sequence"), (1.5, "rename co2.absorber 4799"), (1.8, "restart"), (3.5, "select manual"),
    (0.6, ""),
)  # fmt: skip


def _now() -> Now:
    return Now(time.monotonic_ns(), time.time_ns())


def workstation() -> SdcWorkstation:
    return SdcWorkstation(Patient(8), SimClock(), WorkstationConfig(epr=EPR))


async def conversation(stream: io.BytesIO, steps: tuple[Step, ...]) -> None:
    device = workstation()
    await asyncio.to_thread(device.start)
    told = header(
        "sdc", Transport.SDC, feed="workstation", device={"make": "simulated", "model": "SDC workstation (sdc11073)"}
    )
    writer = CaptureWriter(stream, msgspec.structs.replace(told, t0=t0_text(time.time_ns())))
    transport = SdcTransport(SdcLinkConfig("", EPR.urn, "127.0.0.1", GROUP), _now)
    recorder = CaptureRecorder(writer, _nothing, transport, Sdc(SdcConfig()), _now)
    recorder.start()
    while recorder.counters["lines"] < 10:  # noqa: ASYNC110 - the recorder tells nobody
        await asyncio.sleep(0.05)
    for pause_s, command in steps:
        await asyncio.sleep(pause_s)
        if command == "restart":
            await asyncio.to_thread(device.stop)
            device = workstation()
            await asyncio.to_thread(device.start)
        elif command:
            await asyncio.to_thread(device.command, command)
    await recorder.stop()
    await asyncio.to_thread(device.stop)
    writer.finish()


def _nothing() -> None:
    return None


def captures() -> Iterator[tuple[str, Callable[[io.BytesIO], None]]]:
    yield "sdc-workstation", lambda stream: asyncio.run(conversation(stream, ORDINARY))
    yield "sdc-workstation-changes", lambda stream: asyncio.run(conversation(stream, CHANGES))


def write(name: str, text: bytes, folder: Path = HERE) -> str:
    compressed = zstandard.ZstdCompressor(level=19, write_checksum=True).compress(text)
    (folder / f"{name}.orcap.zst").write_bytes(compressed)
    return rewrite_records(name, text, folder) + f", {len(compressed)} bytes"


def finished(text: bytes) -> bytes:
    """The same capture, its time counted from its first line on and its link down at the end, as of any other.

    What the driver sent stands where it wanted it sent: how busy the machine was is no part of it.
    """
    reader = CaptureReader(io.BytesIO(text))
    heard = [item for item in reader if not (isinstance(item, Raw) and item.direction == ">")]
    last = heard[-1]
    if isinstance(last, Raw):
        heard.append(Link(at_ns=last.at_ns, link=last.link, state="down", reason="unplugged"))
    header = msgspec.structs.replace(reader.header, t0=t0_text(heard[0].at_ns))
    replay = Replay(driver_of(header), header.t0_ns)
    stream = io.BytesIO()
    writer = CaptureWriter(stream, header)
    for item in heard:
        sent = [
            _raw(send, step.now) for step in replay.steps([item]) for send in step.actions if isinstance(send, Send)
        ]
        before = [raw for raw in sent if raw.at_ns < item.at_ns]
        for one in (*before, item, *sent[len(before) :]):
            writer.write(one)
    writer.finish()
    return stream.getvalue()


def _raw(send: Send, now: Now) -> Raw:
    return Raw(at_ns=now.utc_ns, link=send.link, direction=">", data=send.data, pieces=((0, len(send.data)),))


def rewrite_records(name: str, text: bytes, folder: Path = HERE) -> str:
    """What the driver makes of a capture now."""
    reader = CaptureReader(io.BytesIO(text))
    items = list(reader)
    records = records_text(items, reader.header)
    (folder / f"{name}.records.jsonl").write_bytes(records)
    return f"{name} {len(items)} lines, {records.count(10)} records"


def main() -> int:
    """Record them anew; with ``--records`` only read again what was recorded."""
    for name, record in captures():
        if "--records" in sys.argv:
            text = zstandard.ZstdDecompressor().decompress((HERE / f"{name}.orcap.zst").read_bytes())
            print(rewrite_records(name, text))  # noqa: T201
        else:
            stream = io.BytesIO()
            record(stream)
            print(write(name, finished(stream.getvalue())))  # noqa: T201
    return 0


if __name__ == "__main__":
    sys.exit(main())
