"""Bad weather for the in-memory group: messages are lost, doubled and reordered, commits take their time."""

from __future__ import annotations

from ledger.errors import PeerFault, VerificationFailed
from tests.ledger.cluster import Cluster


class Weather:
    """Drives a cluster step by step with a seeded mind of its own; ``faults`` are errors that messages caused."""

    def __init__(self, cluster: Cluster, seed: int) -> None:
        self.cluster = cluster
        self.random = cluster.random.__class__(seed)
        self.flying: list[tuple[str, str, bytes]] = []
        self.pending: dict[str, list[int]] = {name: [] for name in cluster.boxes}
        self.faults: list[PeerFault | VerificationFailed] = []
        self.loss = 0.0
        self.doubling = 0.0
        self.disorder = False

    def worsen(self) -> None:
        self.loss = self.random.choice([0.0, 0.05, 0.3, 0.9])
        self.doubling = self.random.choice([0.0, 0.2])
        self.disorder = self.random.random() < 0.7

    def heal(self) -> None:
        self.loss, self.doubling, self.disorder = 0.0, 0.0, False

    def step(self, *, recording: bool = True) -> None:
        """100 ms: every box ticks, commits some of the time, and what flies lands or not."""
        self.cluster.now_ns += 100_000_000
        for name, box in self.cluster.boxes.items():
            box.member.step(self.cluster.now)
            if recording:
                self.cluster.tick(name)
        for _ in range(3):
            for name in self.cluster.boxes:
                if self.loss < 0.1 or self.random.random() < 0.6:
                    self.commit(name)
                self.depart(name)
            self.land()

    def commit(self, name: str) -> None:
        box = self.cluster.boxes[name]
        for kept in box.member.take_keys():
            box.keys.held[kept.key.key_id] = (kept.key, kept.wraps)
            box.member.key_kept(kept.key.key_id, self.cluster.now)
        ops, position = box.member.take_ops()
        box.disk.commit(ops)
        box.member.committed(position, self.cluster.now)

    def depart(self, name: str) -> None:
        for message in self.cluster.boxes[name].member.take_wire():
            for other in self.cluster.boxes if message.to == "*" else [message.to]:
                if other != name and self.random.random() >= self.loss:
                    copies = 2 if self.random.random() < self.doubling else 1
                    self.flying += [(name, other, message.wire)] * copies

    def land(self) -> None:
        landing, self.flying = self.flying, []
        if self.disorder:
            self.random.shuffle(landing)
            stay = self.random.randrange(len(landing) + 1) // 3
            self.flying, landing = landing[:stay], landing[stay:]
        for sender, receiver, wire in landing:
            try:
                self.cluster.boxes[receiver].member.on_wire(sender, wire, self.cluster.now)
            except (PeerFault, VerificationFailed) as fault:
                self.faults.append(fault)

    def restart(self, name: str) -> None:
        """The process is killed: what was not committed is gone, what flew to it is lost."""
        self.flying = [flight for flight in self.flying if flight[1] != name]
        self.cluster.boot(name)
        self.cluster.link_up(name)
