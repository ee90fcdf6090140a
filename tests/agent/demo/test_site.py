from __future__ import annotations

import socket
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from agent.config import read
from agent.demo.full_room import FULL_ROOM, feeds_of
from agent.demo.site import BOXES, PATIENT_BOX, choose_ports, make_site
from agent.feed_config import feed_setups
from drivers import registry
from ledger.errors import OperatorFault


@pytest.fixture
def folder() -> Iterator[Path]:
    """Short enough for a socket's path, which pytest's own is not."""
    with tempfile.TemporaryDirectory() as name:
        yield Path(name)


def test_a_path_too_long_for_sockets_is_refused(tmp_path: Path) -> None:
    with pytest.raises(OperatorFault, match="too long"):
        make_site(tmp_path / ("x" * 100), choose_ports())
    assert not list(tmp_path.iterdir())


def test_ports_are_distinct_and_free() -> None:
    ports = choose_ports()
    chosen = [*ports.broker.values(), *ports.hl7.values(), *ports.cable.values()]
    assert len(set(chosen)) == len(chosen)
    for port in chosen:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", port))


def test_every_way_to_and_from_the_patients_box_is_a_cable(folder: Path) -> None:
    ports = choose_ports()
    site = make_site(folder, ports)
    for box in BOXES:
        replication = read(site.configuration[box]).replication
        assert replication is not None
        for peer, address in replication.address.items():
            cable = ports.cable[(box, peer) if box == PATIENT_BOX else ("", peer)]
            assert address == f"127.0.0.1:{cable}"
        named = set(replication.address)
        assert named == (set(BOXES) - {PATIENT_BOX} if box == PATIENT_BOX else {PATIENT_BOX})


@pytest.mark.parametrize("box", BOXES)
def test_the_feeds_are_what_the_drivers_take(folder: Path, box: str) -> None:
    site = make_site(folder, choose_ports())
    names = [setup.name for setup in feed_setups(read(site.configuration[box]), registry.get)]
    assert names == {"or-1": ["gateway"], "or-2": ["monitor", "gateway"], "or-3": []}[box]


def test_of_a_whole_room_the_patients_box_has_every_device(folder: Path) -> None:
    ports = choose_ports([device.feed for device in FULL_ROOM])
    site = make_site(folder, ports, feeds_of(FULL_ROOM, folder, ports))
    for box in BOXES:
        setups = feed_setups(read(site.configuration[box]), registry.get)
        assert [setup.name for setup in setups] == [device.feed for device in FULL_ROOM if box == PATIENT_BOX]
    chosen = [*ports.broker.values(), *ports.hl7.values(), *ports.device.values(), *ports.device_cable.values()]
    assert len(set(chosen)) == len(chosen)
