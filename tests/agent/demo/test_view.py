from __future__ import annotations

import io

from rich.console import Console

from agent.demo.claims import Claim
from agent.demo.view import PlainView, TerminalView, View
from agent.demo.watch import Reading

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


def test_a_terminal_gets_the_story_and_is_given_back() -> None:
    out = io.StringIO()
    tell(TerminalView(Console(file=out, force_terminal=True, width=100, highlight=False)))
    text = out.getvalue()
    for words in ("INSIDER", "It is named.", "NO ANSWER", "a change is named"):
        assert words in text
    assert text.rfind("\x1b[?25h") > text.rfind("\x1b[?25l")  # the cursor is shown again
