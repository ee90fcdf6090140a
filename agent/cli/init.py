"""``orledger init``: keys and a first manifest, for one box alone or for a laboratory's whole site."""

from __future__ import annotations

from pathlib import Path

import click

from agent.cli.context import Settings, common_options, document, json_text, pass_settings
from ledger.errors import BadInput, OperatorFault


@click.command("init")
@click.option(
    "--site", "site_file", type=click.Path(path_type=Path), help="A laboratory's site file: all boxes at once."
)
@click.option(
    "--manifest-from",
    "exported",
    type=click.Path(path_type=Path),
    help="A box whose disk is gone and whose keys are not: the file of 'orledger restore manifest'.",
)
@click.option("--out", type=click.Path(path_type=Path), help="Folder for the boxes of --site.")
@common_options
@pass_settings
def command(settings: Settings, *, site_file: Path | None, exported: Path | None, out: Path | None) -> int:
    """Make keys and the first manifest; or an empty store for keys that were kept.

    Without --site: the one box of the configuration file, recording alone. With --site FILE --out DIR: every box of a
    small site on this machine, each with its own keys, data folder and configuration, for laboratories and trials.
    With --manifest-from FILE: this box again, with the keys it has; its peers give its ledger back when it runs.
    """
    from agent.init_site import init_alone, init_site, read_site_file

    if exported is not None:
        if site_file is not None or out is not None:
            raise OperatorFault("init.both", "--manifest-from stands alone", "orledger init --manifest-from FILE")
        return _again(settings, exported)
    if (site_file is None) != (out is None):
        raise OperatorFault("init.site-out", "--site and --out go together", "orledger init --site site.toml --out lab")
    if site_file is None or out is None:
        configuration = settings.configuration()
        manifest = init_alone(configuration)
        made = [(configuration.box.id, settings.config_path)]
    else:
        manifest, boxes_made = init_site(read_site_file(site_file), out)
        made = [(box.id, box.configuration) for box in boxes_made]
    if settings.json:
        boxes = [{"id": box_id, "configuration": str(path)} for box_id, path in made]
        click.echo(json_text(document("init", site=manifest.site, manifest=manifest.hash.hex(), boxes=boxes)))
        return 0
    click.echo(f"site {manifest.site}, manifest version {manifest.version}, {manifest.hash.hex()[:16]}…")
    for box_id, path in made:
        click.echo(f"{box_id}: ready. Next: orledger --config {path} run")
    return 0


def _again(settings: Settings, exported: Path) -> int:
    from agent.init_site import init_again

    try:
        manifests = exported.read_bytes()
    except OSError as error:
        raise BadInput("init.unreadable", f"{exported}: {error.strerror}", "name a readable file") from error
    configuration = settings.configuration()
    manifest = init_again(configuration, manifests)
    keys = [key.hex() for key in manifest.site_keys]
    if settings.json:
        boxes = [{"id": configuration.box.id, "configuration": str(settings.config_path)}]
        fields = {"site": manifest.site, "manifest": manifest.hash.hex(), "site_keys": keys, "boxes": boxes}
        click.echo(json_text(document("init", **fields)))
        return 0
    click.echo(f"site {manifest.site}, manifest version {manifest.version}, {manifest.hash.hex()[:16]}…")
    click.echo(f"site keys {', '.join(key[:16] + '…' for key in keys)}: compare them with another box's")
    click.echo(f"{configuration.box.id}: ready, empty. Next: systemctl start orledger; its peers give its ledger back")
    return 0
