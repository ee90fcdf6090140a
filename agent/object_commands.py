"""What the running agent answers about objects on its control socket."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from agent.control import Handler, Reply, Request
from ledger.errors import BadInput, OperatorFault
from ledger.limits import LIMITS
from ledger.objects.assembly import PIECE_BYTES
from ledger.objects.exchange import Denied

if TYPE_CHECKING:
    from agent.node import Node

_NAME_DIGITS = 64


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

    return {"object-refetch": refetch, "object-fetch": fetch}


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
