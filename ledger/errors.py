"""The one root error and its families. Each family names the party at fault; each error carries its next step.

Exit codes: 3 agent unreachable, then sysexits(3) meanings: 64 usage, 65 bad input, 69 no peer, 70 our fault,
74 store, 76 verification failed, 77 not permitted, 78 configuration.
"""

from __future__ import annotations

from typing import ClassVar, Literal

Party = Literal["device", "peer", "operator", "disk", "us"]


class OrledgerError(Exception):
    """Root of every error this project raises on purpose.

    ``id`` is stable and dotted ("block.bad-signature"); ``text`` says what happened; ``next_step`` says what to do.
    """

    party: ClassVar[Party] = "us"
    exit_code: ClassVar[int] = 70

    def __init__(self, id: str, text: str, next_step: str = "") -> None:
        super().__init__(text)
        self.id = id
        self.text = text
        self.next_step = next_step

    def __str__(self) -> str:
        return f"{self.text} [{self.id}]" + (f" Next: {self.next_step}" if self.next_step else "")


class DeviceFault(OrledgerError):
    """A device, or the cable to it, sent what its protocol does not allow."""

    party = "device"
    exit_code = 65


class PeerFault(OrledgerError):
    """Another box sent bytes that are malformed, unsigned, forged or out of order."""

    party = "peer"
    exit_code = 76


class NoPeer(OrledgerError):
    """No other box, or too few of them, answered."""

    party = "peer"
    exit_code = 69


class OperatorFault(OrledgerError):
    """A person asked for something that cannot be done."""

    party = "operator"
    exit_code = 64


class BadInput(OrledgerError):
    """A file or message given by a person cannot be read."""

    party = "operator"
    exit_code = 65


class NotPermitted(OrledgerError):
    """The caller may not do this, or the process lacks a permission."""

    party = "operator"
    exit_code = 77


class ConfigurationFault(OrledgerError):
    """The configuration is wrong; the text names the spot, like ``$.feed[1].serial.line``."""

    party = "operator"
    exit_code = 78


class StoreFault(OrledgerError):
    """The disk, or what it returned, failed."""

    party = "disk"
    exit_code = 74


class VerificationFailed(OrledgerError):
    """Stored or restored bytes do not prove what they claim; the text says where, what and whose."""

    party = "disk"
    exit_code = 76


class AgentUnreachable(OrledgerError):
    """The command line could not reach the agent on this machine."""

    party = "operator"
    exit_code = 3


class OurFault(OrledgerError):
    """A promise inside this program was broken: a bug, to be reported."""
