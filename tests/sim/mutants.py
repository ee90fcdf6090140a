"""The rules, each broken in turn. The simulation must notice every one; otherwise it proves nothing about the rest."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace

import pytest

from ledger import start, writer
from ledger.block import Header
from ledger.cosigner import Cosigner
from ledger.fencing import Attempt
from ledger.instant import Now
from ledger.log import LogId
from ledger.manifest import Manifest
from ledger.member import Member
from ledger.messages import BlockMessage, Promise
from ledger.notices import Head, Start
from ledger.ops import Op
from ledger.promises import Promises
from ledger.replica import LogReader, Replica
from ledger.start import VersionOf
from ledger.start_proofs import StartProofs
from ledger.voids import Voids
from ledger.witness import Witness
from ledger.writer import Writer

Mutant = Callable[[pytest.MonkeyPatch], None]
_SOME_TIME = Now(0, 1_700_000_000 * 10**9)


def continue_from_own_disk(patch: pytest.MonkeyPatch) -> None:
    """The new epoch follows its own disk: the heads in the promises are neither fetched nor named nor checked."""
    counted = Attempt.counted

    def deaf(self: Attempt, reader: LogReader, now_ns: int) -> Mapping[str, tuple[bytes, Promise]]:
        givers = counted(self, reader, now_ns)
        return {name: (wire, replace(said, fenced=(), provisional=())) for name, (wire, said) in givers.items()}

    patch.setattr(Attempt, "lacking", lambda _self, _promise, _reader: [])
    patch.setattr(Attempt, "counted", deaf)
    patch.setattr(start, "_outranks", lambda _head, _parent, _version_of: False)


def longest_chain(patch: pytest.MonkeyPatch) -> None:
    """The new epoch follows the longest log instead of the highest epoch."""

    def longest(heads: Iterable[Head], _version_of: VersionOf) -> Head | None:
        return max((head for head in heads if head.log.fenced), key=lambda head: head.size, default=None)

    patch.setattr(writer, "highest_fenced", longest)
    patch.setattr(start, "_outranks", lambda _head, _parent, _version_of: False)


def acknowledge_before_fsync(patch: pytest.MonkeyPatch) -> None:
    """What was handed to the disk counts as written."""
    take_ops = Member.take_ops

    def hasty(self: Member) -> tuple[list[Op], int]:
        ops, position = take_ops(self)
        self.out.committed(position)
        self.witness.committed(position, _SOME_TIME)
        return ops, position

    patch.setattr(Member, "take_ops", hasty)


def cosign_before_persisting(patch: pytest.MonkeyPatch) -> None:
    """A block is vouched for as soon as it was checked."""
    accept = Witness._accept

    def eager(self: Witness, sender: str, replica: Replica, header: Header, message: BlockMessage) -> None:
        accept(self, sender, replica, header, message)
        replica.durable_size = replica.size
        self.cosigner.vouch(replica, _SOME_TIME)

    patch.setattr(Witness, "_accept", eager)


def cosign_without_the_payloads(patch: pytest.MonkeyPatch) -> None:
    """A header is enough to vouch for a block."""
    patch.setattr(Cosigner, "_durably_whole", lambda _self, replica: replica.durable_size)


def cosign_provisional_blocks(patch: pytest.MonkeyPatch) -> None:
    """A log without a fence is vouched for like any other."""
    is_current = Promises.is_current
    patch.setattr(Promises, "is_current", lambda self, log: not log.fenced or is_current(self, log))


def forget_the_fence(patch: pytest.MonkeyPatch) -> None:
    """Older epochs are still vouched for after a newer one was promised."""

    def any_fenced(_self: Promises, log: LogId) -> bool:
        return log.fenced

    patch.setattr(Promises, "is_current", any_fenced)


def no_void(patch: pytest.MonkeyPatch) -> None:
    """A box whose disk was put back goes on promising and vouching."""
    patch.setattr(Voids, "may_vouch", lambda _self, _box: True)


def one_sided_manifest_change(patch: pytest.MonkeyPatch) -> None:
    """Under a new manifest only the new group is asked for promises."""

    def new_only(self: Writer) -> tuple[Manifest, ...]:
        return (self.manifest,)

    def one_group(self: StartProofs, header: Header, begun: Start) -> bool:
        start.check_start(header, begun, self._manifests.of(header.manifest_hash), None, self._version_of)
        return True

    patch.setattr(Writer, "_groups", new_only)
    patch.setattr(Writer, "_is_covered", lambda _self, _parent, _attempt: True)
    patch.setattr(StartProofs, "_judge", one_group)


def one_key_for_all_cases(patch: pytest.MonkeyPatch) -> None:
    """A new case goes on under the key of the one before."""

    def lazy(self: Writer, case_id: bytes | None) -> None:
        self.case_id = case_id
        self.chain.enter(case_id, self.chain.data_key)

    patch.setattr(Writer, "enter_case", lazy)


def cosign_without_the_keys(patch: pytest.MonkeyPatch) -> None:
    """A block is vouched for whose payload nobody here could open."""
    patch.setattr(Cosigner, "need_key", lambda _self, _replica, _key_id: None)


MUTANTS: tuple[Mutant, ...] = (
    continue_from_own_disk,
    longest_chain,
    acknowledge_before_fsync,
    cosign_before_persisting,
    cosign_without_the_payloads,
    cosign_provisional_blocks,
    forget_the_fence,
    no_void,
    one_sided_manifest_change,
    one_key_for_all_cases,
    cosign_without_the_keys,
)
