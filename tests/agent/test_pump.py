from __future__ import annotations

import asyncio
from dataclasses import replace
from pathlib import Path

import pytest

from agent.disk import StoreDisk, load_manifest, load_replicas
from ledger.block import decode_signed_header, sign_header
from ledger.limits import LIMITS
from ledger.message_codec import encode_plain
from ledger.messages import Ask, Fence, Range
from ledger.outbox import Outbox
from ledger.quorum import Level
from ledger.records import Numeric
from ledger.witness import Witness
from ledger.writer import State
from tests.agent.pumped import PumpedGroup


def heart_rate(value: str) -> Numeric:
    return Numeric(at_ns=1, code="MDC_ECG_HEART_RATE", value=value, unit="/min")


def test_blocks_reach_every_disk_and_are_witnessed(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with PumpedGroup(3, tmp_path) as group:
            await group.tick(15, heart_rate("72"))
            for box in group.boxes.values():
                writer = box.member.writer
                assert writer.state is State.FENCED
                assert writer.vouching.size_at(Level.WITNESSED) == writer.chain.size > 5
                for other in group.boxes.values():
                    assert StoreDisk(other.store).length(writer.chain.log) == writer.chain.size
                assert box.statistics.closed_to_witnessed.count > 5
                assert box.statistics.closed_to_durable.count == box.pump.durable_blocks
                assert box.failures == []
                assert box.statistics.peer_faults == {}

    asyncio.run(scenario())


def test_a_box_cut_off_records_alone_and_catches_up(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with PumpedGroup(3, tmp_path) as group:
            await group.tick(10, heart_rate("72"))
            alone = group.boxes["or-1"]
            witnessed = alone.member.writer.vouching.size_at(Level.WITNESSED)
            group.cut.add("or-1")
            await group.tick(40, heart_rate("80"))
            assert alone.member.writer.chain.size >= witnessed + 40
            assert alone.member.writer.vouching.size_at(Level.WITNESSED) == witnessed
            group.cut.clear()
            async with asyncio.timeout(60):
                while alone.member.writer.vouching.size_at(Level.WITNESSED) < alone.member.writer.chain.size:
                    await group.tick(1)
                    await asyncio.sleep(0.05)

    asyncio.run(scenario())


def test_a_stranger_and_garbage_are_counted_and_harm_nobody(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with PumpedGroup(2, tmp_path) as group:
            await group.tick(5)
            box, other = group.boxes["or-1"], group.boxes["or-2"]
            box.pump.arrived("or-9", b"hello")
            box.pump.arrived("or-2", b"")
            box.pump.arrived("or-2", bytes(range(256)))
            forged = bytearray(other.member.sign(Ask(bytes(16), "or-1")))
            forged[-1] ^= 1
            box.pump.arrived("or-2", bytes(forged))
            assert set(box.statistics.peer_faults) == {
                "or-9 message.stranger", "or-2 message.size", "or-2 message.kind", "or-2 message.bad-signature",
            }  # fmt: skip
            await group.tick(5)
            assert box.member.writer.vouching.size_at(Level.WITNESSED) == box.member.writer.chain.size

    asyncio.run(scenario())


def test_a_start_from_the_disk_finds_every_replica_as_it_was(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with PumpedGroup(3, tmp_path) as group:
            await group.tick(12, heart_rate("72"))
            box = group.boxes["or-2"]
            for replica in load_replicas(box.store):
                live = box.member.witness.replicas.get(replica.log, box.member.writer.chain.replica)
                if live.log == replica.log:
                    assert replica.newest_head() == live.newest_head()
                    assert replica.keyframe_seq == live.keyframe_seq
            assert load_manifest(box.store) is None

    asyncio.run(scenario())


def test_blocks_of_others_are_passed_over_while_too_many_wait_for_the_disk(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def taken(group: PumpedGroup) -> int:
        return group.boxes["or-2"].member.witness.replicas[group.boxes["or-1"].member.writer.chain.log].size

    async def scenario() -> None:
        async with PumpedGroup(2, tmp_path) as group:
            await group.tick(10, heart_rate("72"))
            before = taken(group)
            with monkeypatch.context() as slow_disk:
                slow_disk.setattr(Witness, "backlog", LIMITS.commit_queue_blocks)
                await group.tick(5, heart_rate("72"))
                assert taken(group) == before
            async with asyncio.timeout(60):
                while taken(group) < group.boxes["or-1"].member.writer.chain.size:
                    await group.tick(1)
                    await asyncio.sleep(0.05)

    asyncio.run(scenario())


def test_the_queue_for_the_disk_is_bounded_in_bytes_too(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with PumpedGroup(2, tmp_path) as group:
            await group.tick(10, heart_rate("72"))
            box, log = group.boxes["or-2"], group.boxes["or-1"].member.writer.chain.log
            witness = box.member.witness
            assert witness.backlog_bytes == 0, "what is durable does not count"
            before = witness.replicas[log].size
            witness._backlog.bytes += LIMITS.commit_queue_bytes
            await group.tick(5, heart_rate("72"))
            assert witness.replicas[log].size == before
            witness._backlog.bytes -= LIMITS.commit_queue_bytes
            async with asyncio.timeout(60):
                while witness.replicas[log].size < group.boxes["or-1"].member.writer.chain.size:
                    await group.tick(1)
                    await asyncio.sleep(0.05)
            assert not box.pump.overloaded()

    asyncio.run(scenario())


def test_a_stolen_key_that_takes_a_live_logs_incarnation_does_not_end_the_recording(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with PumpedGroup(2, tmp_path) as group:
            await group.tick(5, heart_rate("72"))
            box = group.boxes["or-1"]
            live = box.member.writer.chain.log
            block = box.store.block(live, 0)
            assert block is not None
            other = replace(live, counter=live.counter + 1, fenced=False)
            header = replace(decode_signed_header(block.signed_header), log=other)
            stolen = (sign_header(header, group.key_of("or-1")), block.payload)
            box.pump.arrived("or-2", encode_plain(Range(7, other, 0, b"", (stolen,))))
            await group.tick(5, heart_rate("72"))
            assert box.failures == []
            assert box.statistics.peer_faults["or-2 log.own-incarnation"] == 1
            assert "own-key" in {alert.warning.id for alert in box.alerts.active()}
            assert box.member.writer.chain.log == live
            assert box.store.length(live) == box.member.writer.chain.size

    asyncio.run(scenario())


def test_no_peer_adds_work_for_a_disk_that_is_stuck(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def scenario() -> None:
        async with PumpedGroup(2, tmp_path) as group:
            await group.tick(5)
            box, other = group.boxes["or-1"], group.boxes["or-2"]
            fence = other.member.sign(Fence(99, bytes(16), bytes(16)))
            promised = box.member.witness.promises.of("or-2")
            with monkeypatch.context() as stuck:
                stuck.setattr(Outbox, "operations", LIMITS.commit_queue_operations)
                box.pump.arrived("or-2", fence)
            assert box.statistics.peer_faults["or-2 peer.flood"] == 1
            assert box.member.witness.promises.of("or-2") == promised
            box.pump.arrived("or-2", fence)
            assert box.member.witness.promises.of("or-2").counter == 99

    asyncio.run(scenario())
