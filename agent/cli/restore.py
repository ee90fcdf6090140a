"""``orledger restore now BOX``: the latest state of a box that died, verified, in well under a second."""

from __future__ import annotations

import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from agent.cli.context import Settings, common_options, document, json_text, pass_settings
from agent.cli.data_dir import data_dir_of, data_dir_option
from agent.cli.delivery import (
    DeliveryOptions,
    chosen_document,
    deliver,
    delivery_document,
    delivery_lines,
    delivery_options,
    exit_code,
    work_folder,
)
from agent.cli.restore_box import box_command, restore_box
from agent.cli.restore_selection import parse_selection
from agent.cli.status_text import duration
from ledger.errors import StoreFault

if TYPE_CHECKING:
    from agent.object_delivery import Way

_RESTORE_TIMEOUT_S = 30.0
_SHOWN_VALUES = 40


@click.group("restore")
def command() -> None:
    """Fetch, verify and hand over what a box recorded."""


command.add_command(box_command)


@command.command("case")
@click.argument("case_id", metavar="ID")
@click.option(
    "--out", type=click.Path(path_type=Path), required=True, metavar="DIR", help="New folder, or to go on in."
)
@click.option("--objects", is_flag=True, help="Fetch the case's objects too: images, videos, documents.")
@delivery_options
@common_options
@pass_settings
def case(settings: Settings, *, case_id: str, out: Path, delivery: DeliveryOptions) -> int:
    """Rebuild one case in DIR, found by the beginning of its id: 'restore box --case' of the box that recorded it.

    With --objects-to or --objects-to-ae its objects are handed on; the same command goes on where it was. What there
    is of it then: orledger case show ID --patient --data-dir DIR; orledger records --data-dir DIR.
    """
    from agent.case_history import find_case, known_cases
    from agent.reading import open_reader

    with open_reader(data_dir_of(settings, None)) as reader:
        found = find_case(known_cases(reader), case_id)
    selection = parse_selection(None, None, found.case_id.hex())
    return restore_box(settings, found.box, out, selection, every_signature=False, delivery=delivery)


@command.command("manifest")
@click.option("--out", type=click.Path(path_type=Path), required=True, metavar="FILE", help="Where to.")
@data_dir_option
@common_options
@pass_settings
def manifest(settings: Settings, *, out: Path, data_dir: Path | None) -> int:
    """Export the site's signed manifests, for 'orledger init --manifest-from FILE' on a box whose disk is gone."""
    from agent.init_site import export_history
    from agent.reading import open_reader
    from ledger.keyring import write_durably

    with open_reader(data_dir_of(settings, data_dir)) as reader:
        newest, exported = reader.manifest, export_history(reader.store)
    try:
        write_durably(out.absolute(), exported, 0o644)
    except OSError as error:
        raise StoreFault("restore.unwritable", f"cannot write {out}: {error.strerror}", "name another file") from error
    keys = [key.hex() for key in newest.site_keys]
    if settings.json:
        fields = {"site": newest.site, "version": newest.version, "manifest": newest.hash.hex(), "site_keys": keys}
        click.echo(json_text(document("restore-manifest", **fields, out=str(out))))
        return 0
    click.echo(f"site {newest.site}, manifest version {newest.version}, {newest.hash.hex()[:16]}… -> {out}")
    click.echo(f"site keys {', '.join(key[:16] + '…' for key in keys)}")
    return 0


