"""An epoch under a new manifest needs promises of both groups: a peer vouches for none of which it cannot tell."""

from __future__ import annotations

from dataclasses import replace

import pytest

from ledger import start_proofs
from ledger.audit.chunk import Checked
from ledger.audit.log_audit import NO_ROWS, LogAudit
from ledger.errors import PeerFault
from ledger.limits import Limits
from ledger.log import LogId
from ledger.manifest import Manifest, sign_manifest
from ledger.messages import Body, Cosign, Fence, Nack, Promise, Stored
from ledger.notices import Head, Start
from tests.ledger.cluster import MemoryDisk, rebuild
from tests.ledger.peers import PeerUnderTest, Recording, fence, log_of, promise_wire
from tests.ledger_strategies import make_manifest


def group(version: int, *names: str, previous: Manifest | None = None) -> Manifest:
    """or-1 and these."""
    everybody = make_manifest(8, version=version)
    boxes = tuple(box for box in everybody.boxes if box.id in {"or-1", *names})
    return replace(everybody, boxes=boxes, previous_hash=previous.hash if previous is not None else bytes(32))


OLD = group(1, "or-3", "or-4", "or-5")
NEW = group(2, "or-2", "or-6", "or-7", previous=OLD)
OF_THE_OLD = ("or-3", "or-4")
OF_THE_NEW = ("or-6", "or-7")


class Newcomer(PeerUnderTest):
    """or-2, enrolled with the second manifest: it never held anything of or-1."""

    def __init__(self, disk: MemoryDisk | None = None) -> None:
        super().__init__(disk, NEW)
        self.witness.manifests.load([(each.version, sign_manifest(each, []).encode()) for each in (OLD, NEW)])

    def restarted(self) -> Newcomer:
        again = Newcomer(self.disk)
        held = [rebuild(log, blocks) for log, blocks in self.disk.logs.items()]
        again.witness.load(held, self.disk.promises, self.witness.cosigner.keys_held)
        return again

    def promised_heads(self) -> list[LogId]:
        """What it reports in answer to a fence."""
        request = fence(log_of(9), NEW)
        assert isinstance(request.body, Fence)
        self.witness.promises.on_fence(request, request.body)
        (promise,) = [body for body in self.commit() if isinstance(body, Promise)]
        return [head.log for head in promise.fenced]


def epoch(counter: int, manifest: Manifest, givers: tuple[str, ...], parent: Head | None, *reported: Head) -> Recording:
    log = log_of(counter)
    promises = tuple(promise_wire(giver, log, *reported, manifest=manifest) for giver in givers)
    return Recording(log, Start(bytes(16), promises, parent, ()), manifest=manifest)


def past() -> Recording:
    """or-1's epoch in its old group."""
    recording = epoch(1, OLD, ("or-3", "or-4"), None)
    recording.grow(3)
    return recording


def cosigned(said: list[Body]) -> dict[LogId, int]:
    return {body.log: body.size for body in said if isinstance(body, Cosign)}


BOTH = ("or-3", "or-4", "or-6", "or-7")
ONE = ("or-6", "or-7")


def test_promises_of_every_group_its_box_was_in_prove_an_epoch_whose_past_is_not_held() -> None:
    assert cosigned(Newcomer().take(*epoch(2, NEW, BOTH, past().chain.head()).grow(2))) == {log_of(2): 2}


@pytest.mark.parametrize("restarts", [False, True])
def test_an_epoch_that_only_the_new_group_promised_is_never_vouched_for(restarts: bool) -> None:
    peer, before = Newcomer(), past()
    one_sided = epoch(2, NEW, ONE, before.chain.head())
    assert peer.take(*one_sided.grow(2)) == [Stored(log_of(2), 2)]
    if restarts:
        peer = peer.restarted()
        assert cosigned(peer.take(*one_sided.grow(1))) == {}
    assert peer.witness.promises.of("or-1").counter == 0, "and nothing older is given up for it"
    said = peer.take(before.blocks[0].message())
    assert cosigned(said) == {log_of(1): 1}, "its past goes on to be vouched for"
    assert [(body.log, body.reason) for body in said if isinstance(body, Nack)] == [(log_of(2), "epoch.unfenced")]
    (warning,) = peer.out.take_warnings()
    assert (warning.id, warning.subject, warning.severity) == ("epoch.unfenced", "or-1", "critical")
    with pytest.raises(PeerFault, match="0 promises, 2 are needed"):
        peer.take(*one_sided.grow(1))
    assert log_of(2) in peer.witness.refused, "nor is more of it asked for"
    assert peer.promised_heads() == [log_of(1)], "a new epoch need not continue it"


