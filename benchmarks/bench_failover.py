"""Automatic failover: from the death or silence of a box to its state in the console's hands, on the standby.

Half of the rounds kill the box (SIGKILL), half freeze it (SIGSTOP: its links stay open and fall silent, as when a cable
is cut). Two seconds of each are the silence that is waited for; the rest is the restore.
"""

from __future__ import annotations

import json
import os
import signal
import statistics
import tempfile
import time
from pathlib import Path

from benchmarks import machine, report
from benchmarks.report import Line
from benchmarks.site import OR_BOX, Box, Site, SiteFault, running, wait_for
from ledger.limits import LIMITS, S_NS

STANDBY = "or-2"
_BUDGET_S = 5.0
_POLL_S = 0.005
_SETTLE_S = 60.0


def main() -> int:
    """Measure and report; ``--rounds`` is the number of failures."""
    parser = report.parser(__doc__)
    parser.add_argument("--rounds", type=int, default=6, help="how often the box fails; default: 6")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="orledger-bench-") as folder:
        disk = machine.measure(Path(folder))
        with running(Path(folder), 3, devices=True, standby=STANDBY) as site:
            took = {kind: [] for kind in ("killed", "frozen")}  # type: dict[str, list[float]]
            for number in range(options.rounds):
                kind = "killed" if number % 2 == 0 else "frozen"
                took[kind].append(_fail_once(site, kill=kind == "killed"))
    lines = disk.lines()
    for kind, seconds in took.items():
        if seconds:
            what = f"box {kind} -> state on the standby, {len(seconds)} rounds"
            lines.append(Line(f"{what}, p50", statistics.median(seconds), "s", budget=_BUDGET_S))
            lines.append(Line(f"{what}, worst", max(seconds), "s", budget=_BUDGET_S))
    lines.append(Line("of which the silence that is waited for", LIMITS.silence_ns / S_NS, "s"))
    return report.finish(lines, options.json)


def _fail_once(site: Site, *, kill: bool) -> float:
    victim, standby = site.boxes[OR_BOX], site.boxes[STANDBY]
    state_file = Path(f"{standby.folder.path.parent}/run/{OR_BOX}.state.json")
    state_file.unlink(missing_ok=True)
    pid, began = victim.pid, time.monotonic()
    os.kill(pid, signal.SIGKILL if kill else signal.SIGSTOP)
    try:
        while not _holds_state(state_file):
            if time.monotonic() - began > _SETTLE_S:
                raise SiteFault(f"{STANDBY} never handed out the state of {OR_BOX}")
            time.sleep(_POLL_S)
        took_s = time.monotonic() - began
    finally:
        if not kill:
            os.kill(pid, signal.SIGCONT)
    _begin_again(site, victim, standby, dead=kill)
    return took_s


def _holds_state(path: Path) -> bool:
    return path.exists() and bool(json.loads(path.read_text())["restored"])


def _begin_again(site: Site, victim: Box, standby: Box, *, dead: bool) -> None:
    """A fresh standby has no memory of the last round: else it would, rightly, wait longer each time."""
    if dead:
        victim.end()
        victim.start()
    standby.end()
    standby.start()
    wait_for("the agents answer", lambda: victim.answers() and standby.answers(), _SETTLE_S)
    site.wait_vouched_for(_SETTLE_S)


if __name__ == "__main__":
    raise SystemExit(main())
