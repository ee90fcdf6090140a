"""``orledger capture``: record what a device says, play it back, see what a driver makes of it."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click
import msgspec

from agent.cli.capture_export import export
from agent.cli.context import Settings, common_options, document, json_text, pass_settings
from agent.cli.progress import clear_progress, show_progress
from ledger.errors import BadInput, OperatorFault

if TYPE_CHECKING:
    from agent.capture_player import Stage
    from agent.capture_recorder import CaptureRecorder
    from drivers.capture import CaptureHeader, CaptureItem
    from drivers.contract import Driver
    from drivers.replay import Replay
    from drivers.transports.links import LinkTransport
    from ledger.records import Record

_NETWORK: Final = ("mllp", "tcp", "udp")
_PROGRESS_S: Final = 1.0


@click.group("capture")
def command() -> None:
    """Record device captures, play them back, decode them.

    A capture holds what was said about a patient until somebody has removed it and said so in its header.
    """


command.add_command(export)


@command.command("record")
@click.argument("source")
@click.argument("file", type=click.Path(path_type=Path))
@click.option("--driver", "driver_name", help="Let this driver talk to the device; without one nothing is ever sent.")
@click.option("--options", default="{}", metavar="JSON", help="The driver's options, as in the configuration.")
@click.option("--line", metavar="LINE", help="A serial port's settings, like '19200 8E1'; else the driver's first.")
@click.option("--rtscts", is_flag=True, help="Use the serial port's hardware flow control.")
@click.option("--allow", multiple=True, metavar="ADDRESS", help="Who may send to a listener; may be given repeatedly.")
@click.option("--feed", default="capture", show_default=True, help="The feed's name in the capture.")
@click.option("--for", "seconds", type=click.FloatRange(min=0, min_open=True), help="Stop after so many seconds.")
@common_options
@pass_settings
def record(  # noqa: PLR0913 - click passes each option as an argument
    settings: Settings,
    *,
    source: str,
    file: Path,
    driver_name: str | None,
    options: str,
    line: str | None,
    rtscts: bool,
    allow: tuple[str, ...],
    feed: str,
    seconds: float | None,
) -> int:
    """Record SOURCE to a new FILE until interrupted: a serial port; tcp:HOST:PORT or udp:HOST:PORT of a device; or
    mllp:HOST:PORT to listen for HL7 senders.

    An HL7 sender stops after its first message unless it is answered: give it --driver hl7.
    """
    from agent.capture_recorder import CaptureRecorder
    from agent.clock import read_now, read_quality
    from drivers.capture import CaptureHeader, CaptureWriter, t0_text
    from drivers.capture_file import NewCapture

    driver, plain_options = _driver(driver_name, options)
    line = _line(source, line, driver)
    transport = _transport(source, line, rtscts, allow)
    header = CaptureHeader(
        orcap=1,
        driver=driver_name or "",
        feed=feed,
        transport=_kind(source),
        line=line or "",
        t0=t0_text(read_now().utc_ns),
        clock=read_quality().state.name.lower(),
        options=plain_options,
        scrubbed=False,
    )
    with NewCapture(file) as new:
        writer = CaptureWriter(new.stream, header)
        recorder = CaptureRecorder(writer, new.sync, transport, driver, read_now)
        asyncio.run(_record(recorder, seconds))
        writer.finish()
    _say(settings, f"{file}: {writer.lines} lines", file=str(file), **recorder.counters)
    return 0


@command.command("replay")
@click.argument("file", type=click.Path(path_type=Path))
@click.option("--to", "target", required=True, metavar="WHERE", help="decode, tcp://HOST:PORT, or pty.")
@click.option("--speed", default="1", show_default=True, metavar="N|max", help="Times as fast as it was, or max.")
@common_options
@pass_settings
def replay(settings: Settings, *, file: Path, target: str, speed: str) -> int:
    """Play what the device sent in FILE: into its driver, to a listener, or as a serial device behind a pty."""
    from drivers.capture_file import open_capture

    pace = _pace(speed)
    with open_capture(file) as capture:
        if target == "decode":
            driver = _driver_of(capture.header, None, None)
            asyncio.run(_decode_paced(driver, capture.header, capture, pace))
            return 0
        counters = asyncio.run(_play(capture, target, pace))
    _say(settings, f"{counters['bytes_sent']} bytes sent, {counters['bytes_answered']} bytes came back", **counters)
    return 0


@command.command("decode")
@click.argument("file", type=click.Path(path_type=Path))
@click.option("--driver", "driver_name", help="Another driver than the capture's own.")
@click.option("--options", metavar="JSON", help="Other options than the capture's own.")
@click.option("--compare", is_flag=True, help="Exit 1 unless the driver sends what the capture says was sent.")
def decode(*, file: Path, driver_name: str | None, options: str | None, compare: bool) -> int:
    """Print what a driver makes of FILE: its records, one line of JSON each."""
    from drivers.capture_file import open_capture
    from drivers.contract import Emit
    from drivers.replay import Replay

    with open_capture(file) as capture:
        driver = _driver_of(capture.header, driver_name, options)
        playing = Replay(driver, capture.header.t0_ns)
        count = 0
        for step in playing.steps(capture):
            for action in step.actions:
                if isinstance(action, Emit):
                    _print_record(action.record)
                    count += 1
    click.echo(f"{count} records", err=True)
    return 1 if _differences(playing) and compare else 0


async def _record(recorder: CaptureRecorder, seconds: float | None) -> None:
    stopped = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stopped.set)
    if seconds is not None:
        loop.call_later(seconds, stopped.set)

    def progress() -> None:
        recorder.sync()
        show_progress(f"{recorder.counters['lines']} lines, {recorder.counters['bytes_in']} bytes in")
        loop.call_later(_PROGRESS_S, progress)

    loop.call_soon(progress)
    await recorder.run(stopped)


async def _decode_paced(
    driver: Driver, header: CaptureHeader, items: Iterable[CaptureItem], speed: float | None
) -> None:
    from agent.capture_player import paced
    from drivers.contract import Emit
    from drivers.replay import Replay

    playing = Replay(driver, header.t0_ns)
    async for item in paced(items, speed):
        for step in playing.steps((item,)):
            for action in step.actions:
                if isinstance(action, Emit):
                    _print_record(action.record)
    _differences(playing)


async def _play(items: Iterable[CaptureItem], target: str, speed: float | None) -> Mapping[str, int]:
    from agent.capture_player import PtyStage, TcpStage, play

    stage: Stage
    if target == "pty":
        terminal = PtyStage()
        click.echo(f"the device is at {terminal.path}", err=True)
        stage = terminal
    elif target.startswith("tcp://"):
        host, _, port = target.removeprefix("tcp://").rpartition(":")
        if not host or not port.isdecimal():
            raise OperatorFault("capture.target", f"{target!r} is no address", "write it like tcp://10.20.3.13:2575")
        stage = TcpStage(host.removeprefix("[").removesuffix("]"), int(port))
    else:
        raise OperatorFault(
            "capture.target", f"{target!r} is no place to play to", "use decode, tcp://HOST:PORT or pty"
        )
    try:
        await play(items, stage, speed)
    finally:
        await stage.close()
    return stage.counters


def _driver(name: str | None, options: str) -> tuple[Driver | None, dict[str, Any]]:
    try:
        plain = msgspec.json.decode(options, type=dict[str, Any])
    except msgspec.DecodeError as error:
        raise OperatorFault("capture.options", f"--options is no JSON object: {error}") from error
    return (None if name is None else _made(name, plain)), plain


def _driver_of(header: CaptureHeader, name: str | None, options: str | None) -> Driver:
    name = name or header.driver
    if not name:
        raise OperatorFault("capture.no-driver", "the capture names no driver", "give --driver")
    if options is None:
        return _made(name, header.options)
    driver, _ = _driver(name, options)
    if driver is None:
        raise OperatorFault("capture.no-driver", "the capture names no driver", "give --driver")
    return driver


def _made(name: str, options: Mapping[str, Any]) -> Driver:
    from drivers import registry

    kind: Any = registry.get(name)
    try:
        driver: Driver = kind(msgspec.convert(options, kind.spec.config))
    except msgspec.ValidationError as error:
        raise BadInput("capture.options", f"driver {name!r} does not take these options: {error}") from error
    return driver


def _kind(source: str) -> str:
    """The transport that SOURCE means."""
    kind = source.partition(":")[0]
    return kind if kind in _NETWORK else "serial"


def _line(source: str, line: str | None, driver: Driver | None) -> str | None:
    if _kind(source) != "serial":
        return None
    likely = driver.spec.serial_lines if driver is not None else ()
    if line is None and not likely:
        raise OperatorFault("capture.line", "the serial line's settings are not known", "give --line '19200 8E1'")
    return line or likely[0]


def _transport(source: str, line: str | None, rtscts: bool, allow: tuple[str, ...]) -> LinkTransport:
    from agent.clock import read_now
    from agent.config import host_port
    from drivers.transports.addresses import TcpConfig, UdpConfig
    from drivers.transports.mllp_listener import MllpConfig, MllpListener
    from drivers.transports.serial_config import SerialConfig, SerialLine
    from drivers.transports.serial_port import SerialPort
    from drivers.transports.tcp_client import TcpClient
    from drivers.transports.udp_socket import UdpSocket

    kind = _kind(source)
    where = source.removeprefix(f"{kind}:")
    if kind == "mllp":
        return MllpListener(MllpConfig.parse(where, list(allow)), read_now)
    if kind == "tcp":
        return TcpClient(TcpConfig(*host_port(where, "SOURCE")), read_now)
    if line is None:
        return UdpSocket(UdpConfig(*host_port(where, "SOURCE")), read_now)
    return SerialPort(SerialConfig(source, SerialLine.parse(line), rtscts), read_now)


def _pace(speed: str) -> float | None:
    if speed == "max":
        return None
    try:
        pace = float(speed)
    except ValueError:
        pace = 0.0
    if not 0 < pace < float("inf"):
        raise OperatorFault("capture.speed", f"{speed!r} is no speed", "give a number above 0, or max")
    return pace


def _print_record(record: Record) -> None:
    from ledger.record_json import record_to_json

    click.echo(json_text(record_to_json(record)))


def _differences(playing: Replay) -> bool:
    """Say on the error output where the driver sends other bytes than the capture; whether it does."""
    captured = any(sent.captured for sent in playing.sent.values())
    differ = False
    for link, sent in playing.sent.items():
        if captured and (place := sent.differs_at) is not None:
            differ = True
            click.echo(f"link {link}: what the driver sends differs from the capture from byte {place} on", err=True)
    return differ


def _say(settings: Settings, text: str, **fields: object) -> None:
    clear_progress()
    click.echo(json_text(document("capture", **fields)) if settings.json else text)
