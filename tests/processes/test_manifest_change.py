"""The site's manifest changes while its boxes record: who joins is connected, who leaves is cut off."""

from __future__ import annotations

import json
import socket
import ssl
from dataclasses import replace
from pathlib import Path

import tomli_w

from agent.box_files import BoxFolder, create_box, load_box
from agent.disk import load_manifest
from agent.init_site import GROUP, init_again
from agent.tls import client_context
from ledger.canonical import pack
from ledger.manifest import Box as Entry
from ledger.manifest import Manifest, Role, SignedManifest, sign_manifest
from ledger.signing import SigningKey
from ledger.store import Store
from tests.processes.site import HOST, SITE, Box, LabSite, free_port, until


def first_manifest(box: Box) -> SignedManifest:
    store = Store.open(BoxFolder(box.data).ledger)
    try:
        return SignedManifest.decode(store.manifests()[0][1])
    finally:
        store.close()


def next_manifest(folder: Path, before: Manifest, boxes: tuple[Entry, ...]) -> SignedManifest:
    key = SigningKey((folder / "site" / "site.seed").read_bytes())
    return sign_manifest(replace(before, version=before.version + 1, previous_hash=before.hash, boxes=boxes), [key])


def new_box(site: LabSite, box_id: str) -> tuple[Box, Entry]:
    """A box with keys of its own and no manifest yet."""
    home = site.folder / "site" / box_id
    (home / "run").mkdir(parents=True)
    listen = f"{HOST}:{free_port()}"
    config = home / "config.toml"
    folders = {"data_dir": str(home / "data"), "runtime_dir": str(home / "run")}
    document = {"box": {"site": SITE, "id": box_id, "room": box_id, **folders}, "replication": {"listen": listen}}
    config.write_text(tomli_w.dumps(document))
    box = Box(box_id, config, site.folder / f"{box_id}.log")
    identity = create_box(BoxFolder(box.data), box_id)
    secrets = identity.secrets
    entry = Entry(
        box_id, box_id, GROUP, Role.MEMBER, secrets.signing.public, secrets.receiving.public,
        identity.tls.certificate_der, listen,
    )  # fmt: skip
    return box, entry


def is_connected(box: Box, peer: str) -> bool:
    return next(bool(row["connected"]) for row in box.status()["peers"] if row["id"] == peer)


def is_let_in(box: Box, who: Box) -> bool:
    """Whether the broker of ``box`` speaks to ``who`` once TLS is done: who is refused hears an alert, or an end."""
    assert box.configuration.replication is not None
    host, _, port = box.configuration.replication.listen.rpartition(":")
    identity, peer = load_box(BoxFolder(who.data)).tls, load_box(BoxFolder(box.data)).tls
    context = client_context(identity, peer.certificate_der)
    try:
        with (
            socket.create_connection((host, int(port)), timeout=60) as plain,
            context.wrap_socket(plain, server_hostname=host) as connection,
        ):
            connection.settimeout(1)
            return connection.recv(1) != b""
    except TimeoutError:  # it waits for a CONNECT
        return True
    except (ssl.SSLError, ConnectionError):
        return False


def works_with(box: Box, group: set[str]) -> bool:
    """Whether the box is connected to the others of the group, they vouch for its log, and nothing is wrong."""
    status = box.status()
    log = status["log"]
    connected = {peer["id"] for peer in status["peers"] if peer["connected"]}
    vouched = log["fenced"] and log["level"] == "witnessed" and log["peers_holding"] == len(group) - 1
    return vouched and connected == group - {box.id} and status["state"] == "ok"


def pids(site: LabSite) -> dict[str, int]:
    return {name: box.pid for name, box in site.boxes.items()}


def test_one_joins_and_one_leaves_and_nobody_restarts(tmp_path: Path) -> None:
    with LabSite(tmp_path) as site:
        first, second, third = (site[f"or-{number}"] for number in (1, 2, 3))
        signed = first_manifest(first)
        before = signed.manifest
        joining, entry = new_box(site, "or-4")
        after = next_manifest(tmp_path, before, (*before.boxes[:2], entry))
        init_again(joining.configuration, pack(["orledger/manifests/1", [signed.encode(), after.encode()]]))
        site.start()
        started = pids(site)
        assert is_let_in(first, third)
        until("or-4 is refused", lambda: not is_let_in(first, joining))

        site.boxes["or-4"] = joining
        joining.start()
        offered = tmp_path / "2.manifest"
        offered.write_bytes(after.encode())
        done = first.cli("site", "offer", str(offered), "--json")
        assert done.returncode == 0, done.stdout + done.stderr
        told = json.loads(done.stdout)
        assert (told["version"], told["added"], told["removed"], told["new"]) == (2, ["or-4"], ["or-3"], True)

        until("or-3 knows that it was removed", lambda: ("manifest.removed", "or-3") in third.alerts())
        group = {"or-1", "or-2", "or-4"}
        for box in (first, second, joining):
            until(f"{box.id} works with its new peers", lambda box=box: works_with(box, group), why_not=box.status)  # type: ignore[misc]
            until(f"or-3 is refused by {box.id}", lambda box=box: not is_let_in(box, third))  # type: ignore[misc]
        assert is_let_in(first, joining)
        assert pids(site) | {"or-4": 0} == started | {"or-4": 0}

        third.until_ahead(3)  # its room is still recorded
        until("or-3 calls it critical", lambda: third.status()["state"] == "critical")
        third.kill()
        third.start()
        until("or-3 knows it after a restart", lambda: ("manifest.removed", "or-3") in third.alerts())
        third.until_ahead(3)

        again = first.cli("site", "offer", str(offered))
        assert (again.returncode, "in force already" in again.stdout) == (0, True)
        shown = json.loads(second.cli("site", "show", "--json").stdout)
        assert [box["id"] for box in shown["boxes"]] == ["or-1", "or-2", "or-4"]
        site.stop()
        store = Store.open(BoxFolder(second.data).ledger)
        found = load_manifest(store)
        store.close()
        assert found is not None
        assert found.hash == after.manifest.hash


