"""The section of an SDC feed: what it may say, and what each mistake is told as."""

from __future__ import annotations

from pathlib import Path

import pytest

from agent import config
from agent.feed_build import build_feed
from agent.feed_config import feed_setups
from agent.intake import Intake
from drivers import registry
from drivers.transports.sdc_config import SdcLinkConfig, SdcTlsFiles, load_tls
from ledger.errors import ConfigurationFault
from tests.agent.feed_fakes import FakeTime
from tests.agent.test_config import WHOLE
from tests.drivers.sdc.certificates import make_certificates

MLLP = 'driver = "hl7"\nmllp = { listen = "10.20.3.13:2575", allow = ["10.20.1.7"] }'
EPR = "urn:uuid:8c26f673-fdbf-4380-b5ad-9e2454a65b6b"
GROUP = ("239.255.255.250", 3702)
TLS = 'tls = { certificate = "/a.pem", key = "/a.key", ca = "/ca.pem" }'


def setup(section: str) -> object:
    assert WHOLE.count(MLLP) == 1
    text = WHOLE.replace(MLLP, f'driver = "sdc"\nsdc = {{ {section} }}')
    return feed_setups(config.parse(text.encode()), registry.get)[1].transport


@pytest.mark.parametrize(
    ("section", "expected"),
    [
        ('address = "http://10.20.1.7:6464/8c26"', SdcLinkConfig("http://10.20.1.7:6464/8c26", "", "", GROUP)),
        (f'epr = "{EPR}", interface = "10.20.3.13"', SdcLinkConfig("", EPR, "10.20.3.13", GROUP)),
        (f'epr = "{EPR}", discovery = "10.20.1.7:3702"', SdcLinkConfig("", EPR, "", ("10.20.1.7", 3702))),
        (
            f'address = "https://h/x", epr = "{EPR}", interface = "10.20.3.13", listen_port = 50000, {TLS}',
            SdcLinkConfig("https://h/x", EPR, "10.20.3.13", GROUP, 50000,
                          SdcTlsFiles(Path("/a.pem"), Path("/a.key"), Path("/ca.pem"))),
        ),
    ],
)  # fmt: skip
def test_how_a_device_is_found(section: str, expected: SdcLinkConfig) -> None:
    assert setup(section) == expected


@pytest.mark.parametrize(
    ("section", "spot"),
    [
        ("", "$.feed[1].sdc: needs address or epr"),
        ('address = "10.20.1.7:6464"', "$.feed[1].sdc.address: "),
        (f'epr = "{EPR}"', "$.feed[1].sdc.interface: is needed"),
        ('epr = "the monitor", interface = "10.20.3.13"', "$.feed[1].sdc: 'the monitor' is no endpoint reference"),
        (f'epr = "{EPR}", interface = "eth0"', "$.feed[1].sdc.interface: "),
        (f'epr = "{EPR}", interface = "10.20.3.13", discovery = "10.20.1.7"', "$.feed[1].sdc.discovery: "),
        (f'epr = "{EPR}", interface = "10.20.3.13", listen_port = 70000', "$.feed[1].sdc.listen_port: "),
        ('address = "https://h/x"', "$.feed[1].sdc: 'https://h/x' and tls do not fit"),
        (f'address = "http://h/x", {TLS}', "$.feed[1].sdc: 'http://h/x' and tls do not fit"),
        ('address = "https://h/x", tls = { certificate = "a", key = "/b" }', "$.feed[1].sdc.tls.certificate: "),
        ('address = "http://h/x", wait = 1', "$.feed[1].sdc: "),
    ],
)
def test_an_error_names_its_spot_and_the_next_step(section: str, spot: str) -> None:
    with pytest.raises(ConfigurationFault) as caught:
        setup(section)
    assert caught.value.text.startswith(spot)
    assert caught.value.next_step


def test_certificates_that_cannot_be_read_are_told_of_before_anything_runs(tmp_path: Path) -> None:
    folder = make_certificates(tmp_path)
    box, other = folder / "box", folder / "device"
    good = (box / "usercert.pem", box / "userkey.pem")
    assert load_tls(SdcTlsFiles(*good, ca=box / "cacert.pem")).pins == frozenset()
    assert len(load_tls(SdcTlsFiles(*good, pinned=other / "usercert.pem")).pins) == 1
    (folder / "empty.pem").write_text("nothing")
    for wrong, named in (
        (SdcTlsFiles(*good), "needs either ca or pinned"),
        (SdcTlsFiles(*good, ca=box / "cacert.pem", pinned=other / "usercert.pem"), "needs either ca or pinned"),
        (SdcTlsFiles(*good, ca=folder / "none.pem"), "none.pem"),
        (SdcTlsFiles(*good, pinned=folder / "empty.pem"), "empty.pem"),
        (SdcTlsFiles(good[0], other / "userkey.pem", ca=box / "cacert.pem"), "usercert.pem"),
        (SdcTlsFiles(folder / "none.pem", good[1], ca=box / "cacert.pem"), "none.pem"),
    ):
        with pytest.raises(ConfigurationFault) as caught:
            load_tls(wrong)
        assert named in caught.value.text
        assert caught.value.next_step


def test_a_feed_is_built_of_it() -> None:
    text = WHOLE.replace(MLLP, 'driver = "sdc"\nsdc = { address = "http://10.20.1.7:6464/8c26" }')
    _, made = feed_setups(config.parse(text.encode()), registry.get)
    time = FakeTime()
    feed = build_feed(made, Intake(), time.now, time.schedule)
    assert feed.status().driver == "sdc"
