"""orledger: three boxes with two HL7 listeners; what acknowledged, copied and witnessed means is told apart.

An entry is one HL7 message: a number, and 5,000 random bytes as base64 in a comment. Its AA says that its block is
synced at the box that took it. Durable on a majority is the moment at which one peer, too, has synced the block; that
is what is compared with the acknowledgments of the others. Witnessed: both peers have, and signed for it.
"""

from __future__ import annotations

import asyncio
import base64
import json
import os
import signal
import statistics
import time
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from agent.box_files import load_box
from agent.disk import load_manifest
from agent.init_site import SiteBox, SiteFile, init_site
from benchmarks.long_log import LongLog
from benchmarks.machine import Probe, quantile
from benchmarks.side_by_side.measured_agent import CLOSED, COPIED, DURABLE, WITNESSED, Mark, reached, read_marks
from benchmarks.side_by_side.system import READS, Measured, Plan, latencies, probed
from benchmarks.side_by_side.work import Ack, Entries, WorkFault, flat_out, now_ns, number_of, paced
from benchmarks.site import HOST, Box, SiteFault, free_ports, wait_for
from ledger.errors import OrledgerError
from ledger.store import Store

NAME = "orledger"
FOOTNOTE = (
    "3 boxes, mutual TLS 1.3 and signatures on, every block synced; entries by HL7 over MLLP, whose block closes "
    "for a sender that waits, or at the next 100 ms tick"
)
_BOXES = ("or-1", "or-2", "or-3")
_WRITER, _OTHER, _STANDBY = _BOXES
_LONG = "or-3"
_PACED_CONNECTIONS = 8
_END = b"\x1c\r"
_ANSWER_S = 10.0
_SETTLE_S = 60.0
_POLL_S = 0.005
_MARK_S = 0.05
_CLOSED_S = 0.3  # until the box has seen the end of each connection: it takes no more than 32 at once
_OWN, _MAJORITY, _ALL = (DURABLE,), (DURABLE, COPIED), (DURABLE, WITNESSED)
_CODE = "MDC_ECG_HEART_RATE"


class _MeasuredBox(Box):
    """A box whose agent writes marks."""

    def __init__(self, box: str, configuration: Path, folder: Path) -> None:
        super().__init__(box, configuration, folder / f"{box}.log")
        self.marks_file = folder / f"{box}.marks"
        self._arguments = (
            "-m", "benchmarks.side_by_side.measured_agent", str(self.marks_file), "--config", str(configuration), "run",
        )  # fmt: skip

    def has_peers(self) -> bool:
        """Whether it can reach a peer's broker."""
        return self.connected_peers() > 0

    def marks(self) -> list[Mark]:
        """All so far."""
        return read_marks(self.marks_file)


@dataclass(frozen=True, slots=True)
class _Site:
    folder: Path
    boxes: Mapping[str, _MeasuredBox]
    ports: Mapping[str, int]


async def measure(folder: Path, plan: Plan, found: Measured) -> None:
    """All rows, into ``found`` as they come. Raises WorkFault or SiteFault; the boxes are ended whatever happens."""
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
    os.environ["PYTHONPYCACHEPREFIX"] = str(folder / "compiled")  # an installed agent finds its modules compiled
    site = _make_site(folder / "site")
    entries = Entries()
    began = time.monotonic()
    try:
        await _start(site, site.boxes.values())
        _say(began, "three boxes run")
        found |= await _paced(site, entries, plan)
        _say(began, "paced")
        for in_flight in plan.in_flight:
            async with _sender(site.ports[_WRITER], in_flight) as append:
                found[f"rate_{in_flight}"] = await flat_out(append, entries, in_flight, plan.flat_out_s)
        _say(began, "flat out")
        found |= await _failures(site, entries, plan.rounds)
        _say(began, "failures")
    finally:
        _end(site.boxes.values())
    for length in plan.lengths:
        found[f"tail_{length}"] = await _restore_of_length(folder / f"long-{length}", length)
    _say(began, "lengths")


