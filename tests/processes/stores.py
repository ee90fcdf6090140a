"""What boxes hold, read from their folders: beside a running agent, or after it ended."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path

from agent.box_files import BoxFolder, read_ring_key
from ledger.audit import Options, audit_store
from ledger.block import Header, decode_signed_header
from ledger.certificate import Certificate
from ledger.keyring import Keyring
from ledger.log import LogId
from ledger.notices import Start, TailFound
from ledger.records import Numeric, Raw, Record
from ledger.recovery import open_payload
from ledger.store import Store
from ledger.tree import leaf_hash, root_of
from tests.processes.site import Box, LabSite, until

Chains = dict[LogId, list[bytes]]
"""Signed headers of each log, in order."""


@contextmanager
def opened(data: Path) -> Iterator[Store]:
    """A box's store, to read."""
    with closing(Store.open(BoxFolder(data).ledger, readonly=True)) as store:
        yield store


def keyring_of(data: Path) -> Keyring:
    folder = BoxFolder(data)
    return Keyring(folder.keyring, read_ring_key(folder))


def lengths(holder: Box, writer: str) -> dict[LogId, int]:
    """How many blocks of each of ``writer``'s logs ``holder`` has; empty logs are left out."""
    with opened(holder.data) as store:
        return {log: length for log, _ in store.logs(writer) if (length := store.length(log))}


def lacking(holder: Box, writer: Box) -> list[str]:
    """What ``holder`` does not have yet of what ``writer`` wrote, in words."""
    held = lengths(holder, writer.id)
    written = lengths(writer, writer.id)
    short = [f"{log}: {held.get(log, 0)} of {length}" for log, length in written.items() if held.get(log, 0) < length]
    short += [f"{log}: {count} payloads" for log, count in without_payload(holder, writer.id).items()]
    return short or [f"{log}: its key" for log in without_key(holder, writer.id)]


def without_payload(holder: Box, writer: str) -> dict[LogId, int]:
    """Of how many blocks of each of ``writer``'s logs ``holder`` has the header alone; whole logs are left out."""
    found = {}
    with opened(holder.data) as store:
        for log, _ in store.logs(writer):
            blocks = store.headers_and_held(log, 0, store.length(log))
            count = sum(1 for header, held in blocks if not held and decode_signed_header(header).payload_bytes)
            if count:
                found[log] = count
    return found


def without_key(holder: Box, writer: str) -> list[LogId]:
    """Logs of ``writer`` that ``holder`` has without their key: asked for a few a second."""
    keys = keyring_of(holder.data).key_ids()
    with opened(holder.data) as store:
        firsts = {log: list(store.headers(log, 0, 1)) for log, _ in store.logs(writer)}
    return [log for log, first in firsts.items() if first and decode_signed_header(first[0]).key_id not in keys]


def until_holds(holder: Box, writer: Box) -> None:
    """Until ``holder`` has every log of ``writer`` to its end, and can read it."""
    until(
        f"{holder.id} holds all of {writer.id}",
        lambda: not lacking(holder, writer),
        why_not=lambda: lacking(holder, writer),
    )


def until_same(site: LabSite) -> None:
    """Until every box has every log of every box, and has named every end of its own."""
    for writer in site.boxes.values():
        for holder in site.boxes.values():
            until_holds(holder, writer)
        until_given_back(writer, site.boxes.values())


def until_given_back(writer: Box, holders: Iterable[Box]) -> None:
    """Until ``writer`` has of its own logs what others have, and says so on its chain.

    A block may leave just before its box is killed, to one peer alone; the next life is given it back, later than its
    epoch began, and names it later still.
    """
    for holder in holders:
        until(f"{holder.id} gave back all of {writer.id}", lambda holder=holder: not _ahead(holder, writer),  # type: ignore[misc]
              why_not=lambda holder=holder: _ahead(holder, writer))  # type: ignore[misc]  # fmt: skip
    until(
        f"{writer.id} names every end",
        lambda: not unnamed_ends(chains(writer, writer.id)),
        why_not=lambda: list(map(str, unnamed_ends(chains(writer, writer.id)))),
    )


def _ahead(holder: Box, writer: Box) -> list[str]:
    held, own = lengths(holder, writer.id), lengths(writer, writer.id)
    return [f"{log}: {own.get(log, 0)} of {length}" for log, length in held.items() if own.get(log, 0) < length]


def assert_same(site: LabSite) -> None:
    """Every log of every box is the same, byte for byte, in every stopped box's store."""
    for writer in site.boxes.values():
        own = chains(writer, writer.id)
        for holder in site.boxes.values():
            held = chains(holder, writer.id)
            # What was closed while stopping may not have reached a peer that stopped first.
            assert all(own[log][: len(headers)] == headers for log, headers in held.items())


def chains(holder: Box, writer: str) -> Chains:
    """Every log of ``writer`` that ``holder`` has, in the order they were opened."""
    with opened(holder.data) as store:
        found = {log: list(store.headers(log, 0, store.length(log))) for log, _ in store.logs(writer)}
    return {log: headers for log, headers in found.items() if headers}


