"""``orledger drill``: proves now that each peer's state could be restored here, before it must be."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import click

from agent.cli.context import Settings, common_options, document, json_text, pass_settings
from ledger.errors import VerificationFailed

_TIMEOUT_S = 30.0


@click.command("drill")
@click.argument("boxes", nargs=-1, metavar="[BOX…]")
@common_options
@pass_settings
def command(settings: Settings, *, boxes: tuple[str, ...]) -> int:
    """Restore each BOX (all peers if none is named) into nowhere, verify it, and record the result on the chain.

    Exit code 0 when every drill succeeded, 76 when one failed.
    """
    rows = list(settings.client(_TIMEOUT_S).request("drill", boxes=list(boxes)))
    good = all(row["verified"] for row in rows)
    if settings.json:
        click.echo(json_text(document("drill", good=good, drills=rows)))
    else:
        _show(rows)
    return 0 if good else VerificationFailed.exit_code


def _show(rows: list[Mapping[str, Any]]) -> None:
    from rich.console import Console
    from rich.table import Table

    if not rows:
        click.echo("This box has no peers to drill.")
        return
    table = Table(box=None, header_style="bold", pad_edge=False)
    for name in ("BOX", "RESULT", "LEVEL", "VOUCH", "BLOCKS", "TOOK", "RECORDED"):
        table.add_column(name, justify="right" if name in {"BLOCKS", "TOOK", "RECORDED"} else "left")
    for row in rows:
        vouch = f"{row['vouching']} of {row['peers']}" if row["verified"] else "–"
        table.add_row(
            row["box"], "verified" if row["verified"] else "FAILED", row["level"] or "–", vouch,
            f"{row['blocks']:,}", f"{row['elapsed_ms']:.0f} ms", f"block {row['recorded_in_block']:,}",
        )  # fmt: skip
    Console(highlight=False).print(table)
    for row in rows:
        if row["error"] is not None:
            click.echo(f"{row['box']}: {row['error']['text']}. Next: {row['error']['next']}")
