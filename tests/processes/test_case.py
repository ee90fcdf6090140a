"""One case through real boxes: opened by the hospital, over a kill -9, closed by hand, restored by another box."""

from __future__ import annotations

import json
import socket
from pathlib import Path

from firmware_sim.hl7_messages import Message
from firmware_sim.hospital import ANNA, BRUNO, Hospital
from tests.processes.site import HOST, LabSite, free_port, hl7_feed, orledger, until
from tests.processes.stores import until_holds


def send(port: int, message: Message) -> str:
    """The acknowledgment code; empty while nobody listens."""
    try:
        with socket.create_connection((HOST, port), timeout=60) as connection:
            connection.sendall(b"\x0b" + message.encode() + b"\x1c\r")
            answer = b""
            while not answer.endswith(b"\x1c\r"):
                more = connection.recv(65_536)
                if not more:
                    return ""
                answer += more
    except OSError:
        return ""
    return answer.decode().split("\rMSA|")[1][:2]


def test_a_case_from_admission_to_a_restore_elsewhere(tmp_path: Path) -> None:
    port, say = free_port(), Hospital(1_700_000_000, "OR^1^1")
    feed = {**hl7_feed(port), "options": {"beds": [{"match": "OR^1", "feed": "room"}]}}
    with LabSite(tmp_path, boxes=2, feeds={"or-1": [feed]}) as site:
        site.start()
        room, peer = site["or-1"], site["or-2"]
        until("the admission is acknowledged", lambda: send(port, say.adt("A01", ANNA)) == "AA")
        assert send(port, say.laboratory(ANNA, "8.1", "4.20")) == "AA"
        opened = room.status()["case"]["id"]
        room.kill()
        room.start()
        until("a result is acknowledged", lambda: send(port, say.laboratory(ANNA, "9.9", "4.0")) == "AA")
        assert room.status()["case"]["id"] == opened
        assert send(port, say.adt("A02", BRUNO)) == "AA"
        next_case = room.status()["case"]["id"]
        assert next_case != opened
        room.until_level("witnessed")
        room.until_held()
        restored = peer.restore("or-1")["state"]
        assert restored["case"]["id"] == next_case
        assert restored["values"] == []
        closed = json.loads(room.cli("case", "close", "--json").stdout)
        assert closed["closed"] == next_case
        until_holds(peer, room)
        room.kill()
        listed = json.loads(peer.cli("case", "list", "--json").stdout)["cases"]
        assert [(case["id"], case["box"], case["closed"] is not None) for case in listed] == [
            (opened, "or-1", True), (next_case, "or-1", True),
        ]  # fmt: skip
        assert [case["keys_held"] for case in listed] == [len(case["logs"]) for case in listed]
        out = tmp_path / "case"
        done = peer.cli("restore", "case", opened[:8], "--out", str(out))
        assert done.returncode == 0, done.stdout + done.stderr
        records = orledger("records", "--data-dir", str(out)).stdout
        assert '"MDCX_LOINC_718_7"' in records
        assert "9.9" in records
        assert "Dahl" not in records
        shown = orledger("case", "show", opened[:6], "--patient", "--data-dir", str(out)).stdout
        assert "Öberg^Anna" in shown
