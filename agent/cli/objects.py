"""``orledger objects``: what is kept beside the blocks, and how a person gets one out, proved."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

import click

from agent.cli.context import Settings, common_options, document, json_text, pass_settings
from agent.cli.data_dir import data_dir_of, data_dir_option
from ledger.errors import OperatorFault

if TYPE_CHECKING:
    from agent.object_reading import ObjectEntry, ObjectReader
    from agent.reading import Reader

_SHORT = 16
_FILE_WIDTH = 200
_UNKNOWN = "–"


@click.group("objects")
def command() -> None:
    """Images, videos and documents that are too large for a block, kept sealed beside the log."""


@command.command("list")
@click.option("--box", metavar="BOX", help="Only objects that this box recorded.")
@data_dir_option
@common_options
@pass_settings
def list_command(settings: Settings, *, box: str | None, data_dir: Path | None) -> int:
    """List every object that a block held here names: what it is, whether it lies here, who else holds it."""
    with _open(settings, data_dir) as (reader, objects):
        if box is not None:
            reader.logs_of(box)
        if settings.json:
            for entry in objects.entries(box):
                click.echo(json_text(document("object", **_fields(objects, entry))))
            return 0
        _show_table(list(objects.entries(box)))
    return 0


@command.command("show")
@click.argument("name")
@data_dir_option
@common_options
@pass_settings
def show_command(settings: Settings, *, name: str, data_dir: Path | None) -> int:
    """Show all that is known of the object whose NAME begins like this."""
    with _open(settings, data_dir) as (_, objects):
        entry = objects.find(name)
        fields = _fields(objects, entry)
        if settings.json:
            click.echo(json_text(document("object", **fields)))
            return 0
        width = max(len(key) for key in fields) + 2
        for key, value in fields.items():
            click.echo(f"{key.replace('_', ' '):<{width}}{_plain(value)}")
    return 0


@command.command("get")
@click.argument("name")
@click.option("--out", required=True, metavar="FILE", help="New file to write the content to; - for standard output.")
@data_dir_option
@common_options
@pass_settings
def get_command(settings: Settings, *, name: str, out: str, data_dir: Path | None) -> int:
    """Write the content of the object whose NAME begins like this to FILE, proved and bit for bit as it came.

    The file is in clear: it holds a patient's data from then on.
    """
    with _open(settings, data_dir) as (_, objects):
        entry = objects.find(name)
        if out == "-":
            _write(objects, entry, sys.stdout.buffer)
            return 0
        path = Path(out)
        if path.exists():
            raise OperatorFault("object.exists", f"{path} exists already", "name a new file")
        part = path.with_name(f".{path.name}.part")
        try:
            with _new_file(part) as file:
                size = _write(objects, entry, file)
            part.replace(path)
        except OSError as error:
            raise OperatorFault(
                "object.unwritable", f"cannot write {path}: {error.strerror}", "name another"
            ) from error
        finally:
            part.unlink(missing_ok=True)
    sha256 = entry.row.stored.sha256.hex()
    if settings.json:
        click.echo(json_text(document("object-content", object=sha256, file=str(path), bytes=size)))
    else:
        click.echo(f"{path}: {size:,} bytes, proved against object {sha256[:_SHORT]}")
    return 0


@contextmanager
def _new_file(path: Path) -> Iterator[BinaryIO]:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        yield file
        file.flush()
        os.fsync(file.fileno())


def _write(objects: ObjectReader, entry: ObjectEntry, file: BinaryIO) -> int:
    size = 0
    for content in objects.content(entry):
        file.write(content)
        size += len(content)
    return size


@contextmanager
def _open(settings: Settings, data_dir: Path | None) -> Iterator[tuple[Reader, ObjectReader]]:
    from agent.object_reading import ObjectReader
    from agent.reading import open_reader

    folder = data_dir_of(settings, data_dir)
    with open_reader(folder) as reader:
        yield reader, ObjectReader(reader, folder)


def _fields(objects: ObjectReader, entry: ObjectEntry) -> dict[str, object]:
    from agent.cli.verify_text import log_fields
    from ledger.record_json import utc_text

    row, record = entry.row, entry.record
    return {
        "object": row.stored.sha256.hex(),
        "state": row.state.name.lower(),
        "level": entry.level.name.lower(),
        "holders": list(entry.holders),
        "peers": entry.peers,
        "box": row.log.box,
        "feed": entry.feed or None,
        "log": log_fields(row.log),
        "seq": row.seq,
        "closed": None if entry.header is None else utc_text(entry.header.closed_ns),
        "media_type": None if record is None else record.media_type,
        "title": None if record is None else record.name,
        "bytes": None if record is None else record.size,
        "sealed_bytes": row.stored.sealed_bytes,
        "meta": None if record is None else dict(record.meta),
        "file": str(objects.folder.file_of(row.stored.sha256)),
    }


def _plain(value: object) -> str:
    match value:
        case None:
            return _UNKNOWN
        case bool() | str():
            return str(value)
        case int():
            return f"{value:,}"
        case list():
            return ", ".join(map(str, value)) or _UNKNOWN
        case dict():
            return ", ".join(f"{key}={each}" for key, each in value.items()) or _UNKNOWN
        case _:
            return str(value)


def _show_table(entries: list[ObjectEntry]) -> None:
    from rich.console import Console
    from rich.table import Table

    from ledger.record_json import utc_text

    if not entries:
        click.echo("No block held here names an object.")
        return
    table = Table(box=None, header_style="bold", pad_edge=False)
    for title in ("NAME", "BYTES", "WHAT", "CLOSED", "BOX", "FEED", "STATE", "HELD BY"):
        table.add_column(title, justify="right" if title == "BYTES" else "left", no_wrap=title == "NAME")
    for entry in entries:
        row, record = entry.row, entry.record
        what = _UNKNOWN if record is None else f"{record.name} ({record.media_type})".strip()
        size = row.stored.sealed_bytes if record is None else record.size
        closed = _UNKNOWN if entry.header is None else f"{utc_text(entry.header.closed_ns)[:19]}Z"
        table.add_row(
            row.stored.sha256.hex()[:_SHORT], f"{size:,}", what, closed, row.log.box, entry.feed or _UNKNOWN,
            row.state.name.lower(), f"{len(entry.holders)} of {entry.peers}, {entry.level.name.lower()}",
        )  # fmt: skip
    Console(highlight=False, width=None if sys.stdout.isatty() else _FILE_WIDTH).print(table)
