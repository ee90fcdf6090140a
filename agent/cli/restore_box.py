"""``orledger restore box BOX --out DIR``: everything a box recorded, put together again from all who hold it."""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from agent.cli.context import Settings, common_options, json_text, pass_settings
from agent.cli.delivery import DeliveryOptions, deliver, delivery_options, exit_code
from agent.cli.progress import progress_of
from agent.cli.restore_box_text import Outcome, summary_document, summary_lines
from agent.cli.restore_selection import nothing_meant, parse_selection
from ledger.errors import AgentUnreachable, NoPeer, OperatorFault, VerificationFailed

if TYPE_CHECKING:
    from agent.object_delivery import Delivery, Way
    from agent.object_restore import ObjectsRestored
    from agent.outgoing import Chosen
    from agent.reading import Reader
    from agent.rebuild_sources import Source
    from agent.rebuild_summary import Summary
    from agent.rebuild_target import Target
    from agent.verifier import Audit
    from ledger.audit import AuditReport
    from ledger.keyring import KeyEntry, Keyring
    from ledger.log import LogId
    from ledger.manifest import Manifest
    from ledger.rebuild import Found
    from ledger.selection import Selection

_NICE = 10
_FETCH_TIMEOUT_S = 30.0


@click.command("box")
@click.argument("box")
@click.option(
    "--out", type=click.Path(path_type=Path), required=True, metavar="DIR", help="New folder, or to go on in."
)
@click.option("--from", "from_", metavar="UTC", help="Payloads only from this time on, like 2026-11-23T08:00:00Z.")
@click.option("--to", metavar="UTC", help="Payloads only from before this time.")
@click.option("--case", metavar="ID", help="Payloads only of this case: its id, 32 hexadecimal digits.")
@click.option("--objects", is_flag=True, help="Fetch the objects too: images, videos, documents.")
@click.option("--every-signature", is_flag=True, help="In the audit check each signature; links prove the same.")
@delivery_options
@common_options
@pass_settings
def box_command(
    settings: Settings, *, box: str, out: Path, from_: str | None, to: str | None, case: str | None,
    every_signature: bool, delivery: DeliveryOptions,
) -> int:  # fmt: skip
    """Rebuild all logs of BOX in DIR: from this box's own store and from every peer at once.

    With --from, --to or --case the payloads of that part alone, and every header of the logs it lies in. Killed or cut
    off, the same command goes on where it was; without these options it fetches what they left out. Exit code 0 when
    all is there and proves itself, 76 when something is bad, 69 when something is missing or nothing fits, 65 when a
    receiver did not take an object.
    """
    selection = parse_selection(from_, to, case)
    return restore_box(settings, box, out, selection, every_signature=every_signature, delivery=delivery)


def restore_box(
    settings: Settings, box: str, out: Path, selection: Selection, *, every_signature: bool, delivery: DeliveryOptions
) -> int:
    """The exit code, once all of it is told."""
    from agent.outgoing import Chosen
    from agent.reading import open_reader

    ways = delivery.ways(settings, out)
    os.nice(_NICE)
    began = time.perf_counter()
    with open_reader(Path(settings.configuration().box.data_dir)) as reader:
        known = [each.id for each in reader.manifest.boxes]
        if box not in known:
            raise OperatorFault("box.unknown", f"{box!r} is no box of this site", f"one of: {', '.join(known)}")
        work = _Work(
            settings, reader, box, out, selection, every_signature=every_signature, objects=delivery.wants_objects
        )
        summary, report = work.run()
    if not summary.meant and not summary.missing and report.is_good:
        raise nothing_meant(box, selection, summary, out)
    recorded = _record(settings, summary, report, work.asked)
    chosen, deliveries = _hand_on(settings, box, out, selection, ways) if ways else (Chosen(), [])
    seconds = time.perf_counter() - began
    done = Outcome(
        box, out, selection, summary, report, work.asked, recorded, work.fetched_s, seconds, work.objects,
        tuple(deliveries), chosen,
    )  # fmt: skip
    if settings.json:
        click.echo(json_text(summary_document(done)))
    else:
        click.echo("\n".join(summary_lines(done)))
    if not report.is_good:
        return VerificationFailed.exit_code
    lacks = summary.missing or (work.objects is not None and work.objects.missing)
    return exit_code(deliveries, chosen) or (NoPeer.exit_code if lacks else 0)


def _hand_on(
    settings: Settings, box: str, out: Path, selection: Selection, ways: Sequence[Way]
) -> tuple[Chosen, list[Delivery]]:
    """The selected objects of the rebuilt folder; one that proves damaged is removed, to be fetched anew next time."""
    from agent.object_reading import ObjectReader
    from agent.outgoing import of_selection
    from agent.reading import open_reader
    from ledger.errors import StoreFault

    with open_reader(out) as reader:
        objects = ObjectReader(reader, out)
        chosen = of_selection(objects, box, selection)
        deliveries = deliver(settings, box, ways, chosen)
        for handed in (each for every in deliveries for each in every.failed):
            fault = handed.fault
            if isinstance(fault, VerificationFailed) or (isinstance(fault, StoreFault) and fault.id == "store.corrupt"):
                objects.folder.delete(handed.sha256)
    return chosen, deliveries


