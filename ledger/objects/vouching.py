"""Who holds which object: this box's own word, given once it has checked and made durable, and the words of others.

An object has a level as a block has: local, copied by j peers, witnessed by as many as the quorum table wants. The word
is a signed message of its own; it is kept, so that a restart, or an auditor, finds it again.
"""

from __future__ import annotations

from collections import Counter, OrderedDict, deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from ledger.errors import PeerFault
from ledger.limits import LIMITS
from ledger.log import LogId
from ledger.member import Member
from ledger.messages import AskHoldings, Holding, SignedBody
from ledger.notices import StoredObject
from ledger.objects.format import ChunkCipher, Layout
from ledger.objects.pull import Folder
from ledger.objects.sealer import read_header
from ledger.objects.turns import Wanted
from ledger.ops import ObjectState, PutHolding
from ledger.quorum import Level
from ledger.sealing import DataKey

_VOUCHED_REMEMBERED = 8_192


class Row(Wanted, Protocol):
    """Block ``seq`` of ``log`` names an object that is wanted, held or gone."""

    @property
    def state(self) -> ObjectState: ...


class Rows(Protocol):
    """What is durable of objects: the store's."""

    def objects(self) -> Iterator[Row]: ...

    def objects_named(self, sha256: bytes) -> Sequence[Row]: ...

    def object_holdings(self, sha256: bytes) -> Mapping[str, bytes]: ...


class Keys(Protocol):
    """The keyring."""

    def get(self, key_id: bytes) -> DataKey | None: ...


@dataclass(slots=True)
class OpenObject:
    """An object of this box's that not every peer holds yet, and who does."""

    stored: StoredObject
    holders: set[str] = field(default_factory=set)


class ObjectVouching:
    """``check`` and ``unvouched`` read the disk, and may run on a thread; ``say`` sends a peer a message."""

    def __init__(
        self, member: Member, store: Rows, keyring: Keys, folder: Folder, say: Callable[[str, SignedBody], object]
    ) -> None:
        self._member = member
        self._store = store
        self._keyring = keyring
        self._folder = folder
        self._say = say
        self._open: OrderedDict[bytes, OpenObject] = OrderedDict()
        self._asked_from: Counter[str] = Counter()
        self._vouched: OrderedDict[bytes, int] = OrderedDict()

    # ---- our own word ------------------------------------------------------------------------------------------

    def vouch(self, sha256: bytes, peers: Iterable[str]) -> bool:
        """Tell these peers that an object is held here. False while that is not checked, or no durable row says so."""
        sealed_bytes = self._vouched.get(sha256)
        held = self.held(sha256)
        if sealed_bytes is None or not held:
            return False
        self.take_up(self._unvouched(held))  # one of ours that came back: its peers spoke while nobody heard them
        word, own = Holding(sha256, sealed_bytes), self._member.own_id
        for peer in peers:
            self._say(peer, word)
        if own not in self._store.object_holdings(sha256):
            self._member.out.persist(PutHolding(sha256, own, self._member.sign(word)))
        return True

    def held(self, sha256: bytes) -> list[Row]:
        """The durable rows that say that an object is held here whole."""
        return [row for row in self._store.objects_named(sha256) if row.state is ObjectState.HELD]

    def note_checked(self, sha256: bytes, sealed_bytes: int) -> None:
        """``check`` was good."""
        self._vouched[sha256] = sealed_bytes
        if len(self._vouched) > _VOUCHED_REMEMBERED:
            self._vouched.popitem(last=False)

    def was_checked(self, sha256: bytes) -> bool:
        """True when ``check`` need not be made again."""
        return sha256 in self._vouched

    def check(self, sha256: bytes) -> int | None:
        """The length of a whole object whose key is held and opens its end; None when either is lacking.

        Raises VerificationFailed when the key does not open it, StoreFault.
        """
        if self._folder.length(sha256) is None:
            return None
        with self._folder.source(sha256) as source:
            header = read_header(source)
            key = self._keyring.get(header.key_id)
            if key is None:
                return None
            layout = Layout.of(source.length())
            last = layout.chunks - 1
            ChunkCipher(header, key).open(last, source.read(*layout.chunk_at(last)), is_last=True)
            return source.length()

    def forget(self, sha256: bytes) -> None:
        """The object is no longer here."""
        self._vouched.pop(sha256, None)
        self._open.pop(sha256, None)

    # ---- the words of others -----------------------------------------------------------------------------------

    def unvouched(self) -> list[OpenObject]:
        """The newest objects of this box that not every peer is known to hold. Reads all rows."""
        return list(deque(self._unvouched(self._store.objects()), maxlen=LIMITS.object_open_vouchers))

    def _unvouched(self, rows: Iterable[Row]) -> Iterator[OpenObject]:
        own = self._member.own_id
        peers = self._peers_of(own)
        for row in rows:
            if row.log.box == own and row.state is ObjectState.HELD:
                holders = set(self._store.object_holdings(row.stored.sha256)) & peers
                if holders < peers:
                    yield OpenObject(row.stored, holders)

    def take_up(self, objects: Iterable[OpenObject]) -> None:
        """Ask for the peers' words on these."""
        for known in objects:
            if known.stored.sha256 not in self._open:
                self._add(known)

    def recorded(self, objects: Iterable[StoredObject]) -> None:
        """A block of this box names these now."""
        for stored in objects:
            self._add(OpenObject(stored))

    def _add(self, known: OpenObject) -> None:
        self._open[known.stored.sha256] = known
        if len(self._open) > LIMITS.object_open_vouchers:
            self._open.popitem(last=False)

    def on_holding(self, sender: str, holding: Holding, wire: bytes) -> None:
        """Kept when a block that is held here names that object. Raises PeerFault when it is of another length."""
        rows = self._store.objects_named(holding.sha256)
        if not rows or sender in self._store.object_holdings(holding.sha256):
            return
        if all(row.stored.sealed_bytes != holding.sealed_bytes for row in rows):
            raise PeerFault("object.holding", f"{sender} vouches for another object than the one that is named so")
        self._member.out.persist(PutHolding(holding.sha256, sender, wire))
        known = self._open.get(holding.sha256)
        if known is not None:
            known.holders.add(sender)
            if known.holders >= self._peers_of(self._member.own_id):
                del self._open[holding.sha256]

    def ask(self, peers: Iterable[str]) -> None:
        """Ask each peer for its word on some of our objects that it has not vouched for, each time on others."""
        most = LIMITS.object_names_asked
        for peer in peers:
            names = [name for name, known in self._open.items() if peer not in known.holders]
            if not names:
                continue
            first = self._asked_from[peer] % len(names)
            self._asked_from[peer] = first + most
            self._say(peer, AskHoldings(tuple((names[first:] + names[:first])[:most])))

    def holders(self, log: LogId, sha256: bytes) -> list[str]:
        """The peers of the box that recorded an object whose word on it is kept here."""
        return sorted(set(self._store.object_holdings(sha256)) & self._peers_of(log.box))

    def level(self, log: LogId, sha256: bytes) -> Level:
        """How far an object is vouched for, as far as this box knows."""
        count = len(self.holders(log, sha256))
        return self._member.manifest.quorum_of(log.box).level(count, count)

    def _peers_of(self, box: str) -> set[str]:
        return {each.id for each in self._member.manifest.peers_of(box)}
