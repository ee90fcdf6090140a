"""Data keys on their way between boxes: a log's keys travel beside it, wrapped to every box of the group."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Protocol

from ledger.errors import PeerFault, VerificationFailed
from ledger.limits import LIMITS
from ledger.log import LogId
from ledger.manifests import Manifests
from ledger.messages import GetWrap, Wrap
from ledger.outbox import Outbox
from ledger.replica import Replica
from ledger.sealing import BoxKey, DataKey, unwrap

RECOVERY = "recovery"


class Keys(Protocol):
    """The keyring, for reading."""

    def wraps(self, key_id: bytes) -> Mapping[str, bytes]:
        """The wraps of a data key by recipient; empty when not held."""


@dataclass(frozen=True, slots=True)
class KeyToKeep:
    """A data key to put into the keyring durably; then call ``Member.key_kept``."""

    log: LogId
    key: DataKey
    wraps: Mapping[str, bytes]


class KeyExchange:
    """What one box gives and takes of wrapped keys. ``replica_of`` and ``is_held`` say what is held here."""

    def __init__(
        self, own_id: str, receiving: BoxKey, manifests: Manifests, keys: Keys, out: Outbox,
        replica_of: Callable[[LogId], Replica | None], is_held: Callable[[bytes], bool],
    ) -> None:  # fmt: skip
        self.to_keep: list[KeyToKeep] = []
        self._own_id = own_id
        self._receiving = receiving
        self._manifests = manifests
        self._keys = keys
        self._out = out
        self._replica_of = replica_of
        self._is_held = is_held
        self._early: dict[str, set[tuple[LogId, bytes]]] = {}

    def take(self) -> list[KeyToKeep]:
        """Keys that must be made durable before anything else happens."""
        keys, self.to_keep = self.to_keep, []
        return keys

    def give(self, peer: str, log: LogId, key_id: bytes) -> None:
        """Send the wraps of a key, if it is held here."""
        wraps = self._keys.wraps(key_id)
        if wraps:
            self._out.tell(peer, Wrap(log, key_id, tuple(sorted(wraps.items()))))

    def on_get_wrap(self, sender: str, message: GetWrap) -> None:
        """A peer asks for a key."""
        self.give(sender, message.log, message.key_id)

    def on_wrap(self, sender: str, message: Wrap) -> None:
        """Taken: a key that a log held here lacks, and a few of the sender's own logs ahead of their first block."""
        log, key_id = message.log, message.key_id
        if self._is_held(key_id):
            return
        replica = self._replica_of(log)
        lacked = replica is not None and key_id in replica.missing_keys
        if not lacked and not self._may_come_early(sender, log, key_id):
            if sender == log.box:  # sent at each meeting; what is passed over is asked for once a block needs it
                return
            raise PeerFault("wrap.unasked", f"{sender} sent a key of {log} that nobody asked for")
        names = {RECOVERY, *(box.id for box in self._manifests.newest.boxes)}
        wraps = {name: sealed for name, sealed in message.wraps if name in names}
        mine = wraps.get(self._own_id)
        if mine is None:
            raise VerificationFailed("wrap.absent", f"{sender} sent a key of {log} that is not wrapped to this box")
        key = unwrap(mine, log.box, log.incarnation, key_id, self._receiving)
        if not lacked:
            self._early[sender].add((log, key_id))
        self.to_keep.append(KeyToKeep(log, key, wraps))

    def _may_come_early(self, sender: str, log: LogId, key_id: bytes) -> bool:
        """A box sends a key before the first block under it; no more than a few at a time, all of its own logs."""
        early = {earlier for earlier in self._early.get(sender, ()) if not self._is_used(*earlier)}
        self._early[sender] = early
        return log.box == sender and not self._is_used(log, key_id) and len(early) < LIMITS.early_keys

    def _is_used(self, log: LogId, key_id: bytes) -> bool:
        """Whether a block under this key is here."""
        replica = self._replica_of(log)
        return replica is not None and key_id in replica.cases.key_ids
