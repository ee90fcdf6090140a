"""How far a long command is, for a person who waits: one line or a bar on the error output, lines with ``--json``."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import click

from agent.cli.context import Settings, document, json_text

Progress = Callable[[int, int], None]
"""Told how much is done, of how much."""
_JSON_EVERY_S = 1.0


def show_progress(text: str) -> None:
    """Replace the line."""
    if sys.stderr.isatty():
        click.echo(f"\r{text}\033[K", nl=False, err=True)


def clear_progress() -> None:
    """Take the line away."""
    show_progress("")


@contextmanager
def progress_of(doing: str, settings: Settings, *, told_as: str = "", in_bytes: bool = False) -> Iterator[Progress]:
    """``doing`` names it before the bar. ``told_as`` names what ``--json`` counts, else it has no lines."""
    if settings.json and told_as:
        yield _json_lines(told_as)
        return
    if settings.json or not sys.stderr.isatty():
        yield lambda _done, _total: None
        return
    from rich.console import Console
    from rich.progress import Progress as Bar
    from rich.progress import TextColumn

    with Bar(TextColumn(doing), *_columns(in_bytes=in_bytes), console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task(doing, total=None)
        yield lambda done, total: bar.update(task, completed=done, total=total)


def _columns(*, in_bytes: bool) -> list[Any]:
    from rich.progress import BarColumn, DownloadColumn, MofNCompleteColumn, TimeRemainingColumn, TransferSpeedColumn

    counted = [DownloadColumn(), TransferSpeedColumn()] if in_bytes else [MofNCompleteColumn()]
    return [BarColumn(), *counted, TimeRemainingColumn()]


def _json_lines(told_as: str) -> Progress:
    began = said = time.monotonic()

    def progress(done: int, total: int) -> None:
        nonlocal said
        now = time.monotonic()
        if now - said >= _JSON_EVERY_S:
            said = now
            told = document("restore-box-progress", what=told_as, done=done, total=total, seconds=now - began)
            click.echo(json_text(told))

    return progress
