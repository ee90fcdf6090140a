"""Handing restored states to a hospital's broker as retained messages; an empty one withdraws."""

from __future__ import annotations

import ssl
from pathlib import Path

import paho.mqtt.client as paho
from paho.mqtt.enums import CallbackAPIVersion

from agent.config import ConsoleMqtt
from ledger.errors import ConfigurationFault, DeviceFault

_WAIT_S = 5.0


def publish_retained(target: ConsoleMqtt, box: str, payload: bytes) -> None:
    """Publish at QoS 1, retained, and wait for the broker's word. Raises DeviceFault ``console.mqtt``."""
    client = paho.Client(CallbackAPIVersion.VERSION2, protocol=paho.MQTTv311)
    where = f"{target.host}:{target.port}"
    try:
        if target.ca_file is not None:
            client.tls_set_context(ssl.create_default_context(cafile=target.ca_file))
        if target.username is not None:
            client.username_pw_set(target.username, _password(target))
        client.connect(target.host, target.port, keepalive=10)
        client.loop_start()
        try:
            sent = client.publish(f"{target.topic}/{box}", payload, qos=1, retain=True)
            sent.wait_for_publish(_WAIT_S)
            published = sent.is_published()
        finally:
            client.disconnect()
            client.loop_stop()
    except (OSError, ValueError, RuntimeError) as error:
        raise DeviceFault("console.mqtt", f"{where} did not take the state: {error}", "check the broker") from error
    if not published:
        raise DeviceFault("console.mqtt", f"{where} did not confirm the state", "check the broker and its access rules")


def _password(target: ConsoleMqtt) -> str | None:
    if target.password_file is None:
        return None
    try:
        return Path(target.password_file).read_text().strip()
    except OSError as error:
        raise ConfigurationFault(
            "config.password", f"$.restore.mqtt.password_file: {error.strerror}", "name a readable file"
        ) from error
