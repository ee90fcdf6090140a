"""A whole node in this process: one box alone, with a real store, a real HL7 listener and its control socket."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from collections.abc import Awaitable, Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from agent import commands, config
from agent.box_files import BoxFolder, load_box, open_keyring
from agent.commands import handlers
from agent.control import Request
from agent.init_site import init_alone
from agent.node import Node
from agent.status import StatusDocument
from ledger.block import decode_signed_header
from ledger.errors import ConfigurationFault, NoPeer, OperatorFault, OrledgerError, StoreFault
from ledger.notices import Drill, Start
from ledger.records import Numeric
from ledger.recovery import open_payload
from ledger.store import Store
from tests.processes.site import free_port

ORU = (
    "MSH|^~\\&|MON|GW|||20231114221320+0000||ORU^R01^ORU_R01|{id}|P|2.6|||AL|NE\r"
    "PID|||1^^^A^MR\rPV1||I|OR^1^1\r"
    "OBR|1|1|1|182777000^monitoring of patient^SCT|||20231114221320+0000\r"
    "OBX|1|NM|147842^MDC_ECG_HEART_RATE^MDC|1.1.1.1|{value}|/min^/min^UCUM|||||R\r"
)


def configuration(folder: Path, port: int) -> config.Configuration:
    return config.parse(
        f"""
[box]
site = "lab"
id = "or-1"
room = "OR 1"
data_dir = "{folder}/data"
runtime_dir = "{folder}/run"
[[feed]]
name = "gateway"
driver = "hl7"
mllp = {{ listen = "127.0.0.1:{port}", allow = ["127.0.0.1"] }}
""".encode()
    )


@pytest.fixture
def site(tmp_path: Path) -> config.Configuration:
    made = configuration(tmp_path, free_port())
    (tmp_path / "run").mkdir()
    init_alone(made)
    return made


def run_node(made: config.Configuration, scenario: Callable[[Node], Awaitable[None]]) -> int:
    """Run a node, the scenario beside it, then stop; the exit code."""

    async def both() -> int:
        node = Node(made)
        durable = asyncio.Event()
        running = asyncio.create_task(node.run())
        try:
            async with asyncio.timeout(60):
                await asyncio.sleep(0)
                recorded_one = node.pump.on_durable

                def on_durable() -> None:
                    recorded_one()
                    durable.set()

                node.pump.on_durable = on_durable
                await durable.wait()
                await scenario(node)
        finally:
            node.stop()
            code = await running
        return code

    return asyncio.run(both())


async def send(made: config.Configuration, control_id: str, value: str) -> str:
    mllp = made.feed[0].mllp
    assert mllp is not None
    host, port = config.host_port(mllp.listen, "$")
    reader, writer = await asyncio.open_connection(host, port)
    writer.write(b"\x0b" + ORU.format(id=control_id, value=value).encode() + b"\x1c\r")
    answer = await reader.readuntil(b"\x1c\r")
    writer.close()
    return answer.decode()


def test_a_block_closes_before_its_tick_when_a_sender_waits(site: config.Configuration) -> None:
    early: list[int] = []
    sent: list[int] = []

    async def scenario(node: Node) -> None:
        tick_early = node.ticker.tick_early

        def counted() -> None:
            before = node.member.writer.chain.size
            tick_early()
            early.append(node.member.writer.chain.size - before)

        node.ticker.tick_early = counted  # type: ignore[method-assign]
        while len(sent) < 12 or not early:  # sooner or later one comes when the tick is not near
            sent.append(60 + len(sent))
            assert "|CA|" in await send(site, f"m{len(sent)}", str(sent[-1]))

    assert run_node(site, scenario) == 0
    assert set(early) == {1}
    values = [record.value for _, record in recorded(site) if record.code == "MDC_ECG_HEART_RATE"]
    assert values == sent


async def ask(node: Node, cmd: str, **arguments: object) -> list[Any]:
    items: list[Any] = []

    async def reply(item: object) -> None:
        items.append(item)

    await handlers(node)[cmd](Request(cmd, arguments, 0, 0), reply)
    return items


def recorded(made: config.Configuration) -> list[tuple[str, Numeric]]:
    """Every numeric in the stopped box's store, decrypted."""
    folder = BoxFolder(Path(made.box.data_dir))
    keyring = open_keyring(folder, load_box(folder))
    store = Store.open(folder.ledger, readonly=True)
    found = []
    for log, _ in store.logs():
        for block in store.blocks(log, 0, store.length(log)):
            header = decode_signed_header(block.signed_header)
            for feed, records in open_payload(header, block.payload, keyring.get).items():
                found += [(feed, record) for record in records if type(record) is Numeric]
    store.close()
    return found


