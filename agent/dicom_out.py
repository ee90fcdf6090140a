"""Restored objects to another AE by C-STORE: as stored, never transcoded, every answer kept, failures tried again."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Final, Protocol

from agent.object_delivery import Delivery, Handed, Journal, Outgoing, Progress, Told, shown
from drivers.transports.dicom_dimse import StoreCommand
from drivers.transports.dicom_sender import MOST_CONTEXTS, DicomSender, DicomTarget, StoreReply
from ledger.errors import DeviceFault, OperatorFault, OrledgerError
from ledger.limits import LIMITS, S_NS, Limits

SUCCESS: Final = 0x0000
_WARNINGS: Final = frozenset({0x0001, 0x0107, 0x0116})
_WARNING_RANGE: Final = 0xB000
_PERMANENT: Final = frozenset({"dicom.rejected", "dicom.tls"})  # another try would say the same
_NIBBLE: Final = 0xF000
_MOST_CUT_IN_A_ROW: Final = 3
_AE_TITLE = re.compile(r"[ -\[\]-~]{1,16}")  # PS3.5 table 6.2-1
_MEANINGS: Final = (
    (0xFF00, 0xA700, "it is out of resources", "free space there, or try again later"),
    (0xFF00, 0xA900, "it says that the data set does not match its SOP class", "ask its administrator"),
    (0xF000, 0xC000, "it cannot understand it", "ask its administrator"),
    (0xFFFF, 0x0122, "it does not take this SOP class", "have it accept the class"),
    (0xFFFF, 0x0124, "it does not allow this", "have it allow our AE title to store"),
)


def parse_ae(target: str, calling: str) -> DicomTarget:
    """``AET@host:port``. Raises OperatorFault ``delivery.ae``."""
    title, _, address = target.rpartition("@")
    host, _, port = address.rpartition(":")
    example = "write it like PACS@10.20.3.40:104"
    if not host or not port.isdecimal() or not 0 < int(port) < 65_536:
        raise OperatorFault("delivery.ae", f"{target!r} is no receiver", example)
    for each in (title, calling):
        if not _AE_TITLE.fullmatch(each) or each != each.strip():
            raise OperatorFault("delivery.ae", f"{each!r} is no AE title: it has 1 to 16 characters", example)
    return DicomTarget(title, host.strip("[]"), int(port), calling)


class Association(Protocol):
    """What is needed of ``DicomSender``."""

    def refusal(self, sop_class: str, transfer_syntax: str) -> str | None: ...
    def store(self, command: StoreCommand, data_set: Iterable[bytes]) -> StoreReply: ...
    def release(self) -> None: ...
    def abort(self) -> None: ...


Connect = Callable[[Sequence[tuple[str, str]]], Association]


@dataclass(slots=True)
class _Pending:
    item: Outgoing
    command: StoreCommand
    data_set_at: int
    last: Handed | None = None


class ToAe:
    """A receiver. What it acknowledged before, as the journal knows, is not sent again."""

    def __init__(
        self, target: DicomTarget, journal: Journal, *, connect: Connect | None = None,
        sleep: Callable[[float], None] = time.sleep, limits: Limits = LIMITS,
    ) -> None:  # fmt: skip
        self._target = target
        self._journal = journal
        self._connect: Connect = connect or (
            lambda contexts: DicomSender.connect(target, contexts, time.monotonic, limits)
        )
        self._sleep = sleep
        self._limits = limits
        self._total = self._passed = 0
        self._progress: Progress = lambda _done, _total: None
        self._told: Told = lambda _handed: None
        self._cut_in_a_row = 0
        self.delivery = Delivery(str(target))

    def run(self, items: list[Outgoing], progress: Progress, told: Told) -> Delivery:
        """Rounds over what is left, each after a longer pause. Raises StoreFault for the journal."""
        self._progress, self._told = progress, told
        self._total = sum(item.record.size for item in items)
        pending = self._planned(items)
        wait_s = self._limits.dicom_send_retry_ns / S_NS
        try:
            for number in range(self._limits.dicom_send_tries):
                if number and pending:
                    self._sleep(wait_s * 4 ** (number - 1))
                pending = self._round(pending)
            self._give_up(pending)
        finally:
            self._journal.close()
        return self.delivery

    def _planned(self, items: list[Outgoing]) -> list[_Pending]:
        pending = []
        for item in items:
            if item.sha256 in self._journal.acknowledged:
                self.delivery.before += 1
                self._advance(item)
                continue
            try:
                head = item.head()
            except OrledgerError as fault:
                self._decide(Handed(item.sha256, item.record, fault=fault))
                continue
            if head is None:
                self.delivery.left_out.append(item)
                self._advance(item)
            else:
                pending.append(_Pending(item, head.command, head.data_set_at))
        return pending

    # ---- one round

    def _round(self, pending: list[_Pending]) -> list[_Pending]:
        """Those that failed, to be tried again."""
        self._cut_in_a_row = 0
        pairs = sorted({_pair(each) for each in pending})
        left: list[_Pending] = []
        for first in range(0, len(pairs), MOST_CONTEXTS):
            proposed = pairs[first : first + MOST_CONTEXTS]
            chosen = set(proposed)
            left += self._with_contexts(proposed, [each for each in pending if _pair(each) in chosen])
        return left

    def _with_contexts(self, pairs: list[tuple[str, str]], pending: list[_Pending]) -> list[_Pending]:
        left: list[_Pending] = []
        association: Association | None = None
        for number, each in enumerate(pending):
            if association is None:
                try:
                    association = self._connect(pairs)
                except DeviceFault as fault:
                    failed = [_failed(rest, fault) for rest in pending[number:]]
                    if fault.id not in _PERMANENT:
                        return left + failed
                    self._give_up(failed)
                    return left
            refusal = association.refusal(*_pair(each))
            if refusal is not None:
                self._decide(self._not_taken(each, refusal))
                continue
            try:
                data_set = each.item.data_set(each.data_set_at)
                reply = association.store(each.command, shown(data_set, self._progress, self._passed, self._total))
            except DeviceFault as fault:
                association = None
                self._cut_in_a_row += 1
                left.append(_failed(each, fault))
                if self._cut_in_a_row >= _MOST_CUT_IN_A_ROW:
                    return left + [_failed(rest, fault) for rest in pending[number + 1 :]]
                continue
            except OrledgerError as fault:  # ours: damaged, or it has no key; nothing that another try mends
                association = None
                self._decide(Handed(each.item.sha256, each.item.record, fault=fault))
                continue
            self._cut_in_a_row = 0
            if not self._taken(each, reply):
                left.append(each)
        if association is not None:
            association.release()
        return left

    def _give_up(self, pending: list[_Pending]) -> None:
        for each in pending:
            if each.last is not None:
                self._decide(each.last)

    def _taken(self, each: _Pending, reply: StoreReply) -> bool:
        tries = 1 if each.last is None else each.last.tries + 1
        handed = Handed(each.item.sha256, each.item.record, reply.status, reply.comment, tries=tries)
        if is_stored(reply.status):
            self._decide(handed)
            return True
        each.last = replace(handed, fault=_refused(self._target, reply))
        return False

    def _not_taken(self, each: _Pending, refusal: str) -> Handed:
        sop_class, transfer_syntax = _pair(each)
        text = f"{self._target} does not take SOP class {sop_class} in transfer syntax {transfer_syntax}: {refusal}"
        step = "have it accept both, for nothing is transcoded; or write files: --objects-to DIR"
        return Handed(each.item.sha256, each.item.record, fault=DeviceFault("dicom.not-accepted", text, step))

    def _decide(self, handed: Handed) -> None:
        self._journal.note(handed)
        self.delivery.add(handed)
        self.delivery.bytes += handed.record.size if handed.is_done else 0
        self._advance(handed)
        self._told(handed)

    def _advance(self, of: Outgoing | Handed) -> None:
        self._passed += of.record.size
        self._progress(self._passed, self._total)


def is_stored(status: int) -> bool:
    """Success or a warning: the receiver has it (PS3.7 C.1, PS3.4 B.2.3)."""
    return status == SUCCESS or status in _WARNINGS or status & _NIBBLE == _WARNING_RANGE


def _pair(each: _Pending) -> tuple[str, str]:
    return each.command.sop_class, each.command.transfer_syntax


def _failed(each: _Pending, fault: DeviceFault) -> _Pending:
    tries = 1 if each.last is None else each.last.tries + 1
    each.last = Handed(each.item.sha256, each.item.record, tries=tries, fault=fault)
    return each


def _refused(target: DicomTarget, reply: StoreReply) -> DeviceFault:
    meaning, step = next(
        ((text, step) for mask, status, text, step in _MEANINGS if reply.status & mask == status),
        ("it did not store it", "look at the receiver's own log"),
    )
    words = f" ({reply.comment})" if reply.comment else ""
    return DeviceFault("dicom.refused", f"{target} answered {reply.status:04X}: {meaning}{words}", step)
