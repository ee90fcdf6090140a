"""A box of the group gone mad: real messages, mutated, and signed again with its real key so that they get past the
first check. Nothing it says may raise out of the door, stop a box, or keep the honest boxes from vouching.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from agent.clock import read_now
from ledger.block import BLOCK_DOMAIN
from ledger.canonical import pack, unpack
from ledger.checkpoint import Checkpoint, sign_checkpoint
from ledger.errors import OrledgerError
from ledger.limits import LIMITS
from ledger.log import LogId
from ledger.message_codec import encode_plain
from ledger.messages import (
    MESSAGE_DOMAIN,
    Ask,
    Fence,
    Get,
    GetWrap,
    ManifestOffer,
    Nack,
    Promise,
    Refuse,
    SignedBody,
    Stored,
    Want,
)
from ledger.quorum import Level
from ledger.records import Numeric
from ledger.signing import SIGNATURE_BYTES, SigningKey
from tests.agent.pumped import PumpedBox, PumpedGroup

LIAR, VICTIM = "or-1", "or-2"
BLOCK_KIND = 32
FIRST_PLAIN = 32
MUTANTS = 1_500
INTEGERS = (0, 1, 2, 63, 255, 1 << 16, 1 << 20, 1 << 32, (1 << 32) + 1, 1 << 48, (1 << 62) - 1, (1 << 63) - 1, 1 << 63)
TEXTS = ("", "or-1", "or-2", "or-3", "or-9", "*", "recovery", "../x", "\0", "x" * 63, "x" * 64)


class Recorder:
    """What one box says, as it leaves."""

    def __init__(self, box: PumpedBox) -> None:
        self.wires: list[bytes] = []
        self._send: Callable[..., bool] = box.pump.wire.send_to  # type: ignore[union-attr]
        box.pump.wire.send_to = self._keep  # type: ignore[union-attr, method-assign]

    def _keep(self, peer: str, data: bytes, *, bulk: bool = False) -> bool:
        self.wires.append(data)
        return self._send(peer, data, bulk=bulk)


def also_said(box: PumpedBox, rng: random.Random) -> list[bytes]:
    """Every kind of message that good weather does not bring."""
    member = box.member
    log, key_id = member.writer.chain.log, member.writer.chain.data_key.key_id
    asked = Get(rng.randrange(1 << 50), log, 0, 4, Want.BLOCKS)
    bodies: list[SignedBody] = [
        asked,
        Get(1, log, 2, 1 << 40, Want.HEADERS),
        GetWrap(log, key_id),
        Ask(rng.randbytes(16), VICTIM),
        member.answer(rng.randbytes(16), LIAR, read_now()),
        Stored(log, 3),
        Nack(log, "epoch.old", b""),
        Refuse(VICTIM, 7, rng.randbytes(16), b""),
        Fence(5, rng.randbytes(16), rng.randbytes(16)),
        Promise(VICTIM, 2, rng.randbytes(16), rng.randbytes(16), (), ()),
        ManifestOffer(b"orledger"),
    ]
    return [*(member.sign(body) for body in bodies), encode_plain(member.serve(asked))]


def other(value: Any, rng: random.Random) -> Any:
    """Another value, of the same type more often than not."""
    if rng.random() < 0.1:
        return rng.choice([None, True, -1, 0, "", b"", [], 1.5, {}])
    match value:
        case bool():
            return not value
        case int():
            return rng.choice((*INTEGERS, max(0, value + rng.choice((-1, 1, 2, 63, 1024)))))
        case str():
            return rng.choice(TEXTS)
        case bytes():
            flipped = bytearray(value or b"\0")
            flipped[rng.randrange(len(flipped))] ^= 1 << rng.randrange(8)
            return rng.choice([bytes(flipped), bytes(len(value)), value[:-1], value + b"\0", b""])
        case list():
            return rng.choice([[], value + value[-1:], value * 3, value[:-1], value[::-1]])
        case _:
            return rng.choice([0, b"\0" * 16, "or-1", [value]])


def mutated(value: Any, rng: random.Random) -> Any:
    """The structure with one spot changed, at any depth."""
    if isinstance(value, list) and value and rng.random() < 0.9:
        spot = rng.randrange(len(value))
        return [*value[:spot], mutated(value[spot], rng), *value[spot + 1 :]]
    return other(value, rng)


def signed(domain: bytes, data: bytes, key: SigningKey) -> bytes:
    return data + key.sign(domain, data)


def mutant(wire: bytes, rng: random.Random, key: SigningKey, site: str) -> bytes:
    """One message changed: a bit, a cut, or a field with everything signed again."""
    how = rng.random()
    if how < 0.1:
        spot = rng.randrange(len(wire))
        return wire[:spot] + bytes([wire[spot] ^ 1 << rng.randrange(8)]) + wire[spot + 1 :]
    if how < 0.15:
        return wire[: rng.randrange(len(wire) + 1)]
    kind, limit = wire[:1], LIMITS.message_bytes
    if wire[0] == BLOCK_KIND:
        header, payload, root, checkpoint = unpack(wire[1:], limit, "block")
        fields = mutated(unpack(header[:-SIGNATURE_BYTES], limit, "header"), rng)
        if rng.random() < 0.3:
            payload, root, checkpoint = mutated(payload, rng), mutated(root, rng), mutated(checkpoint, rng)
        elif isinstance(fields, list) and len(fields) == 19 and type(fields[5]) is int and fields[5] < 1 << 62:
            try:  # a second history, properly signed
                log = LogId(fields[1], fields[2], fields[3], fields[4])
                root = rng.randbytes(32)
                checkpoint = sign_checkpoint(key, Checkpoint(log.origin(site), fields[5] + 1, root))
            except (OrledgerError, TypeError, ValueError, AttributeError):
                root = bytes(32)
        return kind + packed([signed(BLOCK_DOMAIN, packed(fields), key), payload, root, checkpoint])
    if wire[0] >= FIRST_PLAIN:
        return kind + packed(mutated(unpack(wire[1:], limit, "message"), rng))
    *envelope, body = unpack(wire[1:-SIGNATURE_BYTES], limit, "message")
    if rng.random() < 0.1:
        envelope = mutated(envelope, rng)
        fields = [*envelope, body] if isinstance(envelope, list) else envelope
    else:
        fields = [*envelope, mutated(body, rng)]
    return signed(MESSAGE_DOMAIN, kind + packed(fields), key)


def packed(value: Any) -> bytes:
    try:
        return pack(value)
    except (OverflowError, ValueError, TypeError):
        return b"\xc1"


@pytest.mark.parametrize("seed", [1, 2])
def test_nothing_a_mad_box_says_stops_the_others(tmp_path: Path, seed: int) -> None:
    rng = random.Random(seed)

    async def scenario() -> None:
        async with PumpedGroup(3, tmp_path) as group:
            said = Recorder(group.boxes[LIAR])
            value = Numeric(at_ns=1, code="MDC_ECG_HEART_RATE", value="72", unit="/min")
            await group.tick(6, value)
            key = group.key_of(LIAR)
            victim = group.boxes[VICTIM]
            tries = 0
            while tries < MUTANTS:
                told = said.wires[-30:] + rng.sample(said.wires, min(20, len(said.wires)))
                for wire in told + also_said(group.boxes[LIAR], rng):
                    bulk = rng.random() < 0.1
                    victim.pump.arrived(LIAR, mutant(wire, rng, key, group.manifest.site), bulk=bulk)
                    tries += 1
                await group.tick(1, value)
            assert victim.failures == []
            assert len(victim.statistics.peer_faults) > 10, "the mutants were not turned away at one door"
            for honest in (VICTIM, "or-3"):
                box = group.boxes[honest]
                assert box.failures == []
                before = box.member.writer.chain.size
                await group.tick(3, value)
                assert box.member.writer.vouching.size_at(Level.COPIED) > before
            assert victim.member.fetching.catchup.outstanding <= LIMITS.ranges_outstanding
            assert len(victim.keyring.key_ids()) < 100

    asyncio.run(scenario())
