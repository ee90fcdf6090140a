"""The envelope of signed messages: made in this box's name, checked of others, bound to the site and the manifest."""

from __future__ import annotations

from ledger.errors import PeerFault
from ledger.instant import Now
from ledger.limits import LIMITS
from ledger.manifests import Manifests
from ledger.message_codec import encode_signed
from ledger.messages import ManifestOffer, Signed, SignedBody
from ledger.outbox import Outbox
from ledger.signing import SigningKey


class Envelopes:
    """One box's."""

    def __init__(self, own_id: str, key: SigningKey, manifests: Manifests, out: Outbox) -> None:
        self._own_id = own_id
        self._key = key
        self._manifests = manifests
        self._out = out
        self._offered_ns: dict[str, int] = {}

    def sign(self, body: SignedBody) -> bytes:
        """Wire bytes of a message in this box's name."""
        return encode_signed(body, self._manifests.site, self._manifests.newest.hash, self._own_id, self._key)

    def check(self, sender: str, message: Signed, now: Now) -> None:
        """A signed message from ``sender``: raises PeerFault unless it is its own, under a manifest known here.

        A box that works under an older manifest is offered the next, once a second.
        """
        if message.sender != sender or not message.is_signed_by(self._manifests.box(sender).signing_public):
            raise PeerFault("message.bad-signature", f"a message in {message.sender}'s name is not signed by it")
        known = message.site == self._manifests.site and self._manifests.knows(message.manifest_hash)
        if not known and not isinstance(message.body, ManifestOffer):
            raise PeerFault(
                "message.manifest", f"{sender} works under another manifest", "compare the manifests of both boxes"
            )
        following = self._manifests.next_after(message.manifest_hash)
        if following is not None and now.mono_ns >= self._offered_ns.get(sender, 0):
            self._offered_ns[sender] = now.mono_ns + LIMITS.heads_every_ns
            self._out.tell_when_durable(sender, ManifestOffer(following))
