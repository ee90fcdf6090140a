"""A newer manifest from an operator: refused in words that say what to do, in force only once it is durable."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from agent.control import Handler, Reply, Request
from ledger.errors import BadInput, OperatorFault, PeerFault, StoreFault
from ledger.limits import LIMITS, S_NS
from ledger.manifest import Manifest, SignedManifest

if TYPE_CHECKING:
    from agent.node import Node

_POLL_S = 0.02
_REMAKE = "have it made anew from the manifest in force: orledger site show"


def manifest_handlers(node: Node) -> Mapping[str, Handler]:
    """What the control socket answers about the manifest."""

    async def manifest(_request: Request, reply: Reply) -> None:
        await reply(manifest_document(node.member.manifests.newest))

    async def offer_manifest(request: Request, reply: Reply) -> None:
        await reply(await offer(node, manifest_argument(request.arguments)))

    return {"manifest": manifest, "offer_manifest": offer_manifest}


def manifest_argument(arguments: Mapping[str, Any]) -> bytes:
    """The signed manifest that is offered. Raises BadInput."""
    try:
        data = bytes.fromhex(arguments["manifest"])
    except (KeyError, TypeError, ValueError) as error:
        raise BadInput("site.no-manifest", "no manifest was given", "orledger site offer FILE") from error
    if len(data) > LIMITS.manifest_bytes:
        raise BadInput("site.not-a-manifest", "this file is too large for a signed manifest", "name another file")
    return data


def manifest_document(manifest: Manifest) -> dict[str, object]:
    """A manifest, for the command line."""
    return {
        "site": manifest.site,
        "version": manifest.version,
        "manifest": manifest.hash.hex(),
        "threshold": manifest.threshold,
        "site_keys": [key.hex() for key in manifest.site_keys],
        "boxes": [
            {
                "id": box.id,
                "room": box.room,
                "group": box.group,
                "address": box.address,
                "signing_public": box.signing_public.hex(),
            }
            for box in manifest.boxes
        ],
    }


async def offer(node: Node, data: bytes) -> dict[str, object]:
    """Put it into force here; what changes. Raises BadInput or OperatorFault when it cannot be, StoreFault."""
    member = node.member
    before = member.manifests.newest
    manifest = _checked(data, before, member.own_id)
    is_new = manifest.hash != before.hash
    if is_new:
        try:
            taken = member.offer_manifest(data)
        except PeerFault as error:
            raise BadInput(error.id, f"this manifest is refused: {error.text}", error.next_step or _REMAKE) from error
        node.pump.pump()
        if manifest.version == before.version:
            raise OperatorFault(
                "site.second", f"another version {before.version} is in force; signed by the site this one is an alarm",
                _REMAKE,
            )  # fmt: skip
        if not taken:
            raise OperatorFault("site.too-many", f"no more than {LIMITS.manifests} manifests are kept", "report this")
        await _durable(node, manifest.version)
    old = {box.id: box for box in before.boxes}
    new = {box.id: box for box in manifest.boxes}
    return {
        **manifest_document(manifest),
        "new": is_new,
        "added": sorted(new.keys() - old.keys()),
        "removed": sorted(old.keys() - new.keys()),
        "changed": sorted(box for box in new.keys() & old.keys() if new[box] != old[box]),
    }


def _checked(data: bytes, newest: Manifest, own_id: str) -> Manifest:
    """The manifest offered, if it is the one in force or could be the next. Raises BadInput or OperatorFault."""
    try:
        manifest = SignedManifest.decode(data).manifest
    except PeerFault as error:
        raise BadInput(
            "site.not-a-manifest", f"this is no signed manifest: {error.text}", "name another file"
        ) from error
    if manifest.site != newest.site:
        raise BadInput(
            "site.other-site", f"this is a manifest of {manifest.site}, this box belongs to {newest.site}",
            "offer it on a box of its own site",
        )  # fmt: skip
    if manifest.hash == newest.hash:
        return manifest
    if manifest.version < newest.version:
        raise OperatorFault(
            "site.not-newer", f"version {newest.version} is in force, this is version {manifest.version}", _REMAKE
        )
    if manifest.version > newest.version + 1:
        raise OperatorFault(
            "site.not-next", f"version {newest.version} is in force, this is version {manifest.version}",
            f"offer version {newest.version + 1} first",
        )  # fmt: skip
    if not manifest.lists(own_id):
        raise OperatorFault(
            "site.without-us", f"this manifest removes {own_id} itself: nobody would pass it on from here",
            "offer it on a box that stays",
        )  # fmt: skip
    return manifest


async def _durable(node: Node, version: int) -> None:
    """Wait until the store holds it. Raises StoreFault."""
    try:
        async with asyncio.timeout(LIMITS.control_reply_ns / S_NS):
            while all(held != version for held, _ in node.store.manifests()):  # noqa: ASYNC110 - a commit has no event
                await asyncio.sleep(_POLL_S)
    except TimeoutError as error:
        raise StoreFault(
            "site.not-durable", f"version {version} is in force, but the disk has not kept it yet", "orledger status"
        ) from error
