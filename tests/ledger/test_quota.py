"""The day's share of the disk: counted, kept across a restart, given once a day."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ledger.canonical import pack
from ledger.errors import PeerFault
from ledger.limits import LIMITS, S_NS
from ledger.quota import Quota

DAY_NS = 86_400 * S_NS
boxes = st.dictionaries(
    st.from_regex(r"[a-z][a-z0-9-]{0,20}", fullmatch=True),
    st.tuples(st.integers(0, 40), st.integers(0, 40)),
    max_size=8,
)


@given(day=st.integers(1, 100_000), used=boxes)
def test_what_was_used_is_still_used_after_a_restart(day: int, used: dict[str, tuple[int, int]]) -> None:
    quota = Quota()
    quota.today(day * DAY_NS)
    for box, (logs, blocks) in used.items():
        for _ in range(logs):
            assert quota.take_log(box)
        for _ in range(blocks):
            assert quota.take_block(box)
    saved = quota.encode()
    again = Quota()
    again.load(saved)
    assert again.encode() == saved
    assert not again.today(day * DAY_NS)


def test_the_share_is_one_boxs_own_and_comes_back_the_next_day() -> None:
    quota = Quota()
    quota.today(DAY_NS)
    assert all(quota.take_log("or-1") for _ in range(LIMITS.epochs_per_day))
    assert not quota.take_log("or-1")
    assert quota.take_log("or-2")
    assert not quota.today(DAY_NS - 1), "a clock stepped back gives nothing twice"
    assert not quota.take_log("or-1")
    assert quota.today(2 * DAY_NS)
    assert quota.take_log("or-1")


@pytest.mark.parametrize("saved", [b"", pack([1]), pack([1, [["or-1", 1]]]), pack([1, [[1, "or-1", 1]]])])
def test_a_damaged_share_is_refused(saved: bytes) -> None:
    with pytest.raises(PeerFault):
        Quota().load(saved)
