"""Lost memory: nothing is promised or cosigned until the peers said what they hold of our own log."""

from __future__ import annotations

import pytest

from ledger.limits import LIMITS
from ledger.manifest import Manifest, sign_manifest
from ledger.manifests import Manifests
from ledger.messages import Answer, Ask, HeadReport
from ledger.notices import Head
from ledger.outbox import Outbox
from ledger.voids import Voids
from tests.ledger.cluster import MemoryDisk
from tests.ledger.peers import MANIFEST, log_of
from tests.ledger_strategies import make_manifest

NONCE = bytes([9]) * 16
OWN = log_of(3, box="or-2")


class VoidsUnderTest:
    """or-2's memory in a group of four: n = 3, w = 2, so two peers must have spoken."""

    def __init__(self, held: int = 5, void: tuple[str, ...] = (), manifest: Manifest = MANIFEST) -> None:
        self.disk = MemoryDisk()
        self.disk.logs[OWN] = [(b"", b"")] * held
        self.out = Outbox()
        self.manifests = Manifests("or-2", manifest)
        self.voids = Voids("or-2", self.manifests, self.disk, self.out, lambda _count: NONCE)
        self.voids.start([OWN], dict.fromkeys(void, True))

    def answer(self, sender: str, size: int, box: str = "or-2", nonce: bytes = NONCE, gone: bool = False) -> bool:
        """``gone``: the sender also tells of an older log, which went at its retention."""
        log = OWN if box == "or-2" else log_of(4, box=box)
        report = HeadReport(Head(log, size, bytes(32), bytes(32)), 0, b"", b"", 0)
        expired = HeadReport(Head(log_of(3, box=box), 9, bytes(32), bytes(32)), 0, b"", b"", 0, expired=True)
        reports = (report, expired) if gone else (report,)
        return self.voids.on_answer(sender, Answer(nonce, box, reports, 0, 0), set())


def test_nothing_is_vouched_for_before_enough_peers_spoke() -> None:
    under = VoidsUnderTest()
    assert not under.voids.may_vouch("or-1")
    assert under.answer("or-1", 5)
    assert not under.voids.may_vouch("or-1")
    under.answer("or-1", 5)
    assert not under.voids.is_sure, "one peer twice is one peer"
    under.answer("or-3", 5)
    assert under.voids.may_vouch("or-1")
    assert under.voids.take_loss() == frozenset()


def test_an_answer_to_somebody_elses_question_counts_for_nothing() -> None:
    under = VoidsUnderTest()
    assert not under.answer("or-1", 5, nonce=bytes(16))
    under.answer("or-3", 5)
    assert not under.voids.is_sure


def test_a_peer_that_holds_more_of_our_log_makes_our_word_void_for_every_box() -> None:
    under = VoidsUnderTest()
    under.answer("or-1", 6)
    under.answer("or-3", 5)
    assert under.voids.take_loss() == {"or-1", "or-3", "or-4"}
    assert not any(under.voids.may_vouch(box) for box in ("or-1", "or-3", "or-4"))
    assert under.voids.take_loss() == frozenset()


def test_the_first_peer_that_holds_more_makes_our_word_void_and_the_next_adds_nothing_once_it_is_mended() -> None:
    under = VoidsUnderTest()
    under.answer("or-1", 6)
    assert under.voids.take_loss() == {"or-1", "or-3", "or-4"}
    for box in ("or-1", "or-3", "or-4"):
        under.answer(box, 1, box=box)
        under.disk.logs[log_of(4, box=box)] = [(b"", b"")]
    assert under.voids.take_mended() == {"or-1", "or-3", "or-4"}
    under.answer("or-3", 7)
    assert under.voids.take_loss() == frozenset()
    assert under.voids.may_vouch("or-1")


def test_a_block_of_our_own_that_is_about_to_be_taken_shows_the_loss_before_anybody_answered() -> None:
    under = VoidsUnderTest()
    under.voids.found(OWN, 5)
    assert under.voids.take_loss() == frozenset()
    under.voids.found(OWN, 6)
    assert under.voids.take_loss() == {"or-1", "or-3", "or-4"}


def test_a_loss_forgets_that_an_earlier_one_was_mended() -> None:
    under = VoidsUnderTest()
    under.voids.start([OWN], {"or-1": False, "or-3": True, "or-4": False})
    assert under.voids.take_loss() == frozenset()
    under.answer("or-1", 6)
    assert under.voids.take_loss() == {"or-1", "or-4"}


def test_of_a_box_that_a_newer_manifest_adds_something_may_be_forgotten_too() -> None:
    under = VoidsUnderTest(manifest=make_manifest(3))
    under.answer("or-1", 6)
    assert under.voids.take_loss() == {"or-1", "or-3"}
    under.manifests.load([(2, sign_manifest(make_manifest(4, version=2), []).encode())])
    under.answer("or-3", 5)
    assert under.voids.is_sure
    assert not under.voids.may_vouch("or-4")
    assert under.voids.take_loss() == {"or-4"}


