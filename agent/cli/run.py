"""``orledger run``: the agent itself, as systemd starts it."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import sys
from typing import TYPE_CHECKING

import click

from agent.cli.context import Settings, common_options, pass_settings
from agent.garbage import not_collected

if TYPE_CHECKING:
    from agent.node import Node

_SECOND_SIGNAL_EXIT = 75
_SWITCH_S = 0.0005  # how long the tick waits for a thread that computes, such as one that takes in an image


@click.command("run")
@click.option("--verbose", is_flag=True, help="Also tell what is normal.")
@common_options
@pass_settings
def command(settings: Settings, *, verbose: bool) -> int:
    """Record until SIGTERM. A second signal ends at once; what was acknowledged is on the disk either way."""
    logging.basicConfig(
        level=logging.INFO if verbose else logging.WARNING,
        format="%(levelname)s %(name)s: %(message)s",
        stream=sys.stderr,
    )
    with not_collected():
        from agent.node import Node

        node = Node(settings.configuration())
    sys.setswitchinterval(_SWITCH_S)
    return asyncio.run(_run(node))


async def _run(node: Node) -> int:
    stopping = False

    def on_signal() -> None:
        nonlocal stopping
        if stopping:
            os._exit(_SECOND_SIGNAL_EXIT)
        stopping = True
        node.stop()

    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, on_signal)
    return await node.run()
