from __future__ import annotations

import io

from rich.console import Console

from agent.demo.claims import Claim
from agent.demo.view import PlainView, TerminalView, View
from agent.demo.watch import Reading
from tests.agent.demo.room import room_reading

CLAIM = Claim("insider", "a change is named", "block 7", passed=True)
GONE = Reading("or-2", None, {})


def tell(view: View) -> None:
    view.scene("Insider", "One byte is changed.")
    view.show([GONE])
    view.say("It is named.")
    view.table(("OR 2", "BEFORE"), [("HR", "70 /min")])
    view.end([CLAIM])
    view.close()


def test_without_a_terminal_there_are_plain_lines() -> None:
    out = io.StringIO()
    tell(PlainView(out))
    text = out.getvalue()
    assert "\x1b" not in text
    lines = [line.rstrip() for line in text.splitlines()]
    assert "== INSIDER: One byte is changed." in lines
    assert any(line.endswith(" s  It is named.") for line in lines)
    assert lines[-1] == "a change is named  block 7   pass"


def test_a_whole_room_is_shown_feed_by_feed() -> None:
    terminal, plain = io.StringIO(), io.StringIO()
    for view in (
        TerminalView(Console(file=terminal, force_terminal=True, width=140, highlight=False), feeds=True),
        PlainView(plain, feeds=True, every_s=0),
    ):
        view.show([room_reading()])
        view.close()
    for text in (terminal.getvalue(), plain.getvalue()):
        for words in ("ventilator", "down", "PEEP 5", "1: 12:46:22–12:46:25 link_down"):
            assert words in text


def test_a_terminal_gets_the_story_and_is_given_back() -> None:
    out = io.StringIO()
    tell(TerminalView(Console(file=out, force_terminal=True, width=100, highlight=False)))
    text = out.getvalue()
    for words in ("INSIDER", "It is named.", "NO ANSWER", "a change is named"):
        assert words in text
    assert text.rfind("\x1b[?25h") > text.rfind("\x1b[?25l")  # the cursor is shown again