def test_an_acknowledged_message_is_in_the_store(site: config.Configuration) -> None:
    async def scenario(node: Node) -> None:
        answers = [await send(site, f"id-{number}", str(60 + number)) for number in range(5)]
        assert ["|CA|" in answer or "|AA|" in answer for answer in answers] == [True] * 5
        assert node.pump.durable_blocks > 1

    assert run_node(site, scenario) == 0
    assert [str(record.value) for _, record in recorded(site)] == ["60", "61", "62", "63", "64"]


def test_a_restart_is_a_new_epoch_that_names_the_old_one_and_keeps_the_state(site: config.Configuration) -> None:
    heads = []

    async def first(node: Node) -> None:
        await send(site, "a", "72")
        heads.append(node.member.writer.chain.log)

    async def second(node: Node) -> None:
        heads.append(node.member.writer.chain.log)
        assert [(feed, str(value.value)) for feed, value in node.recorder.state.values()] == [("gateway", "72")]

    run_node(site, first)
    run_node(site, second)
    assert heads[1].counter == heads[0].counter + 1
    store = Store.open(BoxFolder(Path(site.box.data_dir)).ledger, readonly=True)
    block = store.block(heads[1], 0)
    last = store.length(heads[0])
    store.close()
    assert block is not None
    start = decode_signed_header(block.signed_header).notices[0]
    assert isinstance(start, Start)
    assert start.parent is not None
    assert (start.parent.log, start.parent.size) == (heads[0], last)


def test_status_tells_what_a_person_asks_first(site: config.Configuration) -> None:
    async def scenario(node: Node) -> None:
        await send(site, "a", "72")
        (status,) = await ask(node, "status")
        assert isinstance(status, StatusDocument)
        assert (status.box, status.recording, status.exit) == ("or-1", True, 0)
        assert status.log is not None
        assert (status.log.level, status.log.peers) == ("local", 0)
        assert [(feed.name, feed.state, feed.gaps_24h) for feed in status.feeds] == [("gateway", "ok", 0)]
        (state,) = await ask(node, "state")
        assert [value["value"] for value in state["values"]] == ["72"]
        (statistics,) = await ask(node, "statistics")
        assert statistics["commit"]["count"] > 0

    run_node(site, scenario)


def test_a_restore_without_peers_or_of_a_stranger_says_so(site: config.Configuration) -> None:
    async def scenario(node: Node) -> None:
        for arguments, fault in (({"box": "or-9"}, OperatorFault), ({"box": "or-1"}, NoPeer), ({}, OrledgerError)):
            with pytest.raises(fault):
                await ask(node, "restore", **arguments)

    run_node(site, scenario)


def test_a_notice_is_on_the_chain_at_once(site: config.Configuration) -> None:
    async def scenario(node: Node) -> None:
        seq = node.record(Drill("or-1", verified=True))
        await node.pump.drain()
        block = node.store.block(node.member.writer.chain.log, seq)
        assert block is not None
        assert Drill("or-1", verified=True) in decode_signed_header(block.signed_header).notices

    run_node(site, scenario)


