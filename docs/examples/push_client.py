"""A small client of the push intake: sends lines, keeps them until the box says that they are on its disk.

    python push_client.py 10.20.3.13:8444 --certificate console-1.pem --box box.crt

It needs nothing but Python 3. Take what you need; the fields are those of push-v1.schema.json.
"""

from __future__ import annotations

import argparse
import json
import math
import secrets
import socket
import ssl
import time
from datetime import UTC, datetime
from typing import Any


class PushClient:
    """One session. Lines may be given at any time; whatever was not acknowledged is sent again on a new connection."""

    def __init__(self, address: tuple[str, int], certificate: str, box_certificate: str, about: dict[str, str]) -> None:
        self._address = address
        self._about = about
        self._session = secrets.token_hex(8)
        self._seq = 0
        self._kept: dict[int, bytes] = {}
        self._socket: ssl.SSLSocket | None = None
        self._context = ssl.create_default_context(cafile=box_certificate)
        self._context.check_hostname = False  # the box's own certificate is trusted, and no other
        self._context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
        self._context.load_cert_chain(certificate)

    @property
    def waiting(self) -> int:
        """How many lines the box has not on its disk yet."""
        return len(self._kept)

    def say(self, kind: str, /, **fields: Any) -> None:
        """Send a numeric, setting, wave or event."""
        self._seq += 1
        now = datetime.now(UTC).isoformat(timespec="microseconds")
        line = json.dumps({"type": kind, "seq": self._seq, "time": now, **fields}).encode() + b"\n"
        self._kept[self._seq] = line
        if self._socket is not None:
            self._send(line)

    def connect(self) -> None:
        """Connect and greet; raises OSError (ssl.SSLError among them) if the box does not let us in."""
        raw = socket.create_connection(self._address, timeout=10)
        self._socket = self._context.wrap_socket(raw)
        self._reader = self._socket.makefile("rb")
        hello = {"type": "hello", "version": 1, "session": self._session, **self._about}
        self._send(json.dumps(hello).encode() + b"\n")
        for line in list(self._kept.values()):
            self._send(line)

    def read(self) -> dict[str, Any]:
        """One answer of the box; raises ConnectionError once the connection is gone: then connect anew."""
        line = self._reader.readline()
        if not line:
            self._socket = None
            raise ConnectionError("the box closed the connection")
        answer: dict[str, Any] = json.loads(line)
        if answer["type"] == "ack" or (answer["type"] == "error" and not answer["again"]):
            self._kept.pop(answer["seq"], None)
        elif answer["type"] == "error" and answer["seq"] in self._kept:
            self._send(self._kept[answer["seq"]])
        return answer

    def _send(self, data: bytes) -> None:
        if self._socket is not None:
            self._socket.sendall(data)


def main() -> None:
    """Push a setting, two values, a wave and an event, and wait until the box has them."""
    parser = argparse.ArgumentParser(description="example client of orledger's push intake")
    parser.add_argument("address", metavar="HOST:PORT")
    parser.add_argument("--certificate", required=True, help="this client's certificate and key, PEM")
    parser.add_argument("--box", required=True, help="the box's certificate, PEM")
    options = parser.parse_args()
    host, _, port = options.address.rpartition(":")
    about = {"make": "Example", "model": "console", "software": "1.0"}
    client = PushClient((host, int(port)), options.certificate, options.box, about)
    client.connect()
    client.say("setting", code="MDCX_EXAMPLE_MOTION_SCALING", value=0.2, unit="1")
    client.say("numeric", code="MDCX_EXAMPLE_JOINT_ANGLE", value=12.5, unit="deg", channel="joint-1")
    client.say("numeric", code="MDCX_EXAMPLE_JOINT_ANGLE", value=None, unit="deg", channel="joint-2")
    samples = [round(1000 * math.sin(n / 10)) for n in range(100)]
    client.say("wave", code="MDCX_EXAMPLE_TORQUE", unit="N.m", channel="joint-1", rate_hz=1000, index=0, scale=0.001,
               samples=samples)  # fmt: skip
    client.say("event", kind="operator", id="clutch", phase="start", priority="none", code="MDCX_EXAMPLE_CLUTCH")
    begun = time.monotonic()
    while client.waiting:
        print(json.dumps(client.read()), flush=True)
    print(f"all on the box's disk after {time.monotonic() - begun:.3f} s")


if __name__ == "__main__":
    main()
