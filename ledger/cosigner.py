"""This box's word on other boxes' logs: a cosignature says "durably stored here, with every payload and its key".

It is made only after the commit of what it covers (docs/architecture.md, "Replication").
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping

from ledger.certificate import Certificate
from ledger.checkpoint import Checkpoint, cosign
from ledger.instant import Now
from ledger.key_requests import KeyRequests
from ledger.limits import S_NS
from ledger.log import LogId
from ledger.manifests import Manifests
from ledger.messages import Cosign, GetWrap, Nack, Stored
from ledger.outbox import Outbox
from ledger.promises import Promises
from ledger.replica import Replica
from ledger.signing import SigningKey


class Cosigner:
    """Cosigns the ``replicas`` as far as they are durable and whole. ``keys_held``: ids of data keys that are durable;
    ``committed``: operations up to here are durable.
    """

    def __init__(
        self, own_id: str, key: SigningKey, manifests: Manifests, replicas: Mapping[LogId, Replica],
        promises: Promises, out: Outbox, *, keeps_payloads: bool,
    ) -> None:  # fmt: skip
        self.keys_held: set[bytes] = set()
        self.key_requests = KeyRequests(out)
        self.committed = 0
        self._own_id = own_id
        self._key = key
        self._manifests = manifests
        self._replicas = replicas
        self._promises = promises
        self._out = out
        self._keeps_payloads = keeps_payloads

    # ---- keys --------------------------------------------------------------------------------------------------

    def load(self, key_ids: Iterable[bytes]) -> None:
        """Take over what the keyring holds."""
        self.keys_held = set(key_ids)

    def need_keys(self, replica: Replica, key_ids: Collection[bytes]) -> None:
        """A log from the disk was sealed under these: what is not held of them is asked for now and then."""
        for key_id in sorted(set(key_ids) - self.keys_held):
            self.key_requests.lacks(replica, key_id)

    def need_key(self, replica: Replica, key_id: bytes) -> None:
        """A block is sealed under this key. Not held, its box is asked at once; everybody, now and then."""
        if key_id not in self.keys_held and self.key_requests.lacks(replica, key_id):
            self._out.tell(replica.log.box, GetWrap(replica.log, key_id))

    def on_key(self, key_id: bytes, now: Now) -> None:
        """A data key is held, checked and durable: logs that waited for it can be vouched for."""
        self.keys_held.add(key_id)
        for replica in self._replicas.values():
            if key_id in replica.missing_keys:
                replica.missing_keys.discard(key_id)
                if replica.durable_size and not replica.missing_keys:
                    self.vouch(replica, now)

    # ---- vouching ----------------------------------------------------------------------------------------------

    def vouch(self, replica: Replica, now: Now) -> None:
        """More of a log may be durable, or our word on it may count now: say what can be said."""
        log = replica.log
        if log.box == self._own_id or replica.frozen:
            return
        is_proved = self._promises.is_proved(log)
        current = self._promises.is_current(log) and is_proved
        held = self._durably_whole(replica)
        if not current or held < replica.durable_size or replica.missing_keys or not self._promises.may_vouch(log.box):
            if held:
                self._out.tell(log.box, Stored(log, held))
            if log.fenced and is_proved and not current:
                self._out.tell(log.box, Nack(log, "epoch.old", self._promises.of(log.box).evidence))
            return
        head = replica.head_at(replica.durable_size)
        if head is None or head.size <= replica.cosigned_size:
            return
        replica.cosigned_s = now.utc_ns // S_NS
        checkpoint = Checkpoint(log.origin(self._manifests.site), head.size, head.root)
        replica.cosignature = cosign(self._key, checkpoint, replica.cosigned_s)
        replica.cosigned_size = head.size
        self.tell_cosignature(replica, log.box)

    def _durably_whole(self, replica: Replica) -> int:
        """How much is held with every payload: our word covers no block without. A witness-only box keeps none."""
        if not self._keeps_payloads:
            return replica.durable_size
        return replica.whole_size if replica.filled_at <= self.committed else 0

    def tell_cosignature(self, replica: Replica, to: str) -> None:
        """Say, once more perhaps, how far we vouch for a log, if we do."""
        head = replica.head_at(replica.cosigned_size)
        if head is not None and replica.cosigned_size:
            self._out.tell(to, Cosign(self._own_id, replica.log, head.size, head.root, replica.cosigned_s,
                                      replica.cosignature))  # fmt: skip

    def certificate(self, replica: Replica) -> Certificate | None:
        """The newest checkpoint that this box cosigned, with the writer's signature, for the store."""
        known = replica.recent_at(replica.cosigned_size)
        if known is None or not known.checkpoint_signature:
            return None
        word = ((self._own_id, replica.cosigned_s, replica.cosignature),)
        return Certificate(known.size, known.root, known.checkpoint_signature, word)

    def vouch_again(self, now: Now) -> None:
        """Our word has begun to count: give it for what is held and for what was asked meanwhile."""
        self._promises.answer_waiting()
        for replica in self._replicas.values():
            if replica.durable_size > replica.cosigned_size and self._promises.is_current(replica.log):
                self.vouch(replica, now)
