"""The status document as lines of text for a person: styled spans, laid out; no terminal here."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from itertools import zip_longest

from agent.status import (
    Alert,
    Case,
    CatchingUp,
    Clock,
    Commitments,
    Disk,
    Drill,
    Feed,
    Log,
    Objects,
    Peer,
    StatusDocument,
)

Line = list[tuple[str, str]]
"""Spans of text, each with a rich style ("" for none)."""

_CLOCK_COLUMN = 64
_CASE_WIDTH = 33
_ID_DIGITS = 8
_UNKNOWN = "–"
_GIB = 1 << 30
_STATE_STYLE = {"ok": "bold green", "attention": "bold yellow", "critical": "bold red"}
_SEVERITY_STYLE = {"critical": "bold red", "warning": "yellow", "info": ""}  # worst first


def status_lines(status: StatusDocument) -> list[Line]:
    """Header, alerts if any, the case and its log, feeds, then peers with disk and clock beside them, and what is
    still being copied.
    """
    lines = [_header(status), *_alerts(status.alerts), _case(status.case, status.log)]
    lines += _feeds(status.feeds)
    lines += _peers(status)
    lines += [[(_catching_up(each), "yellow")] for each in status.catching_up]
    return [[(printable(text), style) for text, style in line if text] for line in lines]


def duration(seconds: float) -> str:
    """``0.1 s``, ``26 min``, ``1 h 52 min``, ``3 d 4 h``: what a person needs of it."""
    if seconds < 99.95:
        return f"{seconds:.1f} s"
    minutes = int(seconds // 60)
    if minutes < 60:
        return f"{minutes} min"
    hours, minutes = divmod(minutes, 60)
    if hours < 48:
        return f"{hours} h {minutes} min"
    return f"{hours // 24} d {hours % 24} h"


def _header(status: StatusDocument) -> Line:
    who = f"{status.box}  {status.room}  {status.site}   "
    what = "RECORDING" if status.recording else "NOT RECORDING"
    rest = ""
    count = _needing(status.alerts)
    if count:
        what += f", {count} {'THING NEEDS' if count == 1 else 'THINGS NEED'} YOU"
    elif status.log is not None:
        rest = f"   {status.log.level} {status.log.peers_holding}/{status.log.peers}"
    clock = f"{_time_of_day(status.at)} UTC {_error(status.clock)}"
    space = max(2, _CLOCK_COLUMN - len(who) - len(what) - len(rest))
    return [(who, "bold"), (what, _STATE_STYLE[status.state]), (rest, ""), (" " * space + clock, "")]


def _alerts(alerts: tuple[Alert, ...]) -> list[Line]:
    order = list(_SEVERITY_STYLE)
    width = max((len(alert.id) for alert in alerts), default=0) + 2
    return [
        [
            (f"{alert.severity.upper():<9}", _SEVERITY_STYLE[alert.severity]),
            (f"{alert.id:<{width}}", "bold"),
            (f"{alert.text.rstrip('.')}." + (f" Next: {alert.next}" if alert.next else ""), ""),
        ]
        for alert in sorted(alerts, key=lambda alert: order.index(alert.severity))
    ]


def _needing(alerts: tuple[Alert, ...]) -> int:
    return sum(alert.severity != "info" for alert in alerts)


def _case(case: Case | None, log: Log | None) -> Line:
    left = "no case" if case is None else f"case {_short(case.id)}  {duration(case.age_s)}"
    if log is None:
        return [(f"{left:<{_CASE_WIDTH}}no log", "")]
    right = f"epoch {log.epoch}{'' if log.fenced else ' provisional'}  block {_number(log.seq)}"
    if log.age_ms is not None:
        right += f"  {duration(log.age_ms / 1_000)} ago"
    return [(f"{left:<{_CASE_WIDTH}}{right}", "")]


def _feeds(feeds: tuple[Feed, ...]) -> list[Line]:
    if not feeds:
        return [[("no feeds are configured", "dim")]]
    rows = [
        (
            feed.name if feed.devices < 2 else f"{feed.name} ({feed.devices})",
            feed.device or _UNKNOWN,
            feed.state,
            _UNKNOWN if feed.last_age_s is None else duration(feed.last_age_s),
            _gaps(feed),
        )
        for feed in feeds
    ]
    styles = ["" if feed.state == "ok" else "yellow" for feed in feeds]
    return _table(("FEED", "DEVICE", "STATE", "LAST", "GAPS 24 h"), (11, 20, 10, 7, 0), rows, styles)


def _gaps(feed: Feed) -> str:
    if not feed.gaps_24h:
        return "0"
    return f"{feed.gaps_24h} ({', '.join([duration(feed.gaps_24h_s), *feed.gap_causes])})"


def _peers(status: StatusDocument) -> list[Line]:
    rows = [(peer.id, _holds_ours(peer), _number(peer.we_hold)) for peer in status.peers]
    styles = ["" if peer.connected else "yellow" for peer in status.peers]
    table = _table(("PEER", "HOLDS OURS", "WE HOLD"), (7, 13, 10), rows, styles)
    beside = [_disk(status.disk), f"clock {status.clock.state} {_error(status.clock)}"]
    if status.objects is not None and (status.objects.held or status.objects.wanted):
        beside.append(_objects(status.objects))
    if status.commitments is not None and status.commitments.oldest_age_s is not None:
        beside.append(_commitments(status.commitments))
    if status.drills:
        beside.append(_drills(status.drills))
    if not _needing(status.alerts):
        beside.append("Nothing needs you.")
    blank: Line = [(" " * sum(len(text) for text, _ in table[0]), "")]
    return [[*(left or blank), (right or "", "")] for left, right in zip_longest(table, beside)]


def _holds_ours(peer: Peer) -> str:
    return _number(peer.holds_ours) if peer.connected else f"{_number(peer.holds_ours)} down"


def _disk(disk: Disk) -> str:
    text = f"disk {disk.free_bytes // _GIB} GiB"
    if disk.days_left is not None:
        text += f", {disk.days_left:.0f} days"
    if disk.wear_percent is not None:
        text += f"  wear {disk.wear_percent} %"
    if disk.fsync_p99_ms is not None:
        text += f"  fsync p99 {disk.fsync_p99_ms:.0f} ms"
    return text


def _objects(objects: Objects) -> str:
    text = f"objects {objects.held:,} held, {_size(objects.held_bytes)}"
    if objects.wanted:
        text += f", {objects.wanted:,} to come, {_size(objects.wanted_bytes)}"
    alone = objects.own.get("local", 0)
    return text + (f"; {alone:,} of this room's here only" if alone else "")


def _commitments(open_: Commitments) -> str:
    waits = {"for the group": open_.undecided, "to be reported": open_.unreported}
    text = ", ".join(f"{count:,} {what}" for what, count in waits.items() if count)
    return f"commitments {text}; oldest {duration(open_.oldest_age_s or 0.0)}"


def _size(count: int) -> str:
    for unit, most in (("GiB", _GIB), ("MiB", 1 << 20)):
        if count >= most:
            return f"{count / most:.1f} {unit}"
    return f"{-(-count // 1024):,} KiB"


def _catching_up(behind: CatchingUp) -> str:
    """Of a box that was away, or whose peer was: how much is still to come, and when that is over."""
    text = f"catching up: {behind.headers + behind.payloads:,} blocks of {behind.box} still to be copied here"
    if behind.left_s is None:
        return text
    left_s = behind.left_s
    return f"{text}, about {f'{max(1, round(left_s))} s' if left_s < 99.5 else duration(left_s)}"


def _drills(drills: tuple[Drill, ...]) -> str:
    """The peer whose state was last proved to be restorable the longest ago."""
    never = [drill.box for drill in drills if drill.age_s is None]
    if never:
        return f"drills: none of {', '.join(never)} succeeded yet"
    oldest_s = max(drill.age_s or 0.0 for drill in drills)
    return f"drills of {len(drills)} peers, oldest success {duration(oldest_s)} ago"


def _table(
    titles: tuple[str, ...], narrowest: tuple[int, ...], rows: Sequence[tuple[str, ...]], styles: list[str]
) -> list[Line]:
    """Left-aligned columns, each at least as wide as ``narrowest`` says and two blanks wider than its longest cell."""
    widths = [
        least and max(least, *(len(row[column]) + 2 for row in (titles, *rows)))
        for column, least in enumerate(narrowest)
    ]
    return [
        [("".join(f"{cell:<{width}}" for cell, width in zip(row, widths, strict=True)), style)]
        for row, style in zip((titles, *rows), ("bold", *styles), strict=True)
    ]


def _time_of_day(at: str) -> str:
    return datetime.fromisoformat(at).astimezone(UTC).strftime("%H:%M:%S")


def _error(clock: Clock) -> str:
    if clock.state != "synchronised" or clock.error_ms is None:
        return "±?"
    return f"±{clock.error_ms:.1f} ms"


def _short(case_id: str) -> str:
    """As much of it as names it to a command."""
    return case_id if len(case_id) <= _ID_DIGITS else f"{case_id[:_ID_DIGITS]}…"


def _number(value: int | None) -> str:
    return _UNKNOWN if value is None else f"{value:,}"


def printable(text: str) -> str:
    """Device and box names come from outside: no control character of theirs may reach a terminal."""
    return "".join(character if character.isprintable() else "\N{REPLACEMENT CHARACTER}" for character in text)
