"""``orledger capture export``: what a feed heard and said, out of the ledger, as a capture file."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click

from agent.cli.context import Settings, common_options, document, json_text, pass_settings
from agent.cli.progress import clear_progress, show_progress
from ledger.errors import OperatorFault

if TYPE_CHECKING:
    from agent.config import Configuration
    from agent.reading import Reader
    from ledger.log import LogId
    from ledger.records import Record

_PROGRESS_BLOCKS = 256
_TRANSPORTS: Final = ("serial", "tcp", "udp", "mllp")


@click.command("export")
@click.argument("file", type=click.Path(path_type=Path))
@click.option("--feed", required=True, help="The feed to export.")
@click.option("--box", help="The box that recorded it; else this one.")
@click.option(
    "--log", "log_name", metavar="LOG", help="Epoch and beginning of the incarnation, like 17-9f3c; else the last log."
)
@click.option("--from", "first", metavar="PLACE", help="First block, by number or UTC time; else the first held.")
@click.option("--to", "last", metavar="PLACE", help="Last block, by number or UTC time; else the last held.")
@common_options
@pass_settings
def export(
    settings: Settings,
    *,
    file: Path,
    feed: str,
    box: str | None,
    log_name: str | None,
    first: str | None,
    last: str | None,
) -> int:
    """Write the raw bytes, links and gaps of one feed to a new FILE, from this box's store.

    One capture comes from one log. It holds what was said about a patient: it is marked as not scrubbed. Each payload
    is proved by its cipher; `orledger verify` proves the log.
    """
    from agent.reading import open_reader
    from drivers.capture import CaptureHeader, export_feed
    from drivers.capture_file import NewCapture

    configuration = settings.configuration()
    box = box or configuration.box.id
    with open_reader(Path(configuration.box.data_dir)) as stored:
        log = stored.log(box, log_name)
        held = stored.ends(log)
        start = max(held[0], stored.place(log, first, held[0]))
        end = min(held[1], stored.place(log, last, held[1] - 1) + 1)
        if start >= end:
            raise OperatorFault(
                "capture.no-blocks",
                f"no block of {log} lies between these places",
                f"blocks {held[0]} to {held[1] - 1} are held",
            )
        template = CaptureHeader(
            orcap=1,
            **_told_by_configuration(configuration, box, feed),
            feed=feed,
            t0="",
            clock=stored.header(log, start).clock.state.name.lower(),
            source=log.origin(configuration.box.site),
            blocks=(start, end - 1),
            scrubbed=False,
        )
        blocks = _Blocks(stored, log, start, end)
        with NewCapture(file, keep_partial=False) as new:
            export_feed(blocks, template, new.stream)
    clear_progress()
    if settings.json:
        click.echo(json_text(document("capture", file=str(file), blocks=[start, end - 1], dropped=blocks.dropped)))
    else:
        click.echo(f"{file}: feed {feed}, blocks {start} to {end - 1} of {log}")
        if blocks.dropped:
            click.echo(
                f"{blocks.dropped} of these blocks have no payload any more: what they held is missing", err=True
            )
    return 1 if blocks.dropped else 0


class _Blocks:
    """The records of a run of blocks; counts those whose payload was dropped."""

    def __init__(self, stored: Reader, log: LogId, start: int, end: int) -> None:
        self._stored = stored
        self._log = log
        self._start = start
        self._end = end
        self.dropped = 0

    def __iter__(self) -> Iterator[Mapping[str, tuple[Record, ...]]]:
        for done, block in enumerate(self._stored.blocks(self._log, self._start, self._end)):
            if done % _PROGRESS_BLOCKS == 0:
                show_progress(f"{done} of {self._end - self._start} blocks")
            if block.groups is None:
                self.dropped += 1
            else:
                yield block.groups


def _told_by_configuration(configuration: Configuration, box: str, feed: str) -> dict[str, Any]:
    """Driver, transport and line, which the log does not hold: known here only of this box's present feeds."""
    section = next((section for section in configuration.feed if section.name == feed), None)
    if section is None or box != configuration.box.id:
        return {"driver": "", "transport": ""}
    transport = next((kind for kind in _TRANSPORTS if getattr(section, kind) is not None), "")
    told: dict[str, Any] = {"driver": section.driver, "transport": transport, "options": section.options}
    if section.serial is not None:
        told["line"] = section.serial.line
    return told
