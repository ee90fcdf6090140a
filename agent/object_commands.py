"""What the running agent answers about objects on its control socket."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from agent.case_commands import who
from agent.control import Handler, Reply, Request
from ledger.errors import BadInput, OperatorFault
from ledger.limits import LIMITS
from ledger.objects.assembly import PIECE_BYTES
from ledger.objects.exchange import Denied
from ledger.records import Event

if TYPE_CHECKING:
    from agent.node import Node

_NAME_DIGITS = 64
_DELIVERED = "MDCX_OBJECTS_DELIVERED"
_MOST_PLACE_CHARS = 4_096
_MOST_NAME_CHARS = 63
_COUNTS = {
    "delivered": "handed on", "failed": "failed", "before": "were there before", "left_out": "are no DICOM",
    "not_here": "are not here",
}  # fmt: skip


def object_handlers(node: Node) -> Mapping[str, Handler]:
    """Command name to handler."""

    async def refetch(request: Request, reply: Reply) -> None:
        await reply({"rows": await node.object_keeper.refetch(object_argument(request.arguments))})

    async def fetch(request: Request, reply: Reply) -> None:
        """Bytes of an object from one peer, in order, piece by piece; ends early when it does not hold it."""
        sha256 = object_argument(request.arguments)
        peer, pieces = pieces_argument(request.arguments)
        if peer not in [box.id for box in node.manifest.peers_of(node.member.own_id)]:
            raise OperatorFault("box.unknown", f"{peer!r} is no peer of this box", "orledger status")
        asked: deque[asyncio.Task[bytes]] = deque()
        try:
            while pieces or asked:
                while pieces and len(asked) < LIMITS.object_pieces_outstanding:
                    fetching = node.object_keeper.exchange.fetch(peer, sha256, *pieces.popleft())
                    asked.append(asyncio.get_running_loop().create_task(fetching))
                await reply(await asked.popleft())
        except Denied:
            return
        finally:
            for task in asked:
                task.cancel()

    async def delivered(request: Request, reply: Reply) -> None:
        event = delivered_event(request.arguments, who(request), node.now().utc_ns)
        await reply({"recorded_in_block": node.record_own(event)})

    return {"object-refetch": refetch, "object-fetch": fetch, "delivered": delivered}


def object_argument(arguments: Mapping[str, Any]) -> bytes:
    """The object that is meant. Raises BadInput."""
    name = arguments.get("object")
    if not isinstance(name, str) or len(name) != _NAME_DIGITS or not set(name) <= set("0123456789abcdef"):
        raise BadInput("object.name", "which object is meant?", "orledger objects list")
    return bytes.fromhex(name)


def pieces_argument(arguments: Mapping[str, Any]) -> tuple[str, deque[tuple[int, int]]]:
    """(peer, pieces to ask for). Raises BadInput."""
    peer, first, end = arguments.get("peer"), arguments.get("first"), arguments.get("end")
    if not isinstance(peer, str) or type(first) is not int or type(end) is not int or not 0 <= first < end:
        raise BadInput("object.range", "bytes of an object were asked for that are no range")
    if end - first > LIMITS.message_bytes:
        raise BadInput("object.range", f"at most {LIMITS.message_bytes:,} bytes of an object at a time")
    return peer, deque((start, min(start + PIECE_BYTES, end)) for start in range(first, end, PIECE_BYTES))


def delivered_event(arguments: Mapping[str, Any], by: str, at_ns: int) -> Event:
    """Who handed objects on, whose, to where, and what became of them. Raises BadInput."""
    box, to = arguments.get("box"), arguments.get("to")
    counts = {name: arguments.get(name) for name in (*_COUNTS, "bytes")}
    if (
        not isinstance(box, str)
        or len(box) > _MOST_NAME_CHARS
        or not isinstance(to, str)
        or not 0 < len(to) <= _MOST_PLACE_CHARS
    ):
        raise BadInput("delivered.place", "which box's objects were handed on, and to where?")
    if not all(type(count) is int and count >= 0 for count in counts.values()):
        raise BadInput("delivered.counts", "how many objects were handed on, and how many were not?")
    told = ", ".join(f"{counts[name]:,} {what}" for name, what in _COUNTS.items())
    return Event(
        at_ns=at_ns, kind="marker", alarm_id=f"objects to {to}", phase="once", priority="none", code=_DELIVERED,
        source=by, text=f"objects of {box} to {to}: {told}; {counts['bytes']:,} bytes",
    )  # fmt: skip
