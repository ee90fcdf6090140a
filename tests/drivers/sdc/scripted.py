"""A device for tests without a network: it answers what the driver asks with what the test says."""

from __future__ import annotations

from dataclasses import dataclass, field

from drivers.contract import Close, Emit, Now, Send
from drivers.sdc import Sdc, SdcConfig
from drivers.sdc.frame import Frame, encode, read_request
from drivers.sdc.soap import read
from firmware_sim.sdc_mdib import MSG, PM, XSI, mdib_xml
from ledger.limits import S_NS
from ledger.records import LinkId, Record

LINK = LinkId(1)
URL = "http://10.20.1.7:6464/8c26"
EPR = "urn:uuid:8c26f673-fdbf-4380-b5ad-9e2454a65b6b"
NOTIFY = "http://10.20.3.13:50123/token"
SEQUENCE = "urn:uuid:11111111-1111-1111-1111-111111111111"
START_NS = 1_700_000_000 * S_NS
DESCRIPTION = mdib_xml("SIM-1").partition(b"<pm:MdDescription>")[2].partition(b"</pm:MdDescription>")[0].decode()


def envelope(body: str, action: str = "") -> bytes:
    return (
        '<s:Envelope xmlns:s="http://www.w3.org/2003/05/soap-envelope" '
        'xmlns:a="http://www.w3.org/2005/08/addressing" xmlns:wse="http://schemas.xmlsoap.org/ws/2004/08/eventing" '
        f'xmlns:msg="{MSG}" xmlns:pm="{PM}" xmlns:xsi="{XSI}">'
        f"<s:Header><a:Action>{action}</a:Action></s:Header><s:Body>{body}</s:Body></s:Envelope>"
    ).encode()


def metadata(epr: str = EPR, services: str = "GetService StateEventService ContextService WaveformService") -> str:
    types = " ".join(f"sdc:{name}" for name in services.split())
    return (
        '<wsx:Metadata xmlns:wsx="http://schemas.xmlsoap.org/ws/2004/09/mex" '
        'xmlns:dpws="http://docs.oasis-open.org/ws-dd/ns/dpws/2009/01">'
        "<wsx:MetadataSection><dpws:ThisModel><dpws:Manufacturer>Maker</dpws:Manufacturer>"
        "<dpws:ModelName>Model</dpws:ModelName></dpws:ThisModel></wsx:MetadataSection>"
        "<wsx:MetadataSection><dpws:Relationship><dpws:Host><a:EndpointReference>"
        f"<a:Address>{epr}</a:Address></a:EndpointReference></dpws:Host>"
        f"<dpws:Hosted><a:EndpointReference><a:Address>{URL}/All</a:Address></a:EndpointReference>"
        f"<dpws:Types>{types}</dpws:Types></dpws:Hosted></dpws:Relationship></wsx:MetadataSection></wsx:Metadata>"
    )


def granted(expires: str = "PT10S", parameters: str = "") -> str:
    return (
        f"<wse:SubscribeResponse><wse:SubscriptionManager><a:Address>{URL}/All/s1</a:Address>{parameters}"
        f"</wse:SubscriptionManager><wse:Expires>{expires}</wse:Expires></wse:SubscribeResponse>"
    )


def numeric(handle: str, value: str, version: int, more: str = "", tag: str = "State", quality: str = "Vld") -> str:
    shown = f' Value="{value}"' if value else ""
    return (
        f'<{"pm" if tag == "State" else "msg"}:{tag} xsi:type="pm:NumericMetricState" DescriptorHandle="{handle}" '
        f'StateVersion="{version}" {more}><pm:MetricValue{shown} DeterminationTime="1700000000000">'
        f'<pm:MetricQuality Validity="{quality}"/></pm:MetricValue></{"pm" if tag == "State" else "msg"}:{tag}>'
    )


def versions(version: int, sequence: str = SEQUENCE) -> str:
    return f'MdibVersion="{version}" SequenceId="{sequence}"'


