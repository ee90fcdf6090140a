"""How long ``orledger restore box`` takes for a case of 8 h (288,000 blocks), every block a busy tick of a real room.

    python -m benchmarks.bench_rebuild [--blocks 14400]

Two boxes hold the log of a third one that is gone; a fourth, which holds nothing of it, rebuilds it from both. The
figures are scaled to 288,000 blocks, the command's start not counted twice. On this one machine the peers, the asker's
agent, the command and the audit's processes share the cores; in a hospital each box has its own.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from agent.box_files import load_box, open_keyring
from agent.disk import load_manifest
from benchmarks import report
from benchmarks.bench_audit import CASE_BLOCKS, payloads
from benchmarks.bench_payload import START_NS, TICK_NS
from benchmarks.report import Line
from benchmarks.site import OR_BOX, Box, Site, make_site, wait_for
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


def rebuild(asker: Box, configuration: Path, out: Path, blocks: int) -> list[Line]:
    """The command as an operator runs it."""
    command = [sys.executable, "-m", "agent", "--config", str(configuration), "restore", "box", GONE, "--json"]
    began, before = time.perf_counter(), os.times()
    done = subprocess.run([*command, "--out", str(out)], check=False, capture_output=True, text=True)
    whole_s, after = time.perf_counter() - began, os.times()
    processor_s = after.children_user - before.children_user + after.children_system - before.children_system
    if done.returncode:
        raise RuntimeError(done.stdout + done.stderr)
    told = json.loads(done.stdout.splitlines()[-1])
    if told["blocks"] < blocks or not told["verified"]["good"]:
        raise RuntimeError(f"not all was rebuilt: {told}")
    scale = CASE_BLOCKS / blocks
    start_s = whole_s - told["fetch_s"] - told["audit_s"]
    late_ms = asker.ask("statistics")["tick_late"]["p99_ms"]
    size = sum(path.stat().st_size for path in out.rglob("*.mdb")) / blocks
    name = f"rebuild of {CASE_BLOCKS:,} blocks from {len(told['given'])} peers, measured on {blocks:,}"
    return [
        Line(f"{name}: fetched, proved, on disk", told["fetch_s"] * scale, "s", note=f"{size:,.0f} B a block"),
        Line(f"{name}: and audited end to end", start_s + (told["fetch_s"] + told["audit_s"]) * scale, "s", 20.0),
        Line(
            f"{name}: processor time of the command and its audit",
            processor_s * scale,
            "s",
            note="of all processors together; unlike the clock it does not depend on what else this machine does",
        ),
        Line("rebuild, while fetching", blocks / told["fetch_s"], "blocks/s"),
        Line("the asker's tick lateness p99 since its start", late_ms, "ms", 10.0),
    ]


def main() -> int:
    """Measure, print; 1 when a budget is missed."""
    arguments = report.parser(__doc__)
    arguments.add_argument("--blocks", type=int, default=14_400)
    options = arguments.parse_args()
    with tempfile.TemporaryDirectory(prefix="orledger-bench-", dir=Path()) as text:
        folder = Path(text).resolve()
        site = make_site(folder, 4)
        build(site, options.blocks)
        running = [site.boxes[name] for name in (*HOLDERS, ASKER)]
        try:
            for box in running:
                box.start()
            for box in running:
                wait_for(f"{box.name} answers", box.answers, _START_S)
            wait_for("all are connected", lambda: all(box.connected_peers() == 2 for box in running), _START_S)
            configuration = next(folder.rglob(f"{ASKER}/config.toml"))
            lines = rebuild(site.boxes[ASKER], configuration, folder / "rebuilt", options.blocks)
        finally:
            for box in running:
                box.end()
    return report.finish(lines, options.json)


if __name__ == "__main__":
    sys.exit(main())
