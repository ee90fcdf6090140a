"""``orledger demo``: three boxes on this machine, five disasters, one table."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import click

from agent.cli.context import Settings, common_options, document, json_text, pass_settings

if TYPE_CHECKING:
    from agent.demo.view import View

_CLAIM_FAILED = 1
_FEEDS_EVERY_S = 8.0


@click.command("demo")
@click.option(
    "--room",
    type=click.Choice(("small", "full")),
    default="small",
    show_default=True,
    help="full: nine feeds from monitor to robot, C-arm and hospital systems, and what happens to them.",
)
@click.option("--keep", is_flag=True, help="Keep the folder with keys, stores and logs.")
@common_options
@pass_settings
def command(settings: Settings, *, room: str, keep: bool) -> int:
    """Run three boxes with simulated devices on this machine, and let things go wrong.

    A box is killed while messages stream in, a network is cut, a stored byte is changed, a stolen key signs a second
    history, a box is destroyed. With --room full one room has all its devices, a C-arm that stores images, and the
    hospital's systems that open its case: cables are pulled, a device reboots, the room's box dies, its values, last
    image and case come back, and what it all costs the box is measured.

    Ends with a table of what is claimed and what was measured. Exit code 0 only if every claim holds. Takes about a
    minute, needs no root, uses a temporary folder and free ports of 127.0.0.1. With --json the story goes to standard
    error.
    """
    from agent.demo.run import run_demo

    full_room = room == "full"
    view = _view(settings, feeds=full_room)
    try:
        outcome = run_demo(view, keep=keep, full_room=full_room)
        view.end(outcome.claims)
    finally:
        view.close()
    if settings.json:
        click.echo(json_text(document("demo", room=room, **outcome.fields())))
    else:
        held = sum(claim.passed for claim in outcome.claims)
        click.echo(f"{held} of {len(outcome.claims)} claims hold; {outcome.seconds:.0f} s.")
        if outcome.kept is not None:
            click.echo(f"kept: {outcome.kept}")
    return 0 if outcome.passed else _CLAIM_FAILED


def _view(settings: Settings, *, feeds: bool) -> View:
    from agent.demo.view import PlainView, TerminalView

    if settings.json or not sys.stdout.isatty():
        out = sys.stderr if settings.json else sys.stdout
        return PlainView(out, feeds=True, every_s=_FEEDS_EVERY_S) if feeds else PlainView(out)
    from rich.console import Console

    return TerminalView(Console(highlight=False), feeds=feeds)
