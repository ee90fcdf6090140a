"""Topic names of the mesh and who may use them, in one place: both brokers and the clients follow it.

Each box owns ``orledger/<site>/<owner>/`` on its own broker and may do all below it. A peer X may subscribe to
``live``, ``heads``, ``out/X`` and ``bulk-out/X`` there and publish to ``in/X`` and ``bulk-in/X``, and nothing else.
"""

from __future__ import annotations

import enum
import re
from dataclasses import dataclass

from ledger.errors import ConfigurationFault

_ROOT = "orledger"
# Levels also stand in mosquitto's line-based access list: nothing in them may be read as syntax.
_LEVEL = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,62}")
_CLIENT_ID = re.compile(r"(?P<box>[A-Za-z0-9][A-Za-z0-9._-]{0,62})/[a-z]{1,16}(/[0-9a-f]{1,32})?")


class Channel(enum.StrEnum):
    """What a message is for; the value is the topic level after the owner."""

    LIVE = "live"
    HEADS = "heads"
    IN = "in"
    OUT = "out"
    BULK_IN = "bulk-in"
    BULK_OUT = "bulk-out"


BROADCAST = frozenset({Channel.LIVE, Channel.HEADS})
TO_OWNER = frozenset({Channel.IN, Channel.BULK_IN})
FROM_OWNER = frozenset({Channel.OUT, Channel.BULK_OUT})


def check_level(name: str, what: str) -> str:
    """The name itself if it can be a topic level; `ConfigurationFault` otherwise."""
    if not _LEVEL.fullmatch(name):
        raise ConfigurationFault(
            "mesh.name",
            f"{what} {name!r} cannot be used in MQTT topics",
            "Use 1 to 63 letters, digits, dots, underscores or hyphens, the first a letter or digit.",
        )
    return name


def client_id(box_id: str, purpose: str, instance: str) -> str:
    """MQTT client identifier; ``instance`` is random hex, so that no peer can guess it and take the connection over."""
    return f"{box_id}/{purpose}/{instance}"


def client_id_belongs_to(identifier: str, box_id: str) -> bool:
    """Whether ``identifier`` is ``<box id>/<purpose>`` (with or without the random part) of exactly this box."""
    match = _CLIENT_ID.fullmatch(identifier)
    return match is not None and match["box"] == box_id


@dataclass(frozen=True, slots=True)
class OwnerTopics:
    """The topics below one owner and the rules for them."""

    site: str
    owner: str

    def __post_init__(self) -> None:
        check_level(self.site, "site")
        check_level(self.owner, "box id")

    @property
    def prefix(self) -> str:
        return f"{_ROOT}/{self.site}/{self.owner}/"

    def topic(self, channel: Channel, box_id: str | None = None) -> str:
        """Topic of a channel; ``box_id`` names the other party of in, out, bulk-in and bulk-out ('+' for all)."""
        if (channel in BROADCAST) is not (box_id is None):
            raise ValueError(f"{channel} and box id {box_id!r} do not go together")
        return self.prefix + (channel.value if box_id is None else f"{channel.value}/{box_id}")

    def parse(self, topic: str) -> tuple[Channel, str | None] | None:
        """Channel and other party of a topic below this owner; None when it is not one of ours."""
        if not topic.startswith(self.prefix):
            return None
        head, slash, box_id = topic[len(self.prefix) :].partition("/")
        try:
            channel = Channel(head)
        except ValueError:
            return None
        if channel in BROADCAST:
            return None if slash else (channel, None)
        return (channel, box_id) if _LEVEL.fullmatch(box_id) else None

    def peer_subscriptions(self, peer: str) -> tuple[str, ...]:
        """All topic filters a peer may subscribe to at this owner's broker."""
        return (
            self.topic(Channel.LIVE),
            self.topic(Channel.HEADS),
            self.topic(Channel.OUT, peer),
            self.topic(Channel.BULK_OUT, peer),
        )

    def peer_publications(self, peer: str) -> tuple[str, ...]:
        """All topics a peer may publish to at this owner's broker."""
        return (self.topic(Channel.IN, peer), self.topic(Channel.BULK_IN, peer))

    def may_publish(self, identity: str, topic: str) -> bool:
        """Whether the box of that pinned certificate may publish there."""
        if identity == self.owner:
            return topic.startswith(self.prefix)
        return topic in self.peer_publications(identity)

    def may_subscribe(self, identity: str, topic_filter: str) -> bool:
        """Whether the box of that pinned certificate may subscribe so; a peer may use no wildcard at all."""
        if identity == self.owner:
            return topic_filter.startswith(self.prefix)
        return topic_filter in self.peer_subscriptions(identity)
