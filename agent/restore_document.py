"""A verified restore as a document: what, how sure, how old, from whom, and how long it took."""

from __future__ import annotations

from agent.restorer import RestoreReport
from agent.status_builder import utc_text
from ledger.instant import Now
from ledger.limits import S_NS
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
