"""A case among real stores: what a peer restores while it is open, after it closed, and after the box came back."""

from __future__ import annotations

import asyncio
import json
import secrets
from pathlib import Path

from agent.case_desk import CaseDesk
from agent.clock import read_pair
from agent.restore_document import restore_document
from ledger.block import decode_signed_header
from ledger.cases import CaseRules, Cases
from ledger.records import Numeric
from tests.agent.pumped import PumpedBox, PumpedGroup


def desk_of(box: PumpedBox) -> CaseDesk:
    return CaseDesk(Cases(CaseRules(), secrets.token_bytes), box.recorder, box.intake, box.alerts)


def heart_rate(value: str) -> Numeric:
    return Numeric(at_ns=1, code="MDC_ECG_HEART_RATE", value=value, unit="/min")


def test_a_peer_restores_the_open_case_and_nothing_of_one_that_is_closed(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with PumpedGroup(3, tmp_path) as group:
            room, peer = group.boxes["or-2"], group.boxes["or-1"]
            desk = desk_of(room)
            await group.tick(5, heart_rate("61"))
            for closed in desk.open(read_pair(), "anna (uid 1000)", {"name": "Berg^Anna"}):
                room.pump.closed(closed)
            await group.tick(5, heart_rate("72"))
            current = desk.cases.current
            assert current is not None
            report = await peer.restorer.restore("or-2")
            case = report.restored.state.case()
            assert case is not None
            assert (case.case_id, case.facts["name"]) == (current.case_id, "Berg^Anna")
            assert report.vouching >= 2
            document = json.dumps(restore_document(report, peer.restorer._now(), 1))
            assert current.case_id.hex() in document
            assert "Berg" not in document
            for closed in desk.close(read_pair(), "anna (uid 1000)", "done"):
                room.pump.closed(closed)
            await group.settle()
            after = await peer.restorer.restore("or-2")
            assert after.restored.state.case() is None
            assert not list(after.restored.state.values())
            await group.tick(2, heart_rate("80"))
            keys = {decode_signed_header(block.signed_header).key_id
                    for block in peer.store.blocks(room.member.writer.chain.log, 0, 99)}  # fmt: skip
            assert len(keys) == 2
            assert keys <= peer.keyring.key_ids()
            await group.restart("or-1")
            replica = group.boxes["or-1"].member.witness.replicas[room.member.writer.chain.log]
            assert replica.cases.key_ids == keys
            assert not replica.missing_keys

    asyncio.run(scenario())
