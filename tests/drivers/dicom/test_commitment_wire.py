"""Storage commitment on the wire: what is refused, on which association the report comes, who does not answer."""

from __future__ import annotations

import queue
import subprocess
import threading
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Self

import pytest
from pynetdicom import build_context, evt
from pynetdicom.association import Association
from pynetdicom.sop_class import CTImageStorage, StorageCommitmentPushModel  # type: ignore[attr-defined]
from pynetdicom.transport import AddressInformation

from drivers.dicom.commitment import Reference, Refusal, Report
from drivers.transports.dicom_config import DicomPeer, DicomTls, server_tls
from ledger.limits import LIMITS, MS_NS, Limits
from ledger.records import Event
from tests.conftest import require_tool
from tests.drivers.dicom.images import image
from tests.drivers.dicom.modality import HOST, Modality, Told
from tests.drivers.dicom.provider import LOCAL, Provider, Service
from tests.processes.site import free_port

CT = str(CTImageStorage)
ONE = (Reference(CT, "2.25.7.1"),)
DONE = Report("CT1", "2.25.5", ONE, ())


@dataclass
class Site:
    provider: Provider
    service: Service
    modality: Modality

    def afresh(self) -> Iterator[Self]:
        """As if nothing had happened; what a test hung up listens again behind it."""
        told = self.provider.told
        self.provider.until(lambda: len(told.ups) == len(told.downs))
        for kept in (self.service.happened, told.records, told.ups, told.downs):
            kept.clear()
        self.service.refusal, told.durable, self.modality.answer, self.modality.told = None, True, 0, queue.Queue()
        yield self
        if not self.modality.listens:
            self.modality.listen()

    def connect(self) -> Association:
        """An association by which the modality can be reached: the library tells of it after its sender goes on."""
        association = self.modality.connect()
        self.provider.until(lambda: ("can be reached", "CT1") in self.service.happened)
        return association

    def report(self, report: Report = DONE, attempt: int = 0) -> str:
        assert self.service.reporter is not None
        return self.provider.on_loop(self.service.reporter.report(report, attempt))

    def events(self) -> list[str]:
        return [each.text for each in self.provider.told.records if isinstance(each, Event)]


def standing(folder: Path, limits: Limits) -> Iterator[Site]:
    service, listens_at = Service(), free_port()
    peer = replace(LOCAL.peers[0], report_to=(HOST, listens_at))
    with (
        Provider(folder, replace(LOCAL, peers=(peer,)), limits, commitments=service) as provider,
        Modality("CT1", provider.port, listens_at) as modality,
    ):
        yield Site(provider, service, modality)


