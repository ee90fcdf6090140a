"""The driver ``dicom``: what modalities store becomes objects; success is said only for what is durable.

The transport has the object durable before its message comes here; the record that names it is emitted here, and the
answer waits for that record's block. Of storage commitment the same: the request is durable before it comes here, and
whoever keeps it tells when there is something to report.
"""

from __future__ import annotations

import re
from collections import OrderedDict, deque
from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import msgspec

from drivers.contract import Message, Now, Outbox, Sendable, Spec, Ticket, Transport
from drivers.dicom.waveform import WAVEFORMS, Unreadable, waves
from ledger.limits import LIMITS
from ledger.records import Event, Gap, LinkId

_SUCCESS = "0000"
_DOES_NOT_MATCH = "B007"
_OUT_OF_RESOURCES = "A700"
_NOT_AN_OBJECT = "C000"
_PROCESSING_FAILURE = "0110"
_COMMITMENT = "MDCX_DICOM_STORAGE_COMMITMENT"


class DicomOptions(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """No options yet: what may be sent, and by whom, is the transport's."""


@dataclass(frozen=True, slots=True)
class _Promise:
    """A success that waits for ``ticket`` to be durable. ``instance`` is empty where it is not of a C-STORE."""

    ticket: Ticket
    link: LinkId
    request: str
    instance: str


class Dicom(Outbox):
    """Storage, storage commitment and verification service class provider (PS3.4 B, J and A)."""

    spec: ClassVar[Spec[DicomOptions]] = Spec(
        name="dicom",
        devices=("Any DICOM modality, video recorder or archive that stores (C-STORE) over TCP or TLS",),
        transports=(Transport.DICOM,),
        config=DicomOptions,
        tx_allowed=(
            Sendable(
                re.compile(rb"C-STORE-RSP \d{1,20} [0-9A-F]{4}( discard)?"),
                "the status of one instance received (DICOM C-STORE-RSP)",
            ),
            Sendable(
                re.compile(rb"N-ACTION-RSP \d{1,20} [0-9A-F]{4}"),
                "whether a request for storage commitment is taken (DICOM N-ACTION-RSP)",
            ),
            Sendable(
                re.compile(rb"N-EVENT-REPORT \d{1,20} [12] [0-9.]{1,64}"),
                "to who asked for storage commitment: which instances the group holds, and which not (DICOM"
                " N-EVENT-REPORT)",
            ),
        ),
        silence_s=0.0,
        keeps_raw=True,
        records=frozenset({"object", "wave", "gap", "event"}),
        source="DICOM PS3.4 annexes A, B, J; PS3.7; PS3.8; PS3.10",
        longest_frame_bytes=1,
    )

    def __init__(self, config: DicomOptions) -> None:
        super().__init__()
        self._links: set[LinkId] = set()
        self._promises: deque[_Promise] = deque(maxlen=LIMITS.held_sends)
        self._stored: OrderedDict[str, tuple[str, Ticket]] = OrderedDict()

    def link_up(self, link: LinkId, peer: str, now: Now) -> None:
        """An association was established."""
        self._links.add(link)

    def link_down(self, link: LinkId, reason: str, now: Now) -> None:
        """An association ended; what it was not answered, its sender stores again."""
        self._links.discard(link)
        self._promises = deque((each for each in self._promises if each.link != link), maxlen=LIMITS.held_sends)

    def receive(self, link: LinkId, data: bytes | Message, now: Now) -> None:
        """One instance, or word of one that did not come whole."""
        if link not in self._links or not isinstance(data, Message):
            self.close(link, "bytes where a DICOM message was due")
        elif data.kind == "C-STORE":
            self._store(link, data, now)
        elif data.kind == "C-STORE-ABANDONED":
            self._abandoned(data, now)
        elif data.kind == "N-ACTION":
            self._asked(link, data.meta, now)
        elif data.kind == "COMMITMENT-DECIDED":
            meta = data.meta
            told = f"N-EVENT-REPORT {meta.get('id', '0')} {meta.get('event_type')} {meta.get('transaction')}"
            self.send(link, told.encode())
        elif data.kind == "N-EVENT-REPORT-RSP":
            self._reported(data.meta, now)
        else:
            self.close(link, "a message of a kind that this driver does not know")

    def refused(self, ticket: Ticket, reason: str, now: Now) -> None:
        """The record will not become durable: its sender may try again."""
        kept: deque[_Promise] = deque(maxlen=LIMITS.held_sends)
        for promise in self._promises:
            if promise.ticket != ticket:
                kept.append(promise)
                continue
            self._stored.pop(promise.instance, None)
            if promise.link not in self._links:
                continue
            if promise.instance:
                self._answer(promise.link, promise.request, _OUT_OF_RESOURCES)
            else:
                self.send(promise.link, f"N-ACTION-RSP {promise.request} {_PROCESSING_FAILURE}".encode())
        self._promises = kept

    def _store(self, link: LinkId, message: Message, now: Now) -> None:
        request, stored = message.meta.get("id", "0"), message.object
        if stored is None:
            self._answer(link, request, _NOT_AN_OBJECT)
            return
        instance, content = stored.meta.get("sop_instance", ""), stored.meta.get("data_set_sha256", "")
        status = _SUCCESS if _matches(stored.meta) else _DOES_NOT_MATCH
        known = self._stored.get(instance)
        if known is not None and known[0] == content:  # sent again: it is recorded once
            self._stored.move_to_end(instance)
            self._promise(known[1], link, request, instance, f"{status} discard")
            return
        ticket = self.emit(stored)
        self._stored[instance] = (content, ticket)
        if len(self._stored) > LIMITS.duplicates_remembered:
            self._stored.popitem(last=False)
        self._promise(ticket, link, request, instance, status)
        if message.body and stored.meta.get("sop_class", "").startswith(WAVEFORMS):
            self._waves(message.body, stored.meta.get("transfer_syntax", ""), now)

    def _waves(self, data_set: bytes, transfer_syntax: str, now: Now) -> None:
        """Beside the object, which is kept in any case."""
        try:
            for wave in waves(data_set, transfer_syntax, now.utc_ns):
                self.emit(wave)
        except Unreadable as fault:
            at_ns = now.utc_ns
            self.emit(Gap(at_ns=at_ns, cause="undecodable", since_ns=at_ns, until_ns=at_ns, detail=str(fault)))

    def _promise(self, ticket: Ticket, link: LinkId, request: str, instance: str, status: str) -> None:
        self._promises.append(_Promise(ticket, link, request, instance))
        self._answer(link, request, status, after=ticket)

    def _answer(self, link: LinkId, request: str, status: str, after: Ticket | None = None) -> None:
        self.send(link, f"C-STORE-RSP {request} {status}".encode(), after)

    def _asked(self, link: LinkId, meta: Mapping[str, str], now: Now) -> None:
        """Storage commitment is asked for, and taken or not; taken only once it is recorded here too."""
        request, status = meta.get("id", "0"), meta.get("status", _PROCESSING_FAILURE)
        taken = status == _SUCCESS
        what = "asked for" if taken else f"refused, status {status}: {meta.get('comment', '')}"
        ticket = self._event(meta, now, f"storage commitment {what}; {meta.get('instances', '0')} instances")
        if taken:
            self._promises.append(_Promise(ticket, link, request, ""))
        self.send(link, f"N-ACTION-RSP {request} {status}".encode(), ticket if taken else None)

    def _reported(self, meta: Mapping[str, str], now: Now) -> None:
        counts = f"{meta.get('committed', '0')} instances committed, {meta.get('failed', '0')} failed"
        status = meta.get("status", "")
        answer = "acknowledged" if status == _SUCCESS else f"not acknowledged, {status}"
        self._event(meta, now, f"storage commitment reported, {answer}; {counts}")

    def _event(self, meta: Mapping[str, str], now: Now, text: str) -> Ticket:
        transaction = meta.get("transaction", "")
        return self.emit(
            Event(
                at_ns=now.utc_ns,
                kind="marker",
                alarm_id=f"storage commitment {transaction}",
                phase="once",
                priority="none",
                code=_COMMITMENT,
                source=meta.get("asker", ""),
                text=text,
            )
        )

    def _abandoned(self, message: Message, now: Now) -> None:
        length = message.meta.get("bytes", "")
        refused = message.meta.get("status", "") == _OUT_OF_RESOURCES
        what = "an instance was refused" if refused else "an instance did not come whole"
        detail = f"{what}: {message.meta.get('reason', '')}"
        lost = int(length) if length.isdecimal() else None
        at_ns = now.utc_ns
        self.emit(
            Gap(
                at_ns=at_ns,
                cause="store_refused" if refused else "framing",
                since_ns=at_ns,
                until_ns=at_ns,
                lost_bytes=lost,
                lost_items=1,
                detail=detail,
            )
        )


def _matches(meta: Mapping[str, str]) -> bool:
    """Whether a data set is what its C-STORE says, as far as it says what it is."""
    told = (("class", "sop_class"), ("instance", "sop_instance"))
    return all(meta.get(own, meta.get(asked)) == meta.get(asked) for own, asked in told)
