"""pyigtl, an independent OpenIGTLink library, as a robot: `server PORT` waits for a client, `client PORT` connects."""

from __future__ import annotations

import sys
import time
from typing import Any

import pyigtl

ROLE, PORT = sys.argv[1], int(sys.argv[2])
link: Any = pyigtl.OpenIGTLinkServer(port=PORT) if ROLE == "server" else pyigtl.OpenIGTLinkClient("127.0.0.1", PORT)
started_s = time.time()
for number in range(1_000_000):
    place = pyigtl.TransformMessage(device_name="Tool", timestamp=started_s + number * 0.01)
    place.matrix[0, 3] = number
    place.header_version, place.message_id = 2, number
    place.metadata = {"Arm": "left"}
    word = pyigtl.StringMessage(f"step {number // 100}", device_name="Step")
    point = pyigtl.PointMessage([[1.5, 2, 3]], names=["trocar"], groups=["Fiducial"], device_name="Ports")
    for message in (place, word, point) if number % 20 == 0 else (place,):
        link.send_message(message, wait=True)
    time.sleep(0.004)
