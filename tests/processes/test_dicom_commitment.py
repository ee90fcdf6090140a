"""Storage commitment of a real group: nothing is committed before the peers hold it; then its asker is told once."""

from __future__ import annotations

import queue
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Self

import pytest
from pydicom.dataset import Dataset
from pydicom.uid import ExplicitVRLittleEndian
from pynetdicom import AE, build_context, evt
from pynetdicom.association import Association
from pynetdicom.sop_class import CTImageStorage, MRImageStorage  # type: ignore[attr-defined]

from drivers.dicom.commitment import PUSH_MODEL, PUSH_MODEL_INSTANCE
from tests.drivers.dicom.images import image
from tests.processes.site import HOST, Box, LabSite, free_port, until

_WITHIN_S = 90.0


@dataclass
class Told:
    """One N-EVENT-REPORT as the modality got it."""

    event_type: int
    transaction: str
    committed: set[str]
    failed: dict[str, int]


@dataclass
class Modality:
    """A sender that asks for commitment and waits for reports, at an address of its own and on what it opens."""

    title: str
    port: int
    listens_at: int
    answer: int = 0x0000
    told: queue.Queue[Told] = field(default_factory=queue.Queue)

    def _on_report(self, event: evt.Event) -> tuple[int, None]:
        said = event.event_information
        committed = {item.ReferencedSOPInstanceUID for item in said.get("ReferencedSOPSequence") or ()}
        failed = {item.ReferencedSOPInstanceUID: item.FailureReason for item in said.get("FailedSOPSequence") or ()}
        self.told.put(Told(int(event.event_type or 0), said.TransactionUID, committed, failed))
        return self.answer, None

    def __enter__(self) -> Self:
        self._ae = AE(self.title)
        self._ae.add_supported_context(PUSH_MODEL, scu_role=False, scp_role=True)
        self.listen()
        return self

    def listen(self) -> None:
        handlers = [(evt.EVT_N_EVENT_REPORT, self._on_report)]
        self._ae.start_server((HOST, self.listens_at), block=False, evt_handlers=handlers)  # type: ignore[arg-type]

    def hang_up(self) -> None:
        """Nobody can call it any more."""
        self._ae.shutdown()

    def __exit__(self, *_: object) -> None:
        self.hang_up()

    def connect(self) -> Association:
        contexts = [build_context(CTImageStorage, ExplicitVRLittleEndian), build_context(PUSH_MODEL)]
        association = self._ae.associate(
            HOST, self.port, contexts, "ORLEDGER", evt_handlers=[(evt.EVT_N_EVENT_REPORT, self._on_report)]
        )
        assert association.is_established
        return association

    def store(self, association: Association, *numbers: int) -> list[tuple[str, str]]:
        """Each stored with success; what a request would reference."""
        for number in numbers:
            assert association.send_c_store(image(number)).Status == 0
        return [(CTImageStorage, f"2.25.7.{number}") for number in numbers]

    def ask(self, association: Association, transaction: str, references: list[tuple[str, str]]) -> int:
        status, _ = association.send_n_action(request(transaction, references), 1, PUSH_MODEL, PUSH_MODEL_INSTANCE)
        return int(status.Status)


def request(transaction: str, references: list[tuple[str, str]]) -> Dataset:
    asked = Dataset()
    asked.TransactionUID = transaction
    asked.ReferencedSOPSequence = []
    for sop_class, sop_instance in references:
        item = Dataset()
        item.ReferencedSOPClassUID, item.ReferencedSOPInstanceUID = sop_class, sop_instance
        asked.ReferencedSOPSequence.append(item)
    return asked


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
    assert room.modality.ask(association, "2.25.1000", asked) == 0
    association.release()
    assert room.open() == (1, 0)
    room.box.kill()
    room.box.start()
    listening(room.box)
    assert room.open() == (1, 0)
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
    assert room.modality.ask(association, "2.25.1001", references) == 0
    assert room.modality.told.get(timeout=_WITHIN_S) == Told(1, "2.25.1001", {uid for _, uid in references}, {})
    assert room.modality.store(association, 13)
    until("nothing is open", lambda: room.open() == (0, 0))
    association.release()
