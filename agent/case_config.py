"""The rules of ``[case]`` as the ledger takes them."""

from __future__ import annotations

from agent.config import CaseSection
from ledger.cases import CaseRules
from ledger.limits import S_NS


def case_rules(section: CaseSection) -> CaseRules:
    """From a checked section."""
    return CaseRules(
        open_on=frozenset(section.open_on),
        close_on=frozenset(section.close_on),
        close_on_leaving=section.close_on_leaving,
        idle_ns=section.close_after_h * 3_600 * S_NS,
    )
