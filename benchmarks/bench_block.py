"""Where a block's CPU goes: what the writer does, what each peer does, and the share of each part.

Run: python -m benchmarks.bench_block. Everything in this process, without disk or network; a tick of a full room
(``bench_payload``). One writer's block costs its box the writer's time, and each peer the peer's.
"""

from __future__ import annotations

import hashlib
import os
import random
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from agent.clock import read_quality
from agent.intake import Intake
from agent.recorder import Closed, Recorder
from benchmarks import machine, report
from benchmarks.bench_payload import Groups, one_tick
from benchmarks.machine import Machine, median_us, quantile
from benchmarks.report import Line
from ledger.block import decode_signed_header
from ledger.instant import Now
from ledger.limits import LIMITS
from ledger.log import LogId
from ledger.manifest import Box, Manifest, Role
from ledger.member import Member, Secrets
from ledger.message_codec import decode_message, encode_plain
from ledger.messages import BlockMessage
from ledger.payload import encode_payload
from ledger.sealing import KEY_BYTES, BoxKey, DataKey
from ledger.signing import SEED_BYTES, SigningKey
from ledger.state import RoomState
from ledger.tree import leaf_hash
from ledger.writer import OwnPast

TICKS = 200
_FULL_EVERY = 10


class NoDisk:
    """Holds nothing: what is measured needs nothing of it."""

    def length(self, _log: LogId) -> int:
        return 0

    def signed_header(self, _log: LogId, _seq: int) -> bytes | None:
        return None

    def blocks(self, _log: LogId, _first: int, _end: int) -> Sequence[tuple[bytes, bytes]]:
        return ()

    def keyframe_frontier(self, _log: LogId, _seq: int) -> bytes | None:
        return None


class NoKeys:
    """No wraps."""

    def wraps(self, _key_id: bytes) -> dict[str, bytes]:
        return {}


def group() -> dict[str, Member]:
    """A writer and a peer, started, that hold each other's data keys."""
    secrets = {
        name: Secrets(SigningKey(os.urandom(SEED_BYTES)), BoxKey(os.urandom(KEY_BYTES))) for name in ("writer", "peer")
    }
    boxes = tuple(
        Box(name, name, "main", Role.MEMBER, secret.signing.public, secret.receiving.public, b"", f"{name}:1")
        for name, secret in secrets.items()
    )
    manifest = Manifest("bench", 1, bytes(32), boxes, None, 1, (bytes(32),), 1, None)
    members = {
        name: Member(name, secret, manifest, bytes(16), NoDisk(), NoKeys(), os.urandom)
        for name, secret in secrets.items()
    }
    for member in members.values():
        member.start(OwnPast(0, ()), (), {}, ())
    return members


def now_of(tick: int) -> Now:
    """One tick after the other."""
    return Now(tick * LIMITS.tick_ns, 1_764_000_000_000_000_000 + tick * LIMITS.tick_ns)


def timed(work: Callable[[int], object], tick: int) -> float:
    """Microseconds of one tick."""
    began = time.perf_counter()
    work(tick)
    return (time.perf_counter() - began) * 1e6


def times(work: Callable[[int], object]) -> list[float]:
    """Microseconds of each tick."""
    return [timed(work, tick) for tick in range(TICKS)]


def offered(intake: Intake, groups: Groups) -> None:
    """As feeds do: record by record."""
    for feed, records in groups.items():
        for record in records:
            intake.offer(feed, (record,))


def steps(limits: Machine) -> tuple[list[Line], list[bytes]]:
    """The path of a block through writer and peer; its lines and the wire bytes."""
    noise = random.Random(7)  # signal noise
    ticks = [one_tick(tick, noise, values=tick % _FULL_EVERY == 0) for tick in range(TICKS)]
    members = group()
    writer, peer = members["writer"], members["peer"]
    intake, recorder = Intake(), Recorder(writer, RoomState(), read_quality)
    batches, closed, wires = [], [], []

    def take(tick: int) -> None:
        offered(intake, ticks[tick])
        batches.append(intake.take())

    def close(tick: int) -> None:
        block = recorder.tick(now_of(tick), batches[tick])
        if isinstance(block, Closed):
            closed.append(block)

    def encode(tick: int) -> None:
        wires.append(encode_plain(closed[tick].block.message()))

    def arrive(tick: int) -> None:
        peer.on_wire("writer", wires[tick], now_of(tick))

    def vouch(tick: int) -> None:
        _, position = peer.take_ops()
        peer.committed(position, now_of(tick))
        peer.take_wire()

    peer.key_kept(writer.writer.chain.data_key.key_id, now_of(0))
    made = {
        "writer: offer to intake and take": times(take),
        "writer: encode, seal, sign, fold": times(close),
        "writer: encode the message": times(encode),
    }
    arrived, vouched = [], []
    for tick in range(TICKS):
        arrived.append(timed(arrive, tick))
        vouched.append(timed(vouch, tick))
    made |= {"peer: decode, check, accept": arrived, "peer: vouch once durable": vouched}
    signatures = {"writer: encode, seal, sign, fold": (2, 0), "peer: decode, check, accept": (0, 2),
                  "peer: vouch once durable": (1, 0)}  # fmt: skip
    lines = []
    for name, took in made.items():
        signed, verified = signatures.get(name, (0, 0))
        least = signed * limits.sign_us + verified * limits.verify_us
        lines.append(Line(f"{name}, p50", quantile(took, 0.5), "us", None, least or None, "its signatures"))
    return lines, wires


def parts(wires: Sequence[bytes]) -> list[Line]:
    """What those steps consist of, for the median block."""
    wire = sorted(wires, key=len)[len(wires) // 2]
    message = decode_message(wire)
    if not isinstance(message, BlockMessage):
        raise TypeError("a block's message is no block")
    header, key = decode_signed_header(message.signed_header), DataKey(os.urandom(KEY_BYTES))
    groups = one_tick(1, random.Random(7), values=False)  # signal noise
    payload, data = encode_payload(groups), header.associated_data()
    works: dict[str, Callable[[], object]] = {
        "encode payload (msgpack, zstd)": lambda: encode_payload(groups),
        "seal payload": lambda: key.seal_payload(payload, header.log.incarnation, header.seq, data),
        "hash payload and leaf": lambda: (hashlib.sha256(message.payload).digest(), leaf_hash(message.signed_header)),
        "encode header": header.encode,
        "decode message": lambda: decode_message(wire),
        "decode header": lambda: decode_signed_header(message.signed_header),
    }
    return [Line(f"of it: {name}", median_us(work), "us") for name, work in works.items()]


def main() -> int:
    """Print the table."""
    options = report.parser(__doc__).parse_args()
    with tempfile.TemporaryDirectory(dir=Path()) as folder:
        limits = machine.measure(Path(folder))
    lines, wires = steps(limits)
    return report.finish([*lines, *parts(wires)], options.json)


if __name__ == "__main__":
    sys.exit(main())
