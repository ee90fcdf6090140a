"""A box starts again where no fence can be had, records on, and is killed: beside the believed head its provisional
tail is restored, and said to be one.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from tests.processes.hl7_sender import Sender
from tests.processes.site import LabSite, free_port, hl7_feed, until
from tests.processes.stores import chains, until_holds


def _pulse(state: dict[str, Any]) -> int:
    """The one value that ``tests.processes.hl7_sender`` sends: the number of the message."""
    (value,) = {int(row["value"]) for row in state["values"] if row["value"] is not None}
    return value


def test_the_provisional_tail_of_a_dead_box_is_restored_and_said_to_be_one(tmp_path: Path) -> None:
    port = free_port()
    with LabSite(tmp_path, 4, feeds={"or-1": [hl7_feed(port)]}) as site:
        box = site["or-1"]
        site.start()
        with Sender(port, connections=1) as sender:
            until("or-1 acknowledges", lambda: len(sender.acknowledged) > 20)
            box.until_level("witnessed")
        believed = max(sender.acknowledged)
        box.kill()
        site["or-3"].stop()  # two of or-1's three peers must promise a fence: now it gets none
        site["or-4"].stop()
        box.start()
        until("or-1 records again", lambda: box.status()["log"]["seq"])
        with Sender(port, connections=1) as sender:
            until("or-1 acknowledges", lambda: len(sender.acknowledged) > 20)
        written = max(sender.acknowledged)
        seq = box.until_ahead(3)
        assert not box.status()["log"]["fenced"]
        until("or-2 holds the tail", lambda: _held_by_or_2(box.status()) >= seq or None)
        until_holds(site["or-2"], box)  # all of the log before, too: its last blocks may leave after the restart
        box.kill()
        provisional = list(chains(box, "or-1"))[-1]
        site["or-3"].start()
        site["or-4"].start()
        for peer in ("or-3", "or-4"):
            site[peer].until_level("witnessed")

        ended = site["or-2"].cli("restore", "now", "or-1", "--json")
        assert ended.returncode == 0, ended.stderr
        restored = json.loads(ended.stdout)
        assert restored["level"] == "witnessed"
        assert restored["fenced"]
        assert _pulse(restored["newest_state"] or restored["state"]) >= believed
        tail = restored["tail"]
        assert tail["log"] == str(provisional)
        assert tail["block"] >= seq
        assert (tail["fenced"], tail["vouching"]) == (False, 0)
        assert tail["after_head_s"] > 0
        assert "NOT VOUCHED FOR" in tail["warning"]
        assert _pulse(tail["state"]) >= written
        assert restored["tails_lost"] == []

        told = site["or-2"].cli("restore", "now", "or-1").stdout
        assert f"Beside it, NOT VOUCHED FOR: {tail['log']}, a provisional log" in told
        assert f"NOT VOUCHED FOR, {tail['log']} block {tail['block']:,}:" in told

        # The others fetch the tail and its key from or-2, and show the same.
        until("or-4 has it too", lambda: (site["or-4"].restore("or-1")["tail"] or {}).get("log") == tail["log"])


def _held_by_or_2(status: dict[str, Any]) -> int:
    return next(peer["holds_ours"] or 0 for peer in status["peers"] if peer["id"] == "or-2")
