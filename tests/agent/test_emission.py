from __future__ import annotations

import asyncio
import json
import socket
import subprocess
import threading
from pathlib import Path

import paho.mqtt.client as paho
import pytest
from paho.mqtt.enums import CallbackAPIVersion

from agent import config
from agent.emission import ENDED_SCHEMA, Emission
from agent.restorer import RestoreReport
from ledger.errors import ConfigurationFault, DeviceFault
from ledger.instant import Now
from ledger.records import Numeric
from tests.agent.pumped import PumpedGroup
from tests.conftest import require_tool
from tests.processes.site import free_port

NOW = Now(10**9, 1_700_000_000 * 10**9)


def configuration(tmp_path: Path, restore: str) -> config.Configuration:
    (tmp_path / "run").mkdir(exist_ok=True)
    return config.parse(
        f"""
[box]
site = "lab"
id = "or-1"
room = "OR 1"
data_dir = "{tmp_path}/data"
runtime_dir = "{tmp_path}/run"
[restore]
{restore}
""".encode()
    )


async def a_report(tmp_path: Path) -> RestoreReport:
    async with PumpedGroup(3, tmp_path / "group") as group:
        await group.tick(10, Numeric(at_ns=1, code="MDC_ECG_HEART_RATE", value="72", unit="/min"))
        group.boxes["or-2"].dead = True
        return await group.boxes["or-1"].restorer.restore("or-2")


def test_a_state_file_says_that_its_values_are_restored_and_later_that_it_ended(tmp_path: Path) -> None:
    async def scenario() -> None:
        (tmp_path / "group").mkdir()
        emission = Emission(configuration(tmp_path, 'console_out = ["file"]'))
        assert await emission.hand_over(await a_report(tmp_path), NOW, 17) == []
        document = json.loads(emission.state_file("or-2").read_text())
        assert (document["restored"], document["recorded_in_block"]) == (True, 17)
        assert "NOT LIVE" in document["warning"]
        assert [value["text_value"] for value in document["state"]["values"]] == ["72"]
        assert await emission.withdraw("or-2", NOW) == []
        ended = json.loads(emission.state_file("or-2").read_text())
        assert (ended["schema"], ended["restored"], "state" in ended) == (ENDED_SCHEMA, False, False)

    asyncio.run(scenario())


def test_a_deaf_console_is_told_of_and_does_not_silence_the_file(tmp_path: Path) -> None:
    async def scenario() -> None:
        (tmp_path / "group").mkdir()
        text = f'console_out = ["hl7", "file"]\nhl7 = {{ to = "mllp://127.0.0.1:{free_port()}" }}'
        emission = Emission(configuration(tmp_path, text))
        faults = await emission.hand_over(await a_report(tmp_path), NOW, 1)
        assert [fault.id for fault in faults] == ["console.silent"]
        assert emission.state_file("or-2").exists()

    asyncio.run(scenario())


def test_an_hl7_console_gets_the_values_and_accepts_them(tmp_path: Path) -> None:
    received: list[bytes] = []
    listener = socket.create_server(("127.0.0.1", 0))

    def console() -> None:
        connection, _ = listener.accept()
        with connection:
            data = b""
            while not data.endswith(b"\x1c\r"):
                data += connection.recv(65_536)
            received.append(data)
            control_id = data.split(b"|")[9]
            connection.sendall(b"\x0bMSH|^~\\&|||||1||ACK|1|P|2.6\rMSA|CA|" + control_id + b"\r\x1c\r")

    thread = threading.Thread(target=console, daemon=True)
    thread.start()

    async def scenario() -> None:
        (tmp_path / "group").mkdir()
        to = f"mllp://127.0.0.1:{listener.getsockname()[1]}"
        emission = Emission(configuration(tmp_path, f'console_out = ["hl7"]\nhl7 = {{ to = "{to}" }}'))
        assert await emission.hand_over(await a_report(tmp_path), NOW, 1) == []

    asyncio.run(scenario())
    thread.join(60)
    listener.close()
    assert b"MDC_ECG_HEART_RATE" in received[0]
    assert b"NOT LIVE" in received[0]