def test_a_changed_address_is_followed_and_the_other_connection_stays(tmp_path: Path) -> None:
    with LabSite(tmp_path) as site:
        first, second, third = (site[f"or-{number}"] for number in (1, 2, 3))
        before = first_manifest(first).manifest
        port = free_port()
        moved = replace(before.boxes[2], address=f"{HOST}:{port}")
        after = next_manifest(tmp_path, before, (*before.boxes[:2], moved))
        site.start()
        third.stop()
        third.config.write_text(third.config.read_text().replace(before.boxes[2].address, moved.address))
        third.start()
        third.until_ahead(2)
        until("or-1 has lost or-3", lambda: not is_connected(first, "or-3"))
        told_before = first.text().count("peer or-2: connect")

        offered = tmp_path / "2.manifest"
        offered.write_bytes(after.encode())
        done = second.cli("site", "offer", str(offered))
        assert (done.returncode, "changed: or-3" in done.stdout) == (0, True), done.stdout + done.stderr
        site.until_good()
        assert first.text().count("peer or-2: connect") == told_before


def test_what_cannot_come_into_force_is_refused_in_words(tmp_path: Path) -> None:
    with LabSite(tmp_path, boxes=2) as site:
        box = site["or-1"]
        before = first_manifest(box).manifest
        second = next_manifest(tmp_path, before, before.boxes)
        third = next_manifest(tmp_path, second.manifest, before.boxes)
        stranger = SigningKey(bytes(range(32)))
        cases = {
            "site.not-next": third.encode(),
            "manifest.unsigned": sign_manifest(second.manifest, [stranger]).encode(),
            "site.not-a-manifest": b"rubbish",
            "site.other-site": sign_manifest(replace(second.manifest, site="elsewhere"), [stranger]).encode(),
            "site.without-us": next_manifest(tmp_path, before, before.boxes[1:]).encode(),
            "site.second": sign_manifest(
                replace(before, boxes=before.boxes[:1]), [SigningKey((tmp_path / "site" / "site.seed").read_bytes())]
            ).encode(),
        }
        box.start()
        box.until_ahead(1)
        for error_id, data in cases.items():
            file = tmp_path / error_id
            file.write_bytes(data)
            refused = box.cli("site", "offer", str(file))
            assert error_id in refused.stderr, refused.stderr
            assert "next: " in refused.stderr
            assert refused.returncode in (64, 65)
        until("a second manifest is told of", lambda: ("manifest.fork", SITE) in box.alerts())
        assert json.loads(box.cli("site", "show", "--json").stdout)["version"] == 1
        assert box.cli("site", "offer", str(tmp_path / "absent")).returncode == 65


def test_a_box_that_was_alone_gets_a_network_or_says_what_it_lacks(tmp_path: Path) -> None:
    with LabSite(tmp_path, boxes=1) as site:
        alone = site["or-1"]
        signed = first_manifest(alone)
        before = signed.manifest
        joining, entry = new_box(site, "or-2")
        after = next_manifest(tmp_path, before, (*before.boxes, entry))
        init_again(joining.configuration, pack(["orledger/manifests/1", [signed.encode(), after.encode()]]))
        offered = tmp_path / "2.manifest"
        offered.write_bytes(after.encode())
        whole = alone.config.read_text()
        head, _, rest = whole.partition("[replication]")
        alone.config.write_text(head)
        site.boxes["or-2"] = joining
        joining.start()
        alone.start()
        alone.until_ahead(1)
        assert alone.cli("site", "offer", str(offered)).returncode == 0
        until("what it lacks is said", lambda: ("network.down", "network") in alone.alerts())
        assert alone.stop() == 0
        alone.start()
        until("also after a restart", lambda: ("network.down", "network") in alone.alerts())
        alone.until_ahead(2)

        alone.stop()
        alone.config.write_text(head + "[replication]" + rest)
        alone.start()
        site.until_good()


def test_a_box_that_was_alone_is_joined_without_a_restart(tmp_path: Path) -> None:
    with LabSite(tmp_path, boxes=1) as site:
        signed = first_manifest(site["or-1"])
        before = signed.manifest
        joining, entry = new_box(site, "or-2")
        after = next_manifest(tmp_path, before, (*before.boxes, entry))
        init_again(joining.configuration, pack(["orledger/manifests/1", [signed.encode(), after.encode()]]))
        site.start()
        site.boxes["or-2"] = joining
        joining.start()
        offered = tmp_path / "2.manifest"
        offered.write_bytes(after.encode())
        assert site["or-1"].cli("site", "offer", str(offered)).returncode == 0
        site.until_good()
