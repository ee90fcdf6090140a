"""The store as the state machines see it, and what a start reads from it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from ledger.block import decode_signed_header
from ledger.case_rows import NO_CASE, CaseRow
from ledger.cases import CALLED_OFF
from ledger.keyring import Keyring
from ledger.limits import LIMITS
from ledger.log import LogId
from ledger.log_retention import expired_name
from ledger.manifest import Manifest, SignedManifest
from ledger.notices import CaseBoundary, Head
from ledger.payload import decode_payload
from ledger.records import CaseChange, PatientContext
from ledger.replica import Replica, extend
from ledger.retention import pruned_end
from ledger.start import highest_fenced, linked_logs
from ledger.state import LEDGER_FEED, RoomState
from ledger.store import Store
from ledger.writer import COUNTER, OwnPast


class StoreDisk:
    """``ledger.member.Disk`` over the store."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def length(self, log: LogId) -> int:
        """Number of blocks held."""
        return self._store.length(log)

    def signed_header(self, log: LogId, seq: int) -> bytes | None:
        """One signed header, None when not held."""
        block = self._store.block(log, seq)
        return None if block is None else block.signed_header

    def blocks(self, log: LogId, first: int, end: int) -> Iterable[tuple[bytes, bytes]]:
        """(signed header, payload) pairs in order; none of a log's beginning that went at its retention."""
        if first < self._store.first_held(log):
            return ()
        return self._store.pairs(log, first, end)

    def keyframe_frontier(self, log: LogId, seq: int) -> bytes | None:
        """The tree's frontier before a keyframe."""
        found = self._store.keyframe_at_or_before(log, seq)
        return found[1] if found is not None and found[0] == seq else None


class RingKeys:
    """``ledger.member.Keys`` over the keyring."""

    def __init__(self, keyring: Keyring) -> None:
        self._keyring = keyring

    def wraps(self, key_id: bytes) -> Mapping[str, bytes]:
        """The wraps of a key; empty when not held."""
        entry = self._keyring.entry(key_id)
        return entry.wraps if entry is not None else {}


def load_manifest(store: Store, box: str | None = None) -> Manifest | None:
    """The highest version held, or the highest that lists ``box``, its signatures checked against itself; None when
    there is none.
    """
    for _, data in reversed(store.manifests()):
        signed = SignedManifest.decode(data)
        if box is None or signed.manifest.lists(box):
            signed.check(None)
            return signed.manifest
    return None


def load_replicas(store: Store) -> list[Replica]:
    """Every log held: its tip where there is one, and the blocks that the tip does not cover yet."""
    replicas = []
    cases: dict[LogId, list[tuple[bytes, CaseRow]]] = {}
    for case_id, log, row in store.cases():
        cases.setdefault(log, []).append((case_id, CaseRow.decode(row)))
    for log, manifest_hash in store.logs():
        tip = store.tip(log)
        replica = Replica.from_tip(log, tip) if tip is not None else Replica(log, manifest_hash)
        replica.cases.load(cases.get(log, ()))
        replica.prune(pruned_end(store, log))
        extend(replica, store.headers_and_held(log, replica.size, store.length(log)))
        replica.expired = store.self_value(expired_name(log)) is not None
        replicas.append(replica)
    return replicas


def own_past(store: Store, box: str, replicas: Iterable[Replica]) -> OwnPast:
    """This box's counter and the ends that its next epoch must name."""
    own = [replica for replica in replicas if replica.log.box == box and replica.size]
    linked: set[LogId] = set()
    for replica in own:
        if replica.expired:
            linked.add(replica.log)
        first = store.block(replica.log, 0)
        if first is not None:
            linked |= linked_logs(decode_signed_header(first.signed_header))
    ends: list[Head] = [replica.newest_head() for replica in own]
    parent = highest_fenced(ends)
    named = tuple(end for end in ends if end.log not in linked or end == parent)
    counter = store.self_value(COUNTER)
    return OwnPast(int.from_bytes(counter or b"", "big"), named)


