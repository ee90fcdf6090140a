"""Restore: which head is believed, and that no lie of a peer is handed over or stands in honest peers' way."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest

from ledger.checkpoint import Checkpoint, cosign
from ledger.errors import NoPeer, OrledgerError, PeerFault, VerificationFailed
from ledger.limits import LIMITS
from ledger.log import LogId
from ledger.messages import Answer, HeadReport, Range, Want
from ledger.notices import Head
from ledger.quorum import Level
from ledger.recovery import Fetch, Restored, choose, choose_tails, may_be_newer
from ledger.sealing import DataKey
from tests.ledger.cluster import Cluster

BOX = "or-1"
Answers = dict[str, Answer]


def group(n: int = 4, ticks: int = 20) -> tuple[Cluster, Answers]:
    """A group that has recorded, its or-1 then gone, and what the others answer."""
    cluster = Cluster(n)
    cluster.run(ticks)
    return cluster, {
        name: cluster.boxes[name].member.answer(bytes(16), BOX, cluster.now) for name in cluster.boxes if name != BOX
    }


def with_report(answer: Answer, **changes: object) -> Answer:
    return replace(answer, reports=tuple(replace(report, **changes) for report in answer.reports))  # type: ignore[arg-type]


def with_head(answer: Answer, **changes: object) -> Answer:
    return replace(
        answer,
        reports=tuple(replace(report, head=replace(report.head, **changes)) for report in answer.reports),  # type: ignore[arg-type]
    )


def cosigned(cluster: Cluster, name: str, answer: Answer) -> Answer:
    """The answer with every head cosigned by ``name`` itself, whatever it says."""
    reports = tuple(
        replace(
            report,
            cosigned_s=1,
            cosignature=cosign(
                cluster.boxes[name].secrets.signing,
                Checkpoint(report.head.log.origin(cluster.manifest.site), report.head.size, report.head.root), 1,
            ),
        )
        for report in answer.reports
    )  # fmt: skip
    return replace(answer, reports=reports)


def fetched(
    cluster: Cluster, answers: Answers, change: Callable[[str, Range], Range] = lambda _, message: message,
    *, rounds: int = 8,
) -> Restored:  # fmt: skip
    candidate = choose(cluster.manifest, BOX, answers)
    fetch = Fetch(cluster.manifest, candidate, cluster.boxes["or-2"].keys.get, 1 << 32)
    holders = list(candidate.holders)
    for round_number in range(rounds):
        for number, get in enumerate(fetch.gets(4)):
            peer = holders[(number + round_number) % len(holders)]
            try:
                fetch.on_range(change(peer, cluster.boxes[peer].member.serve(get)))
            except (PeerFault, VerificationFailed):
                continue
    return fetch.finish()


def latest(cluster: Cluster) -> int:
    return cluster.boxes[BOX].member.writer.chain.size


# ---- choosing ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("n", "level"), [(2, Level.WITNESSED), (4, Level.WITNESSED), (5, Level.FINAL)])
def test_the_head_that_enough_peers_cosigned_is_believed(n: int, level: Level) -> None:
    cluster, answers = group(n)
    candidate = choose(cluster.manifest, BOX, answers)
    assert (candidate.level, candidate.believed_size) == (level, latest(cluster))
    assert candidate.log == cluster.boxes[BOX].member.writer.chain.log


def test_with_too_few_cosignatures_a_head_is_copied_only() -> None:
    cluster, answers = group()
    one = {"or-2": answers["or-2"]}
    candidate = choose(cluster.manifest, BOX, one)
    assert (candidate.level, candidate.believed_size) == (Level.COPIED, latest(cluster))


def test_the_size_that_enough_peers_reach_is_believed_and_the_tail_shown_beside_it() -> None:
    cluster, _ = group()
    cluster.run(5, only=[BOX, "or-2"])
    answers = {n: cluster.boxes[n].member.answer(bytes(16), BOX, cluster.now) for n in ("or-2", "or-3", "or-4")}
    candidate = choose(cluster.manifest, BOX, answers)
    assert (candidate.believed_size, candidate.newest_size) == (latest(cluster) - 5, latest(cluster))
    restored = fetched(cluster, answers)
    values = [int(str(value.value)) for state in (restored.state, restored.newest_state) for _, value in state.values()]
    assert values[1] == values[0] + 5 == cluster.boxes[BOX].ticks - 1


def test_a_higher_epoch_wins_over_a_longer_log() -> None:
    cluster, before = group(ticks=30)
    cluster.boot(BOX)
    cluster.link_up(BOX)
    cluster.run(12)
    answers = {n: cluster.boxes[n].member.answer(bytes(16), BOX, cluster.now) for n in before}
    candidate = choose(cluster.manifest, BOX, answers)
    assert candidate.log == cluster.boxes[BOX].member.writer.chain.log
    assert candidate.believed_size < choose(cluster.manifest, BOX, before).believed_size


def test_nothing_held_is_said() -> None:
    cluster, answers = group()
    empty = {name: replace(answer, reports=()) for name, answer in answers.items()}
    with pytest.raises(NoPeer) as caught:
        choose(cluster.manifest, BOX, empty)
    assert caught.value.id == "restore.nothing-held"


def test_a_keyframe_too_far_back_is_said() -> None:
    cluster, answers = group()
    size = latest(cluster) + LIMITS.restore_blocks
    far = {name: cosigned(cluster, name, with_head(answer, size=size)) for name, answer in answers.items()}
    with pytest.raises(PeerFault) as caught:
        choose(cluster.manifest, BOX, {n: with_report(a, keyframe_seq=0) for n, a in far.items()})
    assert caught.value.id == "restore.too-long"


def test_too_few_answers_cannot_rule_out_a_newer_block() -> None:
    cluster, answers = group()
    given = list(answers.values())
    newer = [may_be_newer(cluster.manifest, BOX, given[:answered]) for answered in range(4)]
    assert newer == [True, True, False, False]


def test_who_lost_memory_rules_out_nothing() -> None:
    cluster, answers = group()
    assert not any(answer.is_void for answer in answers.values())
    cluster.boot("or-3")
    forgetful = cluster.boxes["or-3"].member.answer(bytes(16), BOX, cluster.now)
    assert forgetful.is_void, "it does not know yet whether it forgot anything"
    assert may_be_newer(cluster.manifest, BOX, [answers["or-2"], forgetful])
    assert not cluster.boxes["or-3"].member.answer(bytes(16), "or-3", cluster.now).is_void
    cluster.link_up("or-3")
    cluster.run(2)
    assert not cluster.boxes["or-3"].member.answer(bytes(16), BOX, cluster.now).is_void


# ---- one peer lies ----------------------------------------------------------------------------------------------


def bogus_log(answer: Answer) -> Answer:
    log = LogId(BOX, 10**9, bytes(16), fenced=True)
    report = HeadReport(Head(log, 5, bytes(32), bytes(32)), 0, b"", b"", 0)
    return replace(answer, reports=(report, *answer.reports))


LIES: dict[str, Callable[[Cluster, Answer], Answer]] = {
    "a cosignature it did not make": lambda c, a: with_report(a, cosignature=bytes(64)),
    "a cosignature of three bytes": lambda c, a: with_report(a, cosignature=b"abc"),
    "another root, unsigned": lambda c, a: with_head(a, root=bytes(32)),
    "another root, cosigned": lambda c, a: cosigned(c, "or-4", with_head(a, root=bytes(32))),
    "a huge size, unsigned": lambda c, a: with_head(a, size=1 << 60),
    "a huge size, cosigned": lambda c, a: cosigned(c, "or-4", with_head(a, size=1 << 60)),
    "a smaller size, cosigned": lambda c, a: cosigned(c, "or-4", with_head(a, size=3)),
    "an early keyframe that is none": lambda c, a: with_report(a, keyframe_seq=7),
    "a late keyframe that is none": lambda c, a: with_report(a, keyframe_seq=a.reports[0].head.size - 1),
    "a keyframe far ahead": lambda c, a: with_report(a, keyframe_seq=1 << 60),
    "a later epoch": lambda c, a: bogus_log(a),
    "a later epoch, cosigned": lambda c, a: cosigned(c, "or-4", bogus_log(a)),
    "nothing": lambda c, a: replace(a, reports=()),
}


@pytest.fixture(scope="module")
def recorded() -> tuple[Cluster, Answers]:
    return group(ticks=60)


@pytest.mark.parametrize("lie", LIES)
def test_a_lying_report_does_not_block_the_restore_of_what_honest_peers_hold(
    recorded: tuple[Cluster, Answers], lie: str
) -> None:
    cluster, answers = recorded
    told = {**answers, "or-4": LIES[lie](cluster, answers["or-4"])}
    restored = fetched(cluster, told)
    assert restored.candidate.level is Level.WITNESSED
    assert restored.candidate.believed_size == latest(cluster)
    ((_, value),) = restored.state.values()
    assert value.value == str(cluster.boxes[BOX].ticks - 1)
    assert restored.cosignatures >= 2


def test_an_answer_from_outside_the_group_vouches_for_nothing(recorded: tuple[Cluster, Answers]) -> None:
    cluster, answers = recorded
    candidate = choose(cluster.manifest, BOX, {"or-2": answers["or-2"], "or-9": answers["or-3"], BOX: answers["or-4"]})
    assert candidate.level is Level.COPIED
    assert set(candidate.cosigned) == {"or-2"}


def flip_payload(message: Range) -> Range:
    return replace(message, blocks=tuple((header, payload[:-1] + b"x") for header, payload in message.blocks))


def flip_header(message: Range) -> Range:
    return replace(message, blocks=tuple((header[:-1] + b"xy"[:1], payload) for header, payload in message.blocks))


def swap(message: Range) -> Range:
    return replace(message, blocks=tuple(reversed(message.blocks)))


def shift(message: Range) -> Range:
    return replace(message, first=message.first + 1, blocks=message.blocks[:-1])


def too_many(message: Range) -> Range:
    return replace(message, blocks=message.blocks * 1000)


def other_log(message: Range) -> Range:
    return replace(message, log=replace(message.log, counter=99))


def garbage_frontier(message: Range) -> Range:
    return replace(message, frontier=b"garbage")


def bogus_frontier(message: Range) -> Range:
    return replace(
        message, frontier=message.frontier[:-1] + bytes([message.frontier[-1] ^ 1]) if message.frontier else b""
    )


def pruned(message: Range) -> Range:
    return replace(message, blocks=tuple((header, b"") for header, _ in message.blocks))


BAD_RANGES = [
    flip_payload, flip_header, swap, shift, too_many, other_log, garbage_frontier, bogus_frontier, pruned,
]  # fmt: skip


@pytest.mark.parametrize("change", BAD_RANGES)
def test_bad_blocks_of_one_peer_are_refused_and_another_gives_the_right_ones(
    recorded: tuple[Cluster, Answers], change: Callable[[Range], Range]
) -> None:
    cluster, answers = recorded
    if change is bogus_frontier:
        # Asked for again by nobody once it is there: both edges must be on the table.
        candidate = choose(cluster.manifest, BOX, answers)
        fetch = Fetch(cluster.manifest, candidate, cluster.boxes["or-2"].keys.get, 1 << 32)
        (get,) = fetch.gets(1)
        honest = cluster.boxes["or-3"].member.serve(get)
        fetch.on_range(bogus_frontier(honest))
        fetch.on_range(honest)
        assert fetch.finish().candidate.believed_size == latest(cluster)
        return
    restored = fetched(cluster, answers, lambda peer, message: change(message) if peer == "or-4" else message)
    assert restored.candidate.believed_size == latest(cluster)


@pytest.mark.parametrize("change", BAD_RANGES)
def test_bad_blocks_of_every_peer_are_never_handed_over(
    recorded: tuple[Cluster, Answers], change: Callable[[Range], Range]
) -> None:
    cluster, answers = recorded
    with pytest.raises(OrledgerError):
        fetched(cluster, answers, lambda _, message: change(message))


def test_blocks_that_nobody_cosigned_are_not_believed(recorded: tuple[Cluster, Answers]) -> None:
    cluster, answers = recorded
    forged = {name: cosigned(cluster, name, with_head(answer, root=bytes(32))) for name, answer in answers.items()}
    with pytest.raises(VerificationFailed) as caught:
        fetched(cluster, forged)
    assert caught.value.id == "restore.root"


def test_a_keyframe_that_is_none_is_refused(recorded: tuple[Cluster, Answers]) -> None:
    cluster, answers = recorded
    wrong = {name: with_report(answer, keyframe_seq=1) for name, answer in answers.items()}
    candidate = choose(cluster.manifest, BOX, wrong)
    fetch = Fetch(cluster.manifest, candidate, cluster.boxes["or-2"].keys.get, 1 << 32)
    (get,) = fetch.gets(1)
    message = cluster.boxes["or-2"].member.serve(get)
    fetch.on_range(replace(message, frontier=(1).to_bytes(8, "big") + bytes(32)))
    with pytest.raises(VerificationFailed) as caught:
        fetch.finish()
    assert caught.value.id == "restore.keyframe"


def test_without_the_data_key_nothing_is_handed_over(recorded: tuple[Cluster, Answers]) -> None:
    cluster, answers = recorded
    candidate = choose(cluster.manifest, BOX, answers)
    for key_for, error in ((lambda _: None, NoPeer), (lambda _: DataKey(bytes(32)), VerificationFailed)):
        fetch = Fetch(cluster.manifest, candidate, key_for, 1 << 32)
        (get,) = fetch.gets(1)
        fetch.on_range(cluster.boxes["or-2"].member.serve(get))
        with pytest.raises(error):
            fetch.finish()


def test_requests_share_out_exactly_what_is_missing(recorded: tuple[Cluster, Answers]) -> None:
    cluster, answers = recorded
    candidate = choose(cluster.manifest, BOX, answers)
    fetch = Fetch(cluster.manifest, candidate, cluster.boxes["or-2"].keys.get, 1 << 32)
    with pytest.raises(NoPeer):
        fetch.finish()
    gets = fetch.gets(3)
    wanted = [seq for get in gets for seq in range(get.first, get.end)]
    assert wanted == list(range(candidate.keyframe_seq, candidate.newest_size))
    assert len({get.request_id for get in gets}) == len(gets) == 3
    assert all(get.want is Want.BLOCKS and get.request_id > 1 << 32 for get in gets)
    fetch.on_range(cluster.boxes["or-3"].member.serve(gets[1]))
    again = [seq for get in fetch.gets(3) for seq in range(get.first, get.end)]
    assert again == [seq for seq in wanted if not gets[1].first <= seq < gets[1].end]


# ---- the tail beside the believed head --------------------------------------------------------------------------


def with_tail(ticks: int = 7) -> tuple[Cluster, Answers]:
    """or-1 restarted where only or-2 hears it: no fence, so a provisional log that or-2 alone holds, then gone."""
    cluster, _ = group()
    cluster.cut |= {(BOX, name) for name in ("or-3", "or-4")} | {(name, BOX) for name in ("or-3", "or-4")}
    cluster.boot(BOX)
    cluster.link_up(BOX)
    cluster.run(ticks, only=[BOX, "or-2"])
    names = ("or-2", "or-3", "or-4")
    return cluster, {name: cluster.boxes[name].member.answer(bytes(16), BOX, cluster.now) for name in names}


def tail_of(cluster: Cluster, answers: Answers, change: Callable[[Range], Range] = lambda message: message) -> Restored:
    believed = choose(cluster.manifest, BOX, answers)
    (tail,) = choose_tails(cluster.manifest, BOX, answers, believed)
    fetch = Fetch(cluster.manifest, tail, cluster.boxes["or-2"].keys.get, 1 << 32)
    for _ in range(4):
        for get in fetch.gets(2):
            fetch.on_range(change(cluster.boxes["or-2"].member.serve(get)))
    return fetch.finish_tail()


def test_a_provisional_log_begun_after_the_believed_epoch_is_the_tail_beside_it() -> None:
    cluster, answers = with_tail()
    believed = choose(cluster.manifest, BOX, answers)
    assert believed.level is Level.WITNESSED
    restored = tail_of(cluster, answers)
    assert restored.candidate.log == cluster.boxes[BOX].member.writer.chain.log
    assert not restored.candidate.log.fenced
    assert restored.candidate.level is Level.COPIED
    ((_, value),) = restored.newest_state.values()
    assert value.value == str(cluster.boxes[BOX].ticks - 1)


def test_of_a_tail_whose_size_is_a_lie_everything_that_came_is_taken() -> None:
    cluster, answers = with_tail()
    lied = {**answers, "or-2": with_head(with_report(answers["or-2"], checkpoint_signature=b""), size=1 << 50)}
    lied["or-3"], lied["or-4"] = answers["or-3"], answers["or-4"]
    believed = choose(cluster.manifest, BOX, {name: answers[name] for name in ("or-3", "or-4")})
    tails = choose_tails(cluster.manifest, BOX, lied, believed)
    fetch = Fetch(cluster.manifest, tails[0], cluster.boxes["or-2"].keys.get, 1 << 32)
    assert tails[0].newest_size <= tails[0].keyframe_seq + LIMITS.restore_blocks
    for get in fetch.gets(1):
        fetch.on_range(cluster.boxes["or-2"].member.serve(get))
    assert fetch.finish_tail().newest.seq == latest(cluster) - 1


@pytest.mark.parametrize("change", [flip_payload, flip_header, swap, other_log, garbage_frontier, pruned])
def test_a_tail_that_does_not_prove_itself_is_not_handed_over(change: Callable[[Range], Range]) -> None:
    cluster, answers = with_tail()
    with pytest.raises(OrledgerError):
        tail_of(cluster, answers, change)


def test_nothing_beyond_the_believed_head_is_no_tail(recorded: tuple[Cluster, Answers]) -> None:
    cluster, answers = recorded
    assert choose_tails(cluster.manifest, BOX, answers, choose(cluster.manifest, BOX, answers)) == []
