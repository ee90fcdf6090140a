from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path

import pytest

from agent.dicom_out import ToAe, is_stored, parse_ae
from agent.object_delivery import Delivery, Handed, Journal, Outgoing
from agent.object_files import ToFolder, names_of
from drivers.transports.dicom_data_set import DataSet
from drivers.transports.dicom_dimse import StoreCommand
from drivers.transports.dicom_sender import StoreReply
from ledger.errors import DeviceFault, NoPeer, OperatorFault, StoreFault, VerificationFailed
from ledger.objects import SealedObject
from ledger.records import Object

TARGET = parse_ae("PACS@10.0.0.1:104", "ORLEDGER")
CT = "1.2.840.10008.5.1.4.1.1.2"
EXPLICIT = "1.2.840.10008.1.2.1"
Answer = int | DeviceFault


class Kept:
    """An object sink that keeps what a DICOM file becomes of a received data set."""

    def __init__(self) -> None:
        self.content = b""

    def begin(self, expected_bytes: int = 0) -> Kept:
        return self

    def write(self, content: bytes) -> None:
        self.content += content

    def finish(self) -> SealedObject:
        raise NotImplementedError

    def discard(self, sha256: bytes) -> None:
        raise NotImplementedError

    def abort(self) -> None:
        raise NotImplementedError


def part10(command: StoreCommand, data_set: bytes) -> bytes:
    sink = Kept()
    DataSet(command, sink, 0, lambda: None, lambda _set, _why: None).write(data_set)  # type: ignore[arg-type]
    return sink.content


def image(number: int, sop_class: str = CT, data_set: bytes = b"pixels", **meta: str) -> Outgoing:
    command = StoreCommand(sop_class, f"1.2.{number}", EXPLICIT)
    return outgoing(number, part10(command, data_set), sop_instance=f"1.2.{number}", **meta)


def outgoing(number: int, content: bytes, media_type: str = "application/dicom", **meta: str) -> Outgoing:
    sha256 = number.to_bytes(32, "big")
    record = Object(at_ns=0, sha256=sha256, size=len(content), media_type=media_type, name="", meta=meta)
    return Outgoing(sha256, record, lambda: iter([content[:400], content[400:]]))


class Receiver:
    """Answers each instance, by its UID, with the next of its answers; success when there are no more."""

    def __init__(self, **answers: list[Answer]) -> None:
        self.answers = {f"1.2.{name[1:]}": list(given) for name, given in answers.items()}
        self.stored: list[tuple[str, bytes]] = []
        self.proposed: list[list[tuple[str, str]]] = []
        self.unreachable = 0
        self.refuses: set[str] = set()

    def connect(self, contexts: Sequence[tuple[str, str]]) -> Receiver:
        if self.unreachable:
            self.unreachable -= 1
            raise DeviceFault("dicom.unreachable", "cannot be reached")
        self.proposed.append(list(contexts))
        return self

    def refusal(self, sop_class: str, transfer_syntax: str) -> str | None:
        assert (sop_class, transfer_syntax) in self.proposed[-1]
        return "not supported" if sop_class in self.refuses else None

    def store(self, command: StoreCommand, data_set: Iterable[bytes]) -> StoreReply:
        data = b"".join(data_set)
        answer = next(iter(self.answers.get(command.sop_instance, [])), 0)
        del self.answers.get(command.sop_instance, [])[:1]
        if isinstance(answer, DeviceFault):
            raise answer
        if is_stored(answer):
            self.stored.append((command.sop_instance, data))
        return StoreReply(answer, "words")

    def release(self) -> None: ...

    def abort(self) -> None: ...


@pytest.fixture
def send(tmp_path: Path) -> Callable[..., Delivery]:
    def run(receiver: Receiver, *items: Outgoing) -> Delivery:
        told: list[Handed] = []
        seen: list[int] = []
        way = ToAe(TARGET, Journal(tmp_path / "j", str(TARGET)), connect=receiver.connect, sleep=lambda _s: None)
        delivery = way.run(list(items), lambda done, _total: seen.append(done), told.append)
        assert sorted(each.sha256 for each in told) == sorted(each.sha256 for each in delivery.done + delivery.failed)
        assert seen[-1] == max(seen) == sum(item.record.size for item in items)
        return delivery

    return run


def test_the_data_set_goes_out_as_received_and_warnings_are_kept(send: Callable[..., Delivery]) -> None:
    receiver = Receiver(_2=[0xB000])
    delivery = send(receiver, image(1, data_set=b"first"), image(2, data_set=b"second" * 100))
    assert dict(receiver.stored) == {"1.2.1": b"first", "1.2.2": b"second" * 100}
    assert [each.status for each in delivery.done] == [0, 0xB000]


def test_a_failure_is_tried_again_and_then_named_and_the_next_run_sends_it_alone(send: Callable[..., Delivery]) -> None:
    receiver = Receiver(_1=[0xA700], _2=[0xC001] * 3)
    delivery = send(receiver, image(1), image(2), image(3))
    assert [(each.sha256[-1], each.tries) for each in delivery.done] == [(3, 1), (1, 2)]
    (failed,) = delivery.failed
    assert (failed.status, failed.tries, failed.comment) == (0xC001, 3, "words")
    assert "C001" in str(failed.fault)
    again = send(receiver, image(1), image(2), image(3))
    assert (again.before, [each.sha256[-1] for each in again.done]) == (2, [2])


