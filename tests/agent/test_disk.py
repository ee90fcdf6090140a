from __future__ import annotations

import asyncio
from pathlib import Path

from agent import config
from agent.disk import StoreDisk, last_state, load_manifest, load_replicas, own_past
from agent.init_site import init_alone
from ledger.records import Numeric
from ledger.store import Store
from tests.agent.pumped import PumpedGroup


def heart_rate(value: str) -> Numeric:
    return Numeric(at_ns=1, code="MDC_ECG_HEART_RATE", value=value, unit="/min")


def test_what_is_not_held_is_none_and_not_an_error(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with PumpedGroup(2, tmp_path) as group:
            await group.tick(8, heart_rate("72"))
            box = group.boxes["or-1"]
            disk, chain = StoreDisk(box.store), box.member.writer.chain
            assert disk.signed_header(chain.log, chain.size) is None
            assert disk.signed_header(chain.log, -1) is None
            assert disk.keyframe_frontier(chain.log, chain.size + 5) is None
            assert list(disk.blocks(chain.log, chain.size - 1, chain.size + 9))[1:] == []

    asyncio.run(scenario())


def test_a_start_takes_over_state_heads_and_counter(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with PumpedGroup(2, tmp_path) as group:
            await group.tick(10, heart_rate("72"))
            box = group.boxes["or-1"]
            writer = box.member.writer
            await group.settle()
            replicas = load_replicas(box.store)
            past = own_past(box.store, "or-1", replicas)
            assert past.counter == writer.chain.log.counter
            heads = {head.log: head for head in past.heads}
            assert heads[writer.chain.log] == writer.chain.head()
            state = last_state(box.store, box.keyring, replicas, "or-1")
            assert [str(value.value) for _, value in state.values()] == ["72"]
            assert list(last_state(box.store, box.keyring, replicas, "or-9").values()) == []

    asyncio.run(scenario())


def test_the_newest_log_is_told_by_its_epoch_whatever_the_clock_said(tmp_path: Path) -> None:
    """A box that recorded under a clock far ahead, before it was set, does not go on from there ever after."""

    async def scenario() -> None:
        async with PumpedGroup(2, tmp_path) as group:
            await group.tick(10, heart_rate("72"))
            before = {log for log, _ in group.boxes["or-1"].store.logs("or-1")}
            await group.restart("or-1")
            await group.tick(10, heart_rate("80"))
            await group.settle()
            box = group.boxes["or-1"]
            replicas = load_replicas(box.store)
            assert {log.fenced for log in before} == {True, False}
            for replica in replicas:
                replica.closed_ns *= 2 if replica.log in before else 1
            state = last_state(box.store, box.keyring, replicas, "or-1")
            assert [str(value.value) for _, value in state.values()] == ["80"]

    asyncio.run(scenario())


def test_the_highest_manifest_is_found_and_none_before_enrolment(tmp_path: Path) -> None:
    text = f'[box]\nsite = "lab"\nid = "or-1"\nroom = "x"\ndata_dir = "{tmp_path}/data"\n'
    manifest = init_alone(config.parse(text.encode()))
    store = Store.open(tmp_path / "data" / "ledger")
    found = load_manifest(store)
    store.close()
    assert found is not None
    assert found.hash == manifest.hash
    empty = Store.open(tmp_path / "empty")
    assert load_manifest(empty) is None
    empty.close()
