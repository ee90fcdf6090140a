"""What every command shares: where the configuration is, whether to answer in JSON, how to reach the agent."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import click
import msgspec

from agent import config
from agent.control_client import ControlClient
from ledger.errors import OrledgerError

CONFIG_VARIABLE = "ORLEDGER_CONFIG"

_F = TypeVar("_F", bound=Callable[..., Any])


@dataclass(slots=True)
class Settings:
    """The common options as given, before or after the command's name."""

    config_path: Path = config.DEFAULT_PATH
    json: bool = False

    def configuration(self) -> config.Configuration:
        """The configuration file, read anew. Raises ConfigurationFault."""
        return config.read(self.config_path)

    def client(self, timeout_s: float = 10.0) -> ControlClient:
        """The running agent of this configuration; asking it may raise AgentUnreachable."""
        return ControlClient(self.configuration().box.control_socket, timeout_s)

    def put_on_chain(self, command: str, **arguments: object) -> int | None:
        """The block in which the agent recorded what was done; None, and why on the error output, when it did not:
        what was done was done.
        """
        try:
            return int(self.client().ask(command, **arguments)["recorded_in_block"])
        except OrledgerError as fault:
            next_step = f" Next: {fault.next_step}" if fault.next_step else ""
            click.echo(f"not recorded on a chain: {fault.text}{next_step}", err=True)
            return None


pass_settings = click.make_pass_decorator(Settings, ensure=True)


def common_options(command: _F) -> _F:
    """Add ``--config`` and ``--json``; their values land in the ``Settings`` of ``pass_settings``."""
    with_json = click.option(
        "--json", is_flag=True, default=None, expose_value=False, callback=_keep_json, help="Answer in JSON."
    )
    with_config = click.option(
        "--config",
        type=click.Path(path_type=Path),
        default=None,
        metavar="FILE",
        expose_value=False,
        callback=_keep_config,
        help=f"Configuration; else ${CONFIG_VARIABLE}, else {config.DEFAULT_PATH}.",
    )
    return with_config(with_json(command))


def json_text(document: msgspec.Struct | dict[str, object]) -> str:
    """A document as one line of JSON."""
    return msgspec.json.encode(document).decode()


def document(name: str, **fields: object) -> dict[str, object]:
    """A JSON document of the command line: its ``schema`` and version first. Fields are only added within a version."""
    return {"schema": f"orledger.{name}/1", "v": 1, **fields}


def _keep_config(context: click.Context, _parameter: click.Parameter, value: Path | None) -> None:
    if value is not None:
        context.ensure_object(Settings).config_path = value


def _keep_json(context: click.Context, _parameter: click.Parameter, value: bool | None) -> None:
    if value:
        context.ensure_object(Settings).json = True
