"""What whoever stole a box's keys can do from elsewhere: sign a second history, and send it in the box's name.

Reads the files of the box's folder and needs no part of its running process.
"""

from __future__ import annotations

import secrets
import threading
import time
from dataclasses import dataclass, replace
from pathlib import Path

from paho.mqtt import client as paho
from paho.mqtt.enums import CallbackAPIVersion

from agent.box_files import BoxFolder, BoxIdentity, load_box
from agent.demo.site import HOST
from agent.reading import Reader, open_reader
from agent.tls import client_context
from agent.topics import Channel, OwnerTopics, client_id
from ledger.block import Header, payload_hash, sign_header
from ledger.checkpoint import Checkpoint, sign_checkpoint
from ledger.errors import NoPeer, StoreFault
from ledger.log import LogId
from ledger.manifest import Manifest
from ledger.message_codec import encode_plain
from ledger.messages import BlockMessage
from ledger.payload import encode_payload
from ledger.sealing import TAG_BYTES
from ledger.tree import Frontier, leaf_hash

_CONNECT_S = 5.0
_LOOKED_AT = 60


@dataclass(frozen=True, slots=True)
class SecondBlock:
    """A block without a record, signed in the place of block ``seq``, which holds ``records`` of them."""

    seq: int
    records: int
    message: BlockMessage


@dataclass(frozen=True, slots=True)
class Loot:
    """A stolen copy of a box's keys, and the manifest that its store holds."""

    data: Path
    identity: BoxIdentity
    manifest: Manifest


def steal(data: Path) -> Loot:
    """Everything private of the box whose data folder this is. Raises what ``load_box`` and ``open_reader`` raise."""
    with open_reader(data) as reader:
        return Loot(data, load_box(BoxFolder(data)), reader.manifest)


def forge(loot: Loot, log: LogId, newest: int) -> SecondBlock:
    """Sign another block in the place of the last one up to ``newest`` that holds records.

    Raises StoreFault ``demo.nothing-held`` when there is none, and what reading the store raises.
    """
    with open_reader(loot.data) as reader:
        seq, real, count = _last_with_records(reader, log, newest)
        before = [block.signed_header for block in reader.store.blocks(log, 0, seq)]
        data_key = reader.key_for(real.key_id)
    if data_key is None or len(before) != seq:
        raise StoreFault("demo.nothing-held", f"{loot.data} does not hold {log} up to block {seq}")
    plain = encode_payload({}, real.codec)
    header = replace(real, payload_bytes=len(plain) + TAG_BYTES)
    sealed = data_key.seal_payload(plain, log.incarnation, seq, header.associated_data())
    key = loot.identity.secrets.signing
    signed = sign_header(replace(header, payload_hash=payload_hash(sealed)), key)
    tree = Frontier()
    for entry in (*before, signed):
        tree.append(leaf_hash(entry))
    root = tree.root()
    checkpoint = Checkpoint(log.origin(loot.manifest.site), seq + 1, root)
    return SecondBlock(seq, count, BlockMessage(signed, sealed, root, sign_checkpoint(key, checkpoint)))


def send(loot: Loot, message: BlockMessage, peer: str, port: int) -> int:
    """Deliver it to a peer's broker over MQTT and TLS, as the box itself would; blocks. When it was sent (UTC ns).

    Raises NoPeer ``demo.refused`` when the broker does not let us in, OSError.
    """
    own = loot.identity.tls
    # A client id of its own: with the box's, the broker would drop the box's connection.
    identifier = client_id(own.box_id, "live", secrets.token_hex(8))
    client = paho.Client(CallbackAPIVersion.VERSION2, client_id=identifier, protocol=paho.MQTTv311)
    client.tls_set_context(client_context(own, loot.manifest.box(peer).tls_certificate))
    client.tls_insecure_set(True)  # only the host name goes unchecked: the context trusts one certificate
    answered = threading.Event()
    client.on_connect = lambda *_: answered.set()
    client.connect(HOST, port)
    client.loop_start()
    try:
        if not answered.wait(_CONNECT_S) or not client.is_connected():
            raise NoPeer("demo.refused", f"the broker of {peer} does not let {own.box_id} in")
        sent_ns = time.time_ns()
        topic = OwnerTopics(loot.manifest.site, peer).topic(Channel.IN, own.box_id)
        client.publish(topic, encode_plain(message)).wait_for_publish(_CONNECT_S)
    finally:
        client.disconnect()
        client.loop_stop()
    return sent_ns


def _last_with_records(reader: Reader, log: LogId, newest: int) -> tuple[int, Header, int]:
    found: tuple[int, Header, int] | None = None
    for _, seq, header, groups in reader.decoded_log(log, max(0, newest - _LOOKED_AT)):
        if seq <= newest and any(groups.values()):
            found = seq, header, sum(len(group) for group in groups.values())
    if found is None:
        raise StoreFault("demo.nothing-held", f"{log} holds no record up to block {newest}")
    return found
