"""How long ``orledger restore box`` takes for a case of 8 h (288,000 blocks), every block a busy tick of a real room.

    python -m benchmarks.bench_rebuild [--blocks 28800]

Two boxes hold the log of a third one that is gone; a fourth, which holds nothing of it, rebuilds it from both, while
all three record on, one of them a whole OR. With fewer blocks the figures are scaled to 288,000: quicker, and worse
than true, for what does not grow with the log is multiplied too, all but the command's start. On this one machine the
peers, the asker's agent, the command and the audit's processes share the cores; in a hospital each box has its own. How
late the ticks of the recording boxes are, and how long their blocks take to be witnessed, is told of three windows:
nothing else to do; the fourth box copying the log by itself, as any box that lacks it does at all times; and the
rebuild. Beside it, what an idle thread gets of the machine then.
"""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import lmdb

from agent.box_files import load_box, open_keyring
from agent.disk import load_manifest
from benchmarks import machine, report
from benchmarks.bench_audit import CASE_BLOCKS, payloads
from benchmarks.bench_payload import START_NS, TICK_NS
from benchmarks.machine import Probe, quantile
from benchmarks.report import Line
from benchmarks.site import OR_BOX, Site, cpu_s, make_site, wait_for
from ledger.block import ClockQuality, ClockState
from ledger.chain import Chain, Draft
from ledger.log import INCARNATION_BYTES, LogId
from ledger.notices import Start
from ledger.ops import AppendBlock, OpenLog
from ledger.payload import CODEC_ZSTD
from ledger.sealing import DataKey, wrap
from ledger.store import Store

GONE, HOLDERS, ASKER = "or-3", (OR_BOX, "or-2"), "or-4"
_KEYFRAME_EVERY = 50
_BATCH = 500
_START_S = 30.0
_WINDOW_S = 15.0
_COPYING_S = 6.0
_TICKS_PER_S = 10
_RECORD_BYTES = 2_300
_PROCESSES = 2
_MODULES = ("agent.cli.restore_box", "agent.rebuild", "agent.verifier")
"""The command and the audit, and what each imports: their start does not grow with the case."""


def build(site: Site, blocks: int) -> None:
    """A log of the box that is gone in the stores of both that hold it; the asker has its key."""
    stores = [Store.open(site.boxes[name].folder.ledger) for name in HOLDERS]
    manifest = load_manifest(stores[0])
    if manifest is None:
        raise RuntimeError("a fresh box holds no manifest")
    key = load_box(site.boxes[GONE].folder).secrets.signing
    log, data_key = LogId(GONE, 0, os.urandom(INCARNATION_BYTES), fenced=False), DataKey(os.urandom(32))
    names = (*HOLDERS, ASKER)
    wraps = {name: wrap(data_key, log.box, log.incarnation, manifest.box(name).receiving_public) for name in names}
    for name in names:
        folder = site.boxes[name].folder
        open_keyring(folder, load_box(folder)).add(log.box, log.incarnation, data_key, wraps)
    chain, ring = Chain(manifest.site, log, key, data_key, manifest.hash), payloads(10 * _KEYFRAME_EVERY)
    for store in stores:
        store.commit([OpenLog(log, manifest.hash)])
    for first in range(0, blocks, _BATCH):
        made = [_close(chain, seq, ring[seq % len(ring)]) for seq in range(first, min(blocks, first + _BATCH))]
        derived = chain.replica.derived(None)
        for store in stores:
            store.commit([*made, derived])
    for store in stores:
        store.close()


def _close(chain: Chain, seq: int, payload: bytes) -> AppendBlock:
    at_ns = START_NS + seq * TICK_NS
    block = chain.close_block(
        Draft(
            payload=payload, codec=CODEC_ZSTD, has_keyframe=seq % _KEYFRAME_EVERY == 0, opened_ns=at_ns,
            closed_ns=at_ns + TICK_NS, boot_ns=at_ns, clock=ClockQuality(ClockState.SYNCHRONISED, 400_000),
            notices=(Start(bytes(16), (), None, ()),) if seq == 0 else (),
        )
    )  # fmt: skip
    return AppendBlock(block.log, seq, block.signed_header, block.payload)


def rebuild(site: Site, configuration: Path, out: Path, blocks: int) -> list[Line]:
    """The command as an operator runs it."""
    command = [sys.executable, "-m", "agent", "--config", str(configuration), "restore", "box", GONE, "--json"]
    agents = [site.boxes[name].pid for name in (*HOLDERS, ASKER)]
    agents_s = [cpu_s(pid) for pid in agents]
    began, before = time.perf_counter(), os.times()
    done = subprocess.run([*command, "--out", str(out)], check=False, capture_output=True, text=True)
    whole_s, after = time.perf_counter() - began, os.times()
    agents_s = [cpu_s(pid) - used for pid, used in zip(agents, agents_s, strict=True)]
    processor_s = after.children_user - before.children_user + after.children_system - before.children_system
    if done.returncode:
        raise RuntimeError(done.stdout + done.stderr)
    told = json.loads(done.stdout.splitlines()[-1])
    if told["blocks"] < blocks or not told["verified"]["good"]:
        raise RuntimeError(f"not all was rebuilt: {told}")
    scale = CASE_BLOCKS / blocks
    start_s = whole_s - told["fetch_s"] - told["audit_s"]
    size = sum(path.stat().st_size for path in out.rglob("*.mdb")) / blocks
    append_s, hash_s = lmdb_append_s(site.folder), sha256_s()
    name = f"rebuild of {CASE_BLOCKS:,} blocks from {len(told['given'])} peers"
    cores = min(2, os.cpu_count() or 1)
    starts_s = min(processor_s, _PROCESSES * machine.start_processor_s(*_MODULES))
    command_s = (processor_s - starts_s) * scale + starts_s
    everything_s = (command_s + sum(agents_s) * scale) / cores
    return [
        Line(
            f"{name}: fetched, proved, on disk", told["fetch_s"] * scale, "s", None, append_s, "LMDB append",
            note=f"measured on {blocks:,}; {size:,.0f} B a block",
        ),
        Line(
            f"{name}: and audited end to end", start_s + (told["fetch_s"] + told["audit_s"]) * scale, "s", 20.0,
            append_s + 2 * hash_s, "and SHA-256 twice",
        ),
        Line(
            f"{name}: processor time of all, of {cores} processors", everything_s, "s", 20.0, note=(
                f"command and audit {command_s:.1f} s, the holders' agents "
                f"{agents_s[0] * scale:.1f} and {agents_s[1] * scale:.1f} s, the asker's {agents_s[2] * scale:.1f} s, "
                "their recording among it; unlike the clock it does not depend on what else this machine does"
            ),
        ),
        Line("rebuild, while fetching", blocks / told["fetch_s"], "blocks/s"),
    ]  # fmt: skip


