"""The MQTT transport against a mosquitto, with the push driver behind it."""

from __future__ import annotations

import asyncio
import json
import ssl
import subprocess
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import paho.mqtt.client as paho
import pytest
from paho.mqtt.enums import CallbackAPIVersion
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.reasoncodes import ReasonCode

from agent.feed import Feed
from agent.intake import Intake
from agent.wake_timer import loop_schedule
from drivers.contract import Now
from drivers.push import Push, PushConfig
from drivers.transports.mqtt_config import MqttConfig
from drivers.transports.mqtt_topic import MqttTopic
from ledger.errors import ConfigurationFault
from ledger.limits import LIMITS
from ledger.records import Link, Numeric, Record
from tests.conftest import require_tool
from tests.drivers.transport_log import until
from tests.processes.site import free_port


def now() -> Now:
    return Now(time.monotonic_ns(), time.time_ns())


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[tuple[int, subprocess.Popen[bytes]]]:
    require_tool("mosquitto")
    port = free_port()
    configuration = tmp_path / "mosquitto.conf"
    configuration.write_text(f"listener {port} 127.0.0.1\nallow_anonymous true\n", encoding="ascii")
    with subprocess.Popen(["mosquitto", "-c", str(configuration)], stderr=subprocess.DEVNULL) as process:
        yield port, process
        process.kill()


class Client:
    """A client of the topic."""

    def __init__(self, port: int, name: str, ca_file: Path | None = None) -> None:
        self.heard: list[dict[str, Any]] = []
        self.name = name
        self.mqtt = paho.Client(CallbackAPIVersion.VERSION2)
        self.mqtt.on_message = lambda _c, _d, message: self.heard.extend(
            json.loads(line) for line in message.payload.splitlines()
        )
        if ca_file is not None:
            self.mqtt.tls_set_context(ssl.create_default_context(cafile=ca_file))
            self.mqtt.username_pw_set(name, "secret")
        self.mqtt.connect("127.0.0.1", port)
        self.mqtt.subscribe(f"or-3/push/{name}/out", qos=1)
        self.mqtt.loop_start()

    def say(self, *lines: dict[str, Any]) -> None:
        payload = "\n".join(json.dumps(line) for line in lines)
        self.mqtt.publish(f"or-3/push/{self.name}/in", payload, qos=1)

    def end(self) -> None:
        self.mqtt.disconnect()
        self.mqtt.loop_stop()


def test_clients_of_a_topic_are_recorded_and_answered(broker: tuple[int, subprocess.Popen[bytes]]) -> None:
    port, process = broker
    records: list[Record] = []
    hello = {"type": "hello", "version": 1, "session": "s", "make": "Acme", "model": "R7"}
    value = {"type": "numeric", "seq": 1, "code": "MDCX_X_A", "value": 2, "unit": "mm"}

    async def play() -> None:
        intake = Intake()
        transport = MqttTopic(MqttConfig("127.0.0.1", port, "or-3/push"), now)
        feed = Feed("console", lambda: Push(PushConfig()), transport, intake, now,
                    loop_schedule(asyncio.get_running_loop()))  # fmt: skip
        feed.start()
        await until(lambda: transport.reachable)
        first, other = Client(port, "console-1"), Client(port, "bad name")
        await asyncio.sleep(0.1)
        other.say(hello)
        first.say(hello, value)
        first.say({**value, "seq": 2, "colour": "red"})
        await until(lambda: intake.waiting_records >= 6)
        await until(lambda: bool(first.heard))
        batch = intake.take()
        records.extend(batch.groups["console"])
        assert [heard["type"] for heard in first.heard] == ["welcome"]
        intake.durable(batch.last_position)
        await until(lambda: len(first.heard) == 3)
        assert first.heard[1] == {"type": "ack", "seq": 1}
        assert (first.heard[2]["type"], first.heard[2]["field"]) == ("error", "$.colour")
        process.kill()
        await until(lambda: not transport.reachable)
        feed.flush()
        records.extend(intake.take().groups["console"])
        await feed.stop()
        first.end()
        other.end()

    asyncio.run(play())
    (value_told,) = [record for record in records if isinstance(record, Numeric)]
    assert (value_told.sub, str(value_told.value)) == ("console-1", "2")
    links = [(link.state, link.peer.partition("@")[0]) for link in records if isinstance(link, Link)]
    assert min(links) == ("down", "console-1")
    assert ("refused", f"127.0.0.1:{port}") in links


HELLO = {"type": "hello", "version": 1, "session": "s", "make": "Acme", "model": "R7"}


class Box:
    """A box's feed on the topic, with an intake of its own; ``session``: the name it has at the broker."""

    def __init__(self, config: MqttConfig) -> None:
        self.intake = Intake()
        self.transport = MqttTopic(config, now)
        loop = asyncio.get_running_loop()
        self.feed = Feed(
            "console", lambda: Push(PushConfig()), self.transport, self.intake, now, loop_schedule(loop), keep_raw=False
        )
        self.records: list[Record] = []
        self.feed.start()

    def values(self) -> list[str]:
        """The values recorded so far; whatever waits is taken, and not durable yet."""
        self.batch = self.intake.take()
        self.records += self.batch.groups.get("console", ())
        return [str(record.value) for record in self.records if isinstance(record, Numeric)]

    def refused(self) -> list[str]:
        """Why links did not come about."""
        return [each.reason for each in self.records if isinstance(each, Link) and each.state == "refused"]


