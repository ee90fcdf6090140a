"""Damaged DICOM on the wire: real PDUs of a sender, cut, flipped, repeated; the provider must outlive all of it.

``python -m tests.drivers.dicom.wire_fuzz --inputs 10000`` prints its seed, what came of the connections, and memory.
"""

from __future__ import annotations

import argparse
import itertools
import random
import resource
import socket
import struct
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from pydicom.uid import ExplicitVRLittleEndian
from pynetdicom import AE, evt
from pynetdicom.sop_class import CTImageStorage, StorageCommitmentPushModel, Verification  # type: ignore[attr-defined]

from ledger.limits import LIMITS, S_NS
from tests.drivers.dicom.images import image
from tests.drivers.dicom.modality import INSTANCE, request
from tests.drivers.dicom.provider import Provider, Service
from tests.fuzz.mutations import mutated

_HOST = "127.0.0.1"
_ANSWER_S = 0.03
_REPORT_S = 60.0


def recorded(port: int, number: int = 1) -> list[bytes]:
    """The PDUs that a sender sends: request, C-ECHO, C-STORE (in several PDUs), N-ACTION, its answer to an
    N-EVENT-REPORT that comes then, release.
    """

    sent: list[bytes] = []
    ae = AE("CT1")
    ae.add_requested_context(CTImageStorage, ExplicitVRLittleEndian)
    ae.add_requested_context(Verification)
    ae.add_requested_context(StorageCommitmentPushModel)
    told, answered_it = threading.Event(), threading.Event()

    def on_sent(event: evt.Event) -> None:
        sent.append(bytes(event.data))
        if told.is_set():
            answered_it.set()

    def on_report(_event: object) -> tuple[int, None]:
        told.set()
        return 0, None

    handlers = [
        (evt.EVT_DATA_SENT, on_sent), (evt.EVT_N_EVENT_REPORT, on_report),
    ]  # fmt: skip
    association = ae.associate(_HOST, port, ae_title="ORLEDGER", evt_handlers=handlers)  # type: ignore[arg-type]
    association.send_c_echo()
    association.send_c_store(image(number, 600))
    asked = request(f"2.25.{number}", [(CTImageStorage, f"2.25.7.{number}"), (CTImageStorage, "2.25.7.0")])
    answered, _ = association.send_n_action(asked, 1, StorageCommitmentPushModel, INSTANCE)
    if answered.get("Status") == 0:
        assert answered_it.wait(_REPORT_S), "no report on storage commitment came"
    association.release()
    return sent


def conversations(pdus: list[bytes], rng: random.Random) -> Iterator[list[bytes]]:
    """Without end: what to send on one connection each."""
    while True:
        told = list(pdus)
        for _ in range(rng.choice((1, 1, 2, 4))):
            at = rng.randrange(len(told))
            kind = rng.randrange(5)
            if kind == 0:
                told[at] = mutated(told[at], rng, rng.choice(pdus))
            elif kind == 1:
                told[at] = _relength(mutated(told[at], rng, rng.choice(pdus)))
            elif kind == 2:  # its content alone, beneath right lengths
                told[at] = told[at][:12] + mutated(told[at][12:], rng, b"")
                told[at] = _relength(told[at])
            elif kind == 3:
                told.insert(at, rng.choice(pdus))
            elif len(told) > 1:
                del told[at]
        yield told


def _relength(pdu: bytes) -> bytes:
    """With a right PDU length, and for a P-DATA of one value a right length of that."""
    if len(pdu) < 12:
        return pdu
    made = bytearray(pdu)
    struct.pack_into(">I", made, 2, len(made) - 6)
    if made[0] == 4:
        struct.pack_into(">I", made, 6, len(made) - 10)
    return bytes(made)


def play(port: int, told: list[bytes]) -> str:
    """Send it; how it ended."""
    try:
        with socket.create_connection((_HOST, port), timeout=60) as line:
            line.settimeout(_ANSWER_S)
            for pdu in told:
                line.sendall(pdu)
                if pdu[:1] == b"\x01":
                    _read(line)
            return _read(line)
    except OSError as fault:
        return type(fault).__name__


def _read(line: socket.socket) -> str:
    try:
        got = line.recv(65_536)
    except TimeoutError:
        return "silent"
    return f"pdu {got[0]}" if got else "closed"


def _is_served(port: int, number: int) -> bool:
    """Whether an instance of this number is stored; a busy machine may take longer than the provider waits."""
    ae = AE("CT1")
    ae.add_requested_context(CTImageStorage, ExplicitVRLittleEndian)
    association = ae.associate(_HOST, port, ae_title="ORLEDGER")
    if not association.is_established:
        return False
    try:
        return bool(association.send_c_store(image(number, 600)).get("Status") == 0)
    except (RuntimeError, ValueError):  # it ended meanwhile
        return False
    finally:
        association.abort()


def run(inputs: int, seed: str, folder: Path) -> tuple[Counter[str], int]:
    """So many connections; how they ended, and by how many KiB the process grew after the first tenth.

    Raises AssertionError if the provider no longer serves.
    """
    rng, ends = random.Random(seed), Counter[str]()
    limits = replace(
        LIMITS, dicom_answer_ns=3 * S_NS, dicom_idle_ns=3 * S_NS, dicom_request_ns=3 * S_NS,
        dicom_associations=1_024, dicom_connections=1_024,  # else most callers would only be turned away
    )  # fmt: skip
    with Provider(folder / "patient", commitments=Service(prompt=True)) as provider:
        pdus = recorded(provider.port)
    with Provider(folder, limits=limits, commitments=Service(prompt=True)) as provider:
        grown_from = 0
        for number, told in zip(range(inputs), conversations(pdus, rng), strict=False):
            ends[play(provider.port, told)] += 1
            if number == inputs // 10:
                grown_from = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        provider.until(lambda: not provider.listener._open)
        numbers = itertools.count(77)
        provider.until(lambda: _is_served(provider.port, next(numbers)))
        provider.until(lambda: not provider.intake._writing)
        provider.until(lambda: len(provider.files()) == len(provider.objects))
    return ends, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - grown_from


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--inputs", type=int, default=10_000)
    parser.add_argument("--seed", default=str(time.time_ns()))
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        began = time.monotonic()
        ends, grown_kib = run(options.inputs, options.seed, Path(folder))
    took_s = time.monotonic() - began
    print(f"seed {options.seed}: {options.inputs} connections in {took_s:.0f} s, grown by {grown_kib} KiB")  # noqa: T201
    print(", ".join(f"{end}: {count}" for end, count in ends.most_common()))  # noqa: T201
    return 0


if __name__ == "__main__":
    sys.exit(main())
