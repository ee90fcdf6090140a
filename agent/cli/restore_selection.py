"""``--from``, ``--to`` and ``--case`` of ``orledger restore box``: read, refused with the reason, told."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

from ledger.errors import NoPeer, OperatorFault
from ledger.log import INCARNATION_BYTES
from ledger.record_json import utc_text as utc_text_ns
from ledger.selection import Selection

if TYPE_CHECKING:
    from agent.rebuild_summary import Summary

_EXAMPLE = "write it like 2026-11-23T08:00:00Z"
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
CASE_ID_BYTES = INCARNATION_BYTES


def parse_selection(from_: str | None, to: str | None, case: str | None) -> Selection:
    """What the options mean. Raises OperatorFault ``restore.time``, ``restore.time-order``, ``restore.case``."""
    selection = Selection(
        None if from_ is None else parse_time("--from", from_),
        None if to is None else parse_time("--to", to),
        None if case is None else parse_case(case),
    )
    if selection.from_ns is not None and selection.to_ns is not None and selection.from_ns >= selection.to_ns:
        text = f"--from {utc_text(selection.from_ns)} is not before --to {utc_text(selection.to_ns)}"
        raise OperatorFault("restore.time-order", text, "exchange them, or name a later --to")
    return selection


def parse_time(option: str, text: str) -> int:
    """A UTC time in ns. Raises OperatorFault ``restore.time`` saying what is wrong with it."""
    try:
        moment = datetime.fromisoformat(text.strip())
    except ValueError as error:
        raise OperatorFault("restore.time", f"{option} {text!r} is no time ({error})", _EXAMPLE) from None
    offset = moment.utcoffset()
    if offset is None:
        what = f"{option} {text!r} does not say that it is UTC"
        raise OperatorFault(
            "restore.time", what, f"if it is: {option} {moment.isoformat()}Z; headers know no local time"
        )
    if offset:
        utc = moment.astimezone(UTC).isoformat().replace("+00:00", "Z")
        raise OperatorFault("restore.time", f"{option} {text!r} is not UTC", f"in UTC that is {utc}")
    return (moment - _EPOCH) // timedelta(microseconds=1) * 1_000


def parse_case(text: str) -> bytes:
    """A case's random id. Raises OperatorFault ``restore.case``."""
    try:
        case_id = bytes.fromhex(text.replace("-", ""))
    except ValueError:
        case_id = b""
    if len(case_id) != CASE_ID_BYTES:
        what = f"--case {text!r} is no case id: that is {2 * CASE_ID_BYTES} hexadecimal digits"
        raise OperatorFault("restore.case", what, "orledger status shows the open case's id")
    return case_id


def utc_text(utc_ns: int) -> str:
    """RFC 3339, without decimals that say nothing."""
    return utc_text_ns(utc_ns).removesuffix("Z").rstrip("0").removesuffix(".") + "Z"


def selection_text(selection: Selection) -> str:
    """``case 5c…``, ``from … to …``, ``everything``."""
    parts = [f"case {selection.case_id.hex()}"] if selection.case_id is not None else []
    parts += [f"from {utc_text(selection.from_ns)}"] if selection.from_ns is not None else []
    parts += [f"to {utc_text(selection.to_ns)}"] if selection.to_ns is not None else []
    return " ".join(parts) or "everything"


def selection_options(selection: Selection) -> list[str]:
    """The options that were given."""
    given = {"--from": selection.from_ns, "--to": selection.to_ns, "--case": selection.case_id}
    return [option for option, value in given.items() if value is not None]


def selection_document(selection: Selection) -> dict[str, str | None]:
    """As JSON."""
    return {
        "from": None if selection.from_ns is None else utc_text(selection.from_ns),
        "to": None if selection.to_ns is None else utc_text(selection.to_ns),
        "case": None if selection.case_id is None else selection.case_id.hex(),
    }


def nothing_meant(box: str, selection: Selection, summary: Summary, out: Path) -> NoPeer:
    """Why nothing was restored."""
    if selection.is_everything:
        text = f"nobody that answered holds a block of {box}"
        return NoPeer("restore.nothing-held", text, "try again with more boxes up: orledger status")
    text = f"no block of {box} that anyone who answered holds fits: {selection_text(selection)}"
    met = ", ".join(sorted(case.hex() for case in summary.cases))
    if selection.case_id is not None:
        text += f"; cases met: {met or 'none'}"
    kept = f"; the headers looked through are in {out}" if summary.logs else ""
    return NoPeer("restore.nothing-fits", text + kept, "check the options; all of it: the same command without them")