def test_a_broken_connection_costs_one_instance_a_try_and_three_in_a_row_the_round(
    send: Callable[..., Delivery],
) -> None:
    cut = DeviceFault("dicom.cut", "it hung up")
    receiver = Receiver(_2=[cut])
    assert not send(receiver, image(1), image(2), image(3)).failed
    assert [instance for instance, _ in receiver.stored] == ["1.2.1", "1.2.3", "1.2.2"]
    dead = Receiver()
    dead.answers = {f"1.2.{number}": [cut] * 9 for number in range(10, 30)}
    delivery = send(dead, *(image(number) for number in range(10, 30)))
    assert len(delivery.failed) == 20
    assert len(dead.proposed) == 9  # three in each of three rounds
    away = Receiver()
    away.unreachable = 2
    assert len(send(away, image(40)).done) == 1
    away.unreachable = 3
    assert [each.fault.id for each in send(away, image(41)).failed if each.fault] == ["dicom.unreachable"]


def test_more_kinds_than_an_association_has_contexts_go_by_several(send: Callable[..., Delivery]) -> None:
    receiver = Receiver()
    items = [image(number, f"1.2.3.{number % 130}") for number in range(140)]
    assert len(send(receiver, *items).done) == 140
    assert [len(contexts) for contexts in receiver.proposed] == [128, 2]


def test_what_is_not_taken_or_not_dicom_or_not_whole_is_told_apart(send: Callable[..., Delivery]) -> None:
    receiver = Receiver()
    receiver.refuses.add("1.2.9")

    def closed() -> Iterator[bytes]:
        raise NoPeer("restore.no-key", "no key")

    other = image(5, data_set_sha256="00")
    keyless = Outgoing(bytes(32), image(6).record, closed)
    delivery = send(receiver, image(1, "1.2.9"), image(2), outgoing(3, b"video", "video/mp4"), other, keyless)
    faults = {each.fault.id: type(each.fault) for each in delivery.failed if each.fault}
    assert faults == {
        "dicom.not-accepted": DeviceFault, "object.other-data-set": VerificationFailed, "restore.no-key": NoPeer,
    }  # fmt: skip
    assert [each.record.media_type for each in delivery.left_out] == ["video/mp4"]
    assert [instance for instance, _ in receiver.stored] == ["1.2.2"]


def test_a_journal_whose_last_line_was_cut_off_still_counts(tmp_path: Path) -> None:
    path = tmp_path / "j"
    for number in (1, 2):
        journal = Journal(path, "PACS")
        journal.note(Handed(image(number).sha256, image(number).record, 0))
        journal.close()
        if number == 1:
            path.write_text(path.read_text() + '{"to": "PA')
    assert Journal(path, "PACS").acknowledged == {image(1).sha256, image(2).sha256}
    assert Journal(path, "OTHER").acknowledged == set()
    failed = Journal(path, "PACS")
    failed.note(Handed(image(1).sha256, image(1).record, fault=DeviceFault("dicom.cut", "cut")))
    failed.close()
    assert Journal(path, "PACS").acknowledged == {image(2).sha256}


@pytest.mark.parametrize("uid", ["../../etc/passwd", "1.2/3", "", "1" * 65, "1..2", "1.2\n", ".1"])
def test_no_name_of_a_sender_leads_out_of_the_folder(uid: str) -> None:
    made = outgoing(7, b"no dicom", sop_instance=uid)
    assert list(names_of(made)) == ["object-0000000000000000.dcm"]
    assert list(names_of(outgoing(7, b"", "video/mp4"))) == ["object-0000000000000000.mp4"]
    assert list(names_of(outgoing(7, b"", "../x"))) == ["object-0000000000000000.bin"]


def test_a_folder_keeps_what_is_there(tmp_path: Path) -> None:
    def write(*items: Outgoing) -> Delivery:
        return ToFolder(tmp_path / "new" / "out").run(list(items), lambda _done, _total: None, lambda _handed: None)

    one, other = outgoing(1 << 240, b"one", sop_instance="1.2"), outgoing(2 << 240, b"other", sop_instance="1.2")
    assert len(write(one, other).done) == 2
    folder = tmp_path / "new" / "out"
    contents = {path.name: path.read_bytes() for path in folder.iterdir()}
    assert contents == {"1.2.dcm": b"one", "1.2-0002000000000000.dcm": b"other"}
    assert write(one, other).before == 2
    third = outgoing(2 << 240, b"others", sop_instance="1.2")
    assert [each.fault.id for each in write(third).failed if each.fault] == ["delivery.exists"]
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == contents


def test_a_receiver_is_written_as_title_host_and_port() -> None:
    assert str(parse_ae("A B@[fd00::1]:11112", "ME")) == "A B@[fd00::1]:11112"
    for wrong in ("PACS", "PACS@host", "@h:1", "P\\@h:1", " P@h:1", "PACS@h:70000"):
        with pytest.raises(OperatorFault):
            parse_ae(wrong, "ME")
    with pytest.raises(OperatorFault):
        parse_ae("PACS@h:1", "")


def test_a_journal_that_its_disk_does_not_take_is_told_as_that(tmp_path: Path) -> None:
    way = ToAe(TARGET, Journal(tmp_path / "j", str(TARGET)), connect=Receiver().connect, sleep=lambda _s: None)
    (tmp_path / "j").symlink_to("/dev/full")
    with pytest.raises(StoreFault, match="No space left") as raised:
        way.run([image(1)], lambda _done, _total: None, lambda _handed: None)
    assert raised.value.id == "delivery.journal"
