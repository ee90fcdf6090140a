"""Handing restored values to a console that speaks HL7: one ORU^R01 over MLLP, sent again until it is accepted."""

from __future__ import annotations

import re
import secrets
import socket
import time
from collections.abc import Iterable, Mapping
from datetime import datetime
from decimal import Decimal
from typing import Any

from drivers.hl7v2.ack import Answer, Sender, parse_answer
from drivers.hl7v2.oru import Envelope, RestoredValue, restored_oru
from drivers.mllp import Deframer, frame
from ledger.errors import DeviceFault, OperatorFault
from ledger.limits import S_NS
from ledger.records import Quality

_TRIES = 3
_ANSWER_S = 5.0
_PAUSE_S = 0.5
_READ_BYTES = 65_536
_NUMBER = re.compile(r"-?\d+(\.\d+)?")


def parse_target(target: str) -> tuple[str, int]:
    """Host and port of ``mllp://host:port``. Raises OperatorFault ``restore.target``."""
    host, _, port = target.removeprefix("mllp://").rpartition(":")
    if not target.startswith("mllp://") or not host or not port.isdecimal() or not 0 < int(port) < 65_536:
        raise OperatorFault("restore.target", f"{target!r} is no HL7 receiver", "write it like mllp://10.20.3.40:2575")
    return host.strip("[]"), int(port)


def restored_values(state: Mapping[str, Any]) -> list[RestoredValue]:
    """The values of a state document (``ledger.state_document``) as the message needs them."""
    values = []
    for row in state["values"]:
        quality = Quality(0)
        for name in row["quality"]:
            quality |= Quality[name.upper()]
        at_ns = int(datetime.fromisoformat(row["at"][:26] + "+00:00").timestamp() * S_NS)
        value = row["value"]
        number = Decimal(value) if isinstance(value, str) and _NUMBER.fullmatch(value) else value
        values.append(RestoredValue(row["feed"], row["code"], number, row["unit"], at_ns, quality, row["channel"]))
    return values


def restored_message(values: Iterable[RestoredValue], site: str, box: str, room: str, utc_ns: int) -> tuple[str, bytes]:
    """(control id, framed message) of a restored state; every value in it says that it is not live."""
    control_id = secrets.token_hex(10)
    envelope = Envelope(Sender("ORLEDGER", site), Sender("CONSOLE", room), f"{site}^^{box}", control_id, utc_ns)
    return control_id, frame(restored_oru(values, envelope).encode())


def send_until_accepted(framed: bytes, control_id: str, host: str, port: int) -> Answer:
    """Send, wait for the answer, again on silence. Raises DeviceFault ``console.refused`` or ``console.silent``."""
    last: Exception | None = None
    for attempt in range(_TRIES):
        if attempt:
            time.sleep(_PAUSE_S)
        try:
            answer = _send_once(framed, control_id, host, port)
        except OSError as error:
            last = error
            continue
        if answer.accepted:
            return answer
        raise DeviceFault(
            "console.refused",
            f"{host}:{port} answered {answer.code} {answer.text}".rstrip(),
            "ask the console's vendor",
        )
    raise DeviceFault(
        "console.silent", f"{host}:{port} did not accept the values: {last}", "check its address and that it listens"
    ) from last


def _send_once(framed: bytes, control_id: str, host: str, port: int) -> Answer:
    deframer = Deframer()
    with socket.create_connection((host, port), timeout=_ANSWER_S) as connection:
        connection.sendall(framed)
        deadline = time.monotonic() + _ANSWER_S
        while (left_s := deadline - time.monotonic()) > 0:
            connection.settimeout(left_s)
            data = connection.recv(_READ_BYTES)
            if not data:
                raise ConnectionError("it hung up without an answer")
            for message in deframer.feed(data):
                if isinstance(message, bytes):
                    answer = parse_answer(message.decode("utf-8", "replace"))
                    if answer.control_id == control_id:
                        return answer
    raise TimeoutError("no answer")
