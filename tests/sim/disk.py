"""A disk of memory: transactions whole or not at all, and older images of itself, as a backup tool would put back."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from ledger.block import decode_signed_header
from ledger.case_rows import CaseRow
from ledger.log import LogId
from ledger.ops import (
    AppendBlock,
    FillPayload,
    Op,
    OpenLog,
    PutCase,
    PutDerived,
    PutManifest,
    PutPromise,
    PutProof,
    PutSelf,
)
from ledger.replica import Replica, extend
from ledger.sealing import DataKey

Key = tuple[bytes, DataKey, Mapping[str, bytes]]


class SimDisk:
    """What is durable. ``history`` holds every transaction and kept key in order, so that any moment can come back."""

    def __init__(self, manifests: Iterable[tuple[int, bytes]] = ()) -> None:
        self.manifests: dict[int, bytes] = dict(manifests)
        self._enrolled = tuple(self.manifests.items())
        self.history: list[Sequence[Op] | Key] = []
        self.logs: dict[LogId, list[tuple[bytes, bytes]]] = {}
        self.promises: dict[str, bytes] = {}
        self.facts: dict[str, bytes] = {}
        self.proofs: dict[bytes, bytes] = {}
        self.cases: dict[tuple[bytes, LogId], bytes] = {}
        self.frontiers: dict[tuple[LogId, int], bytes] = {}
        self._whole: dict[LogId, int] = {}
        self.keys: dict[bytes, tuple[DataKey, Mapping[str, bytes]]] = {}

    def image(self, transactions: int) -> SimDisk:
        """The disk as it was after so many transactions."""
        older = SimDisk(self._enrolled)
        for entry in self.history[: max(0, transactions)]:
            if isinstance(entry, tuple):
                older.keep(entry)
            else:
                older.commit(entry)
        return older

    def keep(self, key: Key) -> None:
        key_id, data_key, wraps = key
        self.history.append(key)
        self.keys[key_id] = (data_key, wraps)

    def commit(self, ops: Sequence[Op]) -> None:
        self.history.append(ops)
        for op in ops:
            self._apply(op)

    def _apply(self, op: Op) -> None:
        match op:
            case AppendBlock(log, seq, header, payload):
                blocks = self.logs[log]
                if seq == len(blocks):
                    blocks.append((header, payload))
                assert seq < len(blocks), f"{log}: block {seq} appended after {len(blocks)}"
                assert blocks[seq][0] == header, f"{log}: block {seq} written twice with other bytes"
            case FillPayload(log, seq, payload):
                header, held = self.logs[log][seq]
                assert held in (b"", payload), f"{log}: block {seq} has another payload"
                self.logs[log][seq] = (header, payload)
            case OpenLog(log, _):
                self.logs.setdefault(log, [])
            case PutPromise(box, value):
                self.promises[box] = value
            case PutSelf(name, value):
                self.facts[name] = value
            case PutManifest(version, value):
                self.manifests[version] = value
            case PutCase(case_id, log, value):
                self.cases[case_id, log] = value
            case PutProof(name_, value):
                self.proofs[name_] = value
            case PutDerived(log, _, _, _, keyframes):
                self.frontiers.update({(log, row.seq): row.frontier for row in keyframes})
            case _:
                raise AssertionError(f"the rules asked for {op}")

    # What the state machines read.

    def length(self, log: LogId) -> int:
        return len(self.logs.get(log, ()))

    def whole(self, log: LogId) -> int:
        """Number of blocks held with their payloads, contiguous from 0."""
        blocks, whole = self.logs.get(log, ()), self._whole.get(log, 0)
        while whole < len(blocks) and blocks[whole][1]:
            whole += 1
        self._whole[log] = whole
        return whole

    def has_payload(self, log: LogId, seq: int) -> bool:
        blocks = self.logs.get(log, ())
        return seq < len(blocks) and bool(blocks[seq][1])

    def signed_header(self, log: LogId, seq: int) -> bytes | None:
        blocks = self.logs.get(log, ())
        return blocks[seq][0] if seq < len(blocks) else None

    def blocks(self, log: LogId, first: int, end: int) -> Iterable[tuple[bytes, bytes]]:
        return iter(self.logs.get(log, [])[first:end])

    def keyframe_frontier(self, log: LogId, seq: int) -> bytes | None:
        return self.frontiers.get((log, seq))

    def wraps(self, key_id: bytes) -> Mapping[str, bytes]:
        return self.keys[key_id][1] if key_id in self.keys else {}

    def key(self, key_id: bytes) -> DataKey | None:
        return self.keys[key_id][0] if key_id in self.keys else None

    def replicas(self) -> list[Replica]:
        """Every log held, rebuilt from its blocks."""
        rebuilt = []
        cases: dict[LogId, list[tuple[bytes, CaseRow]]] = {}
        for (case_id, log), row in self.cases.items():
            cases.setdefault(log, []).append((case_id, CaseRow.decode(row)))
        for log, blocks in self.logs.items():
            if blocks:
                replica = Replica(log, decode_signed_header(blocks[0][0]).manifest_hash)
                replica.cases.load(cases.get(log, ()))
                extend(replica, ((header, bool(payload)) for header, payload in blocks))
                rebuilt.append(replica)
        return rebuilt
