"""``orledger checkpoint``: what a box has signed about its log, with its peers' cosignatures, for any C2SP tool."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from agent.cli.context import Settings, common_options, document, json_text, pass_settings
from agent.cli.data_dir import data_dir_of, data_dir_option
from ledger.errors import BadInput

if TYPE_CHECKING:
    from agent.reading import Reader
    from ledger.certificate import Certificate
    from ledger.log import LogId
    from ledger.manifest import Manifest


@click.command("checkpoint")
@click.argument("box")
@click.option("--size", type=click.IntRange(min=1), help="The one of exactly this size; else the newest.")
@click.option("--vkeys", is_flag=True, help="Print the keys that verify it instead, one a line.")
@data_dir_option
@common_options
@pass_settings
def command(settings: Settings, *, box: str, size: int | None, vkeys: bool, data_dir: Path | None) -> int:
    """Print the newest signed checkpoint of BOX: a C2SP signed note with every cosignature held here.

    It is of the box's newest log that has one; `orledger verify` proves that the blocks held here make its root.
    """
    from agent.reading import open_reader

    with open_reader(data_dir_of(settings, data_dir)) as reader:
        log, certificate, manifest = _newest(reader, box, size)
    note, keys = certificate.note(manifest, log), _vkeys(manifest, log, certificate)
    if settings.json:
        click.echo(json_text(document("checkpoint", box=box, size=certificate.size, note=note.decode(), vkeys=keys)))
    elif vkeys:
        click.echo("\n".join(keys))
    else:
        click.echo(note, nl=False)
    return 0


def _newest(reader: Reader, box: str, size: int | None) -> tuple[LogId, Certificate, Manifest]:
    """The newest checkpoint that the box itself signed, with the manifest its log is bound to."""
    from ledger.certificate import Certificate
    from ledger.manifest import SignedManifest

    reader.logs_of(box)
    manifests = {}
    for _, data in reader.store.manifests():
        signed = SignedManifest.decode(data)
        manifests[signed.manifest.hash] = signed.manifest
    logs = sorted(reader.store.logs(box), key=lambda pair: (pair[0].fenced, pair[0].counter), reverse=True)
    for log, manifest_hash in logs:
        for number, data in reversed(reader.store.checkpoints(log)):
            certificate = Certificate.decode(data)
            if certificate.log_signature and size in (None, number) and manifest_hash in manifests:
                return log, certificate, manifests[manifest_hash]
    what = "no checkpoint" if size is None else f"no checkpoint of size {size:,}"
    raise BadInput("checkpoint.none", f"{what} of {box} is held here", "leave --size out, or wait a second")


def _vkeys(manifest: Manifest, log: LogId, certificate: Certificate) -> list[str]:
    """The log's own key, then those of the peers whose cosignatures stand in the note."""
    from ledger.certificate import cosigner_name
    from ledger.note import KeyType, Verifier

    own = Verifier(log.origin(manifest.site), KeyType.ED25519, manifest.box(log.box).signing_public)
    peers = [
        Verifier(cosigner_name(manifest.site, name), KeyType.COSIGNATURE_V1, manifest.box(name).signing_public)
        for name, _, _ in certificate.cosignatures
    ]
    return [verifier.vkey() for verifier in (own, *peers)]