def lmdb_append_s(folder: Path) -> float:
    """What LMDB alone takes to append a case's blocks, a durable transaction for each 512."""
    records, blocks = 8_192, [os.urandom(_RECORD_BYTES) for _ in range(64)]
    with lmdb.open(str(folder / "append"), map_size=1 << 30) as environment:
        began = time.perf_counter()
        for first in range(0, records, 512):
            with environment.begin(write=True) as transaction:
                for number in range(first, first + 512):
                    transaction.put(number.to_bytes(8, "big"), blocks[number % len(blocks)], append=True)
        took = time.perf_counter() - began
    return took * CASE_BLOCKS / records


def sha256_s() -> float:
    """What hashing a case's blocks once takes on one processor."""
    block = os.urandom(_RECORD_BYTES)
    return machine.median_us(lambda: hashlib.sha256(block).digest()) * CASE_BLOCKS / 1e6


@dataclass(frozen=True, slots=True)
class Recording:
    """What the recording boxes measured in one window, p99 in ms by box, and an idle thread beside them."""

    tick_late_ms: dict[str, float]
    witnessed_ms: dict[str, float]
    idle_late_ms: float


class Watched:
    """While it is open the boxes record; ``recording`` tells of that time."""

    def __init__(self, site: Site) -> None:
        self._boxes = [site.boxes[name] for name in (*HOLDERS, ASKER)]
        self._probe = Probe(site.folder)

    def __enter__(self) -> Self:
        self._blocks = {box.name: box.ask("statistics")["blocks"] for box in self._boxes}
        self._began = time.monotonic()
        self._probe.__enter__()
        return self

    def __exit__(self, *_: object) -> None:
        self._probe.__exit__()
        ticks = max(1, round((time.monotonic() - self._began) * _TICKS_PER_S))
        late, witnessed = {}, {}
        for box in self._boxes:
            late[box.name] = box.ask("statistics", newest=ticks)["tick_late"]["p99_ms"]
            closed = max(1, box.ask("statistics")["blocks"] - self._blocks[box.name])
            witnessed[box.name] = box.ask("statistics", newest=closed)["closed_to_witnessed"]["p99_ms"]
        self.recording = Recording(late, witnessed, quantile(self._probe.late_ms, 0.99))


def beside(before: Recording, during: Recording, what: str) -> list[Line]:
    """The same boxes with nothing beside their recording, and with something."""
    lines = []
    for name in (*HOLDERS, ASKER):
        for title, alone, beside_it in (
            ("tick lateness p99", before.tick_late_ms[name], during.tick_late_ms[name]),
            ("closed to witnessed p99", before.witnessed_ms[name], during.witnessed_ms[name]),
        ):
            lines.append(Line(f"{name} while {what}: {title}", beside_it, "ms", None, alone, "alone"))
    return [
        *lines,
        Line(
            f"an idle thread while {what}: lateness p99", during.idle_late_ms, "ms", None, before.idle_late_ms, "alone"
        ),
    ]


@contextmanager
def _running(site: Site) -> Iterator[None]:
    """The boxes that are not gone, connected, one of them with the devices of an OR."""
    boxes, room = [site.boxes[name] for name in (*HOLDERS, ASKER)], site.devices()[0]
    try:
        room.start()
        for box in boxes:
            box.start()
        for box in boxes:
            wait_for(f"{box.name} answers", box.answers, _START_S)
        wait_for("all are connected", lambda: all(box.connected_peers() == 2 for box in boxes), _START_S)
        yield
    finally:
        for program in (room, *boxes):
            program.end()


def main() -> int:
    """Measure, print; 1 when a budget is missed."""
    arguments = report.parser(__doc__)
    arguments.add_argument("--blocks", type=int, default=CASE_BLOCKS, help="blocks of the log")
    options = arguments.parse_args()
    with tempfile.TemporaryDirectory(prefix="orledger-bench-", dir=Path()) as text:
        folder = Path(text).resolve()
        site = make_site(folder, 4)
        with _running(site), Watched(site) as alone:
            time.sleep(_WINDOW_S)
        build(site, options.blocks)
        with _running(site):
            with Watched(site) as copying:
                time.sleep(_COPYING_S)
            with Watched(site) as rebuilding:
                configuration = next(folder.rglob(f"{ASKER}/config.toml"))
                lines = rebuild(site, configuration, folder / "rebuilt", options.blocks)
        lines += beside(alone.recording, copying.recording, f"{ASKER} copies the log by itself")
        lines += beside(alone.recording, rebuilding.recording, f"{ASKER} rebuilds it")
    return report.finish(lines, options.json)


if __name__ == "__main__":
    sys.exit(main())
