"""One line of progress on the error output, for a person who waits; nothing where nobody looks."""

from __future__ import annotations

import sys

import click


def show_progress(text: str) -> None:
    """Replace the line."""
    if sys.stderr.isatty():
        click.echo(f"\r{text}\033[K", nl=False, err=True)


def clear_progress() -> None:
    """Take the line away."""
    show_progress("")
