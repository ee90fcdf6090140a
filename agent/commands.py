"""What the running agent answers on its control socket."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from agent.case_commands import case_handlers
from agent.control import Handler, Reply, Request
from agent.control_errors import error_fields
from agent.drill import DrillResult
from agent.manifest_offer import manifest_handlers
from agent.object_commands import object_handlers
from agent.restore_document import restore_document
from agent.status_builder import build_status
from ledger.canonical import pack
from ledger.errors import BadInput, PeerFault, StoreFault
from ledger.limits import LIMITS
from ledger.log import LogId
from ledger.messages import Want
from ledger.notices import Head, RestorePerformed
from ledger.state_document import state_document

if TYPE_CHECKING:
    from agent.node import Node


_WRITING = frozenset({
    "restore", "restored", "drill", "mend", "offer_manifest", "case_open", "case_change", "case_close", "delivered",
    "object-refetch",
})  # fmt: skip
"""Commands that put something on the chain or on the disk."""


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
        report = await node.restorer.restore(box_argument(request.arguments, "orledger restore now BOX"))
        seq = node.record(report.notice())
        await reply(restore_document(report, node.now(), seq))

    async def state(_request: Request, reply: Reply) -> None:
        await reply(state_document(node.recorder.state, node.now().utc_ns))

    async def mend(request: Request, reply: Reply) -> None:
        log, seq = mend_arguments(request.arguments)
        mended = await node.mender.mend(log, seq)
        await reply({"log": str(log), "seq": seq, "from": mended.peer})

    async def drill(request: Request, reply: Reply) -> None:
        for box in drill_argument(request.arguments, node.drills.peers):
            await reply(drill_document(await node.drills.drill(box)))

    async def heads(request: Request, reply: Reply) -> None:
        answers = await node.restorer.heads(box_argument(request.arguments, "orledger restore box BOX --out DIR"))
        rows = [[peer, [report.fields() for report in answer.reports]] for peer, answer in sorted(answers.items())]
        await reply(pack(rows))

    async def fetch(request: Request, reply: Reply) -> None:
        peer, log, first, end, want = fetch_arguments(request.arguments)
        await node.relay.fetch(peer, log, first, end, want, reply)

    async def restored(request: Request, reply: Reply) -> None:
        await reply({"recorded_in_block": node.record(restored_argument(request.arguments))})

    known = {
        "status": status, "statistics": statistics, "restore": restore, "state": state, "mend": mend,
        "drill": drill, "heads": heads, "fetch": fetch, "restored": restored,
        **manifest_handlers(node),
        **case_handlers(node),
        **object_handlers(node),
    }  # fmt: skip
    return {name: _once_it_records(node, handler) if name in _WRITING else handler for name, handler in known.items()}


def _once_it_records(node: Node, handler: Handler) -> Handler:
    """Refused while the box waits for room on its disk: nothing may be begun there. StoreFault ``disk.full``."""

    async def refusing(request: Request, reply: Reply) -> None:
        if not node.recording:
            raise StoreFault(
                "disk.full", "this box does not record yet, for its disk is full: nothing can be put on its chain",
                f"free {LIMITS.store_start_bytes >> 20} MiB here, or ask another box",
            )  # fmt: skip
        await handler(request, reply)

    return refusing


def box_argument(arguments: Mapping[str, Any], example: str) -> str:
    """The box that is meant. Raises BadInput."""
    box = arguments.get("box")
    if not isinstance(box, str):
        raise BadInput("restore.no-box", "which box is meant?", example)
    return box


def drill_argument(arguments: Mapping[str, Any], peers: Sequence[str]) -> Sequence[str]:
    """The boxes to drill, all peers when none is named. Raises BadInput."""
    boxes = arguments.get("boxes") or peers
    if not isinstance(boxes, list) or not all(isinstance(box, str) for box in boxes) or len(boxes) > LIMITS.boxes:
        raise BadInput("drill.boxes", "which boxes are to be drilled?", "orledger drill BOX")
    return boxes


def drill_document(result: DrillResult) -> dict[str, object]:
    """One drill, for the command line."""
    report = result.report
    return {
        "box": result.box,
        "verified": report is not None,
        "level": None if report is None else report.restored.candidate.level.name.lower(),
        "vouching": 0 if report is None else report.vouching,
        "peers": 0 if report is None else len(report.asked),
        "blocks": 0 if report is None else report.restored.blocks,
        "elapsed_ms": round(result.elapsed_ms, 2),
        "recorded_in_block": result.recorded_in,
        "error": None if result.fault is None else error_fields(result.fault),
    }


def fetch_arguments(arguments: Mapping[str, Any]) -> tuple[str, LogId, int, int, Want]:
    """(peer, log, first, end, want). Raises BadInput."""
    try:
        peer, first, end = str(arguments["peer"]), int(arguments["first"]), int(arguments["end"])
        want = Want.HEADERS if arguments.get("headers_only") else Want.BLOCKS
        log = log_argument(arguments["log"])
    except (KeyError, TypeError, ValueError, PeerFault) as error:
        raise BadInput("fetch.malformed", f"a range was asked for that is none: {error!r}") from error
    if not 0 <= first < end:
        raise BadInput("fetch.malformed", f"blocks {first} to {end} are no range")
    return peer, log, first, end, want


def restored_argument(arguments: Mapping[str, Any]) -> RestorePerformed:
    """The notice of a rebuild done by a command line on this box. Raises BadInput."""
    try:
        root, leaf = bytes.fromhex(arguments["root"]), bytes.fromhex(arguments["leaf"])
        head = Head.from_fields([log_argument(arguments["log"]).fields(), int(arguments["size"]), root, leaf], "head")
        vouching, peers = int(arguments["vouching"]), int(arguments["peers"])
        return RestorePerformed(head, vouching, peers, arguments["verified"] is True)
    except (KeyError, TypeError, ValueError, PeerFault) as error:
        raise BadInput("restore.malformed", f"what was restored cannot be read: {error!r}") from error


def log_argument(log: Mapping[str, Any]) -> LogId:
    """A log named as ``{"box", "counter", "incarnation" in hex, "fenced"}``. Raises KeyError, TypeError, ValueError,
    PeerFault.
    """
    return LogId.from_fields([log["box"], log["counter"], bytes.fromhex(log["incarnation"]), log["fenced"]], "log")


def mend_arguments(arguments: Mapping[str, Any]) -> tuple[LogId, int]:
    """(log, seq) of ``{"log": {"box", "counter", "incarnation" in hex, "fenced"}, "seq"}``. Raises BadInput."""
    try:
        return log_argument(arguments["log"]), int(arguments["seq"])
    except (KeyError, TypeError, ValueError, PeerFault) as error:
        raise BadInput("mend.no-block", "which block is to be mended?", "orledger verify --mend") from error