def test_a_console_that_refused_gets_the_same_message_again_and_nobody_else_does(tmp_path: Path) -> None:
    received: list[bytes] = []
    listener = socket.create_server(("127.0.0.1", 0))

    def console() -> None:
        for code in ("AE", "AA"):
            connection, _ = listener.accept()
            with connection:
                data = b""
                while not data.endswith(b"\x1c\r"):
                    data += connection.recv(65_536)
                received.append(data)
                answer = f"\x0bMSH|^~\\&|||||1||ACK|1|P|2.6\rMSA|{code}|".encode() + data.split(b"|")[9]
                connection.sendall(answer + b"\r\x1c\r")

    thread = threading.Thread(target=console, daemon=True)
    thread.start()

    async def scenario() -> None:
        (tmp_path / "group").mkdir()
        text = f'console_out = ["hl7", "file"]\nhl7 = {{ to = "mllp://127.0.0.1:{listener.getsockname()[1]}" }}'
        emission = Emission(configuration(tmp_path, text))
        report = await a_report(tmp_path)
        assert [fault.id for fault in await emission.hand_over(report, NOW, 1)] == ["console.refused"]
        assert emission.undelivered["or-2"] == {"hl7"}
        emission.state_file("or-2").unlink()
        assert await emission.hand_over(report, NOW, 1, again=True) == []
        assert not emission.state_file("or-2").exists()
        assert not emission.undelivered["or-2"]

    asyncio.run(scenario())
    thread.join(60)
    listener.close()
    assert received[0] == received[1]


def test_a_retained_topic_holds_the_state_until_it_is_withdrawn(tmp_path: Path) -> None:
    mosquitto, port = require_tool("mosquitto"), free_port()
    broker_file = tmp_path / "mosquitto.conf"
    broker_file.write_text(f"listener {port} 127.0.0.1\nallow_anonymous true\n")

    def retained() -> list[bytes]:
        heard: list[bytes] = []
        over = threading.Event()
        client = paho.Client(CallbackAPIVersion.VERSION2)

        def said(_client: paho.Client, _data: object, message: paho.MQTTMessage) -> None:
            over.set() if message.topic == "over" else heard.append(bytes(message.payload))

        client.on_message = said
        client.connect("127.0.0.1", port)
        client.subscribe([("rooms/#", 0), ("over", 0)])
        client.publish("over")  # comes back behind what is retained
        client.loop_start()
        assert over.wait(60)
        client.disconnect()
        client.loop_stop()
        return heard

    async def scenario() -> None:
        (tmp_path / "group").mkdir()
        text = f'console_out = ["mqtt"]\nmqtt = {{ host = "127.0.0.1", port = {port}, topic = "rooms" }}'
        emission = Emission(configuration(tmp_path, text))
        report = await a_report(tmp_path)
        async with asyncio.timeout(60):
            while faults := await emission.hand_over(report, NOW, 1):
                assert [type(fault) for fault in faults] == [DeviceFault]
        assert [json.loads(state)["box"] for state in retained()] == ["or-2"]
        assert await emission.withdraw("or-2", NOW) == []
        assert retained() == []

    with subprocess.Popen([mosquitto, "-c", broker_file], stderr=subprocess.DEVNULL) as broker:
        try:
            asyncio.run(scenario())
        finally:
            broker.terminate()


@pytest.mark.parametrize("kind", ["hl7", "mqtt"])
def test_a_console_that_is_named_but_not_described_is_refused(tmp_path: Path, kind: str) -> None:
    with pytest.raises(ConfigurationFault, match=rf"\$\.restore\.{kind}"):
        configuration(tmp_path, f'console_out = ["{kind}"]')
