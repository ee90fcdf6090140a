"""Real cases in a real node: a hospital's messages over a socket, a restart, an operator, and the disk after that."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Iterator
from pathlib import Path

import pytest

from agent import config
from agent.case_history import context_of, find_case, known_cases
from agent.init_site import init_alone
from agent.node import Node
from agent.reading import Decoded, Reader, open_reader
from firmware_sim.hl7_messages import Message
from firmware_sim.hospital import ANNA, BRUNO, CLARA, OTHER_ROOM, RECOVERY, WARD, Hospital
from ledger.block import decode_signed_header
from ledger.errors import OperatorFault
from ledger.notices import CaseBoundary
from ledger.records import CaseChange, Numeric, PatientContext, Raw
from ledger.state import LEDGER_FEED
from ledger.state_document import state_document
from tests.agent.test_node import ask, run_node
from tests.processes.site import free_port


@pytest.fixture
def site(tmp_path: Path) -> config.Configuration:
    port = free_port()
    made = config.parse(
        f"""
[box]
site = "lab"
id = "or-3"
room = "OR 3"
data_dir = "{tmp_path}/data"
runtime_dir = "{tmp_path}/run"
[case]
close_after_h = 6
[[feed]]
name = "hospital"
driver = "hl7"
mllp = {{ listen = "127.0.0.1:{port}", allow = ["127.0.0.1"] }}
options = {{ beds = [{{ match = "OR^3", feed = "room" }}] }}
""".encode()
    )
    (tmp_path / "run").mkdir()
    init_alone(made)
    return made


async def send(made: config.Configuration, messages: Iterable[Message]) -> list[str]:
    """Send one after the other; the acknowledgment code of each."""
    mllp = made.feed[0].mllp
    assert mllp is not None
    reader, writer = await asyncio.open_connection(*config.host_port(mllp.listen, "$"))
    codes = []
    for message in messages:
        writer.write(b"\x0b" + message.encode() + b"\x1c\r")
        answer = (await reader.readuntil(b"\x1c\r")).decode()
        codes.append(answer.split("\rMSA|")[1][:2])
    writer.close()
    return codes


def test_a_day_of_cases_from_the_hospitals_messages(site: config.Configuration) -> None:
    say = Hospital(1_700_000_000)

    async def morning(node: Node) -> None:
        codes = await send(site, [
            say.schedule("S12", ANNA), say.adt("A01", CLARA, OTHER_ROOM), say.adt("A01", ANNA),
            say.schedule("S12", BRUNO), say.laboratory(ANNA, "8.1", "4.20", WARD),
        ])  # fmt: skip
        assert codes == ["AA", "AR", "AA", "AA", "AA"]
        (told,) = await ask(node, "case_show", patient=True)
        assert told["case"]["facts"]["procedure"] == "Total hip replacement"
        (hidden,) = await ask(node, "case_show")
        assert "facts" not in hidden["case"]
        (status,) = await ask(node, "status")
        assert status.case is not None
        assert status.case.id == told["case"]["id"]
        assert "Öberg" not in repr(status)
        document = repr(state_document(node.recorder.state, 0))
        assert "LOINC_718_7" in document
        assert "Öberg" not in document

    async def afternoon(node: Node) -> None:
        current = node.desk.cases.current
        assert current is not None
        assert current.facts["name"] == "Öberg^Anna"
        assert await send(site, [say.laboratory(ANNA, "9.0", "4.0", WARD)]) == ["AA"]  # still known after the restart
        assert await send(site, [say.adt("A02", ANNA, RECOVERY, prior=say.room)]) == ["AA"]
        assert node.recorder.state.case() is None
        assert not list(node.recorder.state.values())
        assert await send(site, [say.laboratory(ANNA, "9.5", "4.0", WARD), say.adt("A04", BRUNO)]) == ["AR", "AA"]
        with pytest.raises(OperatorFault, match="is open in OR 3"):
            await ask(node, "case_open", facts={})
        with pytest.raises(OperatorFault, match="not OR 4"):
            await ask(node, "case_close", room="OR 4")
        (closed,) = await ask(node, "case_close", reason="done")
        assert closed["case"] is None
        with pytest.raises(OperatorFault, match="no case is open"):
            await ask(node, "case_close")

    assert run_node(site, morning) == 0
    assert run_node(site, afternoon) == 0
    check_the_disk(Path(site.box.data_dir))


def test_the_last_word_on_a_booking_counts_after_a_restart(site: config.Configuration) -> None:
    say = Hospital(1_700_000_000)

    async def evening(_node: Node) -> None:
        told = [
            say.schedule("S12", ANNA),
            say.imaging_order(ANNA),
            say.schedule("S12", BRUNO),
            say.schedule("S15", BRUNO),
        ]
        assert await send(site, told) == ["AA"] * 4

    async def morning(node: Node) -> None:
        opened = []
        for person in (ANNA, BRUNO):
            assert await send(site, [say.adt("A01", person)]) == ["AA"]
            assert node.desk.cases.current is not None
            opened.append(node.desk.cases.current.facts)
        assert (opened[0]["procedure"], opened[0]["accession"]) == ("Total hip replacement", f"ACC{ANNA.visit}")
        assert "procedure" not in opened[1]

    assert run_node(site, evening) == 0
    assert run_node(site, morning) == 0


def check_the_disk(data_dir: Path) -> None:
    owners: dict[bytes, set[str]] = {}
    boundaries: list[str] = []
    with open_reader(data_dir) as reader:
        for log, _ in reader.store.logs():
            for block in reader.store.blocks(log, 0, reader.store.length(log)):
                header = decode_signed_header(block.signed_header)
                assert b"berg" not in block.signed_header
                assert b"Dahl" not in block.signed_header
                boundaries += [notice.phase for notice in header.notices if isinstance(notice, CaseBoundary)]
                owners.setdefault(header.key_id, set()).add((header.case_id or b"").hex())
        for _, _, header, groups in reader.decoded_blocks():
            for records in groups.values():
                for record in records:
                    names = {name for name in ("Öberg", "Dahl") if _names(record, name)}
                    if names:
                        assert header.case_id is not None
                        owners.setdefault(header.case_id, set()).update(names)
        cases = known_cases(reader)
        assert [case.closed_ns is None for case in cases] == [False, False]
        anna, bruno = (find_case(cases, case.case_id.hex()[:8]) for case in cases)
        assert (len(anna.parts), anna.keys_held) == (2, 2)
        told = context_of(reader, bruno)
        assert told is not None
        assert told.facts["procedure"] == "Laparoscopic cholecystectomy"
    assert boundaries == ["open", "continue", "close", "open", "close"]
    assert owners[anna.case_id] == {"Öberg"}
    assert owners[bruno.case_id] == {"Dahl"}
    assert all(len(cases) == 1 for key, cases in owners.items() if len(key) == 32)


def _names(record: object, name: str) -> bool:
    if isinstance(record, Raw):
        return name.encode() in record.data
    if isinstance(record, PatientContext | CaseChange):
        return name in repr(record)
    return isinstance(record, Numeric) and name in repr(record)


def test_a_stopped_box_of_which_only_headers_can_be_read_goes_on_with_the_case(site: config.Configuration) -> None:
    seen: list[bytes] = []

    async def first(node: Node) -> None:
        await ask(node, "case_open", facts={"name": "Berg^Eva"})
        seen.append(node.member.writer.case_id or b"")

    async def second(node: Node) -> None:
        current = node.desk.cases.current
        assert current is not None
        assert (current.case_id, dict(current.facts), current.cause) == (seen[0], {}, "restart")
        assert node.member.writer.chain.case_id == seen[0]

    assert run_node(site, first) == 0
    keyring = Path(site.box.data_dir) / "keyring"
    keyring.unlink()
    assert run_node(site, second) == 0
    with open_reader(Path(site.box.data_dir)) as reader:
        changes = [record for _, _, _, groups in _readable(reader) for record in groups.get(LEDGER_FEED, ())]
    assert not any(isinstance(record, CaseChange) and record.phase == "close" for record in changes)


def _readable(reader: Reader) -> Iterator[Decoded]:
    """What was recorded since the keys were lost."""
    yield from reader.decoded_log(reader.logs_of("or-3")[-1])