def vouched(holder: Box, writer: str) -> dict[LogId, Certificate]:
    """The newest checkpoint of each of ``writer``'s logs that ``holder`` stored its cosignature of."""
    found = {}
    with opened(holder.data) as store:
        for log, _ in store.logs(writer):
            newest = store.newest_checkpoint(log)
            if newest is not None:
                found[log] = Certificate.decode(newest[1])
    return found


def records(holder: Box, writer: str) -> Iterator[tuple[str, Record]]:
    """(feed, record) of everything ``holder`` has of ``writer``, opened with ``holder``'s own keys."""
    keyring = keyring_of(holder.data)
    with opened(holder.data) as store:
        for log, _ in store.logs(writer):
            for block in store.blocks(log, 0, store.length(log)):
                groups = open_payload(decode_signed_header(block.signed_header), block.payload, keyring.get)
                for feed, recorded in groups.items():
                    yield from ((feed, record) for record in recorded)


def hl7_numbers(holder: Box, writer: str) -> tuple[set[int], set[int]]:
    """Message numbers of ``tests.processes.hl7_sender`` found in raw bytes, and as decoded values."""
    raw: set[int] = set()
    decoded: set[int] = set()
    for _, record in records(holder, writer):
        if isinstance(record, Raw) and record.direction == "<":
            raw.add(int(record.data.split(b"|", 10)[9].removeprefix(b"m")))
        elif isinstance(record, Numeric) and record.code == "MDC_PULS_OXIM_PULS_RATE" and record.value is not None:
            decoded.add(int(record.value))
    return raw, decoded


def start_of(headers: list[bytes]) -> Start:
    """What a log's first block says about how it began."""
    return next(notice for notice in decode_signed_header(headers[0]).notices if isinstance(notice, Start))


def headers_of(holder: Box, writer: str) -> Iterator[Header]:
    """Every header of ``writer`` that ``holder`` has."""
    for headers in chains(holder, writer).values():
        yield from map(decode_signed_header, headers)


def assert_good(box: Box) -> None:
    """The store of a stopped box proves itself, and holds no proof of two histories."""
    with opened(box.data) as store:
        report = audit_store(store, keyring_of(box.data).get, Options())
    assert report.is_good, report.all_findings()
    assert not report.proofs
    assert sum(log.blocks for log in report.logs)
    assert not sum(log.no_key for log in report.logs), "a log whose key is not held here"


def unnamed_ends(found: Chains) -> list[LogId]:
    """Logs of ``found`` that ended before its last fenced epoch began, and whose end no notice names (yet).

    ``found``: a box's own logs in the order in which they were opened.
    """
    notices = [
        notice for headers in found.values() for header in headers for notice in decode_signed_header(header).notices
    ]
    starts = [notice for notice in notices if isinstance(notice, Start)]
    named = {(tail.log, tail.size) for start in starts for tail in start.tails}
    named |= {(start.parent.log, start.parent.size) for start in starts if start.parent is not None}
    named |= {(notice.head.log, notice.head.size) for notice in notices if isinstance(notice, TailFound)}
    live = next((log for log in reversed(found) if log.fenced), None)
    ended = itertools.takewhile(lambda log: log != live, found)
    return [log for log in ended if (log, len(found[log])) not in named]


def assert_epochs(found: Chains) -> None:
    """Each fenced epoch continues the one before, its counter risen; no end is forgotten."""
    fenced = [log for log in found if log.fenced]
    for earlier, later in itertools.pairwise(fenced):
        assert earlier.counter < later.counter
        parent = start_of(found[later]).parent
        assert parent is not None
        assert parent.log == earlier
        leaves = [leaf_hash(header) for header in found[earlier][: parent.size]]
        assert (parent.root, parent.leaf) == (root_of(leaves), leaves[-1])
    forgotten = unnamed_ends(found)
    assert not forgotten, f"forgotten: {list(map(str, forgotten))}"


def assert_one_history(box: Box, peers: Iterable[Box]) -> None:
    """Each fenced epoch continues the one before from where both of ``peers`` vouched, or beyond; no end is forgotten.

    A block that only one peer took before its writer died was never acknowledged; where that peer was away at the next
    start, the epoch goes on before that block, and names it once it is found.
    """
    found = chains(box, box.id)
    assert_epochs(found)
    certificates = [vouched(peer, box.id) for peer in peers]
    for earlier, later in itertools.pairwise(log for log in found if log.fenced):
        witnessed = min(held[earlier].size if earlier in held else 0 for held in certificates)
        parent = start_of(found[later]).parent
        assert parent is not None
        assert witnessed <= parent.size, f"{later} does not continue all of {earlier} that was witnessed"


def assert_vouched_is_held(found: Chains, certificates: dict[LogId, Certificate]) -> None:
    """Everything that was ever vouched for is in ``found``, with the very root that was vouched for."""
    for log, certificate in certificates.items():
        assert len(found[log]) >= certificate.size, f"{log}: {certificate.size} vouched for, {len(found[log])} held"
        assert root_of([leaf_hash(header) for header in found[log][: certificate.size]]) == certificate.root
