"""A DICOM feed's section: who may store, where reports go, how long what is waited for."""

from __future__ import annotations

import pytest

from agent import config
from agent.feed_config import feed_setups
from drivers import registry
from drivers.transports.dicom_config import DicomConfig
from ledger.errors import ConfigurationFault
from ledger.limits import S_NS
from tests.agent.test_config import WHOLE
from tests.agent.test_feed_config import MLLP

PEER = 'ae_title = "US_OR3", allow = ["10.20.3.70"]'


def parsed(peer: str = PEER, more: str = "") -> DicomConfig:
    section = f'dicom = {{ listen = "10.20.3.13:11112", peers = [{{ {peer} }}]{more} }}'
    told = WHOLE.replace(MLLP, section).replace('driver = "hl7"', 'driver = "dicom"')
    transport = feed_setups(config.parse(told.encode()), registry.get)[-1].transport
    assert isinstance(transport, DicomConfig)
    return transport


def test_reports_go_where_the_peer_waits_for_them_and_by_default_nowhere() -> None:
    made = parsed(PEER + ', report_to = "us3.or:104"')
    assert (made.ae_title, made.report_to("US_OR3"), made.report_to("CT1")) == ("ORLEDGER", ("us3.or", 104), None)
    assert parsed().report_to("US_OR3") is None
    assert (parsed().commitment_wait_ns, parsed().report_wait_ns) == (86_400 * S_NS, 259_200 * S_NS)
    told = parsed(more=", commitment_wait_s = 60, report_wait_s = 120")
    assert (told.commitment_wait_ns, told.report_wait_ns) == (60 * S_NS, 120 * S_NS)


@pytest.mark.parametrize(
    ("peer", "more", "spot"),
    [
        (PEER + ', report_to = "us3.or"', "", "peers[0].report_to"),
        (PEER, ", commitment_wait_s = 0", "commitment_wait_s"),
        (PEER, ", report_wait_s = 2592001", "report_wait_s"),
    ],
)
def test_what_cannot_be_meant_is_refused_where_it_stands(peer: str, more: str, spot: str) -> None:
    with pytest.raises(ConfigurationFault) as caught:
        parsed(peer, more)
    assert spot in str(caught.value)
