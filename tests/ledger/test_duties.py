"""Of several boxes that stand by for one, every box knows the same one to be the first."""

from __future__ import annotations

from ledger.duties import Duties
from ledger.limits import LIMITS
from ledger.messages import StandsBy
from tests.ledger.cluster import Cluster

ORDER = ["or-1", "or-2", "or-3", "or-4"]


def test_the_manifests_order_decides_and_only_those_before_count() -> None:
    duties = Duties()
    for sender in ("or-2", "or-3", "or-4"):
        duties.take(sender, ["or-1"], 1)
    assert duties.before("or-2", "or-1", ORDER, {}) == []
    assert duties.before("or-4", "or-1", ORDER, {}) == ["or-2", "or-3"]
    assert duties.before("or-4", "or-2", ORDER, {}) == []


def test_who_says_so_no_longer_stands_by_no_more_and_who_is_silent_still_does() -> None:
    duties = Duties()
    duties.take("or-2", ["or-1"], 1)
    assert duties.before("or-3", "or-1", ORDER, {"or-2": LIMITS.duty_ns}) == ["or-2"]
    assert duties.before("or-3", "or-1", ORDER, {"or-2": LIMITS.duty_ns + 1}) == []
    duties.take("or-2", [], 2)
    assert duties.before("or-3", "or-1", ORDER, {}) == []


def test_boxes_with_duties_tell_them_once_a_second_and_others_tell_nothing() -> None:
    cluster = Cluster(3)
    cluster.boxes["or-2"].member.gossip.duties.own = ("or-1",)
    cluster.run(12)
    knows = cluster.boxes["or-3"].member.gossip
    assert knows.duties.before("or-3", "or-1", ORDER, knows.heard_mono_ns) == ["or-2"]
    silent = cluster.boxes["or-3"].member
    silent.gossip.tell_heads(cluster.now)
    assert StandsBy not in {message.kind for message in silent.take_wire()}