class _Work:
    """One run: sources found, blocks fetched, and the folder audited, most of it while blocks still come."""

    def __init__(
        self, settings: Settings, reader: Reader, box: str, out: Path, selection: Selection, *,
        every_signature: bool, objects: bool,
    ) -> None:  # fmt: skip
        from ledger.manifest import SignedManifest

        self.asked: tuple[str, ...] = ()
        self.fetched_s = 0.0
        self.objects: ObjectsRestored | None = None
        self._with_objects = objects
        self._settings = settings
        self._reader = reader
        self._box = box
        self._out = out
        self._selection = selection
        self._every_signature = every_signature
        self._signed = reader.store.manifests()
        self._manifests: dict[bytes, Manifest] = {}
        for _, data in self._signed:
            manifest = SignedManifest.decode(data).manifest
            self._manifests[manifest.hash] = manifest

    def _keys(self, keyring: Keyring) -> list[KeyEntry]:
        """The box's data keys; of one case alone where this box knows which they are."""
        from ledger.case_rows import CaseRow

        case_id, entries = self._selection.case_id, keyring.entries_of(self._box)
        rows = [CaseRow.decode(row) for known, _, row in self._reader.store.cases() if known == case_id]
        wanted = {row.key_id for row in rows}
        return [entry for entry in entries if entry.key.key_id in wanted] if wanted else entries

    def run(self) -> tuple[Summary, AuditReport]:
        """Raises as the sources, the target and the audit do."""
        from agent.garbage import seldom_collected
        from agent.rebuild_target import Target
        from agent.verifier import Audit, Task

        began = time.perf_counter()
        found, sources = _sources(self._settings, self._reader, self._settings.configuration().box.id, self._box)
        self.asked = tuple(source.name for source in sources)
        target = Target(self._out, self._box)
        try:
            target.take_manifests(self._signed)
            if self._reader.keyring is not None:
                target.take_keys(self._keys(self._reader.keyring))
            with seldom_collected(), Audit(Task(self._out, self._box, self._every_signature)) as audit:
                summary = self._rebuild(target, found, sources, audit)
                self.fetched_s = time.perf_counter() - began
                with progress_of("verifying", self._settings) as progress:
                    report = audit.finish(progress)
            if self._with_objects:
                self.objects = self._restore_objects(target, sources)
            return summary, report
        finally:
            target.close()

    def _restore_objects(self, target: Target, sources: list[Source]) -> ObjectsRestored:
        from agent.box_files import BoxFolder
        from agent.object_restore import ObjectRestore, ObjectsBySocket, ObjectSource, OwnObjects
        from ledger.objects import ObjectFolder

        own = self._settings.configuration().box
        client = self._settings.client(_FETCH_TIMEOUT_S)
        givers: list[ObjectSource] = [OwnObjects(own.id, ObjectFolder(BoxFolder(Path(own.data_dir)).objects))]
        givers += [ObjectsBySocket(source.name, client) for source in sources if source.name != own.id]
        with progress_of("restoring", self._settings, told_as="objects") as progress:
            folder = ObjectFolder.open(target.folder.objects)
            return ObjectRestore(target.store, folder, givers).run(self._box, progress)

    def _rebuild(self, target: Target, found: Found, sources: list[Source], audit: Audit) -> Summary:
        from agent.rebuild import Rebuild
        from ledger.audit import chunk_ahead
        from ledger.certificate import Certificate

        def durable(log: LogId, number: int) -> None:
            manifest_hash = target.replicas[log].manifest_hash
            public = self._manifests[manifest_hash].box(log.box).signing_public
            audit.ahead(chunk_ahead(log, number, public, manifest_hash, every_signature=self._every_signature))

        def kept(log: LogId) -> list[Certificate]:
            return [Certificate.decode(data) for _, data in self._reader.store.checkpoints(log)]

        with progress_of("restoring", self._settings, told_as="blocks") as progress:
            work = Rebuild(self._box, target, sources, self._manifests, progress, durable)
            return work.run(found, kept, self._selection)


def _sources(settings: Settings, reader: Reader, own: str, box: str) -> tuple[Found, list[Source]]:
    """Who holds something of the box; without a running agent, this box alone."""
    from agent.rebuild_sources import OwnStore, PeerBySocket, ask_heads
    from ledger.rebuild import Found

    found = Found(box)
    sources: list[Source] = [OwnStore(own, reader.store)]
    for log, _ in reader.store.logs(box):
        found.hold(own, log, reader.store.length(log))
    client = settings.client(_FETCH_TIMEOUT_S)
    try:
        answers = ask_heads(client, box)
    except AgentUnreachable as error:
        click.echo(f"no peer is asked, for the agent does not run: {error.text}", err=True)
        return found, sources
    for name, reports in answers.items():
        for report in reports:
            if name == own:
                found.word(name, report)
            else:
                found.report(name, report)
        if name != own:
            sources.append(PeerBySocket(name, client))
    return found, sources


def _record(settings: Settings, summary: Summary, report: AuditReport, asked: tuple[str, ...]) -> int | None:
    """Put the restore on this box's chain; the block that says so, if it could be."""
    from agent.rebuild_sources import log_arguments

    built = max(summary.logs, key=lambda each: (each.log.fenced, each.log.counter), default=None)
    head = built.replica.newest_head() if built is not None and built.replica.size else None
    if head is None:
        return None
    return settings.put_on_chain(
        "restored", log=log_arguments(head.log), size=head.size, root=head.root.hex(), leaf=head.leaf.hex(),
        vouching=sum(1 for name in asked if summary.given[name]), peers=len(asked), verified=report.is_good,
    )  # fmt: skip
