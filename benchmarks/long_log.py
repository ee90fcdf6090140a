"""Long logs made in seconds: a chain of real blocks put straight into the stores of the boxes that hold it."""

from __future__ import annotations

import os
import random
import time
from collections.abc import Mapping, Sequence

from agent.box_files import BoxFolder, load_box, open_keyring
from benchmarks.bench_payload import one_tick
from ledger.block import ClockQuality, ClockState
from ledger.chain import Block, Chain, Draft
from ledger.limits import LIMITS
from ledger.log import INCARNATION_BYTES, LogId
from ledger.manifest import Manifest
from ledger.notices import Start
from ledger.ops import AppendBlock, OpenLog, PutDerived
from ledger.payload import CODEC_ZSTD, encode_payload
from ledger.records import Keyframe, Record
from ledger.sealing import DataKey, wrap
from ledger.signing import SigningKey
from ledger.state import LEDGER_FEED, RoomState, encode_state
from ledger.store import Store

BATCH = 500
_TAIL_BLOCKS = 120
_EVERY_KEYFRAME = LIMITS.keyframe_every_ns // LIMITS.tick_ns
_VALUES_EVERY = 50


class LongLog:
    """A box's fenced log of ``blocks`` blocks that ends now, with a full room's records and keyframes in its tail.

    The blocks before the tail hold no records: their number is what is measured, not their size.
    """

    def __init__(self, manifest: Manifest, box: str, key: SigningKey, blocks: int) -> None:
        log = LogId(box, 1, os.urandom(INCARNATION_BYTES), fenced=True)
        self._data_key = DataKey(os.urandom(32))
        self._chain = Chain(manifest.site, log, key, self._data_key, manifest.hash)
        self._blocks = blocks
        self._state = RoomState()
        self._noise = random.Random(7)  # signal noise
        self._began_ns = time.time_ns() - blocks * LIMITS.tick_ns
        self._empty = encode_payload({})

    def write_to(self, folders: Mapping[str, BoxFolder], manifest: Manifest) -> None:
        """Into these boxes' stores and keyrings; their agents must not run."""
        log, key = self._chain.log, self._data_key
        wraps = {name: wrap(key, log.box, log.incarnation, manifest.box(name).receiving_public) for name in folders}
        stores = []
        for folder in folders.values():
            open_keyring(folder, load_box(folder)).add(log.box, log.incarnation, key, wraps)
            stores.append(Store.open(folder.ledger))
        for store in stores:
            store.commit([OpenLog(log, manifest.hash)])
        for first in range(0, self._blocks, BATCH):
            made = [self._close(seq) for seq in range(first, min(self._blocks, first + BATCH))]
            self._commit(stores, made)
        for store in stores:
            store.close()

    def _commit(self, stores: Sequence[Store], made: Sequence[Block]) -> None:
        appends = [AppendBlock(block.log, block.seq, block.signed_header, block.payload) for block in made]
        derived: PutDerived = self._chain.replica.derived(None)
        for store in stores:
            store.commit([*appends, derived])

    def _close(self, seq: int) -> Block:
        closed_ns = self._began_ns + (seq + 1) * LIMITS.tick_ns
        keyframe = seq % _EVERY_KEYFRAME == 0
        payload = self._empty
        if seq >= self._blocks - _TAIL_BLOCKS:
            groups: dict[str, list[Record]] = one_tick(seq, self._noise, values=seq % _VALUES_EVERY == 0)
            own = [Keyframe(at_ns=closed_ns, state=encode_state(self._state))] if keyframe else []
            payload = encode_payload({LEDGER_FEED: own, **groups} if own else groups)
            self._state.fold_groups(groups)
        notices = (Start(bytes(16), (), None, ()),) if seq == 0 else ()
        return self._chain.close_block(
            Draft(
                payload=payload, codec=CODEC_ZSTD, has_keyframe=keyframe, opened_ns=closed_ns - LIMITS.tick_ns,
                closed_ns=closed_ns, boot_ns=seq * LIMITS.tick_ns, clock=ClockQuality(ClockState.SYNCHRONISED, 0),
                notices=notices,
            )
        )  # fmt: skip
