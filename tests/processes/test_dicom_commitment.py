"""Storage commitment of a real group: nothing is committed before the peers hold it; then its asker is told once."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import pytest
from pynetdicom.sop_class import CTImageStorage, MRImageStorage  # type: ignore[attr-defined]

from tests.drivers.dicom.modality import Modality, Told
from tests.processes.site import HOST, Box, LabSite, free_port, until

_WITHIN_S = 90.0


@dataclass
class Room:
    """A site whose first box has a DICOM feed, and the modality there."""

    site: LabSite
    modality: Modality

    @property
    def box(self) -> Box:
        return self.site["or-1"]

    def open(self) -> tuple[int, int]:
        found = self.box.status()["commitments"]
        return found["undecided"], found["unreported"]


@pytest.fixture(scope="module")
def room(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Room]:
    port, listens_at = free_port(), free_port()
    peers = [{"ae_title": "CT1", "allow": [HOST], "report_to": f"{HOST}:{listens_at}"}]
    feed = {"name": "imaging", "driver": "dicom", "dicom": {"listen": f"{HOST}:{port}", "peers": peers}}
    folder = tmp_path_factory.mktemp("commitment")
    with LabSite(folder, feeds={"or-1": [feed]}) as site, Modality("CT1", port, listens_at) as modality:
        yield Room(site, modality)


def listening(box: Box) -> None:
    until("the feed listens", lambda: box.status()["feeds"][0]["state"] == "ok")


def test_nothing_is_committed_before_the_peers_hold_it_and_then_its_asker_is_told(room: Room) -> None:
    """The asker keeps no association, the peers are away, and the box is killed in between."""
    room.box.start()
    listening(room.box)
    association = room.modality.connect()
    references = room.modality.store(association, 1, 2)
    unknown = (CTImageStorage, "2.25.7.999")
    other_class = (MRImageStorage, references.pop()[1])
    asked = [*references, unknown, other_class]
    assert room.modality.ask(association, "2.25.1000", asked).Status == 0
    association.release()
    assert room.open() == (1, 0)
    room.box.kill()
    room.box.start()
    listening(room.box)
    until("it is open still", lambda: room.open() == (1, 0))
    assert room.modality.told.empty()
    for peer in ("or-2", "or-3"):
        room.site[peer].start()
    told = room.modality.told.get(timeout=_WITHIN_S)
    expected = {unknown[1]: 0x0112, other_class[1]: 0x0119}
    assert told == Told(2, "2.25.1000", {references[0][1]}, expected)
    until("nothing is open", lambda: room.open() == (0, 0))
    assert room.modality.told.empty()


def test_on_an_association_that_stays_open_the_report_comes_there(room: Room) -> None:
    room.box.until_level("witnessed")
    room.modality.hang_up()  # no other way is left
    association = room.modality.connect()
    references = room.modality.store(association, 11, 12)
    assert room.modality.ask(association, "2.25.1001", references).Status == 0
    assert room.modality.told.get(timeout=_WITHIN_S) == Told(1, "2.25.1001", {uid for _, uid in references}, {})
    until("nothing is open", lambda: room.open() == (0, 0))  # the library's other thread is done with the report
    assert room.modality.store(association, 13)
    association.release()
