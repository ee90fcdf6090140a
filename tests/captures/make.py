"""Makes the committed captures anew, in virtual time: ``python -m tests.captures.make [NAME or DRIVER …]``.

Each is a driver and a simulated device talking to each other over a line that cuts the device's bytes into pieces and,
here and there, damages them. What there is to make stands in ``tests/captures/plans``, a module for each driver. Beside
each capture lies what the driver makes of it, ``x.records.jsonl``: after a change of a driver, the difference of these
files is what the change does.
"""

from __future__ import annotations

import io
import pkgutil
import sys
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path

import msgspec
import zstandard

from drivers.capture import CaptureHeader, CaptureItem, CaptureReader, CaptureWriter
from drivers.replay import replay_records
from ledger.record_json import record_to_json
from tests.captures import plans as plan_modules
from tests.captures.conversation import Plan, driver_of, items_of

HERE = Path(__file__).parent


def plans() -> Iterator[Plan]:
    """Every capture that is made here, of every driver."""
    for module in pkgutil.iter_modules(plan_modules.__path__):
        yield from import_module(f"{plan_modules.__name__}.{module.name}").plans()


def records_text(items: list[CaptureItem], header: CaptureHeader) -> bytes:
    """What the driver makes of the items, as ``x.records.jsonl`` holds it."""
    records = replay_records(driver_of(header), items, header.t0_ns)
    return b"".join(msgspec.json.encode(record_to_json(record)) + b"\n" for record in records)


def capture_text(plan: Plan) -> bytes:
    """One capture, uncompressed."""
    stream = io.BytesIO()
    writer = CaptureWriter(stream, plan.header)
    for item in items_of(plan):
        writer.write(item)
    writer.finish()
    return stream.getvalue()


def make(plan: Plan) -> str:
    """Write a capture with its records; one line that says what was written."""
    text = capture_text(plan)
    compressed = zstandard.ZstdCompressor(level=19, write_checksum=True).compress(text)
    (HERE / f"{plan.name}.orcap.zst").write_bytes(compressed)
    items = list(CaptureReader(io.BytesIO(text)))
    records = records_text(items, plan.header)
    (HERE / f"{plan.name}.records.jsonl").write_bytes(records)
    return f"{plan.name} {len(items)} lines {len(compressed)} bytes; {records.count(10)} records"


def main() -> int:
    """Make the captures named, by their own names or their drivers'; all of them if none is."""
    named = set(sys.argv[1:])
    known = [(plan, {plan.name, plan.header.driver}) for plan in plans()]
    unknown = named - {name for _, names in known for name in names}
    if unknown:
        print("there is no capture or driver", ", ".join(sorted(unknown)), file=sys.stderr)  # noqa: T201
        return 64
    for plan, names in known:
        if not named or names & named:
            print(make(plan))  # noqa: T201
    return 0


if __name__ == "__main__":
    sys.exit(main())
