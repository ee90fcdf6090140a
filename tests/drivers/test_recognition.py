"""Bytes of a line find their driver: every serial capture is known by its own driver, noise by none."""

from __future__ import annotations

import random
from decimal import Decimal
from pathlib import Path
from typing import Any, ClassVar

import msgspec
import pytest

from drivers import registry
from drivers.built_in import BUILT_IN
from drivers.capture import CaptureHeader
from drivers.capture_file import open_capture
from drivers.contract import Message, Now, Outbox, Spec, Transport
from drivers.ge_dri import GeDri
from drivers.recognition import lines, opening, recognised, serial_drivers
from ledger.records import Gap, Identity, LinkId, Numeric, Raw

CAPTURES = sorted((Path(__file__).parents[1] / "captures").glob("*.orcap*"))
KINDS = serial_drivers(registry.get(name) for name in BUILT_IN)
HEARD_BYTES = 6_000


def heard_in(path: Path) -> tuple[CaptureHeader, bytes]:
    with open_capture(path) as reader:
        received = [item.data for item in reader if isinstance(item, Raw) and item.direction == "<"]
        return reader.header, b"".join(received)[:HEARD_BYTES]


@pytest.mark.parametrize("path", CAPTURES, ids=lambda path: path.name)
def test_a_capture_is_known_by_its_own_driver_first(path: Path) -> None:
    header, data = heard_in(path)
    if not header.line or header.driver not in {kind.spec.name for kind in KINDS}:
        pytest.skip("not on a serial line, or not to be known without options")
    found = recognised(KINDS, header.line, data)
    assert [item.driver for item in found][:1] == [header.driver]
    assert dict(found[0].options).items() <= header.options.items()


@pytest.mark.parametrize(
    ("driver", "line", "data", "options"),
    [("hamilton", "9600 7E2", b"\x02\x3d  480\x03\r" * 3, {"protocol": "poll"}),
     ("pb840", "38400 8N1", b"BS, S:1,\n0.10, 5.00\nBE\n" * 3, {"port": "waves"})],
)  # fmt: skip
def test_options_without_which_nothing_would_be_read_are_told(
    driver: str, line: str, data: bytes, options: dict[str, str]
) -> None:
    (found, *_) = recognised(KINDS, line, data)
    assert (found.driver, dict(found.options)) == (driver, options)


@pytest.mark.parametrize("line", lines(kind.spec for kind in KINDS))
def test_noise_is_no_protocol(line: str) -> None:
    rng = random.Random(line)
    for data in (b"", bytes(2_000), b"\xff" * 2_000, rng.randbytes(4_000), b"login: \r\n" * 200):
        found = recognised(KINDS, line, data)
        assert not [item for item in found if item.frames >= 3], found


def test_the_likeliest_settings_come_first_and_each_once() -> None:
    listed = lines(kind.spec for kind in KINDS)
    assert len(set(listed)) == len(listed)
    assert listed[0] in {kind.spec.serial_lines[0] for kind in KINDS}
    assert set(listed) == {line for kind in KINDS for line in kind.spec.serial_lines}


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.spec.name)
def test_what_a_silent_device_is_asked_is_declared(kind: Any) -> None:
    assert all(kind.spec.may_send(request) for request in opening(kind))


def test_a_monitor_is_asked_for_its_values() -> None:
    assert opening(GeDri) == list(GeDri.spec.probe_requests)


class Bare(Outbox):
    """Has no recogniser: one value for every ``v``, all else is lost."""

    spec: ClassVar[Spec[Any]] = Spec("bare", ("none",), (Transport.SERIAL,), msgspec.Struct, ("9600 8N1",))

    def __init__(self, config: object) -> None:
        super().__init__()

    def link_up(self, link: LinkId, peer: str, now: Now) -> None:
        self.send(link, b"never declared")

    def link_down(self, link: LinkId, reason: str, now: Now) -> None: ...

    def receive(self, link: LinkId, data: bytes | Message, now: Now) -> None:
        assert isinstance(data, bytes)
        self.emit(Identity(at_ns=now.utc_ns, make="Acme", model="One"))
        for byte in data:
            if byte == ord("v"):
                self.emit(Numeric(at_ns=now.utc_ns, code="MDC_ECG_HEART_RATE", value=Decimal(60), unit="/min"))
            else:
                self.emit(Gap(at_ns=0, cause="framing", since_ns=0, until_ns=0, lost_bytes=1))


def test_a_driver_without_recogniser_is_tried_on_the_bytes() -> None:
    (known,) = recognised([Bare], "9600 8N1", b"vvvx")
    assert (known.frames, known.device) == (3, "Acme One")
    assert recognised([Bare], "9600 8N1", b"vvxxxxx") == []
    assert recognised([Bare], "19200 8N1", b"vvv") == []
    assert opening(Bare) == []
