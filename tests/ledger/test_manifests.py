"""Versions of the manifest as a box meets them: the next needs both thresholds, a second of one is an alarm."""

from __future__ import annotations

from dataclasses import replace

import pytest

from ledger.errors import PeerFault
from ledger.manifest import sign_manifest
from ledger.manifests import Manifests
from ledger.ops import PutManifest
from ledger.outbox import Outbox
from ledger.signing import SigningKey
from tests.ledger.cluster import Cluster
from tests.sim.world import World


def test_the_next_version_is_in_force_and_durable_and_handed_on() -> None:
    cluster = Cluster(3)
    following = replace(cluster.manifest, version=2, previous_hash=cluster.manifest.hash)
    signed = sign_manifest(following, [cluster.site_key]).encode()
    known, out = Manifests("or-1", cluster.manifest), Outbox()
    assert known.take(signed, out)
    assert (known.own, known.newest, known.before_own()) == (following, following, cluster.manifest)
    assert out.take_ops()[0] == [PutManifest(2, signed)]
    assert known.next_after(cluster.manifest.hash) == signed
    assert not known.take(signed, out)
    assert out.take_warnings() == []


def test_a_version_without_both_thresholds_is_refused() -> None:
    cluster, stranger = Cluster(3), SigningKey(bytes(range(32)))
    following = replace(cluster.manifest, version=2, previous_hash=cluster.manifest.hash, site_keys=(stranger.public,))
    known, out = Manifests("or-1", cluster.manifest), Outbox()
    with pytest.raises(PeerFault, match="signatures"):
        known.take(sign_manifest(following, [stranger]).encode(), out)
    assert known.newest == cluster.manifest
    assert known.take(sign_manifest(following, [stranger, cluster.site_key]).encode(), out)


def test_a_second_manifest_of_the_same_version_is_an_alarm() -> None:
    cluster, out = Cluster(3), Outbox()
    known = Manifests("or-1", cluster.manifest)
    other = replace(cluster.manifest, liars=0)
    assert not known.take(sign_manifest(other, [cluster.site_key]).encode(), out)
    assert [warning.id for warning in out.take_warnings()] == ["manifest.fork"]
    assert known.newest == cluster.manifest


def test_a_box_that_is_no_longer_listed_knows_it_and_keeps_its_own_last_version() -> None:
    cluster, out = Cluster(3), Outbox()
    known = Manifests("or-1", cluster.manifest)
    following = replace(
        cluster.manifest, version=2, previous_hash=cluster.manifest.hash, boxes=cluster.manifest.boxes[1:]
    )
    assert known.take(sign_manifest(following, [cluster.site_key]).encode(), out)
    assert (known.own, known.newest) == (cluster.manifest, following)
    assert known.box("or-1") == cluster.manifest.box("or-1")


def test_gossip_brings_a_new_manifest_to_everybody_and_every_epoch_is_bound_to_it_by_a_joint_fence() -> None:
    world = World(1, 3)
    world.run(5 * 10**9)
    signed = world.change_manifest(["or-1", "or-2", "or-3"])
    world.alive("or-1")[0].member.offer_manifest(signed)
    world.run(15 * 10**9)
    for process in world.everyone():
        writer = process.member.writer
        assert process.member.manifest.version == 2
        assert writer.chain.manifest_hash == world.manifests[1].hash
        assert process.disk.manifests[2] == signed
        assert writer.names()[-1].log.fenced
