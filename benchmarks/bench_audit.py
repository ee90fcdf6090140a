"""How long ``orledger verify`` takes for a case of 8 h (288,000 blocks), every block a busy tick of a real room.

Run: python -m benchmarks.bench_audit [--blocks N]. Makes a box's folder with N blocks and verifies it with the
command's own processes; the figures are scaled to 288,000 blocks, the processes' start not counted twice.
"""

from __future__ import annotations

import hashlib
import os
import random
import secrets
import sys
import tempfile
import time
from pathlib import Path

from agent.box_files import BoxFolder
from agent.verifier import Task, verify
from benchmarks.bench_payload import START_NS, TICK_NS, one_tick
from benchmarks.machine import median_us, start_processor_s
from benchmarks.report import Line, finish, parser
from ledger.audit import AuditReport
from ledger.block import ClockQuality, ClockState
from ledger.chain import Chain, Draft
from ledger.keyring import Keyring, write_durably
from ledger.log import LogId
from ledger.manifest import Box, Manifest, Role, sign_manifest
from ledger.notices import Start
from ledger.ops import AppendBlock, OpenLog, PutDerived, PutManifest
from ledger.payload import CODEC_ZSTD, encode_payload
from ledger.records import Keyframe, Record
from ledger.sealing import DataKey
from ledger.signing import SigningKey, signature_is_valid
from ledger.state import RoomState, encode_state
from ledger.store import Store

CASE_BLOCKS = 288_000
_TELEGRAM_EVERY = 50
_COMMIT_BLOCKS = 500
_PROCESSES = 1
"""The audit, whose workers are copies of it: its start does not grow with the case."""


def payloads(count: int) -> list[bytes]:
    """One 5 s period after another: a keyframe and a telegram of 100 values in its first tick, waves and raw bytes."""
    noise, state, made = random.Random(7), RoomState(), []
    for tick in range(count):
        first = tick % _TELEGRAM_EVERY == 0
        groups: dict[str, list[Record]] = one_tick(tick, noise, values=first)
        if first:
            groups[""] = [Keyframe(at_ns=START_NS + tick * TICK_NS, state=encode_state(state))]
        state.fold_groups({feed: records for feed, records in groups.items() if feed})
        made.append(encode_payload(groups))
    return made


def make_folder(path: Path, blocks: int) -> None:
    """A box alone with one log of ``blocks`` blocks."""
    folder, ring_key = BoxFolder(path), secrets.token_bytes(32)
    folder.keys.mkdir(parents=True)
    write_durably(folder.keys / "ring.key", ring_key)
    key, data_key = SigningKey(secrets.token_bytes(32)), DataKey(secrets.token_bytes(32))
    box = Box("or-1", "OR 1", "main", Role.MEMBER, key.public, bytes(32), b"", "127.0.0.1:8883")
    manifest = Manifest("bench", 1, bytes(32), (box,), None, 1, (key.public,), 1, None)
    log = LogId("or-1", 1, secrets.token_bytes(16), fenced=True)
    Keyring(folder.keyring, ring_key).add("or-1", log.incarnation, data_key, {})
    store = Store.open(folder.ledger)
    store.commit([PutManifest(1, sign_manifest(manifest, [key]).encode()), OpenLog(log, manifest.hash)])
    chain, ring = Chain("bench", log, key, data_key, manifest.hash), payloads(10 * _TELEGRAM_EVERY)
    for first in range(0, blocks, _COMMIT_BLOCKS):
        closed = [
            _close(chain, seq, ring[seq % len(ring)]) for seq in range(first, min(first + _COMMIT_BLOCKS, blocks))
        ]
        derived: list[AppendBlock | PutDerived] = [chain.replica.derived(None)]
        store.commit([*closed, *derived])
    store.close()


def _close(chain: Chain, seq: int, payload: bytes) -> AppendBlock:
    at_ns = START_NS + seq * TICK_NS
    block = chain.close_block(
        Draft(
            payload=payload, codec=CODEC_ZSTD, has_keyframe=seq % _TELEGRAM_EVERY == 0, opened_ns=at_ns,
            closed_ns=at_ns + TICK_NS, boot_ns=at_ns, clock=ClockQuality(ClockState.SYNCHRONISED, 400_000),
            notices=(Start(bytes(16), (), None, ()),) if seq == 0 else (),
        )
    )  # fmt: skip
    return AppendBlock(block.log, seq, block.signed_header, block.payload)


def scaled_s(path: Path, *, every_signature: bool) -> tuple[float, float]:
    """Seconds for 288,000 blocks by the clock and of the processors, and a check that all of them were good."""
    began, before = time.perf_counter(), os.times()
    report: AuditReport = verify(Task(path, None, every_signature=every_signature), lambda _done, _total: None)
    whole, after = time.perf_counter() - began, os.times()
    processor_s = after.children_user - before.children_user + after.children_system - before.children_system
    log = report.logs[0]
    assert report.is_good
    assert log.decoded == log.payloads == log.blocks
    scale = CASE_BLOCKS / log.blocks
    starts_s = min(processor_s, _PROCESSES * start_processor_s("agent.verifier"))
    return (whole - report.seconds) + report.seconds * scale, (processor_s - starts_s) * scale + starts_s


def main() -> int:
    """Print the figures beside their budgets and what two processors need for the cryptography alone."""
    arguments = parser(__doc__)
    arguments.add_argument("--blocks", type=int, default=28_800, help="blocks to make; figures are scaled to 288,000")
    options = arguments.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "data"
        make_folder(path, options.blocks)
        (quick, quick_cpu), (full, full_cpu) = (
            scaled_s(path, every_signature=False),
            scaled_s(path, every_signature=True),
        )
    cores = min(2, os.cpu_count() or 1)
    key, block = SigningKey(bytes(32)), os.urandom(2_048)
    signature = key.sign(b"", block[:400])
    hash_s = median_us(lambda: hashlib.sha256(block).digest()) * CASE_BLOCKS / 1e6 / cores
    check_s = median_us(lambda: signature_is_valid(key.public, b"", block[:400], signature)) * CASE_BLOCKS / 1e6 / cores
    name = f"verify {CASE_BLOCKS:,} blocks, measured on {options.blocks:,}"
    lines = [
        Line(f"{name}: links, heads, root, payloads decoded", quick, "s", 10.0, hash_s, "SHA-256 of payloads"),
        Line(f"{name}: every signature as well", full, "s", 30.0, hash_s + check_s, "and every signature"),
        Line(
            f"processor time of the first, of {cores} processors",
            quick_cpu / cores,
            "s",
            10.0,
            hash_s,
            "SHA-256",
            note="unlike the clock it hardly depends on what else this machine does",
        ),
        Line(
            f"processor time of the second, of {cores} processors",
            full_cpu / cores,
            "s",
            30.0,
            hash_s + check_s,
            "and every signature",
        ),
    ]
    return finish(lines, options.json)


if __name__ == "__main__":
    sys.exit(main())
