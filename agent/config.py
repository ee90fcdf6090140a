"""The box's configuration file: TOML in, frozen structures out, errors that name the spot (``$.feed[1].serial.line``).

Peers, keys and quorum live in the manifest, never here. What a feed's driver wants is checked by ``agent.feed_config``,
so that reading this file needs no driver.
"""

from __future__ import annotations

import ipaddress
import re
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Literal, ParamSpec, TypeVar

import msgspec

from agent.feed_sections import FeedSection
from ledger.errors import ConfigurationFault, OrledgerError
from ledger.limits import LIMITS
from ledger.log import require_name

DEFAULT_PATH = Path("/etc/orledger/config.toml")
DEFAULT_RUNTIME_DIR = "/run/orledger"
CONTROL_SOCKET_NAME = "control.sock"

_FEED_NAME = re.compile(r"[a-z0-9](?:[a-z0-9-]{0,30}[a-z0-9])?")
_MOST_DRILL_HOURS = 8_760
_MOST_CASE_HOURS = 8_760
_TRIGGER = re.compile(r"[A-Z]{3}\^[A-Z][A-Z0-9]{2}(?::[A-Z0-9 _-]{1,32})?")
_LABEL = r"[A-Za-z0-9](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?"
_HOST_NAME = re.compile(rf"(?=.{{1,253}}$){_LABEL}(?:\.{_LABEL})*")
_P = ParamSpec("_P")
_T = TypeVar("_T")


