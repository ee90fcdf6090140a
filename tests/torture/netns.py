"""Boxes in network namespaces of their own on one bridge: the kernel's own network, cut as real ones are cut."""

from __future__ import annotations

import os
import subprocess
import uuid
from types import TracebackType
from typing import Self

import pytest

from tests.conftest import require_tool

_SUBNET = "10.219.73"
HERE = f"{_SUBNET}.254"
"""This machine's own address on the bridge."""
_NOBODY = "02:00:00:00:00:99"


def address(box: str) -> str:
    """Where a box of ``or-1`` … lives."""
    return f"{_SUBNET}.{box.removeprefix('or-')}"


class Bridge:
    """A namespace and a cable for each box, all on one bridge; gone, with everything in it, when left.

    Namespaces and links are named at random, so that two runs on one machine do not meet; the subnet is fixed, so that
    a second run at the same time is refused rather than confused.
    """

    def __init__(self, boxes: tuple[str, ...]) -> None:
        self._ip = str(require_tool("ip"))
        mark = uuid.uuid4().hex[:6]
        self._bridge = f"olb{mark}"
        self._names = {box: f"ol{mark}{box}" for box in boxes}
        self._cables = {box: f"ol{mark}{box.removeprefix('or-')}" for box in boxes}

    def __enter__(self) -> Self:
        if os.geteuid() != 0 or subprocess.run([self._ip, "netns", "add", self._bridge], check=False).returncode:
            pytest.skip("may not make network namespaces: needs root")
        self._run("netns", "del", self._bridge)
        try:
            self._run("link", "add", self._bridge, "type", "bridge")
            self._run("addr", "add", f"{HERE}/24", "dev", self._bridge)
            self._run("link", "set", self._bridge, "up")
            for box in self._names:
                self._lay(box)
        except BaseException:
            self.__exit__(None, None, None)
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        for name in self._names.values():
            subprocess.run([self._ip, "netns", "del", name], check=False, capture_output=True)
        subprocess.run([self._ip, "link", "del", self._bridge], check=False, capture_output=True)

    def under(self, box: str) -> list[str]:
        """Words that start a command in a box's namespace."""
        return [self._ip, "netns", "exec", self._names[box]]

    def deafen(self, near: str, far: str) -> None:
        """One way: what ``near`` sends to ``far`` goes nowhere, without a word; the other way passes."""
        self._at(near, "neigh", "replace", address(far), "lladdr", _NOBODY, "dev", "eth0", "nud", "permanent")

    def hear(self, near: str, far: str) -> None:
        """Ends ``deafen``."""
        self._at(near, "neigh", "del", address(far), "dev", "eth0")

    def pull(self, box: str) -> None:
        """The box's cable is out, at the switch."""
        self._run("link", "set", self._cables[box], "down")

    def plug(self, box: str) -> None:
        """And in again."""
        self._run("link", "set", self._cables[box], "up")

    def _lay(self, box: str) -> None:
        name, cable = self._names[box], self._cables[box]
        self._run("netns", "add", name)
        self._run("link", "add", cable, "type", "veth", "peer", "name", "eth0", "netns", name)
        self._run("link", "set", cable, "master", self._bridge)
        self._run("link", "set", cable, "up")
        self._at(box, "link", "set", "lo", "up")
        self._at(box, "addr", "add", f"{address(box)}/24", "dev", "eth0")
        self._at(box, "link", "set", "eth0", "up")

    def _at(self, box: str, *arguments: str) -> None:
        self._run("-n", self._names[box], *arguments)

    def _run(self, *arguments: str) -> None:
        done = subprocess.run([self._ip, *arguments], check=False, capture_output=True, text=True)
        assert done.returncode == 0, f"ip {' '.join(arguments)}: {done.stderr}"