@pytest.mark.parametrize("ever_lost", [True, False])
def test_a_loss_that_was_mended_before_a_restart_still_counts_for_a_box_that_a_newer_manifest_adds(
    ever_lost: bool,
) -> None:
    under = VoidsUnderTest(manifest=make_manifest(3))
    under.voids.start([OWN], {"or-1": False, "or-2": ever_lost, "or-3": False})
    under.answer("or-1", 5)
    under.manifests.load([(2, sign_manifest(make_manifest(4, version=2), []).encode())])
    under.answer("or-3", 5)
    assert (under.voids.may_vouch("or-1"), under.voids.may_vouch("or-4")) == (True, not ever_lost)
    assert under.voids.take_loss() == ({"or-4"} if ever_lost else frozenset())
    under.voids.step([], 0)
    under.voids.step([], LIMITS.memory_lost_wait_ns)
    assert warned(under) == [], "nobody holds more of its log now"


def warned(under: VoidsUnderTest) -> list[tuple[str, bool]]:
    return [(warning.id, warning.active) for warning in under.out.take_warnings()]


@pytest.mark.parametrize("more", [1, LIMITS.in_flight_blocks])
def test_what_a_crash_explains_is_warned_of_only_when_it_is_not_mended_soon(more: int) -> None:
    under = VoidsUnderTest()
    under.answer("or-1", 5 + more)
    under.answer("or-3", 5)
    assert under.voids.take_loss(), "our word is void all the same"
    under.voids.step([], 10)
    under.voids.step([], 10 + LIMITS.memory_lost_wait_ns - 1)
    assert warned(under) == []
    under.voids.step([], 10 + LIMITS.memory_lost_wait_ns)
    under.voids.step([], 10 + 2 * LIMITS.memory_lost_wait_ns)
    assert warned(under) == [("memory.lost", True)]


def test_what_a_crash_explains_and_is_mended_at_once_is_no_news() -> None:
    under = VoidsUnderTest()
    under.answer("or-1", 6)
    under.answer("or-3", 5)
    assert under.voids.take_loss()
    under.voids.step([], 10)
    for box in ("or-1", "or-3", "or-4"):
        under.answer(box, 0 + 1, box=box)
        under.disk.logs[log_of(4, box=box)] = [(b"", b"")]
    assert under.voids.take_mended() == {"or-1", "or-3", "or-4"}
    under.voids.step([], 10 + 2 * LIMITS.memory_lost_wait_ns)
    assert warned(under) == []


def test_more_than_was_in_flight_is_warned_of_at_once_and_cleared_once_mended() -> None:
    under = VoidsUnderTest()
    under.answer("or-1", 6 + LIMITS.in_flight_blocks)
    under.answer("or-3", 5)
    assert under.voids.take_loss()
    assert warned(under) == [("memory.lost", True)]
    for box in ("or-1", "or-3", "or-4"):
        under.answer(box, 1, box=box)
        under.disk.logs[log_of(4, box=box)] = [(b"", b"")]
    under.voids.take_mended()
    assert warned(under) == [("memory.lost", False)]


def test_an_older_log_that_lost_blocks_is_never_explained_by_a_crash() -> None:
    under = VoidsUnderTest()
    newer = log_of(4, box="or-2")
    under.disk.logs[newer] = [(b"", b"")]
    under.voids.start([OWN, newer], {})
    under.answer("or-1", 6)
    under.answer("or-3", 5)
    assert under.voids.take_loss()
    assert warned(under) == [("memory.lost", True)]


def test_a_word_still_void_after_a_restart_is_warned_of_again() -> None:
    under = VoidsUnderTest(void=("or-1",))
    under.voids.step([], 0)
    under.voids.step([], LIMITS.memory_lost_wait_ns)
    assert warned(under) == [("memory.lost", True)]


def test_holding_a_boxs_own_fresh_live_head_mends_our_word_on_it_alone() -> None:
    under = VoidsUnderTest(void=("or-1", "or-3"))
    under.answer("or-1", 5)
    under.answer("or-3", 5)
    under.answer("or-1", 7, box="or-1")
    assert under.voids.take_mended() == frozenset()
    under.disk.logs[log_of(4, box="or-1")] = [(b"", b"")] * 7
    assert under.voids.take_mended() == {"or-1"}
    assert under.voids.may_vouch("or-1")
    assert not under.voids.may_vouch("or-3")


def test_the_heads_of_enough_other_peers_mend_our_word_on_a_dead_box() -> None:
    under = VoidsUnderTest(void=("or-1",))
    under.disk.logs[log_of(4, box="or-1")] = [(b"", b"")] * 7
    under.answer("or-3", 7, box="or-1")
    assert under.voids.take_mended() == frozenset()
    under.answer("or-4", 6, box="or-1")
    assert under.voids.take_mended() == {"or-1"}


def test_what_the_others_have_let_go_at_its_retention_need_not_be_held() -> None:
    under = VoidsUnderTest(void=("or-1",))
    under.disk.logs[log_of(4, box="or-1")] = [(b"", b"")] * 7
    for peer in ("or-3", "or-4"):
        under.answer(peer, 7, box="or-1", gone=True)
    assert under.voids.take_mended() == {"or-1"}


def test_it_asks_once_a_second_while_anything_is_open_and_then_no_more() -> None:
    under = VoidsUnderTest()
    under.voids.step(["or-1", "or-3"], 0)
    under.voids.step(["or-1", "or-3"], 1)
    assert [tell.body for tell in under.out.take_tells()] == [Ask(NONCE, "or-2")] * 2
    under.answer("or-1", 5)
    under.answer("or-3", 5)
    under.voids.step(["or-1", "or-3"], 10**10)
    assert under.out.take_tells() == []
