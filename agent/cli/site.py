"""``orledger site``: the site's manifest, as it is in force here, and how a newer one comes into force."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import click

from agent.cli.context import Settings, common_options, document, json_text, pass_settings
from ledger.errors import BadInput
from ledger.limits import LIMITS

_TIMEOUT_S = 30.0


@click.group("site")
def command() -> None:
    """Show the site's manifest, or put a newer one into force."""


@command.command("show")
@common_options
@pass_settings
def show(settings: Settings) -> int:
    """Say which manifest is in force here, and which boxes it lists."""
    _print(settings, "site-show", settings.client().ask("manifest"))
    return 0


@command.command("offer")
@click.argument("file", type=click.Path(path_type=Path))
@common_options
@pass_settings
def offer(settings: Settings, *, file: Path) -> int:
    """Put the signed manifest in FILE into force, here and from here on every box of the site.

    It must be the next version, signed by thresholds of the site keys of both versions. Boxes that it adds are
    connected, boxes that it removes are cut off, and no box restarts. Offering it again changes nothing.
    """
    try:
        with file.open("rb") as opened:
            data = opened.read(LIMITS.manifest_bytes + 1)
    except OSError as error:
        raise BadInput("site.unreadable", f"{file}: {error.strerror}", "name a readable file") from error
    _print(settings, "site-offer", settings.client(_TIMEOUT_S).ask("offer_manifest", manifest=data.hex()))
    return 0


def _print(settings: Settings, name: str, answer: Mapping[str, Any]) -> None:
    if settings.json:
        click.echo(json_text(document(name, **answer)))
        return
    click.echo(f"site {answer['site']}, manifest version {answer['version']}, {answer['manifest'][:16]}…")
    for change in ("added", "removed", "changed"):
        boxes: Sequence[str] = answer.get(change, ())
        if boxes:
            click.echo(f"{change}: {', '.join(boxes)}")
    if "new" in answer and not answer["new"]:
        click.echo("It was in force already.")
    for box in answer["boxes"]:
        click.echo(f"  {box['id']:<10}{box['room']:<12}{box['address']:<24}{box['signing_public'][:16]}…")
    if answer.get("new"):
        click.echo("Next: orledger status, here and on the other boxes")
