"""What the running agent answers on its control socket."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from agent.control import Handler, Reply, Request
from agent.restore_document import restore_document
from agent.status_builder import build_status
from ledger.errors import BadInput, PeerFault
from ledger.log import LogId
from ledger.state_document import state_document

if TYPE_CHECKING:
    from agent.node import Node


def handlers(node: Node) -> Mapping[str, Handler]:
    """Command name to handler."""

    async def status(_request: Request, reply: Reply) -> None:
        await reply(build_status(node))

    async def statistics(request: Request, reply: Reply) -> None:
        newest = request.arguments.get("newest")
        if newest is not None and (type(newest) is not int or newest < 1):
            raise BadInput("statistics.newest", "newest must be a number of durations", "leave it out for all")
        await reply(node.statistics.document(newest))

    async def restore(request: Request, reply: Reply) -> None:
        box = request.arguments.get("box")
        if not isinstance(box, str):
            raise BadInput("restore.no-box", "which box is to be restored?", "orledger restore now BOX")
        report = await node.restorer.restore(box)
        seq = node.record(report.notice())
        await reply(restore_document(report, node.now(), seq))

    async def state(_request: Request, reply: Reply) -> None:
        await reply(state_document(node.recorder.state, node.now().utc_ns))

    async def mend(request: Request, reply: Reply) -> None:
        log, seq = mend_arguments(request.arguments)
        mended = await node.mender.mend(log, seq)
        await reply({"log": str(log), "seq": seq, "from": mended.peer})

    return {"status": status, "statistics": statistics, "restore": restore, "state": state, "mend": mend}


def mend_arguments(arguments: Mapping[str, Any]) -> tuple[LogId, int]:
    """(log, seq) of ``{"log": {"box", "counter", "incarnation" in hex, "fenced"}, "seq"}``. Raises BadInput."""
    try:
        log, seq = arguments["log"], arguments["seq"]
        fields = [log["box"], log["counter"], bytes.fromhex(log["incarnation"]), log["fenced"]]
        return LogId.from_fields(fields, "log"), int(seq)
    except (KeyError, TypeError, ValueError, PeerFault) as error:
        raise BadInput("mend.no-block", "which block is to be mended?", "orledger verify --mend") from error
