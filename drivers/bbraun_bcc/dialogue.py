"""When to say what: what is asked next, when a block is acknowledged, and when the ComDevice is called anew.

ACK and NAK leave 0.1 s after their block, questions after pumps 0.5 s after the one before. A ComDevice goes on by
itself with the next block of its answer once a block is acknowledged; one that does not is asked on.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final, Literal

from drivers.bbraun_bcc.frame import ACK_BYTE, NAK_BYTE, Block, message
from drivers.bbraun_bcc.request import ALIVE, GET, GET_SLOT, NOBODY, VERSION, usable
from ledger.limits import MS_NS, S_NS

REPLY_NS: Final = 110 * MS_NS
BETWEEN_NS: Final = 520 * MS_NS
CALL_NS: Final = 2 * S_NS
ANSWER_NS: Final = 3 * S_NS
CONTINUE_NS: Final = 1 * S_NS
LEARN_NS: Final = 2 * S_NS
LONGEST_BLOCK_NS: Final = 90 * S_NS
QUIET_NS: Final = 1_500 * MS_NS
PUSHED_AGAIN_NS: Final = 30 * S_NS
TRIES: Final = 3
REPEATS: Final = 3
PUSHES: Final = 3

State = Literal["calling", "idle", "asking"]


@dataclass(frozen=True, slots=True)
class Due:
    """What is to be said now; ``lost``: the ComDevice gave no answer and is called anew."""

    frames: tuple[bytes, ...] = ()
    lost: bool = False


@dataclass(slots=True)
class Dialogue:
    """Times are of the box's steady clock, in ns. ``stuffing`` None: to be found out, and again with each call."""

    poll_ns: int
    mode: Literal["auto", "poll", "cyclic"]
    stuffing: bool | None
    state: State = "calling"
    asked: str = ""
    _bed_id: str = NOBODY
    _stuffs: bool = True
    _flips: bool = True
    _reply: tuple[int, bytes] | None = None
    _until_ns: int = 0
    _spoken_ns: int = 0
    _next_ns: int = 0
    _get_ns: int | None = None
    _turn_ns: int = 0
    _queue: list[str] = field(default_factory=list)
    _tries: int = 0
    _repeats: int = 0
    _refusals: int = 0
    _unanswered_get: bool = False
    _middle: bool = False
    _by_itself: bool | None = None
    _block_ns: int = 0
    _pushes: int = 0
    _pushing: bool = False

    def __post_init__(self) -> None:
        self._stuffs = self.stuffing is not False

    def start(self, now_ns: int) -> tuple[bytes, ...]:
        """The link is up, or nobody answers: call."""
        self.state, self._bed_id = "calling", NOBODY
        self._reply, self._middle, self._pushing, self._pushes = None, False, False, 0
        self._queue, self._tries, self._repeats, self._refusals = [], 0, 0, 0
        return (self._say(ALIVE, now_ns, CALL_NS),)

    @property
    def pushing(self) -> bool:
        """Whether the ComDevice sends by itself, so that nothing is asked."""
        return self._pushing or self.mode == "cyclic"

    def deadline_ns(self) -> int:
        """When ``due`` is wanted."""
        if self._reply is not None:
            return self._reply[0]
        return self._next_ns if self.state == "idle" else self._until_ns

    def heard(self, now_ns: int) -> None:
        """A block has begun: while it arrives nobody is asked again, unless that lasts too long."""
        if self.state == "asking":
            latest_ns = min(now_ns + CONTINUE_NS, self._spoken_ns + LONGEST_BLOCK_NS)
            self._until_ns = max(self._until_ns, latest_ns)

    # What came ------------------------------------------------------------------------------------------------

    def block(self, block: Block, now_ns: int, *, refusal: bool = False) -> None:
        """A block came whole: acknowledge it, and see what is next. ``refusal``: it says that it did not understand."""
        if self.stuffing is None and block.stuffed is not None:
            self._stuffs = block.stuffed
        if usable(block.bed_id):
            self._bed_id = block.bed_id
        self._reply = (now_ns + REPLY_NS, ACK_BYTE)
        self._tries = self._repeats = 0
        self._refusals = self._refusals + 1 if refusal else 0
        quiet_ns, self._block_ns, self._spoken_ns = now_ns - max(self._block_ns, self._spoken_ns), now_ns, now_ns
        if self.state == "calling" or self._refusals >= TRIES:
            self._begin(block, now_ns, refusal=refusal)
        elif self.state == "idle":
            self._pushed(now_ns, quiet_ns)
        else:
            self._answered(block, now_ns)

    def _begin(self, block: Block, now_ns: int, *, refusal: bool) -> None:
        if refusal:  # of a message with stuffing where there is none, or the other way round
            self.state, self._bed_id, self._refusals = "calling", NOBODY, 0
            self._flips = block.stuffed is None
            self._until_ns = now_ns + BETWEEN_NS
            return
        self._queue = [VERSION]
        self._turn_ns = now_ns - self.poll_ns
        self._idle(now_ns + BETWEEN_NS)

    def _answered(self, block: Block, now_ns: int) -> None:
        if self.asked == GET:
            if not self._unanswered_get:
                self._by_itself = True
            self._unanswered_get = False
        if block.last or self.asked == VERSION:
            self._idle(now_ns)
            return
        self._middle = True
        if self._by_itself is False:
            self._until_ns = self._earliest_ns(now_ns)
        else:
            self._until_ns = now_ns + REPLY_NS + (ANSWER_NS if self._by_itself else LEARN_NS)

    def _idle(self, now_ns: int) -> None:
        self.state, self.asked, self._middle = "idle", "", False
        self._next_ns = max(now_ns, self._earliest_ns(now_ns))
        if not self._queue:
            self._next_ns = max(self._next_ns, self._turn_ns + self.poll_ns)

    def _earliest_ns(self, now_ns: int) -> int:
        after_reply_ns = now_ns if self._reply is None else self._reply[0] + REPLY_NS
        return max(after_reply_ns, 0 if self._get_ns is None else self._get_ns + BETWEEN_NS)

    def _pushed(self, now_ns: int, quiet_ns: int) -> None:
        """A block that nobody asked for: of a ComDevice in cyclic mode, or more of an answer that had ended."""
        if quiet_ns >= QUIET_NS:
            self._pushes += 1
        self._pushing = self._pushing or self.mode == "cyclic" or (self.mode == "auto" and self._pushes >= PUSHES)
        # Asking a whole turn later leaves room for what comes by itself, so that it is known for what it is.
        self._turn_ns = now_ns
        pause_ns = CONTINUE_NS if self._queue else self.poll_ns
        self._next_ns = max(self._next_ns, self._earliest_ns(now_ns), now_ns + pause_ns)

    def damaged(self, now_ns: int) -> None:
        """A block came damaged: let it be sent again, a few times."""
        if self._repeats >= REPEATS:
            return
        self._repeats += 1
        self._reply = (now_ns + REPLY_NS, NAK_BYTE)
        if self.state == "idle":
            self._next_ns = max(self._next_ns, now_ns + CONTINUE_NS)
        elif self.state == "asking":
            self._until_ns = max(self._until_ns, now_ns + ANSWER_NS)

    def refused(self, now_ns: int) -> None:
        """NAK: what we said did not arrive whole. Say it again soon."""
        if self.state != "idle":
            self._until_ns = min(self._until_ns, now_ns + BETWEEN_NS)

    def ask_slot(self, slot: str) -> None:
        """Ask for one pump as soon as that is possible."""
        if GET_SLOT + slot not in self._queue:
            self._queue.append(GET_SLOT + slot)
            if self.state == "idle":
                self._next_ns = self._earliest_ns(self._block_ns)

    # What is due ----------------------------------------------------------------------------------------------

    def due(self, now_ns: int) -> Due:
        """What is to be said by now."""
        frames: tuple[bytes, ...] = ()
        if self._reply is not None and self._reply[0] <= now_ns:
            frames, self._reply = (self._reply[1],), None
        if self.deadline_ns() > now_ns:
            return Due(frames)
        if self.state == "idle":
            turn = self._turn(now_ns)
        elif self.state == "calling":
            if self.stuffing is None and self._flips:
                self._stuffs = not self._stuffs
            self._flips = True
            turn = Due((self._say(ALIVE, now_ns, CALL_NS),))
        else:
            turn = self._unanswered(now_ns)
        return Due((*frames, *turn.frames), turn.lost)

    def _turn(self, now_ns: int) -> Due:
        if self._queue:
            return self._ask(self._queue.pop(0), now_ns)
        if self.pushing:
            again_ns = max(self._block_ns, self._turn_ns) + PUSHED_AGAIN_NS
            if now_ns < again_ns:
                self._next_ns = again_ns
                return Due()
            if self.mode == "cyclic":
                return Due(self.start(now_ns), lost=True)
            self._pushing, self._pushes = False, 0
        self._turn_ns = now_ns
        return self._ask(GET, now_ns)

    def _ask(self, command: str, now_ns: int) -> Due:
        self.state, self._middle = "asking", False
        if command != VERSION:
            self._get_ns = now_ns
        self._unanswered_get = command == GET
        return Due((self._say(command, now_ns, ANSWER_NS),))

    def _unanswered(self, now_ns: int) -> Due:
        if self.asked == VERSION or self.asked.startswith(GET_SLOT):
            self._idle(now_ns)
            return Due()
        if self._middle and not self._by_itself:
            self._by_itself = False  # it waits to be asked on
        else:
            self._tries += 1
        if self._tries >= TRIES:
            return Due(self.start(now_ns), lost=True)
        return self._ask(GET, now_ns)

    def _say(self, command: str, now_ns: int, wait_ns: int) -> bytes:
        self.asked, self._spoken_ns, self._until_ns = command, now_ns, now_ns + wait_ns
        return message(self._bed_id, command, stuffed=self._stuffs)
