"""How an epoch begins: which promises make it fenced, which head it continues, which ends it names."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping

from ledger.block import Header
from ledger.errors import PeerFault
from ledger.log import LogId
from ledger.manifest import Manifest
from ledger.message_codec import decode_message
from ledger.messages import Promise, Signed
from ledger.notices import Head, Start
from ledger.replica import Replica

_FENCED_REPORTED = 4
_UNNAMED_REPORTED = 8
VersionOf = Callable[[LogId], int | None]
"""Of the manifest that a log is bound to; None where that is not known."""


def no_version(_log: LogId) -> None:
    """Where no log's manifest is known yet: heads cannot be compared."""


def _one_version(_log: LogId) -> int:
    return 0


def check_start(
    header: Header, start: Start, manifest: Manifest, before: Manifest | None = None,
    version_of: VersionOf = _one_version, older: Iterable[Manifest] = (),
) -> dict[str, Promise]:  # fmt: skip
    """Raise PeerFault ``epoch.*`` unless F peers promised this epoch and its parent is the highest head they knew.

    ``before``: the manifest of the log it follows, when that is another: F peers of that group must have promised too.
    Returns the promises by giver: those of peers under either manifest or under the ``older`` ones.
    """
    log = header.log
    if header.manifest_hash != manifest.hash:
        raise PeerFault("epoch.manifest", f"{log} is bound to another manifest than ours", "compare manifest versions")
    if start.parent is not None and not start.parent.log.fenced:
        raise PeerFault("epoch.parent", f"{log} continues a provisional log")
    groups = [each for each in (manifest, before) if each is not None]
    known = (*groups, *older)
    peers = {box.id: box.signing_public for each in reversed(known) for box in each.peers_of(log.box)}
    givers: dict[str, Promise] = {}
    for wire in start.promises:
        signed = decode_message(wire)
        if not isinstance(signed, Signed) or not isinstance(signed.body, Promise):
            raise PeerFault("epoch.promise", f"{log} carries something else than promises")
        promise = signed.body
        named = (promise.box, promise.counter, promise.incarnation, signed.manifest_hash, signed.site)
        if named != (log.box, log.counter, log.incarnation, manifest.hash, manifest.site):
            raise PeerFault("epoch.promise", f"{log} carries a promise for another epoch")
        if signed.sender not in peers:
            continue  # of a group we do not know of: neither counted nor checked
        if not signed.is_signed_by(peers[signed.sender]):
            raise PeerFault("epoch.promise", f"{log} carries a promise that {signed.sender} did not sign")
        givers[signed.sender] = promise
    for each in groups:
        count, needed = promised_in(each, log.box, givers), each.quorum_of(log.box).fence
        if count < needed:
            raise PeerFault("epoch.unfenced", f"{log} has {count} promises, {needed} are needed")
    heads = [head for promise in givers.values() for head in promise.fenced]
    if any(_outranks(head, start.parent, version_of) for head in heads):
        raise PeerFault("epoch.parent", f"{log} does not continue the highest head its peers hold")
    return givers


def promised_in(manifest: Manifest, box: str, givers: Iterable[str]) -> int:
    """How many of ``givers`` are peers of ``box`` under this manifest."""
    return len({peer.id for peer in manifest.peers_of(box)} & set(givers))


def _outranks(head: Head, parent: Head | None, version_of: VersionOf) -> bool:
    """True when ``parent`` is known to be lower."""
    if parent is None:
        return True
    versions = version_of(head.log), version_of(parent.log)
    return None not in versions and _rank(head, version_of) > _rank(parent, version_of)


def _rank(head: Head, version_of: VersionOf) -> tuple[int, int, int]:
    return (version_of(head.log) or 0, head.log.counter, head.size)


def highest_fenced(heads: Iterable[Head], version_of: VersionOf = _one_version) -> Head | None:
    """The head that a new epoch must continue: by (manifest, epoch, size), never the longest chain.

    The manifest counts first, because a box that has forgotten the newest one can begin epochs under an older one, of
    however high a number, when that needs one promise or none: nobody vouches for those.
    """
    fenced = (head for head in heads if head.log.fenced)
    return max(fenced, key=lambda head: _rank(head, version_of), default=None)


def linked_heads(first: Header) -> list[Head]:
    """The ends that an epoch's first block names as parent or tail."""
    named: list[Head] = []
    for notice in first.notices:
        if isinstance(notice, Start):
            named += notice.tails
            if notice.parent is not None:
                named.append(notice.parent)
    return named


def linked_logs(first: Header) -> set[LogId]:
    """The logs that an epoch's first block names as parent or tail."""
    return {head.log for head in linked_heads(first)}


def heads_for_promise(
    held: Iterable[Replica], linked: Mapping[LogId, int], version_of: VersionOf = _one_version
) -> tuple[tuple[Head, ...], tuple[Head, ...]]:
    """(fenced, provisional) heads a promise reports: the newest epochs, and the ends no epoch has named yet.

    None of a log that went at its retention: nobody could deliver its headers, and a later epoch continues it.
    """
    kept = (replica for replica in held if not replica.expired)
    durable = [head for replica in kept if (head := replica.head_at(replica.durable_size)) is not None]
    fenced = [head for head in durable if head.log.fenced]
    fenced.sort(key=lambda head: _rank(head, version_of), reverse=True)
    unnamed = [head for head in durable if not head.log.fenced and head.size > linked.get(head.log, 0)]
    return tuple(fenced[:_FENCED_REPORTED]), tuple(unnamed[-_UNNAMED_REPORTED:])