def _make_site(folder: Path) -> _Site:
    folder.mkdir()
    ports = free_ports(len(_BOXES) + 2)
    listeners = dict(zip((_WRITER, _OTHER), ports, strict=False))
    entries = [
        SiteBox(
            id=box,
            room=f"OR {box[-1]}",
            listen=f"{HOST}:{port}",
            feed=[{"name": "probe", "driver": "hl7", "mllp": {"listen": f"{HOST}:{listeners[box]}", "allow": [HOST]}}]
            if box in listeners
            else [],
            restore={"standby_for": [_WRITER]} if box == _STANDBY else {},
        )
        for box, port in zip(_BOXES, ports[2:], strict=True)
    ]
    _, made = init_site(SiteFile("bench", entries), folder / "made")
    boxes = {box.id: _MeasuredBox(box.id, box.configuration, folder) for box in made}
    return _Site(folder, boxes, listeners)


async def _start(site: _Site, boxes: Any) -> None:
    for box in boxes:
        box.start()
    for box in site.boxes.values():
        await asyncio.to_thread(wait_for, f"{box.name} is vouched for", box.is_vouched_for, _SETTLE_S)


def _end(boxes: Any) -> None:
    for box in boxes:
        box.end(signal.SIGKILL)


# ---- entries ---------------------------------------------------------------------------------------------------


def message(entry: bytes) -> bytes:
    """One framed ORU."""
    number = number_of(entry)
    when = datetime.now(UTC).strftime("%Y%m%d%H%M%S.%f")[:-3] + "+0000"
    return (
        b"\x0b"
        + (
            f"MSH|^~\\&|PROBE|BENCH|||{when}||ORU^R01^ORU_R01|E{number}|P|2.6\rPID|||1\rOBR|1|||P|||{when}\r"
            f"OBX|1|NM|147842^{_CODE}^MDC|1.1.1.1|{number}|264864^MDC_DIM_BEAT_PER_MIN^MDC|||||R|||{when}\r"
            f"NTE|1|L|{base64.b64encode(entry).decode()}\r"
        ).encode()
        + _END
    )


@asynccontextmanager
async def _sender(port: int, connections: int) -> AsyncIterator[Callable[[bytes], Any]]:
    """A function that sends one entry and returns at its AA; MLLP has one message under way for each connection."""
    idle: asyncio.Queue[tuple[asyncio.StreamReader, asyncio.StreamWriter]] = asyncio.Queue()
    for _ in range(connections):
        idle.put_nowait(await asyncio.open_connection(HOST, port))

    async def append(entry: bytes) -> None:
        reader, writer = await idle.get()
        writer.write(message(entry))
        async with asyncio.timeout(_ANSWER_S):
            answer = await reader.readuntil(_END)
        if f"MSA|AA|E{number_of(entry)}".encode() not in answer:
            raise WorkFault(f"an entry was answered {answer!r}")
        idle.put_nowait((reader, writer))

    try:
        yield append
    finally:
        while not idle.empty():
            idle.get_nowait()[1].close()
        await asyncio.sleep(_CLOSED_S)


async def _paced(site: _Site, entries: Entries, plan: Plan) -> Measured:
    box = site.boxes[_WRITER]
    with Probe(site.folder) as probe:
        async with _sender(site.ports[_WRITER], _PACED_CONNECTIONS) as append:
            acks = await paced(append, entries, plan.seconds)
    await asyncio.sleep(1.0)
    marks = box.marks()
    found = latencies("aa", acks) | probed(probe)
    found |= latencies("ack", [Ack(ack.sent_ns, _entry_reached(marks, ack, _MAJORITY)) for ack in acks])
    found |= latencies("ack_witnessed", [Ack(ack.sent_ns, _entry_reached(marks, ack, _ALL)) for ack in acks])
    blocks = [mark for mark in marks if mark.kind == CLOSED and mark.at_ns >= acks[0].sent_ns][:-1]
    for key, kinds in (("block_durable", _OWN), ("block", _MAJORITY), ("block_witnessed", _ALL)):
        found |= latencies(key, [Ack(block.at_ns, _block_reached(marks, block, kinds)) for block in blocks])
    return found


