"""An HL7 gateway that sends the patient over MLLP as a client. The asyncio shell around `SendSession`."""

from __future__ import annotations

import asyncio
import contextlib
import random
from dataclasses import dataclass, field
from pathlib import Path
from typing import TextIO

from firmware_sim.clock import SimClock
from firmware_sim.faults import FaultLine
from firmware_sim.hl7_messages import GatewayProfile, MessageFactory
from firmware_sim.hl7_session import Counters, GatewayFeed, MessageFeed, SendPolicy, SendSession
from firmware_sim.patient import Patient

_READ_SIZE = 65536
_FIRST_BACKOFF_S = 0.2
_MAX_BACKOFF_S = 5.0
_CONNECT_TIMEOUT_S = 5.0
_PIECE_PAUSE_S = 0.002


@dataclass(frozen=True, slots=True)
class GatewayConfig:
    """Where to send and how.

    `interval_s` is the time between numeric messages (for a load of 200/s: 0.005). `split_writes` sends every frame
    in a few pieces with pauses between them. `acked_file` gets one line per acknowledged MSH-10, appended at once.
    `limit` stops offering after so many messages (0: no limit).
    """

    host: str
    port: int
    interval_s: float = 2.0
    waves: bool = False
    split_writes: bool = False
    acked_file: Path | None = None
    limit: int = 0
    profile: GatewayProfile = field(default_factory=GatewayProfile)
    policy: SendPolicy = field(default_factory=SendPolicy)


class Hl7Gateway:
    """The running gateway: `await start()`, `await stop()`; the patient is shared with the room's other devices.

    `feed`: messages of another sender than a bedside gateway.
    """

    def __init__(
        self, patient: Patient, clock: SimClock, config: GatewayConfig, line: FaultLine | None = None,
        feed: MessageFeed | None = None,
    ) -> None:  # fmt: skip
        self._clock = clock
        self._config = config
        self._line = line or FaultLine()
        factory = MessageFactory(config.profile, clock.started_unix_s)
        self._feed = feed or GatewayFeed(patient, factory, config.interval_s, waves=config.waves, line=self._line)
        self._session = SendSession(config.policy)
        self._pieces = random.Random(f"pieces {patient.seed}")
        self._wake = asyncio.Event()
        self._acked: TextIO | None = None
        self._tasks: list[asyncio.Task[None]] = []

    @property
    def counters(self) -> Counters:
        """What was sent, acknowledged, refused and repeated so far."""
        return self._session.counters

    @property
    def waiting(self) -> int:
        """Messages not yet acknowledged."""
        return self._session.waiting

    async def start(self) -> None:
        """Begin to send; connecting and reconnecting happen in the background."""
        if self._config.acked_file is not None:
            self._acked = self._config.acked_file.open("a", encoding="ascii")
        self._tasks = [asyncio.create_task(self._produce()), asyncio.create_task(self._connect())]

    async def stop(self) -> None:
        """Stop sending; what is not acknowledged stays unacknowledged."""
        for task in self._tasks:
            task.cancel()
        for task in self._tasks:
            with contextlib.suppress(asyncio.CancelledError):
                await task
        self._tasks = []
        if self._acked is not None:
            self._acked.close()
            self._acked = None

    async def _produce(self) -> None:
        limit = self._config.limit
        while not limit or self._session.counters.offered < limit:
            for message in self._feed.poll(self._clock.now_s()):
                if not limit or self._session.counters.offered < limit:
                    self._session.offer(message)
            self._wake.set()
            await asyncio.sleep(min(60.0, max(0.002, self._feed.next_due_s() - self._clock.now_s())))

    async def _connect(self) -> None:
        backoff_s = _FIRST_BACKOFF_S
        while True:
            try:
                # Not wait_for: in Python 3.11 it loses a cancellation that comes together with a refusal.
                async with asyncio.timeout(_CONNECT_TIMEOUT_S):
                    reader, writer = await asyncio.open_connection(self._config.host, self._config.port)
            except (OSError, TimeoutError):
                await asyncio.sleep(backoff_s)
                backoff_s = min(_MAX_BACKOFF_S, backoff_s * 2)
                continue
            before = self._session.counters.acknowledged
            try:
                await self._converse(reader, writer)
            except OSError:
                pass  # the receiver is gone: connect again below
            finally:
                self._session.disconnected()
                writer.close()
            backoff_s = _FIRST_BACKOFF_S if self._session.counters.acknowledged > before else backoff_s
            await asyncio.sleep(backoff_s)

    async def _converse(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One connection, until it ends, a message times out or the gateway reboots."""
        self._session.connected(self._clock.now_s())
        reading: asyncio.Task[bytes] = asyncio.create_task(reader.read(_READ_SIZE))
        waking: asyncio.Task[bool] | None = None
        try:
            while True:
                self._wake.clear()
                now_s = self._clock.now_s()
                if self._line.off(now_s) or self._session.timed_out(now_s):
                    return
                for frame in self._session.poll(now_s):
                    await self._write(writer, frame)
                waking = waking or asyncio.create_task(self._wake.wait())
                pause_s = min(1.0, max(0.0, self._session.next_due_s() - self._clock.now_s()))
                await asyncio.wait({reading, waking}, timeout=pause_s, return_when=asyncio.FIRST_COMPLETED)
                if waking.done():
                    waking = None
                if reading.done():
                    data = reading.result()
                    if not data:
                        return
                    for frame in self._session.receive(data, self._clock.now_s()):
                        await self._write(writer, frame)
                    self._note_acknowledged()
                    reading = asyncio.create_task(reader.read(_READ_SIZE))
        finally:
            reading.cancel()
            if waking is not None:
                waking.cancel()

    async def _write(self, writer: asyncio.StreamWriter, frame: bytes) -> None:
        data = self._line.apply(frame, self._clock.now_s())
        if not self._config.split_writes:
            writer.write(data)
            await writer.drain()
            return
        cuts = sorted(self._pieces.randrange(len(data) + 1) for _ in range(3)) if data else []
        for start, end in zip([0, *cuts], [*cuts, len(data)], strict=True):
            writer.write(data[start:end])
            await writer.drain()
            await asyncio.sleep(_PIECE_PAUSE_S)

    def _note_acknowledged(self) -> None:
        acked = self._session.take_acknowledged()
        if self._acked is not None and acked:
            self._acked.write("".join(f"{control_id}\n" for control_id in acked))
            self._acked.flush()
