"""An HL7 sender of its own, sharing no code with the drivers or the simulator: what it saw acknowledged is the truth.

Minimal Lower Layer Protocol release 1 (0x0B … 0x1C 0x0D) and just enough of ORU^R01 and ACK (HL7 v2.6 chapters 2, 7).
"""

from __future__ import annotations

import itertools
import os
import socket
import threading
import time
from types import TracebackType
from typing import Self

_END = b"\x1c\r"
_RETRY_S = 0.03
_READ_S = 0.1


def message(number: int, *, enhanced: bool, note_bytes: int = 0) -> bytes:
    """One framed ORU^R01 whose MSH-10 is ``m<number>`` and whose one value is ``number``; a note makes it large."""
    wanted = "AL|NE" if enhanced else "|"
    segments = [
        f"MSH|^~\\&|TEST|LAB|||20260101120000+0000||ORU^R01^ORU_R01|m{number}|P|2.6|||{wanted}",
        "PID|||4711||DOE^JO",
        "PV1||I|OR^1^1",
        "OBR|1||1|69965^MDC_DEV_MON_PHYSIO_MULTI_PARAM_MDS^MDC|||20260101120000+0000",
        f"OBX|1|NM|149530^MDC_PULS_OXIM_PULS_RATE^MDC|1.1.1.149530|{number}|264864^MDC_DIM_BEAT_PER_MIN^MDC|||||F",
    ]
    if note_bytes:
        segments.append(f"NTE|1|L|{os.urandom(note_bytes // 2).hex()}")
    return b"\x0b" + "\r".join(segments).encode() + b"\r" + _END


class Sender:
    """Streams messages over ``connections`` connections until left; connects again whenever a connection is lost.

    Each message is sent once, under a number of its own: what is not acknowledged is left to its fate, and what is
    must be there for ever. Odd connections ask for commit acknowledgment (CA), even ones for the original mode (AA).
    """

    def __init__(
        self, port: int, *, host: str = "127.0.0.1", connections: int = 3, window: int = 8, pause_s: float = 0.002,
        note_bytes: int = 0,
    ) -> None:  # fmt: skip
        self._address = (host, port)
        self._window = window
        self._pause_s = pause_s
        self._note_bytes = note_bytes
        self._numbers = itertools.count(1)
        self._lock = threading.Lock()
        self._acknowledged: set[int] = set()
        self._refused: dict[str, int] = {}
        self._sent = 0
        self._connected = 0
        self._stop = threading.Event()
        self._threads = [threading.Thread(target=self._run, args=(index % 2 == 1,)) for index in range(connections)]

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.stop()

    def stop(self) -> None:
        """Hang up everywhere."""
        self._stop.set()
        for thread in self._threads:
            thread.join()

    @property
    def acknowledged(self) -> set[int]:
        """Numbers answered with AA or CA so far."""
        with self._lock:
            return set(self._acknowledged)

    @property
    def refused(self) -> dict[str, int]:
        """How many were answered with anything else, by MSA-1."""
        with self._lock:
            return dict(self._refused)

    @property
    def sent(self) -> int:
        return self._sent

    @property
    def connected(self) -> int:
        """How many connections stand; without any no answer is under way."""
        return self._connected

    def _run(self, enhanced: bool) -> None:
        while not self._stop.is_set():
            try:
                with socket.create_connection(self._address, timeout=1) as connection:
                    self._count(1)
                    try:
                        self._converse(connection, enhanced)
                    finally:
                        self._count(-1)
            except OSError:
                time.sleep(_RETRY_S)

    def _count(self, change: int) -> None:
        with self._lock:
            self._connected += change

    def _converse(self, connection: socket.socket, enhanced: bool) -> None:
        waiting: set[int] = set()
        unread = b""
        connection.settimeout(_READ_S)
        while not self._stop.is_set():
            while len(waiting) < self._window:
                with self._lock:
                    number = next(self._numbers)
                    self._sent += 1
                waiting.add(number)
                connection.sendall(message(number, enhanced=enhanced, note_bytes=self._note_bytes))
                time.sleep(self._pause_s)
            try:
                data = connection.recv(65_536)
            except TimeoutError:
                continue
            if not data:
                return
            *answers, unread = (unread + data).split(_END)
            for answer in answers:
                self._take(answer, waiting, "CA" if enhanced else "AA")

    def _take(self, answer: bytes, waiting: set[int], good: str) -> None:
        segments = answer.removeprefix(b"\x0b").decode().split("\r")
        msa = next(segment for segment in segments if segment.startswith("MSA|")).split("|")
        code, number = msa[1], int(msa[2].removeprefix("m"))
        assert number in waiting, f"an answer to {number}, which does not wait for one"
        waiting.discard(number)
        with self._lock:
            if code == good:
                self._acknowledged.add(number)
            else:
                self._refused[code] = self._refused.get(code, 0) + 1
