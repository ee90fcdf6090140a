"""``orledger init``: keys and a first manifest, for one box alone or for a laboratory's whole site."""

from __future__ import annotations

from pathlib import Path

import click

from agent.cli.context import Settings, common_options, document, json_text, pass_settings
from ledger.errors import OperatorFault


@click.command("init")
@click.option(
    "--site", "site_file", type=click.Path(path_type=Path), help="A laboratory's site file: all boxes at once."
)
@click.option("--out", type=click.Path(path_type=Path), help="Folder for the boxes of --site.")
@common_options
@pass_settings
def command(settings: Settings, *, site_file: Path | None, out: Path | None) -> int:
    """Make keys and the first manifest.

    Without --site: the one box of the configuration file, recording alone. With --site FILE --out DIR: every box of a
    small site on this machine, each with its own keys, data folder and configuration, for laboratories and trials.
    """
    from agent.init_site import init_alone, init_site, read_site_file

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