def _entry_reached(marks: Sequence[Mark], ack: Ack, kinds: Sequence[str]) -> int:
    """When the block that made this AA possible was all of ``kinds``: the newest that was durable when it came."""
    block = [mark for mark in marks if mark.kind == DURABLE and mark.at_ns <= ack.acked_ns][-1]
    return max(ack.acked_ns, _block_reached(marks, block, kinds))


def _block_reached(marks: Sequence[Mark], block: Mark, kinds: Sequence[str]) -> int:
    moments = [reached(marks, kind, block) for kind in kinds]
    if None in moments:
        raise WorkFault(f"block {block.size} of {block.log} never was {' and '.join(kinds)}")
    return max(moment for moment in moments if moment is not None)


# ---- failures --------------------------------------------------------------------------------------------------


async def _failures(site: _Site, entries: Entries, rounds: int) -> Measured:
    kills = [await _kill(site, entries) | await _kill_and_restart(site, entries) for _ in range(rounds)]
    found: Measured = {}
    for key in kills[0]:
        took = [kill[key] for kill in kills]
        found |= {key: statistics.median(took), f"{key}_worst": max(took)}
    return found


async def _kill(site: _Site, entries: Entries) -> Measured:
    """Kill the writer; ms until each of these, all begun at once.

    ``latest``: a peer that is asked has restored its state. ``moved``: a majority has the entry of a sender that turns
    to another box, whose own log never stopped. ``automatic``: the standby has handed out the state, unasked.
    """
    writer, other, standby = (site.boxes[box] for box in _BOXES)
    state_file = Path(f"{standby.folder.path.parent}/run/{_WRITER}.state.json")
    _forget(state_file)
    last = await _warm(site, entries)
    async with _sender(site.ports[_OTHER], 1) as append_elsewhere:
        began = now_ns()
        os.kill(writer.pid, signal.SIGKILL)
        restored, moved, handed_out = await asyncio.gather(
            asyncio.to_thread(_until_restored, other, last),
            _until_majority(append_elsewhere, other, entries),
            _until_handed_out(state_file, last),
        )
    writer.end()
    standby.end()  # a fresh standby has no memory of the last failure: else it would, rightly, wait longer each time
    await _start(site, [writer, standby])
    return {
        "latest": (restored - began) / 1e6, "moved": (moved - began) / 1e6, "automatic": (handed_out - began) / 1e6
    }  # fmt: skip


async def _kill_and_restart(site: _Site, entries: Entries) -> Measured:
    """Kill the writer and start it again at once; ms until a majority has a later entry, and its first AA."""
    writer = site.boxes[_WRITER]
    await _warm(site, entries)
    began = now_ns()
    os.kill(writer.pid, signal.SIGKILL)
    writer.end()
    writer.start()
    held, acked = await _until_restarted(site, entries)
    await _start(site, [])
    return {"write": (held - began) / 1e6, "write_aa": (acked - began) / 1e6}


async def _until_handed_out(state_file: Path, last: int) -> int:
    until = time.monotonic() + _SETTLE_S
    while not _file_holds(state_file, last):
        if time.monotonic() > until:
            raise SiteFault(f"{_STANDBY} never handed out the state of {_WRITER}")
        await asyncio.sleep(_POLL_S)
    return now_ns()


async def _warm(site: _Site, entries: Entries) -> int:
    """A second of entries; the number of the last, which a majority has."""
    async with _sender(site.ports[_WRITER], _PACED_CONNECTIONS) as append:
        await paced(append, entries, 1.0)
        await _until_majority(append, site.boxes[_WRITER], entries)
    return entries.last


async def _until_majority(append: Callable[[bytes], Any], box: _MeasuredBox, entries: Entries) -> int:
    await append(entries.next())
    acked_ns = now_ns()
    return await _majority_at(box, Ack(acked_ns, acked_ns))


