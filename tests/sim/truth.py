"""What must hold whatever happens, checked as it happens.

The truth sees every block closed and every message sent, so it knows what is certified: vouched for by enough peers
that no tolerated fault may undo it. ``final`` where the group allows for liars, else ``witnessed``.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from ledger.block import decode_signed_header
from ledger.chain import Block
from ledger.errors import NoPeer, PeerFault, VerificationFailed
from ledger.limits import LIMITS
from ledger.log import LogId
from ledger.manifest import Manifest, Role
from ledger.member import WireMessage
from ledger.message_codec import decode_message
from ledger.messages import Answer, Cosign
from ledger.notices import Head, Start
from ledger.recovery import choose, choose_tails
from ledger.sealing import DataKey
from ledger.tree import leaf_hash
from tests.sim.disk import SimDisk
from tests.sim.world import Process, Watcher


class Broken(AssertionError):
    """An invariant does not hold."""


class Truth(Watcher):
    """Watches one world. ``liars`` are boxes whose words and logs prove nothing."""

    def __init__(self, *, cases: bool = False) -> None:
        """``cases``: boxes switch cases, so keys are looked at too."""
        self.cases = cases
        self.sealed: dict[bytes, list[tuple[LogId, int]]] = {}
        self.case_of: dict[bytes, bytes | None] = {}
        self.erased: set[bytes] = set()
        self.liars: set[str] = set()
        self.manifests: dict[bytes, Manifest] = {}
        self.certified: dict[LogId, int] = {}
        self.cosigned = 0
        self._roots: dict[LogId, list[tuple[bytes, bytes]]] = {}
        self._bound: dict[LogId, bytes] = {}
        self._starts: dict[LogId, Start] = {}
        self._cosigned: dict[LogId, dict[str, int]] = {}

    # ---- hooks -------------------------------------------------------------------------------------------------

    def closed(self, process: Process, block: Block) -> None:
        roots = self._roots.setdefault(block.log, [])
        if len(roots) != block.seq:
            raise Broken(f"{process.label} closed block {block.seq} of {block.log} after {len(roots)} blocks")
        roots.append((block.root, leaf_hash(block.signed_header)))
        if self.cases:
            self._note_case(block)
        if block.seq == 0:
            header = decode_signed_header(block.signed_header)
            self._bound[block.log] = header.manifest_hash
            self._starts[block.log] = next(notice for notice in header.notices if isinstance(notice, Start))

    def _note_case(self, block: Block) -> None:
        """One key for each case in each log, and never another's; a boundary begins with a keyframe."""
        header = decode_signed_header(block.signed_header)
        if self.case_of.setdefault(header.key_id, header.case_id) != header.case_id:
            raise Broken(f"block {block.seq} of {block.log} is sealed under another case's key")
        places = self.sealed.setdefault(header.key_id, [])
        if (not places or places[-1] != (block.log, block.seq - 1)) and header.keyframe_seq != block.seq:
            raise Broken(f"block {block.seq} of {block.log} begins a case without a keyframe")
        places.append((block.log, block.seq))

    def sent(self, process: Process, message: WireMessage) -> None:
        if message.kind is not Cosign:
            return
        cosign = decode_message(message.wire)
        assert isinstance(cosign, Cosign)
        if cosign.log.box in self.liars:
            return
        if process.name not in self.liars:
            self._check_word(process, cosign)
        if process.label != process.name:
            return  # a clone's disk goes when the clone goes: what it vouches for is not held by its box
        sizes = self._cosigned.setdefault(cosign.log, {})
        sizes[cosign.cosigner] = max(sizes.get(cosign.cosigner, 0), cosign.size)
        self._certify(cosign.log)

    def stepped(self, process: Process) -> None:
        if process.name in self.liars:
            return
        member = process.member
        for replica in (*member.witness.replicas.values(), member.writer.chain.replica):
            if replica.durable_size > process.disk.length(replica.log):
                raise Broken(f"{process.label} takes blocks of {replica.log} for durable that its disk does not hold")
            if len(replica.waiting) > LIMITS.out_of_order_blocks:
                raise Broken(f"{process.label} keeps {len(replica.waiting)} early blocks of {replica.log}")
        remembered = LIMITS.catchup_logs_per_peer * LIMITS.boxes
        if (
            member.fetching.catchup.outstanding > LIMITS.ranges_outstanding
            or member.fetching.catchup.claims > remembered
        ):
            raise Broken(f"{process.label} asks for more at a time than it may")
        if member.fetching.payloads.outstanding > LIMITS.ranges_outstanding:
            raise Broken(f"{process.label} asks for more payloads at a time than it may")

    # ---- certificates ------------------------------------------------------------------------------------------

    def _check_word(self, process: Process, cosign: Cosign) -> None:
        """An honest peer's word: of the one true history, durable, restorable, never provisional."""
        self.cosigned += 1
        log, size = cosign.log, cosign.size
        roots = self._roots.get(log, [])
        if not log.fenced:
            raise Broken(f"{process.label} cosigned the provisional {log}")
        if size > len(roots) or roots[size - 1][0] != cosign.root:
            raise Broken(f"{process.label} cosigned what {log.box} never wrote")
        last = process.disk.signed_header(log, size - 1)
        if last is None or leaf_hash(last) != roots[size - 1][1]:
            raise Broken(f"{process.label} cosigned {size} of {log} before its disk held it")
        manifest = self.manifests[self._bound[log]]
        listing = [each for each in (manifest, *self.manifests.values()) if each.lists(process.name)]
        role = listing[0].box(process.name).role if listing else Role.MEMBER
        if process.disk.whole(log) < size and role is Role.MEMBER:
            held = process.disk.whole(log)
            raise Broken(f"{process.label} cosigned {size} of {log} without the payload of block {held}")
        if self.cases and role is Role.MEMBER:
            lacking = [key_id for key_id, places in self.sealed.items()
                       if places[0][0] == log and places[0][1] < size and key_id not in self.erased
                       and process.disk.key(key_id) is None]  # fmt: skip
            if lacking:
                raise Broken(f"{process.label} cosigned {size} of {log} without the key of one of its cases")

    def _certify(self, log: LogId) -> None:
        if log not in self._bound:
            return  # a liar's word on a log nobody wrote
        quorum = self.manifests[self._bound[log]].quorum_of(log.box)
        needed = quorum.final if quorum.final is not None else quorum.witnessed
        peers = {box.id for box in self.manifests[self._bound[log]].peers_of(log.box)}
        sizes = sorted((size for peer, size in self._cosigned[log].items() if peer in peers), reverse=True)
        sure = min(sizes[needed - 1], len(self._roots[log])) if needed and len(sizes) >= needed else 0
        if sure <= self.certified.get(log, 0):
            return
        self.certified[log] = sure
        for other in self.certified:
            if other.box == log.box and other != log:
                older, newer = sorted((other, log), key=lambda each: each.counter)
                if older.counter == newer.counter or self._reach(newer, older) < self.certified[older]:
                    raise Broken(f"{older} is certified to {self.certified[older]}, and {newer} does not continue that")

    def _reach(self, newer: LogId, older: LogId) -> int:
        """How many blocks of ``older`` are in the past of ``newer``."""
        while newer != older:
            start = self._starts.get(newer)
            parent: Head | None = start.parent if start is not None else None
            if parent is None or parent.log.counter < older.counter:
                return 0
            if parent.log == older:
                return parent.size
            newer = parent.log
        return len(self._roots[older])

    # ---- erasing -----------------------------------------------------------------------------------------------

    def erasable(self, live: set[bytes]) -> list[bytes]:
        """Keys of cases that are certified and that nobody is in any more."""
        return sorted(
            key_id for key_id, places in self.sealed.items()
            if key_id not in live and self.case_of[key_id] is not None
            and any(seq < self.certified.get(log, 0) for log, seq in places)
        )  # fmt: skip

    def check_erased(self, key_id: bytes, disks: Iterable[SimDisk]) -> None:
        """Its key is destroyed everywhere: no key that is left opens any of it, and every chain is what it was."""
        held = list(disks)
        left = {id: key for disk in held for id, (key, _) in disk.keys.items()}
        if key_id in left:
            raise Broken(f"key {key_id.hex()[:8]} was destroyed, and is still there")
        for disk in held:
            for log, seq in self.sealed[key_id]:
                if disk.has_payload(log, seq):
                    self._check_closed(disk, log, seq, left.values())
            for replica in disk.replicas():
                roots = self._roots.get(replica.log, [])
                if replica.log.box not in self.liars and replica.newest_head().root != roots[replica.size - 1][0]:
                    raise Broken(f"{replica.log} has another root once a case is erased")

    def _check_closed(self, disk: SimDisk, log: LogId, seq: int, keys: Iterable[DataKey]) -> None:
        signed, payload = disk.logs[log][seq]
        data = decode_signed_header(signed).associated_data()
        for key in keys:
            try:
                key.open_payload(payload, log.incarnation, seq, data)
            except VerificationFailed:
                continue
            raise Broken(f"block {seq} of {log} still opens once its case is erased")

    # ---- restoring ---------------------------------------------------------------------------------------------

    def check_restore(
        self, manifest: Manifest, box: str, answers: Mapping[str, Answer], disks: Iterable[SimDisk]
    ) -> None:
        """Enough peers answered: what a restore believes, with the tail beside it, misses nothing certified, and some
        of ``disks`` hold every payload of it.
        """
        sure = {log: size for log, size in self.certified.items() if log.box == box}
        try:
            believed = choose(manifest, box, answers)
        except (NoPeer, PeerFault) as nothing:
            if sure:
                raise Broken(f"a restore of {box} from {sorted(answers)} finds nothing: {nothing}") from nothing
            return
        tails = choose_tails(manifest, box, answers, believed)
        for log, size in sure.items():
            ends = [(end.log, end.newest_size) for end in (believed, *tails)]
            if all((newest if end == log else self._reach(end, log)) < size for end, newest in ends):
                raise Broken(f"a restore of {box} from {sorted(answers)} misses {size} certified blocks of {log}")
        for log, size in sure.items():
            self._check_payloads(log, size, list(disks), sorted(answers))

    def _check_payloads(self, log: LogId, size: int, disks: list[SimDisk], givers: list[str]) -> None:
        if any(disk.whole(log) >= size for disk in disks):
            return
        for seq in range(size):
            if not any(disk.has_payload(log, seq) for disk in disks):
                raise Broken(f"a restore from {givers} finds no payload of the certified block {seq} of {log}")