@command.command("now")
@click.argument("box")
@click.option(
    "--to", "target", metavar="TARGET", help="'-' (standard output), a file, or mllp://HOST:PORT. Default: shown here."
)
@delivery_options
@common_options
@pass_settings
def now(settings: Settings, *, box: str, target: str | None, delivery: DeliveryOptions) -> int:
    """Restore BOX's latest verified state from its peers.

    The story goes to standard error when the state goes to standard output. These are last recorded values, not live.
    With --objects-to or --objects-to-ae the images that the state names are handed on after it.
    """
    work = work_folder(box) if delivery.is_asked else None
    ways = delivery.ways(settings, work) if work is not None else []
    client = settings.client(_RESTORE_TIMEOUT_S)
    began = time.perf_counter()
    restored: Mapping[str, Any] = client.ask("restore", box=box)
    elapsed_ms = (time.perf_counter() - began) * 1e3
    delivered = _deliver(settings, restored, target)
    if settings.json:
        code, handed = (0, {}) if work is None else _hand_on(settings, restored, ways, work)
        if target != "-":
            click.echo(json_text({**restored, "v": 1, "elapsed_ms": elapsed_ms, "delivered": delivered, **handed}))
        return code
    for line in story(restored, elapsed_ms, delivered):
        click.echo(line, err=target == "-")
    if target is None:
        _show_values(restored["state"])
        if restored["tail"] is not None:
            click.echo(f"\nNOT VOUCHED FOR, {restored['tail']['log']} block {restored['tail']['block']:,}:")
            _show_values(restored["tail"]["state"])
    return 0 if work is None else _hand_on(settings, restored, ways, work)[0]


def _hand_on(
    settings: Settings, restored: Mapping[str, Any], ways: Sequence[Way], work: Path
) -> tuple[int, dict[str, object]]:
    """The objects that the state names: from this box's folder, else from its peers. Exit code, and more for JSON."""
    from agent.object_reading import ObjectReader
    from agent.object_restore import ObjectsBySocket
    from agent.outgoing import of_state
    from agent.reading import open_reader
    from ledger.objects import ObjectFolder

    own, beside = settings.configuration().box, ObjectFolder.open(work / "objects")
    client, data_dir = settings.client(_RESTORE_TIMEOUT_S), data_dir_of(settings, None)
    with open_reader(data_dir) as reader:
        peers = [ObjectsBySocket(each.id, client) for each in reader.manifest.peers_of(own.id)]
        objects = ObjectReader(reader, data_dir, beside)
        chosen = of_state(restored["state"], objects, reader.store, beside, peers)
        deliveries = deliver(settings, str(restored["box"]), ways, chosen)
    for held in beside.held():
        beside.delete(held.sha256)
    if not settings.json:
        click.echo("")
        for line in delivery_lines(deliveries, chosen):
            click.echo(line)
    handed: dict[str, object] = {
        "deliveries": [delivery_document(each) for each in deliveries],
        "not_here": chosen_document(chosen),
    }
    return exit_code(deliveries, chosen), handed


def story(restored: Mapping[str, Any], elapsed_ms: float, delivered: str) -> list[str]:
    """What was asked, fetched, checked and handed over, line by line."""
    steps, checked = restored["steps_ms"], restored["verified"]
    answered, asked = restored["answered"], restored["asked"]
    provisional = "" if restored["fenced"] else " (provisional: not fenced)"
    recorded = f"(recorded in block {restored['recorded_in_block']:,})"
    lines = [
        _timed(
            f"asked {', '.join(asked)}: {len(answered)} of {len(asked)} answered; head epoch {restored['epoch']} "
            f"block {restored['block']:,}, {restored['level']}, {restored['vouching']} of {restored['peers']} "
            f"vouch{provisional}",
            steps["ask"],
        ),
        _timed(
            f"fetched {checked['blocks']} blocks, verified {checked['signatures']} signatures, "
            f"{checked['links']} links, {checked['cosignatures']} cosignatures",
            steps["fetch"] + steps["verify"],
        ),
        f"RESTORED in {elapsed_ms / 1e3:.2f} s{delivered and f'  -> {delivered}'}   {recorded}",
    ]
    if restored["newest_block"] > restored["block"]:
        tail = restored["newest_block"] - restored["block"]
        lines.append(f"{tail} newer blocks are signed by {restored['box']} but not yet vouched for: see newest_state.")
    lines += tail_lines(restored)
    if restored["void"]:
        void = ", ".join(restored["void"])
        lines.append(
            f"Lost memory, or not sure yet after a start: {void}. What they do not know of may exist all the same."
        )
    if restored["may_be_newer"]:
        lines.append("Too few peers answered to be sure: A NEWER BLOCK MAY EXIST.")
    if restored["equivocation_proofs"]:
        lines.append(f"{restored['box']} signed two histories: a proof is kept. Treat these values with suspicion.")
    if restored["clock"] != "synchronised":
        lines.append(f"{restored['box']}'s clock was {restored['clock']}: ages may be wrong, the order is not.")
    lines.append(
        f"Values are {duration(restored['head_age_s'])} old{_oldest(restored['state'])}. {restored['warning']}."
    )
    return lines