async def _majority_at(box: _MeasuredBox, ack: Ack) -> int:
    """When the entry of this AA was durable on a majority; read from the marks, so that looking late costs nothing."""
    until = time.monotonic() + _SETTLE_S
    while True:
        try:
            return _entry_reached(box.marks(), ack, _MAJORITY)
        except WorkFault:
            if time.monotonic() > until:
                raise
        await asyncio.sleep(_MARK_S)


async def _until_restarted(site: _Site, entries: Entries) -> tuple[int, int]:
    """A sender that connects again and sends on: when a majority first had an entry of its, and the first AA.

    The first AA comes from a provisional log, which nobody may hold yet.
    """
    box = site.boxes[_WRITER]
    acks: list[Ack] = []
    while True:
        try:
            async with _sender(site.ports[_WRITER], 1) as append:
                while True:
                    sent_ns = now_ns()
                    await append(entries.next())
                    acks.append(Ack(sent_ns, now_ns()))
                    held = _first_held(box.marks(), acks)
                    if held is not None:
                        return held, acks[0].acked_ns
                    if acks[-1].acked_ns - acks[0].acked_ns > _SETTLE_S * 1e9:
                        raise WorkFault(f"no entry of the restarted {_WRITER} came to a majority")
        except (OSError, asyncio.IncompleteReadError):
            await asyncio.sleep(_POLL_S)


def _first_held(marks: Sequence[Mark], acks: Sequence[Ack]) -> int | None:
    held = []
    for ack in acks:
        try:
            held.append(_entry_reached(marks, ack, _MAJORITY))
        except WorkFault:
            continue
    return min(held, default=None)


def _until_restored(asker: Box, last: int) -> int:
    """Ask for the dead box's state until it holds entry ``last``, as ``orledger restore now`` does."""
    fault: OrledgerError | None = None
    until = time.monotonic() + _SETTLE_S
    while time.monotonic() < until:
        try:
            if _holds(asker.ask("restore", box=_WRITER), last):
                return now_ns()
        except OrledgerError as found:
            fault = found
    raise SiteFault(f"{asker.name} never restored entry {last} of {_WRITER}: {fault}")


def _forget(state_file: Path) -> None:
    state_file.unlink(missing_ok=True)


def _file_holds(state_file: Path, last: int) -> bool:
    return state_file.exists() and _holds(json.loads(state_file.read_text()), last)


def _holds(document: Mapping[str, Any], last: int) -> bool:
    states = [document.get("state"), document.get("newest_state")]
    values = [value for state in states if state for value in state["values"] if value["code"] == _CODE]
    return bool(document.get("restored")) and any(int(float(value["value"])) >= last for value in values)


# ---- lengths ---------------------------------------------------------------------------------------------------


async def _restore_of_length(folder: Path, blocks: int) -> float:
    """Two boxes hold a dead third box's log of so many blocks; one restores it, in ms, median."""
    site = _make_site(folder)
    holders = {name: site.boxes[name] for name in _BOXES if name != _LONG}
    store = Store.open(site.boxes[_WRITER].folder.ledger, readonly=True)
    manifest = load_manifest(store)
    store.close()
    if manifest is None:
        raise SiteFault("a fresh box holds no manifest")
    key = load_box(site.boxes[_LONG].folder).secrets.signing
    log = LongLog(manifest, _LONG, key, blocks)
    await asyncio.to_thread(log.write_to, {name: box.folder for name, box in holders.items()}, manifest)
    try:
        for box in holders.values():
            box.start()
        for box in holders.values():
            await asyncio.to_thread(wait_for, f"{box.name} answers", box.answers, _SETTLE_S)
            await asyncio.to_thread(wait_for, f"{box.name} is connected", box.has_peers, _SETTLE_S)
        took = []
        for _ in range(READS):
            began = time.perf_counter()
            await asyncio.to_thread(site.boxes[_OTHER].ask, "restore", box=_LONG)
            took.append((time.perf_counter() - began) * 1e3)
        return quantile(took, 0.5)
    finally:
        _end(holders.values())


def _say(began: float, what: str) -> None:
    print(f"   {NAME}: {what} after {time.monotonic() - began:.0f} s", flush=True)
