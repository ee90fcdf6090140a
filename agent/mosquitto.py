"""Configuration of a mosquitto beside the agent, in place of the broker inside it (``broker = "mosquitto"``).

Renders what mosquitto 2.0 needs for the same rules as the embedded broker's: mutual TLS 1.3 with pinned certificates,
the box id as user name, the topic rules, bounds. Files ``mosquitto.conf``, ``mosquitto.acl`` and ``peers.pem`` in one
folder. After a change of peers write ``peers.pem`` anew and restart mosquitto: on a reload it keeps the old ones.
"""

from __future__ import annotations

import ssl
from collections.abc import Iterable
from pathlib import Path

from agent.tls import certificate_box_id, fingerprint
from agent.topics import Channel, OwnerTopics, check_level
from ledger.limits import LIMITS

CONFIG_NAME = "mosquitto.conf"
ACL_NAME = "mosquitto.acl"
PEERS_NAME = "peers.pem"
_MEMORY_BYTES = 512 * 1024 * 1024


def render_config(host: str, port: int, pem_path: Path, folder: Path) -> str:
    """mosquitto.conf for one listener; ``pem_path`` is the box's own key with its certificate."""
    return f"""\
per_listener_settings false
listener {port} {host}
tls_version tlsv1.3
certfile {pem_path}
keyfile {pem_path}
cafile {folder / PEERS_NAME}
require_certificate true
use_identity_as_username true
allow_anonymous false
allow_zero_length_clientid false
acl_file {folder / ACL_NAME}

# Without it Nagle's algorithm holds a block back for 40 ms and more.
set_tcp_nodelay true

# The ledger is the memory, never the broker: what a peer missed it asks for by range.
persistence false
retain_available false
max_qos 0
max_packet_size {LIMITS.message_bytes + LIMITS.mqtt_topic_bytes + 7}
max_queued_messages {LIMITS.peer_queue_messages}
max_queued_bytes {LIMITS.mqtt_client_bytes}
memory_limit {_MEMORY_BYTES}
max_connections {LIMITS.mqtt_connections}

log_dest stderr
log_type error
log_type warning
log_type notice
connection_messages true
"""


def render_acl(site: str, owner: str) -> str:
    """The topic rules of `agent.topics` as mosquitto's access list; the user is the certificate's common name."""
    topics = OwnerTopics(site, owner)
    read = [topics.topic(Channel.LIVE), topics.topic(Channel.HEADS)]
    read += [topics.prefix + channel + "/%u" for channel in (Channel.OUT, Channel.BULK_OUT)]
    write = [topics.prefix + channel + "/%u" for channel in (Channel.IN, Channel.BULK_IN)]
    lines = [f"user {owner}", f"topic readwrite {topics.prefix}#", ""]
    lines += [f"pattern read {topic}" for topic in read] + [f"pattern write {topic}" for topic in write]
    return "\n".join(lines) + "\n"


def render_peers(certificate_ders: Iterable[bytes]) -> str:
    """The certificates let in, the own one among them, as one PEM file.

    Raises:
        PeerFault: one is unfit for pinning; a CA's could vouch for any name here.
        ConfigurationFault: one names a box that cannot stand in a topic.
    """
    parts = []
    for der in certificate_ders:
        box_id = check_level(certificate_box_id(der), "box id")
        parts.append(f"# {box_id} {fingerprint(der)}\n{ssl.DER_cert_to_PEM_cert(der)}")
    return "".join(parts)
