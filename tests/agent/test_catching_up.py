"""What is still to be copied, and how long that takes: from samples once a second."""

from __future__ import annotations

from agent.catching_up import CatchingUp
from ledger.instant import Now
from ledger.lacking import Lacking
from ledger.limits import S_NS


def after(*blocks: int) -> CatchingUp:
    """A look a second at so many headers of or-3; 0 means that nothing is lacking."""
    seen = iter(blocks)
    catching_up = CatchingUp(lambda: {"or-3": Lacking(headers=count)} if (count := next(seen)) else {})
    for second in range(len(blocks)):
        catching_up.step(Now(second * S_NS, 0))
        catching_up.step(Now(second * S_NS + S_NS // 2, 0))
    return catching_up


def left_s(*blocks: int) -> float | None:
    return after(*blocks).boxes()["or-3"].left_s


def test_the_time_left_follows_the_rate_of_the_last_seconds() -> None:
    assert left_s(1_000, 900, 800) == 8.0
    assert left_s(10, 20, 1_000, 900, 800) == 8.0, "from where it began to fall"
    assert left_s(*range(100_000, 1_000, -1_000), 1_000, 999, 998) is not None
    assert left_s(500, 500, 500) is None
    assert left_s(400, 500, 600) is None


def test_what_is_only_on_its_way_is_not_shown() -> None:
    assert after(5, 5).boxes() == {}
    assert after(1, 0, 1, 1).boxes() == {}
    assert after(5, 5, 5, 0).boxes() == {}
    assert after(5, 5, 5).boxes()["or-3"].lacking == Lacking(headers=5)
