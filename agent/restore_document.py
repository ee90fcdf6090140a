"""A verified restore as a document: what, how sure, how old, from whom, and how long it took."""

from __future__ import annotations

from agent.restorer import RestoreReport
from agent.status_builder import utc_text
from agent.tail_restorer import LostTail
from ledger.instant import Now
from ledger.limits import S_NS
from ledger.recovery import Restored
from ledger.state_document import state_document


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
        "void": list(report.void),
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
        "tail": None if report.tail is None else _tail(report.tail, restored, now),
        "tails_lost": [_lost(lost) for lost in report.lost],
    }


def _tail(tail: Restored, believed: Restored, now: Now) -> dict[str, object]:
    """The newest end beside the believed head: signed by its box, vouched for by too few or by nobody."""
    log, closed_ns = tail.candidate.log, tail.newest.closed_ns
    return {
        "log": str(log),
        "epoch": log.counter,
        "fenced": log.fenced,
        "block": tail.newest.seq,
        "closed": utc_text(closed_ns),
        "age_s": (now.utc_ns - closed_ns) / S_NS,
        "after_head_s": (closed_ns - believed.head.closed_ns) / S_NS,
        "vouching": len(tail.candidate.cosigned),
        "holders": sorted(tail.candidate.holders),
        "verified": {"blocks": tail.blocks, "signatures": tail.signatures, "links": tail.blocks},
        "warning": "NOT VOUCHED FOR: signed by the box, held by its peers, and too few may say more",
        "state": state_document(tail.newest_state, now.utc_ns),
    }


def _lost(lost: LostTail) -> dict[str, object]:
    return {"log": str(lost.log), "size": lost.size, "error": lost.fault.id, "why": lost.fault.text}