def numeric(seq: int) -> dict[str, Any]:
    return {"type": "numeric", "seq": seq, "code": "MDCX_X_A", "value": seq, "unit": "mm"}


def test_what_is_not_durable_is_given_again_to_the_next_process_and_what_is_never(
    broker: tuple[int, subprocess.Popen[bytes]],
) -> None:
    config = MqttConfig("127.0.0.1", broker[0], "or-3/push", client_id="or-3-console")

    async def play() -> None:
        died = Box(config)
        await until(lambda: died.transport.reachable)
        client = Client(broker[0], "console-1")
        client.say(HELLO, numeric(1))
        await until(lambda: died.values() == ["1"])
        await died.feed.stop()  # its block never became durable
        client.say(numeric(2))  # while nobody is there
        box = Box(config)
        await until(lambda: box.values() == ["1", "2"])
        box.intake.durable(box.batch.last_position)
        await until(lambda: {"type": "ack", "seq": 2} in client.heard)
        await box.feed.stop()
        last = Box(config)
        client.say(HELLO, numeric(3))
        await until(lambda: last.values() == ["3"])
        await last.feed.stop()
        client.end()

    asyncio.run(play())


def test_who_is_cut_off_does_not_hold_up_the_others_and_a_message_too_large_is_refused(
    broker: tuple[int, subprocess.Popen[bytes]],
) -> None:
    async def play() -> None:
        box = Box(MqttConfig("127.0.0.1", broker[0], "or-3/push"))
        await until(lambda: box.transport.reachable)
        fast, other = Client(broker[0], "fast"), Client(broker[0], "other")
        fast.mqtt.publish("or-3/push/fast/in", b"x" * (LIMITS.push_message_bytes + 1), qos=1)
        for _ in range(30):  # more than a broker sends without an acknowledgment
            fast.say(*[{"type": "ping"}] * 1_000)
        other.say(HELLO, numeric(1))
        await until(lambda: box.values() == ["1"])
        await until(lambda: box.values() == ["1"] and any("over 1,048,576 bytes" in told for told in box.refused()))
        await box.feed.stop()
        fast.end()
        other.end()

    asyncio.run(play())


def test_a_broker_that_does_not_let_the_box_hear_is_told(broker: tuple[int, subprocess.Popen[bytes]]) -> None:
    async def play() -> None:
        box = Box(MqttConfig("127.0.0.1", broker[0], "or-3/push"))
        await until(lambda: box.transport.reachable)
        refusal = ReasonCode(PacketTypes.SUBACK, identifier=0x80)
        box.transport._on_subscribe(box.transport._broker, None, 2, [refusal], None)
        await until(lambda: not box.transport.reachable)
        box.values()
        assert box.refused()[-1] == "the broker refuses the subscription: Unspecified error"
        await box.feed.stop()

    asyncio.run(play())


def test_a_hospitals_broker_knows_the_box_by_user_and_password_over_tls(tmp_path: Path) -> None:
    for tool in ("mosquitto", "mosquitto_passwd", "openssl"):
        require_tool(tool)
    certificate, key, users, secret = (tmp_path / name for name in ("b.crt", "b.key", "users", "password"))
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-subj", "/CN=b",
         "-addext", "subjectAltName=IP:127.0.0.1", "-keyout", key, "-out", certificate],
        check=True, capture_output=True,
    )  # fmt: skip
    for new, user in ((["-c"], "or-3"), ([], "console-1")):
        subprocess.run(["mosquitto_passwd", *new, "-b", users, user, "secret"], check=True, capture_output=True)
    port = free_port()
    rules = [f"listener {port} 127.0.0.1", "allow_anonymous false", f"password_file {users}", "user root",
             f"certfile {certificate}", f"keyfile {key}"]  # fmt: skip
    (tmp_path / "mosquitto.conf").write_text("\n".join(rules) + "\n", encoding="utf-8")
    secret.write_text("secret\n", encoding="ascii")
    config = MqttConfig("127.0.0.1", port, "or-3/push", certificate, username="or-3", password_file=secret)

    async def play() -> None:
        box = Box(config)
        await until(lambda: box.transport.reachable)
        client = Client(port, "console-1", certificate)
        client.say(HELLO, numeric(1))
        await until(lambda: box.values() == ["1"])
        await box.feed.stop()
        client.end()
        (tmp_path / "other").write_text("guessed", encoding="ascii")
        stranger = Box(replace(config, password_file=tmp_path / "other"))
        await until(lambda: stranger.values() is not None and bool(stranger.records))
        assert not stranger.transport.reachable
        assert [link.state for link in stranger.records if isinstance(link, Link)] == ["refused"]
        await stranger.feed.stop()

    with subprocess.Popen(["mosquitto", "-c", tmp_path / "mosquitto.conf"], stderr=subprocess.DEVNULL) as process:
        try:
            asyncio.run(play())
        finally:
            process.kill()


def test_certificates_that_cannot_be_read_are_named(tmp_path: Path) -> None:
    missing = tmp_path / "no.pem"
    with pytest.raises(ConfigurationFault, match=r"no\.pem"):
        MqttTopic(MqttConfig("box", 8883, "t", missing, missing), now)
    with pytest.raises(ConfigurationFault, match=r"no\.pem"):
        MqttTopic(MqttConfig("box", 8883, "t", username="u", password_file=missing), now)
