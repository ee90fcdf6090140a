"""What the running agent answers on its control socket."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from agent.control import Handler, Reply, Request
from agent.restorer import RestoreReport
from agent.status_builder import build_status, utc_text
from ledger.errors import BadInput, PeerFault
from ledger.instant import Now
from ledger.limits import S_NS
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


def restore_document(report: RestoreReport, now: Now, recorded_in: int) -> dict[str, object]:
    """A verified restore, for people and consoles: what, how sure, how old, from whom, and how long it took."""
    restored = report.restored
    candidate = restored.candidate
    return {
        "schema": "orledger.restore/1",
        "box": report.box,
        "log": str(candidate.log),
        "epoch": candidate.log.counter,
        "fenced": candidate.log.fenced,
        "block": restored.head.seq,
        "newest_block": restored.newest.seq,
        "level": candidate.level.name.lower(),
        "head_closed": utc_text(restored.head.closed_ns),
        "head_age_s": (now.utc_ns - restored.head.closed_ns) / S_NS,
        "clock": restored.head.clock.state.name.lower(),
        "asked": list(report.asked),
        "answered": list(report.answered),
        "vouching": report.vouching,
        "peers": len(report.asked),
        "may_be_newer": report.incomplete,
        "equivocation_proofs": report.proofs,
        "verified": {
            "blocks": restored.blocks,
            "signatures": restored.signatures,
            "links": restored.blocks,
            "cosignatures": restored.cosignatures,
        },
        "steps_ms": {name: round(ms, 2) for name, ms in report.steps_ms.items()},
        "recorded_in_block": recorded_in,
        "restored": True,
        "warning": "LAST RECORDED VALUES, NOT LIVE",
        "state": state_document(restored.state, now.utc_ns),
        "newest_state": state_document(restored.newest_state, now.utc_ns)
        if restored.newest.seq != restored.head.seq
        else None,
    }
