"""What the control socket answers about the room's case. Who asks is told by the kernel, and recorded."""

from __future__ import annotations

import asyncio
import pwd
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from agent.control import Handler, Reply, Request
from agent.status_builder import utc_text
from ledger.cases import FACTS, MESSAGE_ONLY, merged
from ledger.errors import BadInput, OperatorFault, StoreFault
from ledger.limits import LIMITS, S_NS
from ledger.records import CaseChange

if TYPE_CHECKING:
    from agent.node import Node

_DURABLE_LOOK_S = 0.005
_DURABLE_LOOKS = int(LIMITS.ack_timeout_ns / S_NS / _DURABLE_LOOK_S)


def case_handlers(node: Node) -> Mapping[str, Handler]:
    """Command name to handler."""

    async def case_open(request: Request, reply: Reply) -> None:
        _require_room(node, request.arguments)
        facts = facts_argument(request.arguments)
        current = node.desk.cases.current
        if current is not None and request.arguments.get("next") is not True:
            raise OperatorFault(
                "case.already-open",
                f"case {current.case_id.hex()[:8]}… is open in {node.configuration.box.room} since "
                f"{utc_text(current.opened_ns)}",
                "orledger case close, or orledger case open --next to close it and open another",
            )
        seq = node.write(node.desk.open(node.now(), who(request), facts))
        await _durable(node, seq)
        await reply(case_document(node.desk.cases.current, seq, closed=current))

    async def case_change(request: Request, reply: Reply) -> None:
        _require_room(node, request.arguments)
        current = require_case(node, request.arguments)
        facts = merged(current.facts, facts_argument(request.arguments))
        seq = node.write(node.desk.change(node.now(), who(request), facts, reason_argument(request.arguments)))
        await _durable(node, seq)
        await reply(case_document(node.desk.cases.current, seq))

    async def case_close(request: Request, reply: Reply) -> None:
        _require_room(node, request.arguments)
        current = require_case(node, request.arguments)
        seq = node.write(node.desk.close(node.now(), who(request), reason_argument(request.arguments)))
        await _durable(node, seq)
        await reply(case_document(None, seq, closed=current))

    async def case_show(request: Request, reply: Reply) -> None:
        shows_patient = request.arguments.get("patient") is True
        await reply(case_document(node.desk.cases.current, None, with_facts=shows_patient))

    return {"case_open": case_open, "case_change": case_change, "case_close": case_close, "case_show": case_show}


def who(request: Request) -> str:
    """The asker's name as this machine knows it, and the user id that the kernel tells."""
    try:
        return f"{pwd.getpwuid(request.uid).pw_name} (uid {request.uid})"
    except KeyError:
        return f"uid {request.uid}"


def require_case(node: Node, arguments: Mapping[str, Any]) -> CaseChange:
    """The open case; if one is named, that it is. Raises OperatorFault ``case.none-open``, ``case.other``."""
    current = node.desk.cases.current
    if current is None:
        raise OperatorFault("case.none-open", f"no case is open in {node.configuration.box.room}", "orledger case open")
    named = arguments.get("case")
    if isinstance(named, str) and not current.case_id.hex().startswith(named.replace("-", "").lower()):
        raise OperatorFault(
            "case.other", f"case {named} is not the open one, which is {current.case_id.hex()}", "orledger case show"
        )
    return current


def _require_room(node: Node, arguments: Mapping[str, Any]) -> None:
    room, own = arguments.get("room"), node.configuration.box
    if isinstance(room, str) and room.casefold() not in {own.room.casefold(), own.id.casefold()}:
        raise OperatorFault(
            "case.other-room", f"this is {own.room} ({own.id}), not {room}", f"run it on the box of {room}"
        )


def facts_argument(arguments: Mapping[str, Any]) -> dict[str, str]:
    """The context that is given. Raises BadInput ``case.facts``."""
    facts = arguments.get("facts") or {}
    known = set(FACTS) - MESSAGE_ONLY
    if not isinstance(facts, dict) or not all(isinstance(text, str) for text in facts.values()):
        raise BadInput("case.facts", "the context of a case is names and texts", 'like {"name": "Doe^Jane"}')
    strange = sorted(set(facts) - known)
    if strange:
        raise BadInput(
            "case.facts", f"{strange[0]!r} is nothing that a case has", f"one of: {', '.join(sorted(known))}"
        )
    long = [name for name, text in facts.items() if len(text) > LIMITS.case_fact_chars or not text.isprintable()]
    if long:
        raise BadInput(
            "case.facts", f"{long[0]} is longer than {LIMITS.case_fact_chars} characters or not printable", "shorten it"
        )
    return facts


def reason_argument(arguments: Mapping[str, Any]) -> str:
    """Why, in the asker's words. Raises BadInput ``case.reason``."""
    reason = arguments.get("reason") or ""
    if not isinstance(reason, str) or len(reason) > LIMITS.case_fact_chars:
        raise BadInput("case.reason", f"a reason is a text of at most {LIMITS.case_fact_chars} characters")
    return reason


def case_document(
    case: CaseChange | None, seq: int | None, *, closed: CaseChange | None = None, with_facts: bool = False
) -> dict[str, object]:
    """The open case for the command line: its id, and only when asked for whose it is."""
    shown: dict[str, object] | None = None
    if case is not None:
        shown = {
            "id": case.case_id.hex(),
            "opened": utc_text(case.opened_ns),
            "changed": utc_text(case.at_ns),
            "cause": case.cause,
            "by": case.by,
        }
        if with_facts:
            shown["facts"] = dict(case.facts)
    return {
        "case": shown,
        "closed": None if closed is None else closed.case_id.hex(),
        "recorded_in_block": seq,
    }


async def _durable(node: Node, seq: int) -> None:
    """Until that block is on the disk: only then it is said to be so. Raises StoreFault ``case.not-durable``."""
    log = node.member.writer.chain.log
    for _ in range(_DURABLE_LOOKS):
        if node.store.length(log) > seq:
            return
        await asyncio.sleep(_DURABLE_LOOK_S)
    raise StoreFault("case.not-durable", "the disk has not confirmed it yet", "orledger case show")
