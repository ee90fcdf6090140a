"""Where restored values go: a state file, a retained MQTT topic, an HL7 console. Each says that they are not live."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Collection
from pathlib import Path

import msgspec

from agent.config import Configuration
from agent.restore_document import restore_document
from agent.restorer import RestoreReport
from agent.status_builder import utc_text
from ledger.errors import OrledgerError, OurFault, StoreFault
from ledger.instant import Now
from ledger.keyring import write_durably

_LOG = logging.getLogger(__name__)
ENDED_SCHEMA = "orledger.restore-ended/1"


class Emission:
    """Hands the state of one box at a time to everything that ``[restore] console_out`` names."""

    def __init__(self, configuration: Configuration) -> None:
        self._configuration = configuration
        self._hl7: dict[str, tuple[int, str, bytes]] = {}
        self.undelivered: dict[str, frozenset[str]] = {}
        """Where the state of a box did not arrive the last time."""

    async def hand_over(
        self, report: RestoreReport, now: Now, recorded_in: int, *, again: bool = False
    ) -> list[OrledgerError]:
        """Everywhere at once; what failed, so that one deaf console does not silence the others. ``again``: only where
        it did not arrive, and to an HL7 console the same message, which it may have taken already.
        """
        kinds = self.undelivered.get(report.box, frozenset()) if again else None
        document = restore_document(report, now, recorded_in)
        text = msgspec.json.encode(document)
        return await self._everywhere(report.box, text, document, now, recorded_in, kinds)

    async def withdraw(self, box: str, now: Now, *, here_alone: bool = False) -> list[OrledgerError]:
        """The box is heard again: its restored values are no longer to be shown. ``here_alone``: not those on a topic,
        where another box that speaks for it has its own.
        """
        document = {"schema": ENDED_SCHEMA, "box": box, "ended": utc_text(now.utc_ns), "restored": False}
        self._hl7.pop(box, None)
        return await self._everywhere(
            box, msgspec.json.encode(document), None, now, kinds={"file"} if here_alone else None
        )

    async def _everywhere(
        self, box: str, text: bytes, document: dict[str, object] | None, now: Now, recorded_in: int = 0,
        kinds: Collection[str] | None = None,
    ) -> list[OrledgerError]:  # fmt: skip
        wanted = [kind for kind in self._configuration.restore.console_out if kinds is None or kind in kinds]
        work: dict[str, Callable[[], None]] = {}
        if "file" in wanted:
            work["file"] = lambda: self._to_file(box, text)
        if "mqtt" in wanted:
            work["mqtt"] = lambda: self._to_mqtt(box, text if document is not None else b"")
        if "hl7" in wanted and document is not None:
            work["hl7"] = lambda: self._to_hl7(box, document, now, recorded_in)
        results = await asyncio.gather(*(asyncio.to_thread(each) for each in work.values()), return_exceptions=True)
        faults: dict[str, OrledgerError] = {}
        for kind, result in zip(work, results, strict=True):
            if isinstance(result, OrledgerError):
                faults[kind] = result
            elif isinstance(result, Exception):
                _LOG.error("handing the state of %s to %s", box, kind, exc_info=result)
                faults[kind] = OurFault("restore.console", f"the way to {kind} failed: {result!r}", "report this")
            elif isinstance(result, BaseException):
                raise result
        self.undelivered[box] = frozenset(faults)
        return list(faults.values())

    def state_file(self, box: str) -> Path:
        """Where the state of ``box`` is written."""
        return Path(self._configuration.box.runtime_dir) / f"{box}.state.json"

    def _to_file(self, box: str, text: bytes) -> None:
        path = self.state_file(box)
        try:
            write_durably(path, text + b"\n", 0o640)
        except OSError as error:
            what = f"cannot write {path}: {error.strerror}"
            raise StoreFault("restore.unwritable", what, "check its folder") from error

    def _to_mqtt(self, box: str, text: bytes) -> None:
        from agent.mqtt_out import publish_retained  # noqa: PLC0415 - only sites with such a console load it

        mqtt = self._configuration.restore.mqtt
        if mqtt is not None:
            publish_retained(mqtt, box, text)

    def _to_hl7(self, box: str, document: dict[str, object], now: Now, recorded_in: int) -> None:
        from agent.hl7_out import parse_target, restored_message, restored_values, send_until_accepted  # noqa: PLC0415

        hl7 = self._configuration.restore.hl7
        if hl7 is not None:
            own, known = self._configuration.box, self._hl7.get(box)
            if known is None or known[0] != recorded_in:
                values = restored_values(document["state"])  # type: ignore[arg-type]
                known = (recorded_in, *restored_message(values, own.site, box, own.room, now.utc_ns))
                self._hl7[box] = known
            _, control_id, framed = known
            send_until_accepted(framed, control_id, *parse_target(hl7.to))