def mdib(states: str = "", version: int = 1, sequence: str = SEQUENCE, description: str = DESCRIPTION) -> str:
    return (
        f"<msg:GetMdibResponse {versions(version, sequence)}><msg:Mdib {versions(version, sequence)}>"
        f"<pm:MdDescription>{description}</pm:MdDescription><pm:MdState>{states}</pm:MdState></msg:Mdib>"
        "</msg:GetMdibResponse>"
    )


def metric_report(version: int, *states: str, sequence: str = SEQUENCE) -> str:
    inside = "".join(states)
    return (
        f"<msg:EpisodicMetricReport {versions(version, sequence)}><msg:ReportPart>{inside}</msg:ReportPart>"
        "</msg:EpisodicMetricReport>"
    )


def alert_report(version: int, *states: str) -> str:
    return (
        f"<msg:EpisodicAlertReport {versions(version)}><msg:ReportPart>{''.join(states)}</msg:ReportPart>"
        "</msg:EpisodicAlertReport>"
    )


def wave_report(version: int, handle: str, samples: str, at_ms: int, state_version: int = 0) -> str:
    return (
        f'<msg:WaveformStream {versions(version)}><msg:State xsi:type="pm:RealTimeSampleArrayMetricState" '
        f'DescriptorHandle="{handle}" StateVersion="{state_version or version}">'
        f'<pm:MetricValue Samples="{samples}" DeterminationTime="{at_ms}"><pm:MetricQuality Validity="Vld"/>'
        "</pm:MetricValue></msg:State></msg:WaveformStream>"
    )


@dataclass
class Talk:
    """The driver, its clock, and what it wanted."""

    config: SdcConfig = field(default_factory=SdcConfig)
    mono_ns: int = 0
    records: list[Record] = field(default_factory=list)
    asked: list[str] = field(default_factory=list)
    urls: list[str] = field(default_factory=list)
    closed: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.driver = Sdc(self.config)

    @property
    def now(self) -> Now:
        return Now(self.mono_ns, START_NS + self.mono_ns)

    def open(self, epr: str = "") -> None:
        self.driver.link_up(LINK, URL, self.now)
        self._frame(Frame("OPENED", f'{{"device":"{URL}","notify":"{NOTIFY}","epr":"{epr}"}}'.encode()))

    def answer(self, body: str, status: int = 200) -> None:
        self._frame(Frame("ANSWER", envelope(body), status))

    def notify(self, body: str) -> None:
        self._frame(Frame("NOTIFY", envelope(body)))

    def running(self, states: str = "", version: int = 1) -> Talk:
        """From nothing to a device that is read."""
        self.open()
        self.answer(metadata())
        self.answer(granted())
        self.answer(mdib(states, version))
        assert self.asked == ["Get", "Subscribe", "GetMdib"]
        self.asked.clear()
        return self

    def wait(self, seconds: float) -> None:
        """Time passes; the driver is woken when it wants to be."""
        end_ns = self.mono_ns + int(seconds * S_NS)
        while (due_ns := self.driver.deadline_ns()) is not None and due_ns <= end_ns:
            self.mono_ns = max(self.mono_ns + 1_000_000, due_ns)
            self.driver.wake(self.now)
            self._drain()
        self.mono_ns = max(self.mono_ns, end_ns)

    def down(self, reason: str = "gone") -> None:
        self.driver.link_down(LINK, reason, self.now)
        self._drain()

    def take(self, kind: type[Record] = Record) -> list[Record]:
        """The records since the last call."""
        taken, self.records = self.records, []
        return [record for record in taken if isinstance(record, kind)]

    def _frame(self, frame: Frame) -> None:
        self.driver.receive(LINK, encode(frame), self.now)
        self._drain()

    def _drain(self) -> None:
        for action in self.driver.drain():
            if isinstance(action, Emit):
                self.records.append(action.record)
            elif isinstance(action, Send):
                assert self.driver.spec.may_send(action.data)
                url, body = read_request(action.data)
                self.urls.append(url)
                self.asked.append(read(body).action.rpartition("/")[2])
            elif isinstance(action, Close):
                self.closed.append(action.reason)
