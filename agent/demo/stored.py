"""Looking into a box's store from outside, and damaging it as an insider would."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import lmdb

from agent.box_files import BoxFolder
from agent.case_history import context_of, find_case, known_cases
from agent.object_reading import ObjectReader
from agent.reading import open_reader
from ledger.errors import OperatorFault, StoreFault
from ledger.limits import LIMITS
from ledger.log import LogId
from ledger.records import LinkId, Raw
from ledger.store import Store
from ledger.store.rows import BLOCK_TABLE_PREFIX, split_block_key

_FRAME_START, _FRAME_END = b"\x0b", b"\x1c\r"
_CONTROL_ID_FIELD = 9


def recorded_messages(data: Path, box: str, feed: str) -> set[str]:
    """MSH-10 of every whole HL7 message among ``feed``'s raw bytes in ``box``'s own logs; the agent may be running."""
    streams: dict[LinkId, bytearray] = {}
    with open_reader(data) as reader:
        for _, _, _, groups in reader.decoded_blocks(box):
            for record in groups.get(feed, ()):
                if isinstance(record, Raw) and record.direction == "<":
                    streams.setdefault(record.link, bytearray()).extend(record.data)
    return {control_id for stream in streams.values() for control_id in control_ids(bytes(stream))}


def sent(data: Path, box: str, feed: str, since_ns: int) -> list[bytes]:
    """What ``feed``'s driver sent to its device since then, as ``box``'s own logs hold it; the agent may be running."""
    with open_reader(data) as reader:
        return [
            record.data
            for _, _, _, groups in reader.decoded_blocks(box)
            for record in groups.get(feed, ())
            if isinstance(record, Raw) and record.direction == ">" and record.at_ns >= since_ns
        ]


def object_holders(data: Path, sha256: str) -> tuple[str, ...]:
    """The peers whose signed word that they hold this object is kept in ``data``; none while it is not known there."""
    with open_reader(data) as reader:
        try:
            return ObjectReader(reader, data).find(sha256).holders
        except OperatorFault:
            return ()


def patient_of(data: Path, case_id: str) -> str:
    """The name of a case's patient as ``data`` holds it; "" where nothing of it can be read. Raises OrledgerError."""
    with open_reader(data) as reader:
        told = context_of(reader, find_case(known_cases(reader), case_id))
        return "" if told is None else told.facts.get("name", "")


def control_ids(stream: bytes) -> Iterator[str]:
    """MSH-10 of each whole MLLP frame in a stream; a frame that was cut off does not count."""
    for frame in stream.split(_FRAME_START)[1:]:
        message, end, _ = frame.partition(_FRAME_END)
        fields = message.partition(b"\r")[0].split(b"|")
        if end and fields[0] == b"MSH" and len(fields) > _CONTROL_ID_FIELD:
            yield fields[_CONTROL_ID_FIELD].decode("ascii", "replace")


@dataclass(frozen=True, slots=True)
class Flip:
    """One byte that was changed: in which block of which log, where in its stored record, from what to what."""

    log: LogId
    seq: int
    offset: int
    before: int
    after: int


def flip_byte(data: Path, box: str) -> Flip:
    """Change one byte in the middle of ``box``'s longest block, in the store of a stopped agent.

    The insider of the demo has the files and knows the format, but none of the keys of the box that wrote the block.
    Raises StoreFault when nothing of ``box`` is held.
    """
    path = BoxFolder(data).ledger
    with lmdb.open(str(path), max_dbs=1, map_size=LIMITS.store_map_bytes) as environment:
        try:
            table = environment.open_db(f"{BLOCK_TABLE_PREFIX}{box}".encode(), create=False)
        except lmdb.NotFoundError as error:
            raise StoreFault("demo.nothing-held", f"{path} holds no block of {box}") from error
        with environment.begin(write=True) as transaction, transaction.cursor(db=table) as cursor:
            key, stored = max(cursor, key=lambda item: len(item[1]))
            record = bytearray(stored)
            offset = len(record) // 2
            before = record[offset]
            record[offset] ^= 0x01
            transaction.put(key, bytes(record), db=table)
    lid, seq = split_block_key(key)
    with closing(Store.open(path, readonly=True)) as store:
        log, _ = store.logs()[lid]  # logs are numbered in the order in which they were opened
    return Flip(log, seq, offset, before, record[offset])
