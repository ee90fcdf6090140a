"""The page of a whole node in this process: a port in use, and what is served before anything is recorded."""

from __future__ import annotations

import asyncio
import socket
import urllib.error
import urllib.request
from pathlib import Path

import msgspec
from prometheus_client.openmetrics.parser import text_string_to_metric_families as openmetrics
from prometheus_client.parser import text_string_to_metric_families as prometheus

from agent import config
from agent.init_site import init_alone
from agent.node import Node
from ledger.limits import LIMITS
from tests.agent.test_network import alert_ids, until
from tests.processes.site import free_port

OPENMETRICS = "application/openmetrics-text;version=1.0.0"


def alone(tmp_path: Path, port: int) -> config.Configuration:
    box = config.BoxSection("lab", "or-1", "OR 1", str(tmp_path / "data"), str(tmp_path / "run"))
    configuration = config.Configuration(box, page=config.PageSection(f"127.0.0.1:{port}"))
    init_alone(configuration)
    return configuration


def get(port: int | None, path: str, accept: str = "*/*") -> tuple[int, str, str]:
    request = urllib.request.Request(f"http://127.0.0.1:{port}{path}", headers={"Accept": accept})
    try:
        with urllib.request.urlopen(request, timeout=30) as answer:
            return answer.status, answer.headers["Content-Type"], answer.read().decode()
    except urllib.error.HTTPError as refused:
        return refused.code, refused.headers["Content-Type"], refused.read().decode()


def test_metrics_and_health_are_served_in_both_formats(tmp_path: Path) -> None:
    async def scenario() -> None:
        node = Node(alone(tmp_path, free_port()))
        for number in range(2 * LIMITS.metrics_refusals):
            node.statistics.peer_faults[f"or-2 invented.{number}"] = 1
        running = asyncio.create_task(node.run())
        await until_recording(node)
        await until(node, lambda: node.page.port is not None and node.pump.durable_blocks > 1)

        status, content_type, text = await asyncio.to_thread(get, node.page.port, "/metrics", OPENMETRICS)
        assert (status, content_type.partition(";")[0]) == (200, "application/openmetrics-text")
        families = {family.name: family for family in openmetrics(text)}  # type: ignore[no-untyped-call]
        assert families["orledger_recording"].samples[0].value == 1
        assert families["orledger_box"].samples[0].labels["box"] == "or-1"
        assert families["orledger_commit_duration_seconds"].type == "histogram"
        assert len(families["orledger_messages_refused"].samples) == LIMITS.metrics_refusals + 1

        status, content_type, text = await asyncio.to_thread(get, node.page.port, "/metrics")
        assert (status, content_type.partition(";")[0]) == (200, "text/plain")
        assert {family.name for family in prometheus(text)} >= {"orledger_recording", "process_resident_memory_bytes"}

        assert (await asyncio.to_thread(get, node.page.port, "/healthz"))[::2] == (200, "recording\n")
        node.recording = False
        status, _, text = await asyncio.to_thread(get, node.page.port, "/healthz")
        assert (status, text.startswith("NOT RECORDING")) == (503, True)
        assert (await asyncio.to_thread(get, node.page.port, "/"))[0] == 404
        node.recording = True
        node.stop()
        assert await running == 0

    asyncio.run(scenario())


async def until_recording(node: Node) -> None:
    while not node.recording:  # noqa: ASYNC110 - what is waited for has no event
        await asyncio.sleep(0.01)


def test_a_port_in_use_is_told_of_and_served_once_it_is_free(tmp_path: Path) -> None:
    async def scenario() -> None:
        taken = socket.create_server(("127.0.0.1", 0))
        node = Node(alone(tmp_path, taken.getsockname()[1]))
        running = asyncio.create_task(node.run())
        await until_recording(node)
        await until(node, lambda: "page.down" in alert_ids(node) and node.pump.durable_blocks > 1)
        taken.close()
        await until(node, lambda: "page.down" not in alert_ids(node))
        assert (await asyncio.to_thread(get, node.page.port, "/healthz"))[0] == 200
        node.stop()
        assert await running == 0

    asyncio.run(scenario())


def test_without_a_page_section_nothing_listens(tmp_path: Path) -> None:
    async def scenario() -> None:
        node = Node(msgspec.structs.replace(alone(tmp_path, 1), page=None))
        running = asyncio.create_task(node.run())
        await until_recording(node)
        await until(node, lambda: node.pump.durable_blocks > 1)
        assert node.page.port is None
        node.stop()
        assert await running == 0

    asyncio.run(scenario())
