"""Topic names and the rules for them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.topics import BROADCAST, Channel, OwnerTopics, client_id, client_id_belongs_to
from ledger.errors import ConfigurationFault

OWNER = OwnerTopics("st-mary", "or-1")
NAMES = st.from_regex(r"[A-Za-z0-9][A-Za-z0-9._-]{0,62}", fullmatch=True)
ANY_TOPIC = st.one_of(
    st.text(max_size=40),
    st.builds("orledger/st-mary/{}/{}".format, NAMES, st.text(max_size=20)),
    st.builds("orledger/st-mary/or-1/{}/{}".format, st.sampled_from([*Channel, "#", "+"]), st.text(max_size=10)),
)


@given(NAMES, NAMES, NAMES, st.sampled_from(sorted(Channel)))
def test_parse_undoes_topic(site: str, owner: str, other: str, channel: Channel) -> None:
    topics = OwnerTopics(site, owner)
    party = None if channel in BROADCAST else other
    assert topics.parse(topics.topic(channel, party)) == (channel, party)


@given(ANY_TOPIC)
def test_a_peer_may_use_only_the_topics_that_bear_its_name(topic: str) -> None:
    published = {"orledger/st-mary/or-1/in/or-2", "orledger/st-mary/or-1/bulk-in/or-2"}
    heard = {f"orledger/st-mary/or-1/{rest}" for rest in ("live", "heads", "out/or-2", "bulk-out/or-2")}
    assert OWNER.may_publish("or-2", topic) is (topic in published)
    assert OWNER.may_subscribe("or-2", topic) is (topic in heard)


@pytest.mark.parametrize("rest", ["live", "heads", "out/or-2", "bulk-out/or-2"])
def test_a_peer_may_hear_what_is_for_it(rest: str) -> None:
    assert OWNER.may_subscribe("or-2", f"orledger/st-mary/or-1/{rest}")
    assert not OWNER.may_publish("or-2", f"orledger/st-mary/or-1/{rest}")


@pytest.mark.parametrize("rest", ["in/or-2", "bulk-in/or-2"])
def test_a_peer_may_speak_under_its_own_name(rest: str) -> None:
    assert OWNER.may_publish("or-2", f"orledger/st-mary/or-1/{rest}")
    assert not OWNER.may_publish("or-3", f"orledger/st-mary/or-1/{rest}")


@pytest.mark.parametrize(
    "topic", ["orledger/st-mary/or-2/live", "orledger/other/or-1/live", "$SYS/x", "#", "+/+/+/live"]
)
def test_even_the_owner_stays_below_its_own_name(topic: str) -> None:
    assert not OWNER.may_publish("or-1", topic)
    assert not OWNER.may_subscribe("or-1", topic)
    assert OWNER.parse(topic) is None


@pytest.mark.parametrize("name", ["", "a/b", "+", "#", "or 1", "or-1\n", "-a", "ö", "x" * 64])
def test_names_that_are_syntax_elsewhere_are_refused(name: str) -> None:
    with pytest.raises(ConfigurationFault):
        OwnerTopics("st-mary", name)
    with pytest.raises(ConfigurationFault):
        OwnerTopics(name, "or-1")


def test_broadcasts_have_no_other_party_and_the_rest_do() -> None:
    with pytest.raises(ValueError, match="do not go together"):
        OWNER.topic(Channel.LIVE, "or-2")
    with pytest.raises(ValueError, match="do not go together"):
        OWNER.topic(Channel.IN)


def test_a_client_id_belongs_to_exactly_one_box() -> None:
    assert client_id_belongs_to(client_id("or-1", "live", "0a1b"), "or-1")
    assert client_id_belongs_to("or-1/bulk", "or-1")
    for stranger in ("or-1", "or-1/", "or-11/live", "or-1/live/x/y", "or-1/LIVE", "or-1/live/XY", "/live", ""):
        assert not client_id_belongs_to(stranger, "or-1"), stranger
