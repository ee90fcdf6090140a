"""``--objects``, ``--objects-to`` and ``--objects-to-ae`` of ``orledger restore``: where restored objects go."""

from __future__ import annotations

import functools
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from agent.cli.context import Settings, document, json_text
from agent.cli.progress import progress_of
from ledger.errors import NoPeer, OperatorFault, StoreFault

if TYPE_CHECKING:
    from agent.object_delivery import Delivery, Handed, Way
    from agent.outgoing import Chosen

_F = TypeVar("_F", bound=Callable[..., Any])
_SHOWN = 20
_DEFAULT_TITLE = "ORLEDGER"
_JOURNAL = "delivered.jsonl"
_pem = click.Path(path_type=Path, exists=True, dir_okay=False)


@dataclass(frozen=True, slots=True)
class DeliveryOptions:
    """The options as given."""

    objects_to: Path | None = None
    objects_to_ae: str | None = None
    calling_ae: str | None = None
    ae_ca: Path | None = None
    ae_certificate: Path | None = None
    ae_key: Path | None = None
    ae_server_name: str | None = None
    again: bool = False
    objects: bool = False

    @property
    def is_asked(self) -> bool:
        """Whether anything is to be handed on."""
        return self.objects_to is not None or self.objects_to_ae is not None

    @property
    def wants_objects(self) -> bool:
        """Whether they are to be fetched into the restored folder."""
        return self.objects or self.is_asked

    def check(self) -> None:
        """Raises OperatorFault ``delivery.options``."""
        if (self.ae_certificate is None) != (self.ae_key is None):
            raise OperatorFault("delivery.options", "a certificate and its key belong together", "give both or neither")
        if self.ae_ca is None and (self.ae_certificate or self.ae_server_name):
            raise OperatorFault("delivery.options", "TLS needs to know whom to believe", "add --ae-ca PEM")
        if self.objects_to_ae is None and any((self.calling_ae, self.ae_ca, self.again)):
            problem = "--calling-ae, --ae-… and --again are for sending"
            raise OperatorFault("delivery.options", problem, "add --objects-to-ae AET@HOST:PORT")

    def ways(self, settings: Settings, folder: Path) -> list[Way]:
        """Where to; the journal lies in ``folder``. Raises OperatorFault, ConfigurationFault, StoreFault."""
        if not self.is_asked:
            return []  # DICOM's library takes longer to load than all else
        from agent.dicom_out import ToAe, parse_ae
        from agent.object_delivery import Journal
        from agent.object_files import ToFolder
        from drivers.transports.dicom_sender import DicomTarget, SenderTls, client_tls

        ways: list[Way] = []
        if self.objects_to is not None:
            ways.append(ToFolder(self.objects_to))
        if self.objects_to_ae is not None:
            target = parse_ae(self.objects_to_ae, self.calling_ae or _own_title(settings))
            if self.ae_ca is not None:
                tls = SenderTls(self.ae_ca, self.ae_certificate, self.ae_key, self.ae_server_name)
                client_tls(tls)  # what is wrong with the files is said at once
                target = DicomTarget(target.ae_title, target.host, target.port, target.calling, tls)
            journal = Journal(folder / _JOURNAL, str(target))
            if self.again:
                journal.acknowledged.clear()
            ways.append(ToAe(target, journal))
        return ways


def delivery_options(command: _F) -> _F:
    """Add the options; the command gets them as ``delivery``, checked."""

    @functools.wraps(command)
    def with_delivery(*arguments: Any, **given: Any) -> Any:
        delivery = DeliveryOptions(**{each.name: given.pop(each.name, False) for each in fields(DeliveryOptions)})
        delivery.check()
        return command(*arguments, delivery=delivery, **given)

    options = [
        click.option("--objects-to", type=click.Path(path_type=Path, file_okay=False), metavar="DIR",
                     help="Write the objects as files there, bit for bit, in clear."),
        click.option("--objects-to-ae", metavar="AET@HOST:PORT", help="Send the DICOM objects on by C-STORE."),
        click.option("--calling-ae", metavar="AET", help="Our AE title; else that of the dicom feed, else ORLEDGER."),
        click.option("--ae-ca", type=_pem, metavar="PEM", help="Send with TLS: who signed, or is, its certificate."),
        click.option("--ae-certificate", type=_pem, metavar="PEM", help="Our certificate, if it wants one."),
        click.option("--ae-key", type=_pem, metavar="PEM", help="Our certificate's key."),
        click.option("--ae-server-name", metavar="NAME", help="Its name in its certificate; else its host."),
        click.option("--again", is_flag=True, help="Send also what it acknowledged before."),
    ]  # fmt: skip
    wrapped: Any = with_delivery
    for option in reversed(options):
        wrapped = option(wrapped)
    result: _F = wrapped
    return result


def work_folder(box: str) -> Path:
    """Where a restore without a folder of its own keeps its journal, and what it fetches, sealed. Raises StoreFault."""
    folder = Path(os.environ.get("XDG_STATE_HOME") or Path.home() / ".local" / "state") / "orledger" / f"restore-{box}"
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as fault:
        text = f"cannot make {folder}: {fault.strerror}"
        raise StoreFault("delivery.folder", text, "set XDG_STATE_HOME to a folder that can be written") from fault
    return folder