def test_nothing_is_signed_after_a_fault_that_ends_the_recording(site: config.Configuration) -> None:
    """Feeds and commands go on for a moment: a sender that waits must not have another block closed."""
    sizes, refused = [], []

    async def scenario(node: Node) -> None:
        node._failed(StoreFault("store.commit", "the disk is gone"))
        sizes.append(node.member.writer.chain.size)
        try:
            node.record(Drill("or-1", verified=True))
        except StoreFault as fault:
            refused.append(fault.id)
        node.recorder.notice(Drill("or-1", verified=True))
        node.ticker.tick_early()
        node.ticker.tick(0)
        sizes.append(node.member.writer.chain.size)

    with pytest.raises(StoreFault):
        run_node(site, scenario)
    assert sizes[0] == sizes[1]
    assert refused == ["store.commit"]


def test_no_block_closes_early_once_the_box_is_told_to_stop(site: config.Configuration) -> None:
    """What waits then goes into the last block, when the feeds have ended."""
    sizes = []

    async def scenario(node: Node) -> None:
        node.recorder.notice(Drill("or-1", verified=True))
        node.stop()
        sizes.append(node.member.writer.chain.size)
        node.ticker.tick_early()
        sizes.append(node.member.writer.chain.size)

    assert run_node(site, scenario) == 0
    assert sizes[0] == sizes[1]
    store = Store.open(BoxFolder(Path(site.box.data_dir)).ledger, readonly=True)
    last = next(block for log, _ in store.logs() if (block := store.last(log)) is not None)
    store.close()
    assert Drill("or-1", verified=True) in decode_signed_header(last.signed_header).notices


def test_a_folder_without_a_box_and_a_foreign_configuration_are_refused(
    site: config.Configuration, tmp_path: Path
) -> None:
    with pytest.raises(ConfigurationFault, match="holds no box"):
        Node(configuration(tmp_path / "elsewhere", 12_575))
    foreign = config.parse(
        f'[box]\nsite = "other"\nid = "or-1"\nroom = "x"\ndata_dir = "{site.box.data_dir}"\n'.encode()
    )
    with pytest.raises(ConfigurationFault, match="manifest lab"):
        Node(foreign)


async def until(holds: Callable[[], object]) -> None:
    async with asyncio.timeout(60):
        while True:
            if holds():
                return
            await asyncio.sleep(0.01)


def test_a_full_disk_is_waited_out_and_said(site: config.Configuration) -> None:
    async def scenario() -> None:
        node = Node(site)
        usage = node.store.usage()
        disk = [replace(usage, disk_free_bytes=0)]
        node.housekeeping.usage = lambda: disk[0]
        running = asyncio.create_task(node.run())
        await until(site.box.control_socket.exists)
        (status,) = await ask(node, "status")
        assert (status.recording, status.exit, [alert.id for alert in status.alerts]) == (False, 2, ["disk.full"])
        assert "NOT RECORDING" in status.alerts[0].text
        assert handlers(node).keys() > commands._WRITING
        for command in sorted(commands._WRITING):
            with pytest.raises(StoreFault, match="does not record yet"):
                await ask(node, command)
        assert (node.pump.durable_blocks, node.feeds) == (0, [])
        assert node.member.writer.chain.size == 0
        disk[0] = usage
        await until(lambda: node.pump.durable_blocks)
        (status,) = await ask(node, "status")
        assert (status.recording, status.exit) == (True, 0)
        node.stop()
        assert await running == 0

    asyncio.run(scenario())


def test_a_box_told_to_stop_while_its_disk_is_full_writes_nothing(site: config.Configuration) -> None:
    async def scenario() -> None:
        node = Node(site)
        full = replace(node.store.usage(), disk_free_bytes=0)
        node.housekeeping.usage = lambda: full
        running = asyncio.create_task(node.run())
        await until(site.box.control_socket.exists)
        node.stop()
        assert await running == 0
        assert node.pump.durable_blocks == 0

    asyncio.run(scenario())


def test_a_box_loads_the_libraries_of_no_device_that_it_may_not_have() -> None:
    code = (
        "import sys, agent.node; print({m.partition('.')[0] for m in sys.modules} & {'pydicom', 'pynetdicom', 'numpy'})"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"