@pytest.fixture(scope="module")
def patient(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    yield from standing(tmp_path_factory.mktemp("patient"), LIMITS)


@pytest.fixture(scope="module")
def impatient(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    yield from standing(tmp_path_factory.mktemp("impatient"), replace(LIMITS, dicom_answer_ns=300 * MS_NS))


@pytest.fixture
def site(patient: Site) -> Iterator[Site]:
    yield from patient.afresh()


@pytest.fixture
def hasty_site(impatient: Site) -> Iterator[Site]:
    """Nobody is waited for long."""
    yield from impatient.afresh()


def test_a_request_is_kept_recorded_answered_and_only_then_begun(site: Site) -> None:
    association = site.connect()
    assert site.modality.ask(association, "2.25.5", [(CT, "2.25.7.1")]).Status == 0
    site.provider.until(lambda: ("begin", "CT1", "2.25.5") in site.service.happened)
    assert site.service.happened[1:] == [("ask", "CT1", "2.25.5"), ("begin", "CT1", "2.25.5")]
    assert site.events() == ["storage commitment asked for; 1 instances"]
    association.release()


@pytest.mark.parametrize(
    ("transaction", "references", "action", "instance", "status"),
    [
        ("2.25.5", [(CT, "2.25.7.1")], 2, "1.2.840.10008.1.20.1.1", 0x0123),
        ("2.25.5", [(CT, "2.25.7.1")], 1, "1.2.3", 0x0112),
        ("", [(CT, "2.25.7.1")], 1, "1.2.840.10008.1.20.1.1", 0x0115),
        ("2.25.5", [], 1, "1.2.840.10008.1.20.1.1", 0x0115),
        ("2.25.5", [(CT, "")], 1, "1.2.840.10008.1.20.1.1", 0x0115),
        ("2.25.5", [(CT, "2.25.7.1")] * 2, 1, "1.2.840.10008.1.20.1.1", 0x0115),
    ],
)
def test_what_cannot_be_taken_is_refused_with_its_status_and_why(
    site: Site, transaction: str, references: list[tuple[str, str]], action: int, instance: str, status: int
) -> None:
    association = site.connect()
    answered = site.modality.ask(association, transaction, references, action, instance)
    assert answered.Status == status
    assert answered.ErrorComment
    assert len(site.events()) == 1
    assert f"status {status:04X}" in site.events()[0]
    assert not [each for each in site.service.happened if each[0] in ("begin", "withdraw")]
    assert association.is_established
    association.release()


def test_a_refusal_of_who_keeps_requests_is_answered(site: Site) -> None:
    site.service.refusal = Refusal(0x0213, "too many")
    association = site.connect()
    answered = site.modality.ask(association, "2.25.5", [(CT, "2.25.7.1")])
    assert (answered.Status, answered.ErrorComment) == (0x0213, "too many")
    association.release()


def test_without_a_durable_record_there_is_no_success(hasty_site: Site) -> None:
    hasty_site.provider.told.durable = False
    association = hasty_site.connect()
    assert "Status" not in hasty_site.modality.ask(association, "2.25.5", [(CT, "2.25.7.1")])
    hasty_site.provider.until(lambda: not association.is_established)
    hasty_site.provider.until(
        lambda: ("begin", "CT1", "2.25.5") in hasty_site.service.happened
    )  # kept: it will be reported


def test_the_report_comes_on_the_association_that_is_open_beside_what_is_stored_there(site: Site) -> None:
    association = site.connect()
    slow = threading.Event()
    site.modality.answer = lambda: slow.wait(60) * 0
    reported: list[str] = []
    thread = threading.Thread(target=lambda: reported.append(site.report()))
    thread.start()
    assert site.modality.told.get(timeout=60) == Told(1, "2.25.5", {"2.25.7.1"}, {})
    slow.set()
    thread.join()
    assert reported == [""]
    assert association.send_c_store(image(1)).Status == 0
    assert site.events() == ["storage commitment reported, acknowledged; 1 instances committed, 0 failed"]
    assert len(site.provider.told.ups) == 1
    association.release()


def test_failures_are_told_by_reference_and_reason(site: Site) -> None:
    association = site.connect()
    failed = ((Reference(CT, "2.25.7.2"), 0x0112), (Reference(CT, "2.25.7.3"), 0x0119))
    assert site.report(Report("CT1", "2.25.6", ONE, failed)) == ""
    expected = Told(2, "2.25.6", {"2.25.7.1"}, {"2.25.7.2": 0x0112, "2.25.7.3": 0x0119})
    assert site.modality.told.get_nowait() == expected
    assert site.report(Report("CT1", "2.25.7", (), failed[:1])) == ""
    assert site.modality.told.get_nowait() == Told(2, "2.25.7", set(), {"2.25.7.2": 0x0112})
    association.release()


def test_with_none_open_it_is_called_and_the_association_released(site: Site) -> None:
    assert site.report() == ""
    assert site.modality.told.get_nowait().transaction == "2.25.5"
    site.provider.until(lambda: site.provider.told.downs in (["released"], ["the connection closed"]))
    assert site.provider.told.ups == [f"CT1@{HOST}:{site.modality.listens_at}"]
    assert ("can be reached", "CT1") not in site.service.happened


def test_who_does_not_answer_was_not_told(hasty_site: Site) -> None:
    over = threading.Event()
    hasty_site.modality.answer = lambda: over.wait(10) * 0
    assert "no answer" in hasty_site.report()
    over.set()
    assert "not acknowledged, no answer" in hasty_site.events()[0]


def test_who_answers_with_a_failure_or_cannot_be_called_was_not_told(site: Site) -> None:
    site.modality.answer = 0x0110
    assert "0110" in site.report()
    site.modality.hang_up()
    assert "does not answer" in site.report()
    assert "no report_to" in site.report(replace(DONE, asker="CT9"))


def test_who_does_not_answer_on_its_own_association_is_called_the_next_time(site: Site) -> None:
    association = site.connect()
    association.unbind(evt.EVT_N_EVENT_REPORT, site.modality.on_report)  # the library answers that it cannot
    assert "0110" in site.report()
    assert site.report(attempt=1) == ""
    assert site.modality.told.get_nowait().transaction == "2.25.5"
    association.release()


def test_who_releases_before_it_answers_is_let_go_and_told_otherwise(site: Site) -> None:
    association = site.connect()
    arrived = threading.Event()
    association.dimse.receive_primitive = lambda primitive: arrived.set()  # type: ignore[method-assign]
    reported: list[str] = []
    asked = threading.Thread(target=lambda: reported.append(site.report()))
    asked.start()
    assert arrived.wait(60)
    association.release()
    asked.join()
    assert reported != [""]
    site.provider.until(lambda: site.provider.told.downs == ["released"])
    assert site.report(attempt=1) == ""


def test_a_connection_that_is_not_made_yet_is_not_waited_for(site: Site) -> None:
    """The library asks it before it connects; a fault there would end its thread, and who calls would wait for ever."""
    commitments = site.provider.listener._commitments
    assert commitments is not None
    calling = commitments._caller._ae
    association = Association(calling, "requestor")
    made = calling._create_socket(association, AddressInformation("", 0), None)
    association.set_socket(made)
    assert made.ready is False
    made.close()


def test_an_association_that_did_not_agree_on_it_is_not_used(site: Site) -> None:
    site.modality.hang_up()
    association = site.modality._ae.associate(HOST, site.provider.port, [build_context(CTImageStorage)], "ORLEDGER")
    assert association.is_established
    assert "does not answer" in site.report()
    assert ("can be reached", "CT1") not in site.service.happened
    association.release()


def test_without_somebody_who_keeps_requests_it_is_not_offered(tmp_path: Path) -> None:
    with Provider(tmp_path) as provider, Modality("CT1", provider.port) as modality:
        association = modality.connect()
        assert [str(each.abstract_syntax) for each in association.accepted_contexts] == [CT]
        assert [each.abstract_syntax for each in association.rejected_contexts] == [StorageCommitmentPushModel]
        association.release()


def test_whom_a_report_is_for_is_known_by_the_first_address_given() -> None:
    one, two = DicomPeer("CT1", ()), DicomPeer("CT1", (), ("a", 104))
    assert replace(LOCAL, peers=(one, two)).report_to("CT1") == ("a", 104)
    assert replace(LOCAL, peers=(one, two)).report_to("CT2") is None


def certificate(folder: Path, name: str) -> DicomTls:
    """A key and a certificate that signs itself; who may speak to it is ``peer.pem``."""
    made = folder / f"{name}.pem", folder / f"{name}-key.pem"
    curve = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2", "-subj", f"/CN={name}")
    command = [
        str(require_tool("openssl")),
        "req",
        "-x509",
        *curve,
        "-out",
        str(made[0]),
        "-keyout",
        str(made[1]),
    ]
    subprocess.run(command, check=True, capture_output=True)
    return DicomTls(*made, folder / "peer.pem")


def test_with_tls_it_is_called_by_tls_and_only_a_certificate_that_is_known_is_told(tmp_path: Path) -> None:
    ours, *_ = [certificate(tmp_path, name) for name in ("ours", "peer", "stranger")]
    service, listens_at = Service(), free_port()
    config = replace(LOCAL, peers=(replace(LOCAL.peers[0], report_to=(HOST, listens_at)),), tls=ours)
    with Provider(tmp_path, config, commitments=service) as provider:
        for name, told in (("peer", ""), ("stranger", "does not answer")):
            theirs = DicomTls(tmp_path / f"{name}.pem", tmp_path / f"{name}-key.pem", ours.certificate)
            with Modality("CT1", provider.port, listens_at, served_tls=server_tls(theirs)) as modality:
                answer = Site(provider, service, modality).report()
                assert (answer == "") if not told else (told in answer)
                assert modality.told.qsize() == (0 if told else 1)
