"""The MQTT transport against a mosquitto, with the push driver behind it."""

from __future__ import annotations

import asyncio
import json
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import paho.mqtt.client as paho
import pytest
from paho.mqtt.enums import CallbackAPIVersion

from agent.feed import Feed, loop_schedule
from agent.intake import Intake
from drivers.contract import Now
from drivers.push import Push, PushConfig
from drivers.transports.mqtt_topic import MqttConfig, MqttTopic
from ledger.errors import ConfigurationFault
from ledger.records import Link, Numeric, Record
from tests.conftest import require_tool
from tests.drivers.transport_log import until


def now() -> Now:
    return Now(time.monotonic_ns(), time.time_ns())


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[tuple[int, subprocess.Popen[bytes]]]:
    require_tool("mosquitto")
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    configuration = tmp_path / "mosquitto.conf"
    configuration.write_text(f"listener {port} 127.0.0.1\nallow_anonymous true\n", encoding="ascii")
    with subprocess.Popen(["mosquitto", "-c", str(configuration)], stderr=subprocess.DEVNULL) as process:
        yield port, process
        process.kill()


class Client:
    """A client of the topic."""

    def __init__(self, port: int, name: str) -> None:
        self.heard: list[dict[str, Any]] = []
        self.name = name
        self.mqtt = paho.Client(CallbackAPIVersion.VERSION2)
        self.mqtt.on_message = lambda _c, _d, message: self.heard.extend(
            json.loads(line) for line in message.payload.splitlines()
        )
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


def test_certificates_that_cannot_be_read_are_named(tmp_path: Path) -> None:
    missing = tmp_path / "no.pem"
    with pytest.raises(ConfigurationFault, match=r"no\.pem"):
        MqttTopic(MqttConfig("box", 8883, "t", missing, missing), now)
