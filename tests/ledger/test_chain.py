"""The writer's end of a log: every block links, seals, signs and roots what it holds."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ledger.block import NO_LEAF, decode_signed_header, header_signature_is_valid, payload_hash
from ledger.chain import Chain
from ledger.checkpoint import Checkpoint, checkpoint_signature_is_valid
from ledger.errors import OurFault, VerificationFailed
from ledger.sealing import DataKey
from ledger.tree import leaf_hash, root_of
from tests.ledger.peers import DATA_KEY, MANIFEST, draft, log_of
from tests.ledger_strategies import KEYS, SITE

LOG = log_of(3)


def chain() -> Chain:
    return Chain(SITE, LOG, KEYS["or-1"], DATA_KEY, MANIFEST.hash)


@settings(max_examples=30)
@given(st.lists(st.tuples(st.binary(max_size=50), st.booleans()), min_size=1, max_size=20))
def test_every_block_proves_itself_and_its_place(ticks: list[tuple[bytes, bool]]) -> None:
    live = chain()
    previous, leaves, keyframe_seq = NO_LEAF, [], 0
    for seq, (payload, keyframe) in enumerate(ticks):
        block = live.close_block(draft(keyframe=keyframe or seq == 0, payload=payload))
        keyframe_seq = seq if keyframe or seq == 0 else keyframe_seq
        header = decode_signed_header(block.signed_header)
        assert header_signature_is_valid(block.signed_header, KEYS["or-1"].public)
        assert (header.log, header.seq, header.previous_leaf, header.manifest_hash) == (
            LOG,
            seq,
            previous,
            MANIFEST.hash,
        )
        assert (header.payload_hash, header.payload_bytes) == (payload_hash(block.payload), len(block.payload))
        assert header.keyframe_seq == keyframe_seq
        opened = DATA_KEY.open_payload(block.payload, LOG.incarnation, seq, header.associated_data())
        assert opened == payload
        previous = leaf_hash(block.signed_header)
        leaves.append(previous)
        assert block.root == root_of(leaves)
        checkpoint = Checkpoint(LOG.origin(SITE), seq + 1, block.root)
        assert checkpoint_signature_is_valid(KEYS["or-1"].public, checkpoint, block.checkpoint_signature)
        head = live.head()
        assert (live.size, head.size, head.root, head.leaf) == (seq + 1, seq + 1, block.root, previous)


def test_a_payload_does_not_open_in_another_place() -> None:
    live = chain()
    first, second = live.close_block(draft(keyframe=True)), live.close_block(draft())
    header = decode_signed_header(second.signed_header)
    for payload, key in ((first.payload, DATA_KEY), (second.payload, DataKey(bytes(32)))):
        with pytest.raises(VerificationFailed):
            key.open_payload(payload, LOG.incarnation, 1, header.associated_data())


def test_a_first_block_without_a_keyframe_is_our_own_fault() -> None:
    live = chain()
    with pytest.raises(OurFault) as caught:
        live.close_block(draft())
    assert caught.value.id == "chain.no-keyframe"
    assert live.size == 0


def test_the_case_stands_in_every_header_while_it_is_open() -> None:
    live = chain()
    cases = []
    for case_id in (None, bytes([1]) * 16, None):
        live.case_id = case_id
        cases.append(decode_signed_header(live.close_block(draft(keyframe=True)).signed_header).case_id)
    assert cases == [None, bytes([1]) * 16, None]


def test_the_message_holds_the_very_bytes_that_are_stored() -> None:
    block = chain().close_block(draft(keyframe=True))
    message = block.message()
    assert (message.signed_header, message.payload) == (block.signed_header, block.payload)
    assert (message.root, message.checkpoint_signature) == (block.root, block.checkpoint_signature)