def tail_lines(restored: Mapping[str, Any]) -> list[str]:
    """The newest end beside the believed head, as what it is; and those that could not be had."""
    lines, tail = [], restored["tail"]
    if tail is not None:
        after_s = tail["after_head_s"]
        when = f"{duration(abs(after_s))} {'newer' if after_s >= 0 else 'older'}"
        kind = "a fenced epoch" if tail["fenced"] else "a provisional log, begun without a fence"
        holders = ", ".join(tail["holders"])
        lines.append(
            f"Beside it, NOT VOUCHED FOR: {tail['log']}, {kind}; block {tail['block']:,} is {when}, held by {holders}; "
            f"{tail['verified']['blocks']} blocks verified: signed by {restored['box']}, linked, whole."
        )
    lines += [f"An end of {lost['log']} ({lost['size']:,} blocks) was reported but not restored: {lost['why']}."
              for lost in restored["tails_lost"]]  # fmt: skip
    return lines


def _timed(text: str, elapsed_ms: float) -> str:
    return f"{text}   {elapsed_ms:.0f} ms"


def _oldest(state: Mapping[str, Any]) -> str:
    values = [value for value in state["values"] if value["value"] is not None]
    if not values:
        return ""
    oldest = max(values, key=lambda value: value["age_s"])
    return f"; the oldest, {oldest['code']} {oldest['value']}, is {duration(oldest['age_s'])} old"


def _deliver(settings: Settings, restored: Mapping[str, Any], target: str | None) -> str:
    """Hand the state over; where it went, for the story."""
    if target is None:
        return ""
    if target.startswith("mllp://"):
        return _deliver_hl7(settings, restored, target)
    text = json_text(dict(restored))
    if target == "-":
        sys.stdout.write(text + "\n")
        return ""
    from ledger.keyring import write_durably

    path = Path(target).absolute()
    try:
        write_durably(path, text.encode() + b"\n", 0o640)
    except OSError as error:
        raise StoreFault("restore.unwritable", f"cannot write {path}: {error.strerror}", "name another file") from error
    return str(path)


def _deliver_hl7(settings: Settings, restored: Mapping[str, Any], target: str) -> str:
    from agent.hl7_out import parse_target, restored_message, restored_values, send_until_accepted

    host, port = parse_target(target)
    box = settings.configuration().box
    values = restored_values(restored["state"])
    control_id, framed = restored_message(values, box.site, restored["box"], box.room, time.time_ns())
    answer = send_until_accepted(framed, control_id, host, port)
    return f"{target} ({answer.code}, {len(values)} values)"


def _show_values(state: Mapping[str, Any]) -> None:
    from rich.console import Console
    from rich.table import Table

    rows: Sequence[Mapping[str, Any]] = state["values"]
    if not rows:
        click.echo("No values were recorded.")
        return
    table = Table(box=None, header_style="bold", pad_edge=False)
    for name in ("FEED", "VALUE", "", "UNIT", "AGE", "QUALITY"):
        table.add_column(name, justify="right" if name in {"", "AGE"} else "left")
    for row in rows[:_SHOWN_VALUES]:
        shown = "–" if row["value"] is None else str(row["value"])
        name = row["code"].removeprefix("MDC_") + (f" {row['channel']}" if row["channel"] else "")
        table.add_row(row["feed"], name, shown, row["unit"], duration(row["age_s"]), ", ".join(row["quality"]))
    Console(highlight=False).print(table)
    if len(rows) > _SHOWN_VALUES:
        click.echo(f"and {len(rows) - _SHOWN_VALUES} more; all of them with --to FILE")
