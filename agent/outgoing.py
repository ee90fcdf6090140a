"""Which objects a restore hands on: those that the selected blocks name, or those of a restored state."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

from agent.object_delivery import Outgoing
from agent.object_reading import ObjectEntry, ObjectReader
from agent.object_restore import ObjectRestore, ObjectSource
from ledger.errors import OperatorFault
from ledger.objects import ObjectFolder
from ledger.ops import ObjectState
from ledger.records import Object
from ledger.selection import Selection
from ledger.store import Store


@dataclass(slots=True)
class Chosen:
    """``items`` can be handed on. ``closed``: their record, so their key, is not here. ``absent``: nobody gave them."""

    items: list[Outgoing] = field(default_factory=list)
    closed: list[bytes] = field(default_factory=list)
    absent: list[bytes] = field(default_factory=list)


def of_selection(objects: ObjectReader, box: str, selection: Selection) -> Chosen:
    """Of a rebuilt folder: each object once that a selected block names. Raises StoreFault."""
    chosen, seen = Chosen(), set[bytes]()
    for entry in objects.entries(box):
        sha256 = entry.row.stored.sha256
        if entry.header is None or sha256 in seen or not selection.holds(entry.header):
            continue
        if entry.row.state is ObjectState.GONE:
            continue
        seen.add(sha256)
        if objects.folder.length(sha256) is None:
            chosen.absent.append(sha256)
        elif entry.record is None:
            chosen.closed.append(sha256)
        else:
            chosen.items.append(_outgoing(objects, entry, entry.record))
    return chosen


def of_state(
    state: Mapping[str, Any], objects: ObjectReader, store: Store, beside: ObjectFolder, peers: Sequence[ObjectSource]
) -> Chosen:
    """Of a state document: from this box's folder, and into ``beside``, sealed, what only peers hold."""
    chosen, restore = Chosen(), ObjectRestore(store, beside, peers)
    for told in _once(state["objects"]):
        sha256 = bytes.fromhex(told["sha256"])
        try:
            entry = objects.find(told["sha256"])
        except OperatorFault:  # its block is not here, so nothing can prove it
            chosen.absent.append(sha256)
            continue
        is_here = any(folder.length(sha256) is not None for folder in (objects.folder, beside))
        if not is_here and not restore.fetch(entry.row):
            chosen.absent.append(sha256)
            continue
        record = entry.record or Object(
            at_ns=0, sha256=sha256, size=int(told["size"]), media_type=told["media_type"], name=told["name"],
            meta=told["meta"],
        )  # fmt: skip
        chosen.items.append(_outgoing(objects, entry, record))
    return chosen


def _once(told: Iterable[Mapping[str, Any]]) -> Iterable[Mapping[str, Any]]:
    return {each["sha256"]: each for each in told}.values()


def _outgoing(objects: ObjectReader, entry: ObjectEntry, record: Object) -> Outgoing:
    slim = replace(entry, header=None, record=record)  # thousands of them are held at once
    return Outgoing(entry.row.stored.sha256, record, partial(objects.content, slim))
