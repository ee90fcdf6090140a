"""What makes an epoch's first block valid: one counterexample for each rule."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest

from ledger.block import Header, decode_signed_header
from ledger.errors import PeerFault
from ledger.log import LogId
from ledger.message_codec import encode_plain, encode_signed
from ledger.messages import Promise, Stored
from ledger.notices import Head, Start
from ledger.start import check_start, heads_for_promise, highest_fenced, linked_logs
from tests.ledger.peers import MANIFEST, Recording, log_of, promise_wire
from tests.ledger_strategies import KEYS, SITE, make_manifest

LOG = log_of(5)
PARENT = Head(log_of(3), 40, bytes(32), bytes(32))


def start(*promises: bytes, parent: Head | None = None) -> Start:
    return Start(bytes(16), promises, parent, ())


GOOD = start(promise_wire("or-2", LOG), promise_wire("or-3", LOG))


def header(log: LogId = LOG) -> Header:
    recording = Recording(log, GOOD)
    recording.grow(1)
    return decode_signed_header(recording.blocks[0].signed_header)


def refused(given: Start, id: str, of: Header | None = None) -> None:
    with pytest.raises(PeerFault) as caught:
        check_start(of or header(), given, MANIFEST)
    assert caught.value.id == id


def test_enough_promises_for_this_epoch_make_it_valid() -> None:
    check_start(header(), GOOD, MANIFEST)
    check_start(header(), start(*(promise_wire(giver, LOG) for giver in ("or-2", "or-3", "or-4"))), MANIFEST)


def test_another_manifest() -> None:
    refused(GOOD, "epoch.manifest", replace(header(), manifest_hash=bytes(32)))


def test_too_few_promises_or_one_giver_twice() -> None:
    refused(start(), "epoch.unfenced")
    refused(start(promise_wire("or-2", LOG)), "epoch.unfenced")
    refused(start(promise_wire("or-2", LOG), promise_wire("or-2", LOG)), "epoch.unfenced")


def test_promises_of_boxes_outside_the_group_do_not_count() -> None:
    refused(start(promise_wire("or-2", LOG), promise_wire("or-1", LOG)), "epoch.unfenced")
    refused(start(promise_wire("or-2", LOG), promise_wire("or-8", LOG)), "epoch.unfenced")


def forged(signer: str) -> bytes:
    promise = Promise("or-1", LOG.counter, LOG.incarnation, bytes(16), (), ())
    return encode_signed(promise, SITE, MANIFEST.hash, "or-3", KEYS[signer])


@pytest.mark.parametrize(
    "wrong",
    [
        lambda: promise_wire("or-3", log_of(4)),
        lambda: promise_wire("or-3", log_of(6)),
        lambda: promise_wire("or-3", log_of(5, incarnation=9)),
        lambda: promise_wire("or-3", log_of(5, box="or-2", incarnation=5)),
        lambda: promise_wire("or-3", LOG, manifest=make_manifest(5)),
        lambda: encode_signed(
            Promise("or-1", 5, LOG.incarnation, bytes(16), (), ()), "elsewhere", MANIFEST.hash, "or-3", KEYS["or-3"]
        ),
        lambda: forged("or-1"),
        lambda: forged("or-2"),
        lambda: encode_signed(Stored(LOG, 1), SITE, MANIFEST.hash, "or-3", KEYS["or-3"]),
    ],
)
def test_a_promise_for_something_else_or_by_somebody_else(wrong: Callable[[], bytes]) -> None:
    refused(start(promise_wire("or-2", LOG), wrong(), promise_wire("or-4", LOG)), "epoch.promise")


def test_other_messages_and_garbage_in_place_of_a_promise() -> None:
    recording = Recording(LOG, GOOD)
    refused(start(encode_plain(recording.grow(1)[0])), "epoch.promise")
    refused(start(b"garbage" * 20), "message.kind")


@pytest.mark.parametrize("parent", [None, replace(PARENT, size=39), replace(PARENT, log=log_of(2), size=900)])
def test_a_start_must_continue_the_highest_head_that_its_promises_report(parent: Head | None) -> None:
    promises = (promise_wire("or-2", LOG, PARENT), promise_wire("or-3", LOG))
    refused(start(*promises, parent=parent), "epoch.parent")


@pytest.mark.parametrize("parent", [PARENT, replace(PARENT, size=41), replace(PARENT, log=log_of(4), size=1)])
def test_its_own_disk_may_know_of_a_higher_head(parent: Head) -> None:
    check_start(header(), start(promise_wire("or-2", LOG, PARENT), promise_wire("or-3", LOG), parent=parent), MANIFEST)


def test_the_highest_head_is_by_epoch_then_size_among_fenced_logs() -> None:
    heads = [
        Head(log_of(3), 9, bytes(32), bytes(32)),
        Head(log_of(4), 2, bytes(32), bytes(32)),
        Head(log_of(4), 3, bytes(32), bytes(32)),
        Head(log_of(9, fenced=False), 900, bytes(32), bytes(32)),
    ]
    assert highest_fenced(heads) == heads[2]
    assert highest_fenced(reversed(heads)) == heads[2]
    assert highest_fenced(heads[3:]) is None


def test_the_manifest_counts_before_the_epoch() -> None:
    astray, newer = Head(log_of(9), 9, bytes(32), bytes(32)), Head(log_of(3), 2, bytes(32), bytes(32))
    versions = {astray.log: 1, newer.log: 2}
    assert highest_fenced([astray, newer], versions.get) == newer
    promises = (promise_wire("or-2", LOG, newer), promise_wire("or-3", LOG, astray))
    check_start(header(), start(*promises, parent=newer), MANIFEST, version_of=versions.get)
    with pytest.raises(PeerFault, match="highest head"):
        check_start(header(), start(*promises, parent=astray), MANIFEST, version_of=versions.get)
    check_start(header(), start(*promises, parent=newer), MANIFEST, version_of={newer.log: 2}.get)


def test_a_first_block_links_its_parent_and_tails() -> None:
    tail = Head(log_of(4, fenced=False, incarnation=7), 2, bytes(32), bytes(32))
    recording = Recording(LOG, replace(GOOD, parent=PARENT, tails=(tail,)))
    recording.grow(2)
    first, second = (decode_signed_header(block.signed_header) for block in recording.blocks)
    assert linked_logs(first) == {PARENT.log, tail.log}
    assert linked_logs(second) == set()


def test_a_promise_reports_at_most_a_few_heads_the_newest() -> None:
    replicas = []
    for counter in range(1, 8):
        recording = Recording(log_of(counter))
        recording.grow(1)
        recording.chain.replica.durable_size = 1
        replicas.append(recording.chain.replica)
    fenced, provisional = heads_for_promise(replicas, {})
    assert [each.log.counter for each in fenced] == [7, 6, 5, 4]
    assert provisional == ()


def test_a_promise_reports_no_log_that_went_at_its_retention() -> None:
    replicas = []
    for log in (log_of(1), log_of(2), log_of(1, fenced=False, incarnation=8), log_of(2, fenced=False, incarnation=9)):
        recording = Recording(log)
        recording.grow(1)
        recording.chain.replica.durable_size = 1
        recording.chain.replica.expired = log.counter == 1
        replicas.append(recording.chain.replica)
    reported = heads_for_promise(replicas, {})
    assert [[each.log for each in heads] for heads in reported] == [[replicas[1].log], [replicas[3].log]]
