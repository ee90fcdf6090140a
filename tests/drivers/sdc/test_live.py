"""The driver and its transport against the library's provider in a process of its own, over real sockets."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import selectors
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from agent.cli.main import main
from agent.feed import Feed
from agent.intake import Intake
from agent.wake_timer import loop_schedule
from drivers.contract import Now
from drivers.sdc import Sdc, SdcConfig
from drivers.transports.sdc_config import SdcLinkConfig, SdcTlsFiles
from drivers.transports.sdc_link import SdcTransport
from ledger.records import Event, Gap, Identity, Link, Numeric, Quality, Raw, Record, Wave
from tests.drivers.sdc.certificates import make_certificates

pytest.importorskip("sdc11073")
EPR = "8c26f673-fdbf-4380-b5ad-9e2454a65b6b"
GROUP = ("239.255.255.250", 3702)
PATIENCE_S = 60.0


def now() -> Now:
    return Now(time.monotonic_ns(), time.time_ns())


class Workstation:
    """The simulated workstation's process."""

    def __init__(self, certificates: Path) -> None:
        options = ["--epr", EPR, "--tls", str(certificates / "device")]
        command = [sys.executable, "-m", "firmware_sim", "sdc", "--control", "--duration", "300", *options]
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, bufsize=0)
        self._said = b""
        self.address = self._line().rpartition(" ")[2]
        while not self._line().startswith("sdc ="):
            pass

    def _line(self) -> str:
        assert self._process.stdout is not None
        with selectors.DefaultSelector() as ready:
            ready.register(self._process.stdout, selectors.EVENT_READ)
            while b"\n" not in self._said:
                assert ready.select(PATIENCE_S), "the workstation says nothing"
                more = os.read(self._process.stdout.fileno(), 65_536)
                assert more, "the workstation has ended"
                self._said += more
        line, _, self._said = self._said.partition(b"\n")
        return line.decode()

    def do(self, command: str) -> str:
        """Not from the loop that takes its reports: it answers when they are taken."""
        assert self._process.stdin is not None
        self._process.stdin.write(command.encode() + b"\n")
        return self._line()

    def requests(self) -> dict[str, int]:
        asked: dict[str, int] = json.loads(self.do("requests"))
        return asked

    def kill(self, number: int = signal.SIGKILL) -> None:
        os.kill(self._process.pid, number)

    def end(self) -> None:
        with contextlib.suppress(ProcessLookupError):
            self.kill()
        self._process.wait()
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None:
                pipe.close()


@dataclass
class Recording:
    """A feed with a real transport; what it records by and by."""

    feed: Feed
    intake: Intake
    records: list[Record] = field(default_factory=list)

    def take(self) -> list[Record]:
        self.feed.flush()
        batch = self.intake.take()
        fresh = [record for records in batch.groups.values() for record in records]
        self.intake.durable(batch.last_position)
        self.records += fresh
        return fresh

    def of(self, kind: type[Any]) -> list[Any]:
        return [record for record in self.records if isinstance(record, kind)]

    async def until(self, true: Callable[[], bool], what: str) -> None:
        ends_s = time.monotonic() + PATIENCE_S
        while not true():
            assert time.monotonic() < ends_s, f"{what} never came; {self.of(Link)} {self.of(Gap)} {self.of(Event)}"
            await asyncio.sleep(0.02)
            self.take()


@contextlib.asynccontextmanager
async def recording(config: SdcLinkConfig, *, answer_s: float = 20.0) -> AsyncIterator[Recording]:
    intake = Intake()
    schedule = loop_schedule(asyncio.get_running_loop())
    feed = Feed(
        "workstation", lambda: Sdc(SdcConfig(answer_s=answer_s)), SdcTransport(config, now), intake, now, schedule
    )
    feed.start()
    made = Recording(feed, intake)
    try:
        yield made
    finally:
        await feed.stop()
        made.take()


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_certificates(tmp_path_factory.mktemp("certificates"))


@pytest.fixture(scope="module")
def workstation(certificates: Path) -> Iterator[Workstation]:
    workstation = Workstation(certificates)
    yield workstation
    workstation.end()


def files(folder: Path, who: str, *, ca: str = "", pinned: str = "") -> SdcTlsFiles:
    return SdcTlsFiles(
        folder / who / "usercert.pem",
        folder / who / "userkey.pem",
        folder / ca / "cacert.pem" if ca else None,
        folder / pinned / "usercert.pem" if pinned else None,
    )


def gaps(made: Recording) -> list[str]:
    """Their causes."""
    return [gap.cause for gap in made.of(Gap)]


def last(made: Recording, channel: str) -> Any:
    return next((one for one in reversed(made.of(Numeric)) if one.channel == channel), None)