@pytest.mark.parametrize("restarts", [False, True])
def test_an_epoch_of_the_same_group_is_vouched_for_once_its_past_is_here(restarts: bool) -> None:
    peer, before = Newcomer(), epoch(2, NEW, BOTH, past().chain.head())
    before.grow(3)
    rolled = epoch(3, NEW, ONE, before.chain.head(), before.chain.head())
    assert peer.take(*rolled.grow(2)) == [Stored(log_of(3), 2)], "or-1 may have skipped its old group"
    peer = peer.restarted() if restarts else peer
    assert cosigned(peer.take(before.blocks[0].message())) == {log_of(3): 2}
    assert peer.promised_heads() == [log_of(3), log_of(2)]


@pytest.mark.parametrize("restarts", [False, True])
def test_what_follows_an_epoch_that_is_not_proved_is_not_proved_either(restarts: bool) -> None:
    peer = Newcomer()
    first = epoch(2, NEW, ONE, past().chain.head())
    second = epoch(3, NEW, ONE, first.chain.head() if first.grow(1) else None)
    third = epoch(4, NEW, ONE, second.chain.head() if second.grow(1) else None)
    for recording in (third, second, first):
        said = peer.take(*[block.message() for block in recording.blocks])
        assert cosigned(said) == {}
    if restarts:
        peer = peer.restarted()
        assert cosigned(peer.take(*third.grow(1))) == {}, "what follows was opened here before what it follows"
    assert cosigned(peer.take(past().blocks[0].message())) == {log_of(1): 1}
    assert peer.promised_heads() == [log_of(1)]


def test_epochs_that_wait_for_their_past_are_bounded_and_one_that_found_no_room_finds_it_later(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(start_proofs, "LIMITS", Limits(unproved_epochs_per_box=2))
    peer, before = Newcomer(), epoch(2, NEW, BOTH, past().chain.head())
    before.grow(1)
    waiting = [epoch(counter, NEW, ONE, before.chain.head(), before.chain.head()) for counter in (3, 4, 5)]
    for recording in waiting[:2]:
        peer.take(*recording.grow(1))
    with pytest.raises(PeerFault, match="more epochs than can wait"):
        peer.take(*waiting[2].grow(1))
    peer.take(before.blocks[0].message())
    assert cosigned(peer.take(waiting[2].blocks[0].message())) == {log_of(5): 1}


def test_a_past_that_peers_report_as_proved_to_them_need_not_be_proved_here() -> None:
    peer, lost = Newcomer(), Head(log_of(2), 9, bytes(32), bytes(32))
    before = epoch(3, NEW, ONE, lost)
    before.grow(1)
    rolled = epoch(4, NEW, ONE, before.chain.head(), before.chain.head())
    peer.take(*rolled.grow(2))
    assert cosigned(peer.take(before.blocks[0].message())) == {log_of(4): 2}


def test_a_box_nobody_knows_the_past_of_is_fenced_by_the_group_that_last_listed_it() -> None:
    assert cosigned(Newcomer().take(*epoch(2, NEW, BOTH, None).grow(1))) == {log_of(2): 1}
    with pytest.raises(PeerFault, match="0 promises, 2 are needed"):
        Newcomer().take(*epoch(2, NEW, ONE, None).grow(1))


@pytest.mark.parametrize(("before", "words"), [(OLD, ["0 promises, 2 are needed"]), (NEW, []), (None, [])])
def test_an_audit_looks_for_the_promises_of_both_groups(before: Manifest | None, words: list[str]) -> None:
    recording = epoch(2, NEW, ONE, past().chain.head())
    recording.grow(1)
    audit = LogAudit(log_of(2), NEW, NO_ROWS, 1, 0, False, (), manifest_of=lambda _log: before)
    audit.take(Checked(audit.plan()[0], opening=recording.blocks[0].signed_header))
    assert [word in finding.what for word, finding in zip(words, audit.findings, strict=True)] == [True] * len(words)


def test_an_epoch_continues_no_provisional_log() -> None:
    provisional = Head(log_of(1, fenced=False), 9, bytes(32), bytes(32))
    with pytest.raises(PeerFault, match="continues a provisional log"):
        Newcomer().take(*epoch(2, NEW, BOTH, provisional).grow(1))
