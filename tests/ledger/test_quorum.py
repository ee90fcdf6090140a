"""The whole table of thresholds, and what the thresholds must guarantee for every group size."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ledger.errors import ConfigurationFault
from ledger.quorum import Level, Quorum, quorum_for

TABLE = [
    # n, f, witnessed, final, fence
    (0, 0, 0, None, 0),
    (1, 0, 1, None, 1),
    (2, 0, 2, None, 1),
    (3, 0, 2, None, 2),
    (4, 1, 3, 3, 3),
    (5, 1, 3, 4, 4),
    (6, 1, 4, 4, 4),
    (7, 1, 4, 5, 5),
    (7, 2, 5, 5, 5),
]


@pytest.mark.parametrize(("peers", "liars", "witnessed", "final", "fence"), TABLE)
def test_the_table(peers: int, liars: int, witnessed: int, final: int | None, fence: int) -> None:
    assert quorum_for(peers, liars) == Quorum(peers, liars, fence, witnessed, final)


@pytest.mark.parametrize(("peers", "liars"), [(0, 0), (1, 0), (2, 0), (3, 0), (4, 1), (5, 1), (6, 1), (7, 1)])
def test_the_number_of_liars_allowed_by_default(peers: int, liars: int) -> None:
    assert quorum_for(peers) == quorum_for(peers, liars)


def possible(peers: int, liars: int) -> Quorum | None:
    try:
        return quorum_for(peers, liars)
    except ConfigurationFault:
        return None


@given(st.integers(1, 63), st.integers(0, 63))
def test_quorums_meet_in_an_honest_peer(peers: int, liars: int) -> None:
    quorum = possible(peers, liars)
    if quorum is None:
        assert liars > 0
        return
    assert 1 <= quorum.fence <= peers
    assert 1 <= quorum.witnessed <= peers
    # A fence quorum and a witnessed quorum share an honest peer: a new epoch continues every witnessed block.
    assert quorum.fence + quorum.witnessed - peers > liars
    assert 2 * quorum.witnessed > peers
    if (peers, liars) != (2, 0):
        # Two fence quorums share an honest peer: no two epochs of one counter.
        assert 2 * quorum.fence - peers > liars
    if quorum.final is not None:
        assert 2 * quorum.final - peers > liars
        assert quorum.final >= quorum.witnessed


@given(st.integers(0, 3), st.integers(0, 3))
def test_small_groups_never_claim_final(peers: int, liars: int) -> None:
    quorum = possible(peers, liars)
    assert quorum is None or quorum.final is None


@given(st.integers(1, 63), st.integers(0, 63), st.integers(0, 63), st.integers(0, 63))
def test_levels_rise_with_the_peers_that_vouch(peers: int, liars: int, cosigned: int, stored: int) -> None:
    quorum = possible(peers, liars)
    if quorum is None:
        return
    level = quorum.level(cosigned, max(stored, cosigned))
    assert level <= quorum.level(cosigned + 1, max(stored, cosigned + 1))
    assert (level >= Level.WITNESSED) == (cosigned >= quorum.witnessed)
    assert (level is Level.FINAL) == (quorum.final is not None and cosigned >= quorum.final)
    assert (level >= Level.COPIED) == (max(stored, cosigned) > 0)


def test_a_box_alone_never_claims_more_than_local() -> None:
    assert quorum_for(0).level(5, 5) is Level.LOCAL


def test_liars_needed_for_a_second_history() -> None:
    quorum = quorum_for(4)
    assert [quorum.liars_to_fork(vouching) for vouching in range(5)] == [0, 0, 1, 2, 3]


@pytest.mark.parametrize(("peers", "liars"), [(1, 1), (2, 2), (3, 3), (4, 4)])
def test_more_liars_than_the_group_can_bear_are_refused(peers: int, liars: int) -> None:
    with pytest.raises(ConfigurationFault, match="cannot tolerate") as caught:
        quorum_for(peers, liars)
    assert caught.value.id == "quorum.impossible"