class BoxSection(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Who this box is. ``runtime_dir`` holds the control socket and restored state files."""

    site: str
    id: str
    room: str
    data_dir: str
    runtime_dir: str = DEFAULT_RUNTIME_DIR

    @property
    def control_socket(self) -> Path:
        """Where the command line reaches the agent."""
        return Path(self.runtime_dir) / CONTROL_SOCKET_NAME


class StoreSection(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Payloads older than ``retention_days`` go, a case's counted from its close; with less than ``reserve_gib`` free
    the oldest go earlier, and with less than half of it blocks of other boxes are not taken. Headers stay; with
    ``log_retention_days`` whole closed logs go after that time, None for never.
    """

    reserve_gib: int = 4
    retention_days: int = 30
    log_retention_days: int | None = None


class ReplicationSection(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Where this box's broker listens, which broker that is, and peers' addresses that differ from the manifest's."""

    listen: str
    broker: Literal["embedded", "mosquitto"] = "embedded"
    address: dict[str, str] = {}


class PageSection(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Where metrics and health can be read over HTTP, without a password: by default from this machine only."""

    listen: str = "127.0.0.1:8440"


class ConsoleHl7(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """An HL7 console; only with its vendor's consent, because old values look live. ``to``: ``mllp://host:port``."""

    to: str


class ConsoleMqtt(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A broker for restored states, retained under ``<topic>/<box>``. With ``ca_file`` over TLS, checked against it."""

    host: str
    port: int
    topic: str = "orledger/restored"
    ca_file: str | None = None
    username: str | None = None
    password_file: str | None = None


class RestoreSection(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Boxes this one restores by itself when they fall silent, and where restored values are put; ``drill_hours``
    between restore drills, 0 for none.
    """

    standby_for: tuple[str, ...] = ()
    drill_hours: int = 24
    console_out: tuple[Literal["file", "hl7", "mqtt"], ...] = ("file",)
    hl7: ConsoleHl7 | None = None
    mqtt: ConsoleMqtt | None = None


class CaseSection(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What opens and closes the room's case (docs/cases.md). ``open_on`` and ``close_on``: kinds of HL7 messages, like
    ``ADT^A01``, or with a status ``SIU^S14:STARTED``. ``close_on_leaving``: a transfer out of the room closes, too.
    ``close_after_h``: hours without a sign of the patient after which it is closed by rule; 0 for never.
    """

    open_on: tuple[str, ...] = ("ADT^A01", "ADT^A02", "ADT^A04", "ADT^A13", "ADT^A17")
    close_on: tuple[str, ...] = ("ADT^A03", "ADT^A11")
    close_on_leaving: bool = True
    close_after_h: int = 12


class Configuration(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The whole file. Without ``[replication]`` the box records alone; without ``[page]`` nothing is served by HTTP."""

    box: BoxSection
    store: StoreSection = StoreSection()
    replication: ReplicationSection | None = None
    restore: RestoreSection = RestoreSection()
    case: CaseSection = CaseSection()
    page: PageSection | None = None
    feed: tuple[FeedSection, ...] = ()


def fault(spot: str, what: str, next_step: str = "correct the configuration file") -> ConfigurationFault:
    """The one form of a configuration error: where, what, what to do."""
    return ConfigurationFault("config.invalid", f"{spot}: {what}", next_step)


def read(path: Path) -> Configuration:
    """The configuration in a file. Raises ConfigurationFault, its text beginning with the file's name."""
    try:
        with path.open("rb") as file:
            content = file.read(LIMITS.configuration_bytes + 1)
    except OSError as error:
        raise ConfigurationFault(
            "config.unreadable",
            f"{path}: {error.strerror or error}",
            "write it, name another with --config, or run as a user who may read it",
        ) from error
    try:
        return parse(content)
    except ConfigurationFault as error:
        raise ConfigurationFault(error.id, f"{path}: {error.text}", error.next_step) from error


def parse(content: bytes) -> Configuration:
    """The configuration in these bytes (TOML 1.0, UTF-8). Raises ConfigurationFault and nothing else."""
    if len(content) > LIMITS.configuration_bytes:
        raise fault("$", f"larger than {LIMITS.configuration_bytes} bytes")
    try:
        document = tomllib.loads(content.decode())
    except UnicodeDecodeError as error:
        raise ConfigurationFault(
            "config.syntax", f"byte {error.start} is not UTF-8", "save the file as UTF-8"
        ) from error
    except (ValueError, RecursionError) as error:  # TOMLDecodeError, and numbers or nesting beyond what Python takes
        raise ConfigurationFault("config.syntax", f"not TOML: {error}", "correct the configuration file") from error
    configuration = convert(document, Configuration, "$")
    _check_box(configuration.box)
    _check_store(configuration.store)
    _check_case(configuration.case)
    _check_boxes_named(configuration)
    _check_feeds(configuration.feed)
    return configuration


def convert(value: object, kind: type[_T], spot: str) -> _T:
    """``value``, strictly, as ``kind``. Raises ConfigurationFault with the exact spot below ``spot``."""
    try:
        return msgspec.convert(value, kind, strict=True)
    except msgspec.ValidationError as error:
        what, _, path = str(error).partition(" - at `")
        raise fault(spot + path.removesuffix("`").removeprefix("$"), _lower_first(what)) from error


def at_spot(spot: str, check: Callable[_P, _T], *arguments: _P.args, **named: _P.kwargs) -> _T:
    """The result of ``check(...)``; its error, whatever its kind, as a ConfigurationFault at ``spot``."""
    try:
        return check(*arguments, **named)
    except OrledgerError as error:
        raise ConfigurationFault(error.id, f"{spot}: {error.text}", error.next_step) from error


def host_port(text: str, spot: str) -> tuple[str, int]:
    """Host and port of ``10.20.3.13:8883``, ``[::1]:8883`` or ``box.example:8883``. Raises ConfigurationFault."""
    host, _, port = text.rpartition(":")
    if not (port.isascii() and port.isdecimal() and len(port) <= 5 and 0 < int(port) <= 65_535):
        raise fault(spot, f"{text!r} is not an address with a port", "write it like 10.20.3.13:8883")
    if not _is_host(host):
        raise fault(spot, f"{host!r} is neither an address nor a host name", "write it like 10.20.3.13:8883")
    return host.removeprefix("[").removesuffix("]"), int(port)


def host_and_port(host: str, port: int, spot: str) -> tuple[str, int]:
    """A host and a port given apart, checked; an IPv6 address stands without brackets. Raises ConfigurationFault."""
    if not _is_host(f"[{host}]" if ":" in host else host):
        raise fault(f"{spot}.host", f"{host!r} is neither an address nor a host name", "write it like 10.20.3.13")
    if not 0 < port < 65_536:
        raise fault(f"{spot}.port", "must be 1 to 65535")
    return host, port


def _is_host(host: str) -> bool:
    try:
        if host.startswith("[") and host.endswith("]"):
            ipaddress.IPv6Address(host[1:-1])
            return True
        ipaddress.IPv4Address(host)
    except ValueError:
        # Digits and dots alone are an address gone wrong, not a name.
        return _HOST_NAME.fullmatch(host) is not None and not host.replace(".", "").isdecimal()
    return True


def _check_box(box: BoxSection) -> None:
    at_spot("$.box.site", require_name, box.site, "site")
    at_spot("$.box.id", require_name, box.id, "box id")
    if not 0 < len(box.room) < 128 or not box.room.isprintable():
        raise fault("$.box.room", "must be 1 to 127 printable characters")
    for key in ("data_dir", "runtime_dir"):
        directory: str = getattr(box, key)
        if not directory.startswith("/") or "\0" in directory:
            raise fault(f"$.box.{key}", f"{directory!r} is not an absolute path", "write it like /var/lib/orledger")


def _check_store(store: StoreSection) -> None:
    for key in ("reserve_gib", "retention_days"):
        if not 0 < getattr(store, key) < 1 << 20:
            raise fault(f"$.store.{key}", f"must be at least 1 and below {1 << 20}")
    log_days = store.log_retention_days
    if log_days is not None and not store.retention_days <= log_days < 1 << 20:
        raise fault(
            "$.store.log_retention_days", f"must be at least retention_days ({store.retention_days}): payloads go first"
        )


def _check_case(case: CaseSection) -> None:
    for key in ("open_on", "close_on"):
        for index, trigger in enumerate(getattr(case, key)):
            if not _TRIGGER.fullmatch(trigger):
                what = f"{trigger!r} is no kind of message"
                raise fault(f"$.case.{key}[{index}]", what, "write it like ADT^A01, or with a status SIU^S14:STARTED")
    twice = sorted(set(case.open_on) & set(case.close_on))
    if twice:
        raise fault("$.case.close_on", f"{twice[0]!r} is in open_on too: it cannot do both", "take it out of one")
    if not 0 <= case.close_after_h <= _MOST_CASE_HOURS:
        raise fault("$.case.close_after_h", f"must be 0 (never) to {_MOST_CASE_HOURS}")


def _check_boxes_named(configuration: Configuration) -> None:
    own = configuration.box.id
    if configuration.replication is not None:
        host_port(configuration.replication.listen, "$.replication.listen")
        for box_id, address in configuration.replication.address.items():
            spot = f"$.replication.address.{box_id}"
            at_spot(spot, require_name, box_id, "box id")
            host_port(address, spot)
    if configuration.page is not None:
        host_port(configuration.page.listen, "$.page.listen")
    _check_consoles(configuration.restore)
    for index, box_id in enumerate(configuration.restore.standby_for):
        spot = f"$.restore.standby_for[{index}]"
        at_spot(spot, require_name, box_id, "box id")
        if box_id == own:
            raise fault(spot, f"{own} cannot stand by for itself", "name another box")
    if configuration.restore.standby_for and configuration.replication is None:
        raise fault("$.restore.standby_for", "needs a [replication] section", "add [replication] with listen")


def _check_consoles(restore: RestoreSection) -> None:
    if not 0 <= restore.drill_hours <= _MOST_DRILL_HOURS:
        raise fault("$.restore.drill_hours", f"must be 0 (off) to {_MOST_DRILL_HOURS}")
    for kind, section in (("hl7", restore.hl7), ("mqtt", restore.mqtt)):
        if kind in restore.console_out and section is None:
            raise fault(f"$.restore.{kind}", f"console_out names {kind!r}", f"say where: [restore.{kind}]")
        if section is not None and kind not in restore.console_out:
            raise fault("$.restore.console_out", f"[restore.{kind}] is there, but {kind!r} is not listed", "list it")
    if restore.mqtt is not None and not 0 < restore.mqtt.port < 65_536:
        raise fault("$.restore.mqtt.port", "must be 1 to 65535")


def _check_feeds(feeds: tuple[FeedSection, ...]) -> None:
    if len(feeds) > LIMITS.feeds:
        raise fault("$.feed", f"more than {LIMITS.feeds} feeds")
    names: dict[str, int] = {}
    ports: dict[str, int] = {}
    for index, feed in enumerate(feeds):
        spot = f"$.feed[{index}]"
        if not _FEED_NAME.fullmatch(feed.name):
            raise fault(f"{spot}.name", f"{feed.name!r} is not a feed name", "use 1 to 32 of a to z, 0 to 9 and hyphen")
        if names.setdefault(feed.name, index) != index:
            raise fault(
                f"{spot}.name", f"{feed.name!r} is already $.feed[{names[feed.name]}]", "give each its own name"
            )
        for key, place in _places(feed):
            if ports.setdefault(place, index) != index:
                raise fault(f"{spot}.{key}", f"{place!r} already belongs to $.feed[{ports[place]}]")


def _places(feed: FeedSection) -> list[tuple[str, str]]:
    places = []
    if feed.serial is not None:
        places.append(("serial.path", feed.serial.path))
    if feed.mllp is not None:
        places.append(("mllp.listen", feed.mllp.listen))
    if feed.tcp is not None and feed.tcp.listen is not None:
        places.append(("tcp.listen", feed.tcp.listen))
    elif feed.tcp is not None:
        places.append(("tcp.host", f"{feed.tcp.host}:{feed.tcp.port}"))
    if feed.tls is not None:
        places.append(("tls.listen", feed.tls.listen))
    if feed.mqtt is not None:
        places.append(("mqtt.topic", f"{feed.mqtt.host}:{feed.mqtt.port}/{feed.mqtt.topic}"))
    if feed.udp is not None:
        places.append(("udp.host", f"{feed.udp.host}:{feed.udp.port}/udp"))
    return places


def _lower_first(text: str) -> str:
    """Messages of msgspec begin with a capital; here a spot and a colon stand before them."""
    return text[:1].lower() + text[1:] if text[1:2].islower() else text