def _newest(replicas: Iterable[Replica], box: str) -> Replica | None:
    """The log that a box began last: by its epoch, for a clock may have been wrong; a provisional one bears the counter
    of the epoch before it, and of two such the one that was opened later here.
    """
    own = [replica for replica in replicas if replica.log.box == box and replica.size]
    ages = {replica.log: (replica.log.counter, not replica.log.fenced, at) for at, replica in enumerate(own)}
    return max(own, key=lambda replica: ages[replica.log], default=None)


def last_state(store: Store, keyring: Keyring, replicas: Iterable[Replica], box: str) -> RoomState:
    """The room's state at the end of this box's newest log: values keep their original times across a restart."""
    state = RoomState()
    newest = _newest(replicas, box)
    if newest is None:
        return state
    for block in store.blocks(newest.log, newest.keyframe_seq, newest.size):
        header = decode_signed_header(block.signed_header)
        key = keyring.get(header.key_id)
        if key is None or not block.payload:
            return RoomState()
        plain = key.open_payload(block.payload, newest.log.incarnation, header.seq, header.associated_data())
        state.fold_groups(decode_payload(plain, header.codec))
    return state


def announced_cases(store: Store, keyring: Keyring, box: str) -> list[tuple[bytes, dict[str, str]]]:
    """(case id, facts) of the newest cases that this box was told of and that never opened, oldest first."""
    rows = [(case_id, log, CaseRow.decode(row)) for case_id, log, row in store.cases() if log.box == box]
    opened = {case_id for case_id, _, row in rows if row.opened_ns is not None} | {NO_CASE}
    waiting: dict[bytes, tuple[LogId, CaseRow]] = {}
    for case_id, log, row in sorted(rows, key=lambda each: (each[2].first_ns, each[0])):
        if case_id not in opened:
            waiting.pop(case_id, None)  # told of in a newer log, too: that one says all
            waiting[case_id] = log, row
    return [
        (case_id, facts)
        for case_id, (log, row) in [*waiting.items()][-LIMITS.cases_announced :]
        if (facts := _announcement(store, keyring, log, row))
    ]


def _announcement(store: Store, keyring: Keyring, log: LogId, row: CaseRow) -> dict[str, str]:
    """What the newest block of a case that was only announced says of it; empty once that is called off."""
    block = store.block(log, row.first_seq if row.told_seq is None else row.told_seq)
    key = keyring.get(row.key_id)
    if block is None or key is None or not block.payload:
        return {}
    header = decode_signed_header(block.signed_header)
    plain = key.open_payload(block.payload, log.incarnation, header.seq, header.associated_data())
    records = [record for group in decode_payload(plain, header.codec).values() for record in group]
    told = next((record.facts for record in records if isinstance(record, CaseChange)), {})
    sent = next((record for record in records if isinstance(record, PatientContext)), None)
    if told or sent is None or sent.trigger in CALLED_OFF:
        return dict(told)
    return dict(sent.facts)  # a block of before there was more


def resumed_case(store: Store, replicas: Iterable[Replica], box: str, state: RoomState) -> CaseChange | None:
    """The case that was open when this box's newest log ended, from its state; where that could not be read, from the
    headers alone: then without its context, and ``state`` holds it from here on.
    """
    if state.case() is not None:
        return state.case()
    newest = _newest(replicas, box)
    if newest is None:
        return None
    case_id, at_ns = None, newest.closed_ns
    for number, signed in enumerate(store.headers(newest.log, newest.keyframe_seq, newest.size)):
        header = decode_signed_header(signed)
        case_id = header.case_id if number == 0 else case_id
        for notice in header.notices:
            if isinstance(notice, CaseBoundary):
                case_id = None if notice.phase == "close" else notice.case_id
    if case_id is None:
        return None
    row = newest.cases.rows.get(case_id)
    opened_ns = row.opened_ns if row is not None and row.opened_ns is not None else at_ns
    case = CaseChange(
        at_ns=at_ns, case_id=case_id, phase="open", cause="restart", by="headers", opened_ns=opened_ns,
        reason="its context could not be read",
    )  # fmt: skip
    state.fold(LEDGER_FEED, case)
    return case
