"""What boxes tell each other of the heads they hold: once a second to all, and fresh ones to whoever asks."""

from __future__ import annotations

from ledger.catchup import CatchUp
from ledger.duties import Duties
from ledger.instant import Now
from ledger.limits import LIMITS
from ledger.messages import NEVER_HEARD_MS, Answer, Cosign, HeadReport, Heads, StandsBy, Stored
from ledger.outbox import EVERYBODY, Outbox
from ledger.witness import Witness
from ledger.writer import Writer


class Gossip:
    """Heads told and heard. ``heard_mono_ns``: when each peer was last heard."""

    def __init__(self, own_id: str, writer: Writer, witness: Witness, catchup: CatchUp, out: Outbox) -> None:
        self.heard_mono_ns: dict[str, int] = {}
        self.duties = Duties()
        self._own_id = own_id
        self._writer = writer
        self._witness = witness
        self._catchup = catchup
        self._out = out

    def tell_heads(self, now: Now) -> None:
        """Every head worth talking about, to everybody, and whom this box stands by for."""
        if self.duties.own is not None:
            self._out.tell(EVERYBODY, StandsBy(self.duties.own))
        live = [report for replica in self._witness.held.live() if (report := replica.report()) is not None]
        self._out.tell(EVERYBODY, Heads(now.utc_ns, tuple(self._own_reports(None) + live)))

    def on_told(self, sender: str, told: Heads | StandsBy, now: Now) -> None:
        """What a peer says once a second. Raises PeerFault as ``on_heads``."""
        if isinstance(told, Heads):
            self.on_heads(sender, told.reports)
        else:
            self.duties.take(sender, told.boxes, now.mono_ns)

    def on_heads(self, sender: str, reports: tuple[HeadReport, ...]) -> None:
        """A peer tells the heads that it holds. Raises PeerFault when one is of a stranger's log."""
        live = self._writer.chain.log
        for report in reports:
            head = report.head
            if head.log != live:
                self._witness.manifests.box(head.log.box)
                self._catchup.learn(sender, head.log, head.size)
                self._witness.on_report(report)
                self._witness.show_proof(sender, head.log)
                self._writer.on_stored(sender, Stored(head.log, head.size))
                continue
            if report.cosignature:
                word = Cosign(sender, live, head.size, head.root, report.cosigned_s, report.cosignature)
                self._writer.on_cosign(word)

    def on_ask(self, sender: str, nonce: bytes, box: str, now: Now) -> None:
        """A peer asks for the heads of ``box``."""
        if box == self._own_id and self._writer.chain.replica.report() is None:
            return  # our live log has no durable block yet: an older head would pass for a live one; they ask again
        self._out.tell(sender, self.answer(nonce, box, now))

    def answer(self, nonce: bytes, box: str, now: Now) -> Answer:
        """Every durable head of ``box`` held here, newest first: for a peer's restore, or for this box's own."""
        reports = tuple((self._own_reports(box) + self._witness.held.reports(box))[: LIMITS.boxes])
        proofs = self._witness.forks.proofs.get(box, 0)
        is_void = box != self._own_id and not self._witness.promises.may_vouch(box)
        return Answer(nonce, box, reports, proofs, self.silent_ms(box, now), is_void)

    def silent_ms(self, box: str, now: Now) -> int:
        """How long nothing was heard of ``box`` directly; NEVER_HEARD_MS when never."""
        heard = self.heard_mono_ns.get(box)
        return NEVER_HEARD_MS if heard is None else max(0, now.mono_ns - heard) // 1_000_000

    def _own_reports(self, box: str | None) -> list[HeadReport]:
        report = self._writer.chain.replica.report() if box in (None, self._own_id) else None
        return [] if report is None else [report]