def _own_title(settings: Settings) -> str:
    titles = (feed.dicom.ae_title for feed in settings.configuration().feed if feed.dicom is not None)
    return next(titles, _DEFAULT_TITLE)


def deliver(settings: Settings, box: str, ways: Sequence[Way], chosen: Chosen) -> list[Delivery]:
    """Hand objects of ``box`` on, showing how far it is; one line for each with ``--json``. What was handed on is put
    on this box's chain, even when it ended early.
    """
    deliveries = []
    for way in ways:
        try:
            with progress_of("handing on", settings, told_as="delivered-bytes", in_bytes=True) as progress:
                deliveries.append(way.run(list(chosen.items), progress, _teller(settings)))
        finally:
            way.delivery.recorded_in = _record(settings, box, way.delivery, chosen)
    return deliveries


def _record(settings: Settings, box: str, delivery: Delivery, chosen: Chosen) -> int | None:
    return settings.put_on_chain(
        "delivered", box=box, to=delivery.to, delivered=len(delivery.done), bytes=delivery.bytes,
        failed=len(delivery.failed), before=delivery.before, left_out=len(delivery.left_out),
        not_here=len(chosen.closed) + len(chosen.absent),
    )  # fmt: skip


def exit_code(deliveries: Sequence[Delivery], chosen: Chosen) -> int:
    """That of the first failure; 69 when something is not there or has no key here."""
    failed = [handed.fault for delivery in deliveries for handed in delivery.failed if handed.fault is not None]
    if failed:
        return failed[0].exit_code
    return NoPeer.exit_code if chosen.closed or chosen.absent else 0


# ---- telling ---------------------------------------------------------------------------------------------------------


def delivery_document(delivery: Delivery) -> dict[str, object]:
    """As JSON."""
    return {
        "to": delivery.to,
        "delivered": len(delivery.done),
        "bytes": delivery.bytes,
        "warnings": [_handed_fields(each) for each in delivery.done if each.status],
        "before": delivery.before,
        "left_out": [{"object": each.sha256.hex(), "media_type": each.record.media_type} for each in delivery.left_out],
        "failed": [_handed_fields(each) for each in delivery.failed],
        "recorded_in_block": delivery.recorded_in,
    }


def chosen_document(chosen: Chosen) -> dict[str, object]:
    """What could not be handed on anywhere, as JSON."""
    return {"no_key": [each.hex() for each in chosen.closed], "absent": [each.hex() for each in chosen.absent]}


def delivery_lines(deliveries: Sequence[Delivery], chosen: Chosen) -> list[str]:
    """For a person."""
    lines = [f"NOT HANDED ON: the key of object {each.hex()[:16]} is not held here, or was erased"
             for each in chosen.closed]  # fmt: skip
    lines += [f"NOT HANDED ON: object {each.hex()[:16]} is not here, and nobody who was asked gave it"
              for each in chosen.absent]  # fmt: skip
    for delivery in deliveries:
        lines += _lines(delivery)
    return lines


def _lines(delivery: Delivery) -> list[str]:
    warned = [each for each in delivery.done if each.status]
    parts = [f"{len(delivery.done):,} objects ({delivery.bytes:,} bytes) handed on to {delivery.to}"]
    parts += [f"{delivery.before:,} were there before"] if delivery.before else []
    parts += [f"{len(warned):,} with a warning"] if warned else []
    parts += [f"{len(delivery.left_out):,} are no DICOM and were left out (--objects-to writes them)"] \
        if delivery.left_out else []  # fmt: skip
    block = delivery.recorded_in
    said = "not recorded on a chain" if block is None else f"recorded in block {block:,}"
    lines = [f"{', '.join(parts)} ({said})"]
    lines += [f"WARNING {each.status:04X} for {_name(each)}{each.comment and f': {each.comment}'}"
              for each in warned[:_SHOWN]]  # fmt: skip
    lines += _more(len(warned))
    for each in delivery.failed[:_SHOWN]:
        fault = each.fault
        if fault is not None:
            tried = f" (tried {each.tries} times)" if each.tries > 1 else ""
            lines.append(f"FAILED {_name(each)}{tried}: {fault.text}. Next: {fault.next_step}")
    lines += _more(len(delivery.failed))
    if delivery.failed:
        lines.append(
            f"{len(delivery.failed):,} NOT HANDED ON to {delivery.to}: the same command tries only these again"
        )
    return lines


def _more(count: int) -> list[str]:
    return [f"and {count - _SHOWN:,} more; all of them with --json"] if count > _SHOWN else []


def _name(handed: Handed) -> str:
    return handed.record.meta.get("sop_instance") or f"object {handed.sha256.hex()[:16]}"


def _handed_fields(handed: Handed) -> dict[str, object]:
    fault = handed.fault
    return {
        "object": handed.sha256.hex(),
        "sop_instance": handed.record.meta.get("sop_instance"),
        "status": None if handed.status is None else f"{handed.status:04X}",
        "comment": handed.comment or None,
        "file": None if handed.file is None else str(handed.file),
        "tries": handed.tries,
        "error": None if fault is None else {"id": fault.id, "text": fault.text, "party": fault.party,
                                             "next_step": fault.next_step},
    }  # fmt: skip


def _teller(settings: Settings) -> Callable[[Handed], None]:
    if not settings.json:
        return lambda _handed: None
    return lambda handed: click.echo(json_text(document("object-delivered", **_handed_fields(handed))))
