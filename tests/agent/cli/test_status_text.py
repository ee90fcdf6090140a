from __future__ import annotations

import pytest
from msgspec.structs import replace

from agent import status
from agent.cli.status_text import duration, status_lines
from tests.agent.test_status import GOOD

ALL_IS_WELL = """\
or-3  OR 3  st-mary   RECORDING   witnessed 2/2                 14:02:31 UTC ±0.4 ms
case P-7Q4K  1 h 52 min          epoch 17  block 67,214  0.1 s ago
FEED       DEVICE              STATE     LAST   GAPS 24 h
monitor    GE B650             ok        0.1 s  0
vent       Dräger Evita 4      ok        0.9 s  1 (3.1 s, silence)
pumps (4)  B. Braun SpaceCom   ok        4.2 s  0
PEER   HOLDS OURS   WE HOLD   disk 212 GiB, 61 days  wear 3 %  fsync p99 4 ms
or-1   67,214       67,198    clock synchronised ±0.4 ms
or-2   67,214       88,104    Nothing needs you.
"""

TWO_THINGS = """\
or-3  OR 3  st-mary   RECORDING, 2 THINGS NEED YOU              14:02:31 UTC ±?
CRITICAL fork   or-2 signed two blocks 88,104. Epoch 9 frozen, proof ev-31 kept. Next: orledger verify ev-31
WARNING  clock  unsynchronised 26 min, error up to 1.8 s; order stays provable. Next: chronyc sources
case P-7Q4K  1 h 52 min          epoch 17  block 67,214  0.1 s ago
"""

FORK = status.Alert(
    "fork",
    "critical",
    "peer",
    "or-2",
    "2026-11-23T14:00:00Z",
    "or-2 signed two blocks 88,104. Epoch 9 frozen, proof ev-31 kept",
    "orledger verify ev-31",
)
CLOCK = status.Alert(
    "clock",
    "warning",
    "operator",
    "or-3",
    "2026-11-23T13:36:00Z",
    "unsynchronised 26 min, error up to 1.8 s; order stays provable",
    "chronyc sources",
)


def text(document: status.StatusDocument) -> str:
    return "".join("".join(span for span, _ in line) + "\n" for line in status_lines(document))


def test_all_is_well() -> None:
    assert text(GOOD) == ALL_IS_WELL


def test_what_needs_somebody_comes_first_and_the_worst_before_all() -> None:
    troubled = replace(
        GOOD, state="critical", exit=2, alerts=(CLOCK, FORK), clock=status.Clock("unsynchronised", 1_800.0)
    )
    shown = text(troubled)
    assert shown.startswith(TWO_THINGS)
    assert "Nothing needs you" not in shown


def test_what_is_only_worth_knowing_needs_nobody() -> None:
    shown = text(replace(GOOD, alerts=(replace(CLOCK, severity="info", next=""),)))
    assert shown.splitlines()[0] == ALL_IS_WELL.splitlines()[0]
    assert shown.splitlines()[1].startswith("INFO     clock  unsynchronised")
    assert "Next:" not in shown
    assert shown.endswith("Nothing needs you.\n")


def test_a_box_alone_that_records_nothing_yet() -> None:
    alert = replace(CLOCK, id="feed.down", text="no feed")
    bare = replace(
        GOOD, recording=False, state="attention", exit=1, alerts=(alert,), log=None, case=None, feeds=(), peers=()
    )
    assert "NOT RECORDING, 1 THING NEEDS YOU" in text(bare)
    assert "no case                          no log\n" in text(bare)
    assert "no feeds are configured\nPEER   HOLDS OURS   WE HOLD   disk 212 GiB" in text(bare)


def test_a_provisional_log_and_a_lost_peer_say_so() -> None:
    log = status.Log(18, "00" * 16, False, None, "local", None, 0, 2)
    peers = (replace(GOOD.peers[0], connected=False), replace(GOOD.peers[1], holds_ours=None, we_hold=None))
    shown = text(replace(GOOD, log=log, peers=peers)).splitlines()
    assert shown[1].endswith("epoch 18 provisional  block –")
    assert shown[7].startswith("or-1   67,214 down  67,198")
    assert shown[8].startswith("or-2   –            –")


def test_long_names_widen_their_column() -> None:
    wide = replace(GOOD.feeds[0], name="a-very-long-feed-name", device="A very long device name", last_age_s=None)
    lines = text(replace(GOOD, feeds=(wide, GOOD.feeds[1]))).splitlines()[2:5]
    assert len({line.index(word) for line, word in zip(lines, ("STATE", "ok", "ok"), strict=True)}) == 1


def test_no_control_character_of_a_device_s_name_reaches_the_terminal() -> None:
    hostile = replace(GOOD.feeds[0], device="\x1b]0;owned\x07\nB650")
    shown = text(replace(GOOD, feeds=(hostile,)))
    assert "\x1b" not in shown
    assert "\x07" not in shown
    assert shown.count("\n") == len(status_lines(GOOD)) - 2


@pytest.mark.parametrize(
    ("seconds", "shown"),
    [
        (0.04, "0.0 s"),
        (99.9, "99.9 s"),
        (99.96, "1 min"),
        (1_565, "26 min"),
        (6_751, "1 h 52 min"),
        (172_800, "2 d 0 h"),
    ],
)
def test_durations(seconds: float, shown: str) -> None:
    assert duration(seconds) == shown


def test_what_is_still_being_copied_is_said_with_the_time_it_takes() -> None:
    behind = (status.CatchingUp("or-1", 12_000, 300, 40.2), status.CatchingUp("or-2", 0, 5))
    assert text(replace(GOOD, catching_up=behind)) == ALL_IS_WELL + (
        "catching up: 12,300 blocks of or-1 still to be copied here, about 40 s\n"
        "catching up: 5 blocks of or-2 still to be copied here\n"
    )


def test_objects_are_told_and_those_that_only_this_box_has() -> None:
    own = {"local": 2, "copied": 0, "witnessed": 7, "final": 0}
    objects = status.Objects(held=1_204, held_bytes=5 << 30, wanted=3, wanted_bytes=1_500, own=own)
    told = text(replace(GOOD, objects=objects))
    assert "objects 1,204 held, 5.0 GiB, 3 to come, 2 KiB; 2 of this room's here only" in told
    nothing = status.Objects(held=0, held_bytes=0, wanted=0, wanted_bytes=0, own={})
    assert text(replace(GOOD, objects=nothing)) == text(GOOD)


def test_what_was_asked_to_be_committed_is_told_while_it_is_open() -> None:
    open_ = status.Commitments(undecided=2, unreported=1, oldest_age_s=4_000.0)
    told = text(replace(GOOD, commitments=open_))
    assert "commitments 2 for the group, 1 to be reported; oldest 1 h 6 min" in told
    assert "commitments 1 to be reported; oldest 3.0 s" in text(
        replace(GOOD, commitments=status.Commitments(undecided=0, unreported=1, oldest_age_s=3.0))
    )
    nothing = status.Commitments(undecided=0, unreported=0, oldest_age_s=None)
    assert text(replace(GOOD, commitments=nothing)) == text(GOOD)
