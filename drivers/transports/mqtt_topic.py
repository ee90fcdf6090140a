"""Clients of a feed on an MQTT broker: one link for each, from its first message until the broker is lost.

A client publishes to ``<topic>/<client>/in`` and hears on ``<topic>/<client>/out``. Who may publish under which name is
the broker's to decide. paho has a thread of its own; each message waits there until the loop has taken it, so that a
loop that is late holds the broker back and not a queue.

A message (QoS 1) is acknowledged to the broker once each of its lines has been answered: recorded and durable, or
refused. What was not, the broker keeps in the box's session and gives again: nothing goes with the box or the network.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import re
import socket
from collections import deque
from collections.abc import Iterator
from concurrent.futures import TimeoutError as TooLate
from dataclasses import dataclass
from typing import Any, Final

import paho.mqtt.client as paho
from paho.mqtt.enums import CallbackAPIVersion

from drivers.transports.addresses import address_text, reason_of
from drivers.transports.links import Clock, LinkEvents
from drivers.transports.mqtt_config import MqttConfig
from ledger.limits import LIMITS, Limits
from ledger.records import LinkId

_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
_LOOK_S: Final = 1.0
_RETRY_S: Final = 0.2
_SUBSCRIBE_AGAIN_S: Final = 30.0


@dataclass(slots=True)
class _Unanswered:
    """A message of a client, and how many of its lines wait for an answer."""

    message_id: int
    qos: int
    lines: int


class MqttTopic:
    """The ``LinkTransport`` for clients on a broker, up to ``mllp_connections`` at a time."""

    listens = True

    def __init__(
        self, config: MqttConfig, now: Clock, links: Iterator[int] | None = None, limits: Limits = LIMITS
    ) -> None:
        """Raises ConfigurationFault if a certificate cannot be used."""
        self._config = config
        self._now = now
        self._limits = limits
        self._links = links if links is not None else itertools.count(1)
        self._events: LinkEvents | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._where = address_text(config.host, config.port)
        self._connected = self._subscribed = False
        self._link_of: dict[str, LinkId] = {}
        self._client_of: dict[LinkId, str] = {}
        self._unanswered: dict[LinkId, deque[_Unanswered]] = {}
        self._broker = paho.Client(
            CallbackAPIVersion.VERSION2, config.client_id, clean_session=False, protocol=paho.MQTTv311, manual_ack=True
        )
        if config.username is not None:
            self._broker.username_pw_set(config.username, config.password())
        context = config.context()
        if context is not None:
            self._broker.tls_set_context(context)
        self._broker.max_queued_messages_set(limits.held_sends)
        self._broker.on_connect = self._on_connect
        self._broker.on_subscribe = self._on_subscribe
        self._broker.on_disconnect = self._on_disconnect
        self._broker.on_message = self._on_message
        self._broker.on_socket_open = _no_delay

    @property
    def reachable(self) -> bool:
        """Whether the broker is, and gives what clients say."""
        return self._connected and self._subscribed

    def start(self, events: LinkEvents) -> None:
        """Connect, for ever."""
        self._events = events
        self._loop = asyncio.get_running_loop()
        self._task = self._loop.create_task(self._connect(), name=f"mqtt {self._where}")

    async def stop(self) -> None:
        """Leave the broker."""
        self._events = None
        self._task.cancel()
        await asyncio.wait([self._task])
        await asyncio.to_thread(self._leave)

    def send(self, link: LinkId, data: bytes) -> bool:
        """Publish to the client; False if it is gone or too much waits: then it is cut off."""
        client = self._client_of.get(link)
        if client is None or not self._connected:
            return False
        sent = self._broker.publish(f"{self._config.topic}/{client}/out", data, qos=1)
        if sent.rc == paho.MQTT_ERR_SUCCESS:
            self._answered(link, data.count(b"\n"))
            return True
        self.close(link, "the broker does not take the answers")
        return False

    def close(self, link: LinkId, reason: str) -> None:
        """Forget a client: what it says next is a new link. ``on_down`` follows from the loop."""
        if link in self._client_of and self._loop is not None:
            self._loop.call_soon(self._down, link, reason)

    def set_reading(self, reading: bool) -> None:
        """Ignored: a broker would give up on who does not read."""

    # on the loop

    async def _connect(self) -> None:
        """The first connection; paho makes those after it."""
        told = ""
        while True:
            try:
                await asyncio.to_thread(self._broker.connect, self._config.host, self._config.port, 10)
            except (OSError, ValueError) as fault:
                reason = f"cannot connect: {reason_of(fault)}"
                if self._events is not None and reason != told:
                    self._events.on_refused(self._where, reason, self._now())
                told = reason
                await asyncio.sleep(_RETRY_S)
            else:
                self._broker.reconnect_delay_set(1, 5)
                self._broker.loop_start()
                return

    def _leave(self) -> None:
        self._broker.disconnect()
        self._broker.loop_stop()

    def _is_up(self, reason: str) -> None:
        self._connected = not reason
        if reason and self._events is not None:
            self._events.on_refused(self._where, reason, self._now())

    def _is_subscribed(self, reason: str) -> None:
        self._subscribed = not reason
        if reason and self._events is not None and self._loop is not None:
            self._events.on_refused(self._where, reason, self._now())
            self._loop.call_later(_SUBSCRIBE_AGAIN_S, self._subscribe)

    def _subscribe(self) -> None:
        if self._connected and self._events is not None:
            self._broker.subscribe(f"{self._config.topic}/+/in", qos=1)

    def _is_down(self, reason: str) -> None:
        self._connected = self._subscribed = False
        self._unanswered.clear()  # the broker gives them again
        for link in list(self._client_of):
            self._down(link, reason)

    def _down(self, link: LinkId, reason: str) -> None:
        client = self._client_of.pop(link, None)
        if client is None:
            return
        del self._link_of[client]
        for message in self._unanswered.pop(
            link, ()
        ):  # without an answer its client sends it again; others must not wait
            self._broker.ack(message.message_id, message.qos)
        if self._events is not None:
            self._events.on_down(link, reason, self._now())

    async def _take(self, message: paho.MQTTMessage) -> None:
        client = message.topic.removeprefix(f"{self._config.topic}/").removesuffix("/in")
        events, lines = self._events, [line for line in bytes(message.payload).split(b"\n") if line]
        if events is None:
            return
        link = self._link_of.get(client) or self._up(client) if lines else None
        if len(message.payload) > self._limits.push_message_bytes:
            events.on_refused(self._where, f"a message of over {self._limits.push_message_bytes:,} bytes", self._now())
            link = None
        if link is None:
            self._broker.ack(message.mid, message.qos)
            return
        if message.qos:
            self._unanswered.setdefault(link, deque()).append(_Unanswered(message.mid, message.qos, len(lines)))
        events.on_bytes(link, b"\n".join((*lines, b"")), self._now())

    def _answered(self, link: LinkId, lines: int) -> None:
        """So many more lines of a client were: they are answered in the order in which they came."""
        waiting = self._unanswered.get(link, deque())
        while lines and waiting:
            oldest = waiting[0]
            taken = min(lines, oldest.lines)
            lines, oldest.lines = lines - taken, oldest.lines - taken
            if not oldest.lines:
                waiting.popleft()
                self._broker.ack(oldest.message_id, oldest.qos)

    def _up(self, client: str) -> LinkId | None:
        events, at = self._events, self._now()
        if events is None:
            return None
        if not _NAME.fullmatch(client):
            events.on_refused(self._where, "a client's name has other than letters, digits, dots and hyphens", at)
            return None
        if len(self._link_of) >= self._limits.mllp_connections:
            events.on_refused(self._where, f"{self._limits.mllp_connections} clients are known", at)
            return None
        link = LinkId(next(self._links))
        self._link_of[client], self._client_of[link] = link, client
        events.on_up(link, f"{client}@{self._where}/{self._config.topic}", at)
        return link

    # on paho's thread

    def _call(self, function: Any, *arguments: Any) -> None:
        loop = self._loop
        if loop is not None:
            with contextlib.suppress(RuntimeError):  # the loop was closed this moment
                loop.call_soon_threadsafe(function, *arguments)

    def _on_connect(self, client: paho.Client, _data: Any, _flags: Any, code: Any, _properties: Any) -> None:
        if code.is_failure:
            self._call(self._is_up, f"the broker refuses: {code}")
            return
        client.subscribe(f"{self._config.topic}/+/in", qos=1)
        self._call(self._is_up, "")

    def _on_subscribe(self, _client: paho.Client, _data: Any, _mid: int, codes: Any, _properties: Any) -> None:
        refusal = next((code for code in codes if code.is_failure), None)
        self._call(self._is_subscribed, "" if refusal is None else f"the broker refuses the subscription: {refusal}")

    def _on_disconnect(self, _client: paho.Client, _data: Any, _flags: Any, code: Any, _properties: Any) -> None:
        self._call(self._is_down, f"the broker is lost: {code}")

    def _on_message(self, _client: paho.Client, _data: Any, message: paho.MQTTMessage) -> None:
        loop = self._loop
        if loop is None:
            return
        if message.retain:  # what was kept from before is no news
            self._broker.ack(message.mid, message.qos)
            return
        taking = self._take(message)
        try:
            taken = asyncio.run_coroutine_threadsafe(taking, loop)
        except RuntimeError:  # the loop was closed this moment
            taking.close()
            return
        while self._events is not None:
            with contextlib.suppress(TooLate):
                taken.result(_LOOK_S)
                return


def _no_delay(_client: paho.Client, _data: Any, opened: Any) -> None:
    with contextlib.suppress(OSError, AttributeError):
        opened.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
