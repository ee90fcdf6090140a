"""``orledger records``: what was recorded, decoded, one line of JSON a record."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

import click
import msgspec

from agent.cli.context import Settings, common_options, document, pass_settings
from agent.cli.data_dir import data_dir_of, data_dir_option
from ledger.errors import OperatorFault

if TYPE_CHECKING:
    from agent.reading import Decoded, Reader
    from ledger.log import LogId

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_FOLLOW_S = 0.5


@dataclass(frozen=True, slots=True)
class _Wanted:
    box: str | None
    feed: str | None
    from_ns: int | None
    to_ns: int | None
    head: Mapping[str, object]
    """What each line begins with: its schema when JSON was asked for by name."""


@click.command("records")
@click.option("--box", metavar="BOX", help="Only this box's records; else of all boxes held here.")
@click.option("--feed", metavar="FEED", help="Only this feed's records.")
@click.option("--from", "since", metavar="TIME", help="From this time on (RFC 3339; UTC where no zone is given).")
@click.option("--to", "until", metavar="TIME", help="Before this time.")
@click.option("--follow", is_flag=True, help="Go on with what is recorded from now on, until interrupted.")
@click.option("--limit", type=click.IntRange(min=1), metavar="N", help="At most so many records.")
@data_dir_option
@common_options
@pass_settings
def command(
    settings: Settings,
    *,
    box: str | None,
    feed: str | None,
    since: str | None,
    until: str | None,
    follow: bool,
    limit: int | None,
    data_dir: Path | None,
) -> int:
    """Print what was recorded. Times are when the block was closed, by the box's own clock.

    Each payload is proved against its header by its cipher; whether the log itself is whole is ``orledger verify``'s.
    """
    from agent.reading import open_reader

    head = document("record") if settings.json else {}
    wanted = _Wanted(box, feed, _time_ns(since, "--from"), _time_ns(until, "--to"), head)
    with open_reader(data_dir_of(settings, data_dir)) as reader:
        for line in islice(_lines(reader, wanted, follow=follow), limit):
            click.echo(line)
    return 0


def _lines(reader: Reader, wanted: _Wanted, *, follow: bool) -> Iterator[bytes]:
    done: dict[LogId, int] = {}
    if follow and wanted.from_ns is None:
        done = {log: reader.store.length(log) for log in reader.logs_of(wanted.box)}
    while True:
        for log in reader.logs_of(wanted.box):
            first, end = done.get(log, 0), reader.store.length(log)
            for decoded in reader.decoded_log(log, first, from_ns=wanted.from_ns, to_ns=wanted.to_ns):
                end = max(end, decoded[1] + 1)
                yield from _records(decoded, wanted)
            done[log] = end
        if not follow:
            return
        time.sleep(_FOLLOW_S)
        reader.refresh()


def _records(decoded: Decoded, wanted: _Wanted) -> Iterator[bytes]:
    from ledger.record_json import record_to_json, utc_text

    log, seq, header, groups = decoded
    closed = utc_text(header.closed_ns)
    for name, records in groups.items():
        if wanted.feed in (None, name):
            for record in records:
                place = {**wanted.head, "box": log.box, "log": str(log), "seq": seq, "closed": closed, "feed": name}
                yield msgspec.json.encode(place | record_to_json(record))


def _time_ns(text: str | None, option: str) -> int | None:
    if text is None:
        return None
    try:
        at = datetime.fromisoformat(text)
    except ValueError as error:
        raise OperatorFault("records.time", f"{option} {text!r} is no time", "write 2026-01-31T14:02:31Z") from error
    at = at if at.tzinfo is not None else at.replace(tzinfo=UTC)
    return (at - _EPOCH) // timedelta(microseconds=1) * 1_000
