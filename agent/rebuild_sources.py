"""Where a rebuild gets blocks from: this box's own store, and each peer by way of the running agent."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable
from typing import Any, Protocol

from agent.control_client import ControlClient
from ledger.canonical import Fields, unpack
from ledger.errors import NoPeer, OrledgerError, PeerFault
from ledger.limits import LIMITS
from ledger.log import LogId
from ledger.message_codec import decode_message
from ledger.messages import HeadReport, Range
from ledger.rebuild_shares import Blocks
from ledger.store import Store

_MOST_BYTES = 8 << 20
"""A piece of larger blocks is given in parts, so that what is held in memory stays bounded."""


class Source(Protocol):
    """Somebody who holds blocks; used by one thread at a time. Proves nothing."""

    @property
    def name(self) -> str: ...

    def blocks(self, log: LogId, first: int, end: int, *, headers_only: bool) -> Blocks:
        """Blocks from ``first`` on, in order, as many as are held and fit; raises OrledgerError."""


class OwnStore:
    """What this box holds itself, read beside its agent."""

    def __init__(self, name: str, store: Store) -> None:
        self.name = name
        self._store = store

    def length(self, log: LogId) -> int:
        """How many blocks of it are held here."""
        return self._store.length(log)

    def headers(self, log: LogId) -> Iterable[bytes]:
        """Its signed headers, in order."""
        return self._store.headers(log, 0, self._store.length(log))

    def blocks(self, log: LogId, first: int, end: int, *, headers_only: bool) -> Blocks:
        """As ``Source`` says."""
        found: list[tuple[bytes, bytes]] = []
        size = 0
        if first < self._store.first_held(log):
            return found  # they went at their retention: no fault
        for block in self._store.blocks(log, first, end):
            found.append((block.signed_header, b"" if headers_only else block.payload))
            size += len(block.payload)
            if size > _MOST_BYTES:
                break
        return found


class PeerBySocket:
    """A peer, asked by the agent behind the control socket."""

    def __init__(self, name: str, client: ControlClient) -> None:
        self.name = name
        self._client = client

    def blocks(self, log: LogId, first: int, end: int, *, headers_only: bool) -> Blocks:
        """As ``Source`` says; what came before the peer fell silent counts."""
        came: dict[int, tuple[bytes, bytes]] = {}
        size = 0
        arguments: dict[str, Any] = {"peer": self.name, "log": log_arguments(log), "first": first, "end": end}
        with (
            contextlib.suppress(NoPeer),
            contextlib.closing(self._client.request("fetch", **arguments, headers_only=headers_only)) as answers,
        ):
            for wire in answers:
                message = decode_message(wire)
                if not isinstance(message, Range) or message.log != log:
                    raise PeerFault("range.other-log", f"{self.name} answered with something else")
                came.update(enumerate(message.blocks, message.first))
                size += len(wire)
                if size > _MOST_BYTES:
                    break
        return list(_in_order(came, first, end))


def _in_order(came: dict[int, tuple[bytes, bytes]], first: int, end: int) -> Iterable[tuple[bytes, bytes]]:
    for seq in range(first, end):
        block = came.get(seq)
        if block is None:
            return
        yield block


def log_arguments(log: LogId) -> dict[str, object]:
    """A log as the control socket names it."""
    return {"box": log.box, "counter": log.counter, "incarnation": log.incarnation.hex(), "fenced": log.fenced}


def ask_heads(client: ControlClient, box: str) -> dict[str, list[HeadReport]]:
    """What everyone that answers holds of ``box``, this box's agent among them. Raises as the agent does."""
    rows = unpack(client.ask("heads", box=box), LIMITS.message_bytes, "heads")
    found = {}
    if not isinstance(rows, list):
        raise PeerFault("codec.field", "heads: not a list")
    for item in rows:
        row = Fields(item, 2, "heads row")
        name = row.text(63, 1)
        found[name] = [HeadReport.from_fields(report) for report in row.array(LIMITS.boxes)]
    return found


def fault_text(fault: OrledgerError) -> str:
    """Why a source's answer was refused, for the summary."""
    return f"{fault.text} [{fault.id}]"
