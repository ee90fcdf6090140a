"""Destroying a case's key on every box: nothing of the case can be read again, and every proof stays what it was."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from agent.clock import read_pair
from ledger.audit import Options, audit_store
from ledger.block import decode_signed_header
from ledger.errors import NoPeer, VerificationFailed
from ledger.keyring import KeyEntry
from ledger.log import LogId
from ledger.manifest import sign_manifest
from ledger.objects import open_content, prove, read_header
from ledger.ops import PutManifest
from ledger.quorum import Level
from ledger.sealing import DataKey
from ledger.signing import SigningKey
from tests.agent.object_group import ObjectBox, ObjectGroup
from tests.agent.pumped import PumpedGroup
from tests.agent.test_case_group import desk_of, heart_rate

ERASED, KEPT = b"the first patient's image" * 9_000, b"the second patient's image" * 9_000


def test_an_erased_case_is_closed_for_ever_and_all_else_proves_itself(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with ObjectGroup(3, tmp_path) as group:
            own, site = group.boxes["or-1"], sign_manifest(group.pumped.manifest, [SigningKey(bytes(32))]).encode()
            desk = desk_of(own.box)

            async def case_with(content: bytes, value: str) -> tuple[bytes, bytes]:
                for closed in desk.open(read_pair(), "anna (uid 1000)", {}):
                    own.box.pump.closed(closed)
                own.box.tick(heart_rate(value))
                known, _ = own.record(content)
                await group.until(lambda: _is_witnessed(own, known.sha256), "witnessed")
                return known.sha256, own.box.member.writer.chain.data_key.key_id

            first, key_id = await case_with(ERASED, "61")
            second, other_id = await case_with(KEPT, "72")
            log, size = own.box.member.writer.chain.log, own.box.member.writer.chain.size
            lost = own.box.keyring.entry(key_id)
            assert lost is not None
            for box in group.boxes.values():
                assert box.content(first) == ERASED
                box.box.keyring.entomb(key_id)
            for box in group.boxes.values():
                _is_closed(box, first, log, key_id, lost)
                assert box.content(second) == KEPT
                box.box.store.commit([PutManifest(1, site)])
                report = audit_store(box.box.store, box.box.keyring.get, Options())
                assert report.is_good, report.all_findings()
            restored = await group.boxes["or-2"].box.restorer.restore("or-1")
            assert [record.value for _, record in restored.restored.state.values()] == ["72"]
            await group.pumped.tick(2, heart_rate("80"))
            vouching = own.box.member.writer.vouching
            await group.until(lambda: vouching.size_at(Level.WITNESSED) > size, "vouched for on and on")
            assert own.box.member.writer.chain.data_key.key_id == other_id

    asyncio.run(scenario())


@pytest.mark.parametrize("before_it_came", [False, True])
def test_a_box_that_starts_after_an_erasure_vouches_on_for_the_log_it_was_in(
    tmp_path: Path, before_it_came: bool
) -> None:
    """Nobody waits for a key that was destroyed for good, whether or not it was ever here."""

    async def scenario() -> None:
        async with PumpedGroup(2, tmp_path) as group:
            own = group.boxes["or-1"]
            await group.tick(5)
            if before_it_came:
                group.boxes["or-2"].dead = True
            desk = desk_of(own)
            for closed in desk.open(read_pair(), "anna (uid 1000)", {}):
                own.pump.closed(closed)
            await group.tick(3, heart_rate("61"))
            erased = own.member.writer.chain.data_key.key_id
            for closed in desk.close(read_pair(), "anna (uid 1000)", "done"):
                own.pump.closed(closed)
            await group.tick(3, heart_rate("72"))
            group.boxes["or-2"].keyring.entomb(erased)
            await group.restart("or-2")
            vouching = own.member.writer.vouching
            async with asyncio.timeout(60):
                while vouching.size_at(Level.WITNESSED) < own.member.writer.chain.size:
                    await group.tick(1)
                    await asyncio.sleep(0.05)
            assert erased not in group.boxes["or-2"].keyring.key_ids()

    asyncio.run(scenario())


def _is_witnessed(box: ObjectBox, sha256: bytes) -> bool:
    rows = box.box.store.objects_named(sha256)
    return bool(rows) and box.keeper.vouching.level(rows[0].log, sha256) is Level.WITNESSED


def _is_closed(box: ObjectBox, sha256: bytes, log: LogId, key_id: bytes, lost: KeyEntry) -> None:
    """Neither object nor payload opens with any key that is left, the key does not come back, the proofs hold."""
    keyring = box.box.keyring
    assert not keyring.add(lost.box, lost.incarnation, lost.key, lost.wraps)
    keys = [key for each in keyring.key_ids() if (key := keyring.get(each)) is not None]
    assert keys
    assert key_id not in keyring.key_ids()
    with box.folder.source(sha256) as source:
        assert read_header(source).key_id == key_id
        assert prove(source, sha256, None).plain_bytes is None
        for key in keys:
            with pytest.raises((VerificationFailed, NoPeer)):
                list(open_content(source, key))
    blocks = [block for block in box.box.store.blocks(log, 0, 99)
              if decode_signed_header(block.signed_header).key_id == key_id]  # fmt: skip
    assert len(blocks) >= 2
    for block in blocks:
        for key in keys:
            with pytest.raises(VerificationFailed):
                _open(key, block.signed_header, block.payload)


def _open(key: DataKey, signed_header: bytes, payload: bytes) -> bytes:
    header = decode_signed_header(signed_header)
    return key.open_payload(payload, header.log.incarnation, header.seq, header.associated_data())