def test_over_mutual_tls_it_reads_what_the_workstation_shows_and_asks_nothing_else(
    workstation: Workstation, certificates: Path
) -> None:
    async def session() -> Recording:
        tls = files(certificates, "box", ca="box")
        async with recording(SdcLinkConfig(workstation.address, "", "", GROUP, 0, tls)) as made:
            await made.until(lambda: len(made.of(Wave)) > 20 and last(made, "hr"), "values and waves")
            await asyncio.to_thread(workstation.do, "validity spo2 Qst")
            await asyncio.to_thread(workstation.do, "mode temp Test")
            await asyncio.to_thread(workstation.do, "alarm ac.lead-off on")
            await made.until(lambda: last(made, "spo2").quality == Quality.QUESTIONABLE, "questionable")
            await made.until(lambda: last(made, "temp").quality == Quality.TEST, "a test value")
            await asyncio.to_thread(workstation.do, "alarm ac.lead-off latch")
            await asyncio.to_thread(workstation.do, "alarm ac.lead-off off")
            await made.until(lambda: any(event.phase == "end" for event in made.of(Event)), "the alarm's end")
            await asyncio.to_thread(workstation.do, "jump 5")
            await made.until(lambda: gaps(made).count("sequence") >= 1, "the jump's gap")
            await asyncio.to_thread(workstation.do, "sequence")
            await made.until(lambda: gaps(made).count("sequence") >= 2, "the sequence's gap")
        return made

    made = asyncio.run(session())
    (identity,) = made.of(Identity)
    assert (identity.make, identity.model, identity.serial) == ("Simulated Medical", "SDC workstation SW-1", "SIM-0001")
    assert set(gaps(made)) - {"silence"} == {"sequence"}  # a busy machine may hold the workstation up
    alarm = [(event.phase, event.latched) for event in made.of(Event) if event.alarm_id == "ac.lead-off"]
    assert alarm == [("start", False), ("change", True), ("end", False)]
    waves = [wave for wave in made.of(Wave) if wave.channel == "ecg.ii"]
    assert [wave.index for wave in waves] == [n * 25 for n in range(len(waves))]
    assert {raw.direction for raw in made.of(Raw)} == {"<", ">"}
    assert set(workstation.requests()) <= {"Get", "GetMdib", "Subscribe", "Renew"}


@pytest.mark.parametrize(
    ("who", "trusted", "why"),
    [
        ("box", {"pinned": "stranger"}, "its certificate is not trusted"),
        ("box", {"ca": "stranger"}, "its certificate is not trusted"),
        ("stranger", {"ca": "box"}, "accept this box's certificate"),
    ],
)
def test_who_is_not_trusted_is_told_of(
    workstation: Workstation, certificates: Path, who: str, trusted: dict[str, str], why: str
) -> None:
    before = workstation.requests()

    async def session() -> Recording:
        tls = files(certificates, who, **trusted)
        async with recording(SdcLinkConfig(workstation.address, "", "", GROUP, 0, tls)) as made:
            await made.until(lambda: any(why in link.reason for link in made.of(Link)), why)
        return made

    assert asyncio.run(session()).of(Numeric) == []
    assert workstation.requests() == before


def test_a_pinned_device_is_read(workstation: Workstation, certificates: Path) -> None:
    async def session() -> Recording:
        tls = files(certificates, "box", pinned="device")
        async with recording(SdcLinkConfig(workstation.address, "", "", GROUP, 0, tls)) as made:
            await made.until(lambda: last(made, "hr") is not None, "a value")
        return made

    assert asyncio.run(session()).of(Numeric)


def test_a_device_that_dies_and_comes_back_elsewhere_is_found_by_its_name(
    workstation: Workstation, certificates: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The last test of this module: the workstation does not survive it."""
    config = SdcLinkConfig("", f"urn:uuid:{EPR}", "127.0.0.1", GROUP, 0, files(certificates, "box", ca="box"))
    moved: list[Workstation] = []

    async def session() -> None:
        async with recording(config, answer_s=1.5) as made:
            await made.until(lambda: last(made, "hr") is not None, "a value")
            workstation.kill(signal.SIGSTOP)
            await made.until(
                lambda: any("no answer" in link.reason for link in made.of(Link)), "the frozen device's end"
            )
            workstation.kill(signal.SIGCONT)
            await made.until(lambda: len(made.of(Identity)) >= 2, "the device again")
            made.records.clear()
            workstation.kill()
            await made.until(lambda: any(link.state == "down" for link in made.of(Link)), "the dead device's end")
            moved.append(await asyncio.to_thread(Workstation, certificates))
            made.records.clear()
            await made.until(lambda: bool(made.of(Identity)), "the device at another port")
            await made.until(lambda: last(made, "hr") is not None, "a value again")
            assert "link_down" in {gap.cause for gap in made.of(Gap)}

    try:
        asyncio.run(session())
        assert moved[0].address != workstation.address
        for seconds in ("1.5", "20"):  # a busy machine answers late
            code = main(["probe", "sdc:127.0.0.1", "--seconds", seconds, "--json"])
            found = json.loads(capsys.readouterr().out)
            if code == 0 and found["devices"]:
                break
        assert code == 0
        assert {"epr": f"urn:uuid:{EPR}", "addresses": [moved[0].address]} in found["devices"]
        assert set(moved[0].requests()) <= {"Get", "GetMdib", "Subscribe", "Renew", "Probe", "Resolve"}
    finally:
        for process in moved:
            process.end()
