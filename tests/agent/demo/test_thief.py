from __future__ import annotations

from pathlib import Path

import pytest

from agent.demo.thief import forge, steal
from agent.reading import open_reader
from ledger.block import decode_signed_header, header_signature_is_valid, payload_hash
from ledger.checkpoint import Checkpoint, checkpoint_signature_is_valid
from ledger.errors import StoreFault
from ledger.log import LogId
from ledger.message_codec import decode_message, encode_plain
from ledger.recovery import open_payload
from ledger.tree import leaf_hash, root_of
from tests.agent.store_fixture import make_box_folder

BOX = "or-1"


@pytest.fixture
def data(tmp_path: Path) -> Path:
    make_box_folder(tmp_path, BOX)
    return tmp_path


def fenced_log(data: Path) -> LogId:
    with open_reader(data) as reader:
        return next(log for log in reader.logs_of(BOX) if log.fenced)


def test_all_that_the_second_block_says_is_signed_and_only_the_record_is_gone(data: Path) -> None:
    log, loot = fenced_log(data), steal(data)
    second = forge(loot, log, 7)
    message, public = second.message, loot.manifest.box(BOX).signing_public
    with open_reader(data) as reader:
        held = [block.signed_header for block in reader.store.blocks(log, 0, 8)]
        forged, real = decode_signed_header(message.signed_header), decode_signed_header(held[7])
        assert open_payload(forged, message.payload, reader.key_for) == {}
    assert (second.seq, second.records) == (7, 1)
    assert (forged.log, forged.seq, forged.previous_leaf) == (log, 7, real.previous_leaf)
    assert message.signed_header != held[7]
    assert header_signature_is_valid(message.signed_header, public)
    assert (payload_hash(message.payload), len(message.payload)) == (forged.payload_hash, forged.payload_bytes)
    root = root_of(leaf_hash(header) for header in (*held[:7], message.signed_header))
    assert message.root == root
    origin = log.origin(loot.manifest.site)
    assert checkpoint_signature_is_valid(public, Checkpoint(origin, 8, root), message.checkpoint_signature)
    assert decode_message(encode_plain(message)) == message


def test_a_log_that_is_not_held_cannot_be_rewritten(data: Path) -> None:
    with pytest.raises(StoreFault, match="holds no record"):
        forge(steal(data), LogId(BOX, 77, bytes(16), fenced=True), 7)
