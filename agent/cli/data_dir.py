"""Commands that read a box's store themselves: where it is, and opening it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

from agent.cli.context import Settings

_F = TypeVar("_F", bound=Callable[..., Any])


def data_dir_option(command: _F) -> _F:
    """Add ``--data-dir``."""
    return click.option(
        "--data-dir",
        type=click.Path(path_type=Path),
        metavar="DIR",
        help="A box's data folder; else the one of the configuration.",
    )(command)


def data_dir_of(settings: Settings, given: Path | None) -> Path:
    """The folder given, else the configuration's. Raises ConfigurationFault."""
    return given if given is not None else Path(settings.configuration().box.data_dir)
