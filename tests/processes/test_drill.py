"""Drills by real boxes: what cannot be restored is known before it must be, and the chain tells of each drill."""

from __future__ import annotations

import json
import signal
from pathlib import Path

from ledger.notices import Drill
from tests.processes.site import LabSite, until
from tests.processes.stores import assert_good, headers_of


def test_a_drill_that_fails_stays_known_until_one_succeeds(tmp_path: Path) -> None:
    with LabSite(tmp_path) as site:
        box = site["or-1"]
        for name in ("or-1", "or-2"):
            site[name].start()
        box.until_level("copied")

        failed = box.cli("drill", "or-3", "--json")  # it never recorded anything
        assert failed.returncode == 76, failed.stdout + failed.stderr
        assert json.loads(failed.stdout)["drills"][0]["error"]["id"] == "restore.nothing-held"
        until("the failure is told", lambda: ("drill.failed", "or-3") in box.alerts())
        box.until_ahead(3)
        box.send(signal.SIGTERM)
        assert box.wait() == 0
        box.start()
        until("the failure is known after a restart", lambda: ("drill.failed", "or-3") in box.alerts())

        site["or-3"].start()
        site["or-3"].until_level("witnessed")
        done = box.cli("drill", "--json")
        assert done.returncode == 0, done.stdout + done.stderr
        drills = json.loads(done.stdout)["drills"]
        assert [(drill["box"], drill["verified"]) for drill in drills] == [("or-2", True), ("or-3", True)]
        told = {drill["box"]: drill for drill in box.status()["drills"]}
        assert {told[name]["last_result"] for name in ("or-2", "or-3")} == {"good"}
        assert all(drill["age_s"] < 600 for drill in told.values())
        until("the failure is over", lambda: ("drill.failed", "or-3") not in box.alerts())
        assert box.cli("drill", "or-9").returncode == 64

        box.until_ahead(3)
        site.stop()
        notices = [notice for header in headers_of(box, "or-1") for notice in header.notices]
        found = [(notice.box, notice.verified) for notice in notices if isinstance(notice, Drill)]
        assert found == [("or-3", False), ("or-2", True), ("or-3", True)]
        assert_good(box)
