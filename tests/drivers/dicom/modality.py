"""A sender that asks for storage commitment, and what it was told: pynetdicom's own AE, by no code of ours."""

from __future__ import annotations

import queue
import ssl
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Self

from pydicom.dataset import Dataset
from pydicom.uid import ExplicitVRLittleEndian
from pynetdicom import AE, build_context, evt
from pynetdicom.association import Association
from pynetdicom.dimse_primitives import N_EVENT_REPORT
from pynetdicom.sop_class import CTImageStorage, StorageCommitmentPushModel  # type: ignore[attr-defined]

from tests.drivers.dicom.images import image

HOST = "127.0.0.1"
INSTANCE = "1.2.840.10008.1.20.1.1"


@dataclass
class Told:
    """One N-EVENT-REPORT."""

    event_type: int
    transaction: str
    committed: set[str]
    failed: dict[str, int]


@dataclass
class Modality:
    """``with Modality(…) as modality``: it listens at ``listens_at``, too, for reports, and answers them so."""

    title: str
    port: int
    listens_at: int = 0
    answer: int | Callable[[], int] = 0x0000
    tls: ssl.SSLContext | None = None
    served_tls: ssl.SSLContext | None = None
    told: queue.Queue[Told] = field(default_factory=queue.Queue)

    def on_report(self, event: evt.Event) -> tuple[int, None]:
        said = event.event_information
        committed = {item.ReferencedSOPInstanceUID for item in said.get("ReferencedSOPSequence") or ()}
        failed = {item.ReferencedSOPInstanceUID: item.FailureReason for item in said.get("FailedSOPSequence") or ()}
        assert isinstance(event.request, N_EVENT_REPORT)
        assert event.request.AffectedSOPInstanceUID == INSTANCE
        self.told.put(Told(int(event.event_type or 0), said.TransactionUID, committed, failed))
        return self.answer() if callable(self.answer) else self.answer, None

    def __enter__(self) -> Self:
        self._ae = AE(self.title)
        self._ae.add_supported_context(StorageCommitmentPushModel, scu_role=False, scp_role=True)
        if self.listens_at:
            self.listen()
        return self

    def listen(self) -> None:
        handlers = [(evt.EVT_N_EVENT_REPORT, self.on_report)]
        self._ae.start_server(
            (HOST, self.listens_at), block=False, evt_handlers=handlers, ssl_context=self.served_tls,  # type: ignore[arg-type]
        )  # fmt: skip

    @property
    def listens(self) -> bool:
        """Whether it can be called."""
        return bool(self._ae._servers)

    def hang_up(self) -> None:
        """Nobody can call it any more."""
        self._ae.shutdown()

    def __exit__(self, *_: object) -> None:
        self.hang_up()

    def connect(self) -> Association:
        contexts = [build_context(CTImageStorage, ExplicitVRLittleEndian), build_context(StorageCommitmentPushModel)]
        association = self._ae.associate(
            HOST, self.port, contexts, "ORLEDGER", evt_handlers=[(evt.EVT_N_EVENT_REPORT, self.on_report)],
            tls_args=None if self.tls is None else (self.tls, ""),
        )  # fmt: skip
        assert association.is_established
        return association

    def store(self, association: Association, *numbers: int) -> list[tuple[str, str]]:
        """Each stored with success; what a request would reference."""
        for number in numbers:
            assert association.send_c_store(image(number)).Status == 0
        return [(CTImageStorage, f"2.25.7.{number}") for number in numbers]

    def ask(
        self, association: Association, transaction: str, references: list[tuple[str, str]], action: int = 1,
        instance: str = INSTANCE,
    ) -> Dataset:  # fmt: skip
        """The status of the N-ACTION response."""
        status, _ = association.send_n_action(
            request(transaction, references), action, StorageCommitmentPushModel, instance
        )
        return status


def request(transaction: str, references: list[tuple[str, str]]) -> Dataset:
    """What an N-ACTION asks for."""
    asked = Dataset()
    asked.TransactionUID = transaction
    asked.ReferencedSOPSequence = []
    for sop_class, sop_instance in references:
        item = Dataset()
        item.ReferencedSOPClassUID, item.ReferencedSOPInstanceUID = sop_class, sop_instance
        asked.ReferencedSOPSequence.append(item)
    return asked
