"""Errors as JSON, and back: what the agent refuses is raised again, whole, where the command was typed."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from ledger.errors import OrledgerError, OurFault


def error_fields(error: OrledgerError) -> dict[str, object]:
    """``id``, ``kind`` (its class), ``party`` at fault, ``text``, ``next`` step and ``exit`` code."""
    return {
        "id": error.id,
        "kind": type(error).__name__,
        "party": error.party,
        "text": error.text,
        "next": error.next_step,
        "exit": error.exit_code,
    }


def error_from_fields(fields: Mapping[str, Any]) -> OrledgerError:
    """The error of ``error_fields``; one of a kind unknown here is our fault, its text kept."""
    kinds: dict[str, type[OrledgerError]] = {kind.__name__: kind for kind in _below(OrledgerError)}
    return kinds.get(str(fields.get("kind")), OurFault)(
        str(fields.get("id", "control.error")), str(fields.get("text", "")), str(fields.get("next", ""))
    )


def _below(kind: type[OrledgerError]) -> Iterator[type[OrledgerError]]:
    for sub in kind.__subclasses__():
        yield sub
        yield from _below(sub)
