"""Blocks checked some at a time are judged as each of them alone is."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import pytest

from ledger.audit import Checked, Chunk, check_chunk
from ledger.audit.together import GROUP_BLOCKS, check_together
from ledger.block import ClockQuality, ClockState, Header, payload_hash, sign_header
from ledger.errors import StoreFault
from ledger.log import LogId
from ledger.notices import Alert, ClockStep
from ledger.payload import encode_payload
from ledger.records import Keyframe
from ledger.sealing import TAG_BYTES, DataKey
from ledger.signing import SigningKey
from ledger.store import StoredBlock
from ledger.tree import leaf_hash

LOG = LogId("or-1", 1, bytes(16), fenced=True)
KEY, OTHER_KEY = SigningKey(bytes([1]) * 32), SigningKey(bytes([2]) * 32)
DATA_KEY = DataKey(bytes([3]) * 32)
MANIFEST = bytes([4]) * 32
BLOCKS, SPOILT = 3 * GROUP_BLOCKS, GROUP_BLOCKS + 5
Spoil = Callable[[Header], Header]


class Log:
    """A log in memory, block ``SPOILT`` made or kept otherwise."""

    def __init__(self, spoil: Spoil = lambda header: header, *, seal: Spoil = lambda header: header) -> None:
        self.held: list[StoredBlock] = []
        leaf = bytes(32)
        for seq in range(BLOCKS):
            groups = {"": [Keyframe(at_ns=seq, state=b"")]} if seq % 20 == 0 else {}
            plain = encode_payload(groups)
            header = Header(
                log=LOG, seq=seq, opened_ns=seq, closed_ns=seq + 1, boot_ns=seq,
                clock=ClockQuality(ClockState.SYNCHRONISED, 0), previous_leaf=leaf, payload_hash=bytes(32),
                payload_bytes=len(plain) + TAG_BYTES, key_id=DATA_KEY.key_id, codec=1, keyframe_seq=seq // 20 * 20,
                case_id=None, manifest_hash=MANIFEST,
            )  # fmt: skip
            header = seal(header) if seq == SPOILT else header
            sealed = DATA_KEY.seal_payload(plain, LOG.incarnation, seq, header.associated_data())
            header = replace(header, payload_hash=payload_hash(sealed))
            signed = sign_header(spoil(header) if seq == SPOILT else header, KEY)
            self.held.append(StoredBlock(seq, signed, sealed))
            leaf = leaf_hash(signed)

    def keep(self, **changes: Any) -> Log:
        self.held[SPOILT] = self.held[SPOILT]._replace(**changes)
        return self

    def block(self, _log: LogId, seq: int) -> StoredBlock | None:
        return self.held[seq]

    def blocks(self, _log: LogId, first: int, end: int) -> Iterator[StoredBlock]:
        return iter(self.held[first:end])


class Unreadable(Log):
    """A log whose disk gives an error at one block."""

    def block(self, log: LogId, seq: int) -> StoredBlock | None:
        if seq == SPOILT:
            raise StoreFault("store.corrupt", "a page is damaged", "")
        return super().block(log, seq)

    def blocks(self, log: LogId, first: int, end: int) -> Iterator[StoredBlock]:
        for seq in range(first, end):
            block = self.block(log, seq)
            assert block is not None
            yield block


def changed(**changes: Any) -> Spoil:
    return lambda header: replace(header, **changes)


def flipped(data: bytes) -> bytes:
    return data[:-1] + bytes([data[-1] ^ 1])


def spoilt_logs() -> dict[str, Log]:
    good = Log()
    block = good.held[SPOILT]
    return {
        "good": good,
        "no link": Log(changed(previous_leaf=bytes(32))),
        "another's place": Log(changed(seq=SPOILT + 1)),
        "another log": Log(changed(log=replace(LOG, counter=2))),
        "another manifest": Log(changed(manifest_hash=bytes(32))),
        "no such keyframe": Log(seal=changed(keyframe_seq=SPOILT - 1)),
        "a keyframe that is none": Log(seal=changed(keyframe_seq=SPOILT)),
        "clock back": Log(seal=changed(closed_ns=3)),
        "clock back, and said so": Log(seal=changed(closed_ns=3, notices=(ClockStep(-30),))),
        "notice": Log(seal=changed(notices=(Alert("disk", "x", active=True),))),
        "unknown codec": Log(seal=changed(codec=9)),
        "unknown key": Log(seal=changed(key_id=bytes(32))),
        "sealed with other data": Log(changed(opened_ns=1)),
        "payload of another size": Log(changed(payload_bytes=7)),
        "payload flipped": Log().keep(payload=flipped(block.payload)),
        "payload pruned": Log().keep(payload=b""),
        "header flipped": Log().keep(signed_header=block.signed_header[:40] + flipped(block.signed_header[40:60])
                                     + block.signed_header[60:]),
        "signature flipped": Log().keep(signed_header=flipped(block.signed_header)),
        "unreadable": Unreadable(),
    }  # fmt: skip


LOGS = spoilt_logs()
NOT_ALONE = {"good", "payload pruned"}


def check(log: Log, *, every_signature: bool) -> Checked:
    marks = frozenset({1, SPOILT, SPOILT + 1, SPOILT + 2, BLOCKS})
    signed_at = frozenset({0, SPOILT, BLOCKS - 1})
    chunk = Chunk(LOG, 0, BLOCKS, KEY.public, MANIFEST, every_signature, signed_at, marks)
    return check_chunk(log, {DATA_KEY.key_id: DATA_KEY}.get, chunk)


@pytest.mark.parametrize("every_signature", [True, False])
@pytest.mark.parametrize("spoilt", LOGS)
def test_a_block_among_others_is_judged_as_it_is_alone(
    monkeypatch: pytest.MonkeyPatch, spoilt: str, every_signature: bool
) -> None:
    together = check(LOGS[spoilt], every_signature=every_signature)
    monkeypatch.setattr("ledger.audit.chunk.check_together", lambda *_: None)
    assert together == check(LOGS[spoilt], every_signature=every_signature)
    assert (together.bad is None) is (
        spoilt in NOT_ALONE | {"clock back", "clock back, and said so", "notice", "unknown codec", "unknown key"}
    )


@pytest.mark.parametrize("spoilt", LOGS)
def test_only_what_is_good_and_needs_no_word_is_accepted_together(spoilt: str) -> None:
    chunk = Chunk(LOG, 0, BLOCKS, KEY.public, MANIFEST, True, frozenset(), frozenset())
    blocks = LOGS[spoilt].held[GROUP_BLOCKS : 2 * GROUP_BLOCKS]
    accepted = check_together(blocks, chunk, {DATA_KEY.key_id: DATA_KEY}.get, None, None)
    assert (accepted is not None) is (spoilt in NOT_ALONE | {"unreadable"})


def test_a_signature_of_another_is_seen() -> None:
    chunk = Chunk(LOG, 0, BLOCKS, OTHER_KEY.public, MANIFEST, True, frozenset(), frozenset())
    assert check_together(LOGS["good"].held, chunk, {DATA_KEY.key_id: DATA_KEY}.get, None, None) is None
