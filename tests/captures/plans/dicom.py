"""What a CT and an archive said to the storage provider: instances, one of them twice, one that did not come whole."""

from __future__ import annotations

import hashlib
import math
from array import array
from collections.abc import Iterator
from dataclasses import dataclass, field

from pydicom.dataset import Dataset
from pydicom.filebase import DicomBytesIO
from pydicom.filewriter import write_dataset

from drivers.capture import CapturedMessage, CaptureItem
from drivers.contract import Message, Transport
from drivers.replay import Replay
from ledger.limits import MS_NS, S_NS
from ledger.records import Link, LinkId, Object, Raw
from tests.captures.conversation import Plan, driver_of, header

TWELVE_LEAD_ECG = "1.2.840.10008.5.1.4.1.1.9.1.1"
CT = "1.2.840.10008.5.1.4.1.1.2"
EXPLICIT_LITTLE = "1.2.840.10008.1.2.1"
STUDY = "2.25.301845938561234512345"


@dataclass
class Sender:
    """One modality's associations, in order of time."""

    t0_ns: int
    peer: str
    sop_class: str = CT
    modality: str = "CT"
    items: list[CaptureItem] = field(default_factory=list)
    requests: int = 0

    def open(self, link: int, at_ns: int) -> None:
        self.items.append(Link(at_ns=self.t0_ns + at_ns, link=LinkId(link), state="up", peer=self.peer))

    def close(self, link: int, at_ns: int, reason: str = "released") -> None:
        self.items.append(Link(at_ns=self.t0_ns + at_ns, link=LinkId(link), state="down", reason=reason))

    def store(self, link: int, at_ns: int, number: int, size: int = 526_336, body: bytes = b"") -> None:
        self.requests += 1
        at = self.t0_ns + at_ns
        meta = self._about(number) | {
            "study": STUDY, "series": f"{STUDY}.1", "instance": f"{STUDY}.1.{number}", "modality": self.modality,
            "ae_title": self.peer.partition("@")[0], "data_set_bytes": str(size),
            "data_set_sha256": hashlib.sha256(f"data set {number} {size}".encode()).hexdigest(),
        }  # fmt: skip
        sealed = hashlib.sha256(f"sealed {self.requests}".encode()).digest()
        stored = Object(
            at_ns=at, sha256=sealed, size=size + 340, media_type="application/dicom", name=f"{STUDY}.1.{number}.dcm",
            meta=meta,
        )  # fmt: skip
        self._message(link, at, Message("C-STORE", {"id": str(self.requests)}, body, stored))

    def abandon(self, link: int, at_ns: int, number: int) -> None:
        meta = self._about(number) | {"reason": "the connection closed", "bytes": "131072"}
        self._message(link, self.t0_ns + at_ns, Message("C-STORE-ABANDONED", meta))

    def _about(self, number: int) -> dict[str, str]:
        return {"sop_class": self.sop_class, "sop_instance": f"{STUDY}.1.{number}", "transfer_syntax": EXPLICIT_LITTLE}

    def _message(self, link: int, at_ns: int, message: Message) -> None:
        self.items.append(CapturedMessage(at_ns, LinkId(link), message))


def plans() -> Iterator[Plan]:
    told = header("dicom", Transport.DICOM, feed="imaging", device={"make": "simulated", "model": "CT"})
    sender = Sender(told.t0_ns, "CT1@10.20.3.70:40112")
    sender.open(1, 0)
    for number in range(1, 6):
        sender.store(1, number * 90 * MS_NS, number)
    sender.store(1, 600 * MS_NS, 3)  # its answer was lost, says the CT: the same again
    sender.store(1, 700 * MS_NS, 4, size=526_338)  # the same instance, another content: kept beside the first
    sender.close(1, S_NS)
    sender.open(2, 4 * S_NS)
    sender.store(2, 5 * S_NS, 6)
    sender.abandon(2, 6 * S_NS, 7)
    sender.close(2, 6 * S_NS, "the connection closed")
    yield answered(Plan("dicom-ct", told, None, items=tuple(sender.items)))
    told = header("dicom", Transport.DICOM, feed="ecg-cart", device={"make": "simulated", "model": "ECG cart"})
    cart = Sender(told.t0_ns, "ECG1@10.20.3.71:40113", TWELVE_LEAD_ECG, "ECG")
    cart.open(1, 0)
    for number in range(1, 4):
        body = ecg(number)
        cart.store(1, number * S_NS, number, len(body), body)
    cart.store(1, 4 * S_NS, 4, 64, b"\x08\x00\x05\x00CS\x0a\x00ISO_IR 100")  # no waveform in it
    cart.close(1, 5 * S_NS)
    yield answered(Plan("dicom-ecg", told, None, items=tuple(cart.items)))


def ecg(number: int) -> bytes:
    """Half a second of leads I and II, 500 Hz, 2.5 µV a bit: the data set in explicit VR little endian."""
    started_s = number * 0.5
    samples = array("h")
    for index in range(250):
        at_s = started_s + index / 500
        beat = math.exp(-(((at_s * 1.25) % 1 - 0.4) ** 2) / 0.0004)
        samples.extend((round(300 * beat), round(440 * beat + 20 * math.sin(at_s))))
    data_set = Dataset()
    data_set.AcquisitionDateTime = f"2026112308140{number}.250+0000"
    data_set.Modality = "ECG"
    group = Dataset()
    group.WaveformOriginality, group.MultiplexGroupLabel = "ORIGINAL", "RHYTHM"
    group.NumberOfWaveformChannels, group.NumberOfWaveformSamples, group.SamplingFrequency = 2, 250, "500"
    group.WaveformBitsAllocated, group.WaveformSampleInterpretation = 16, "SS"
    group.ChannelDefinitionSequence = [_lead("2:1", "Lead I"), _lead("2:2", "Lead II")]
    group.add_new(0x54001010, "OW", samples.tobytes())
    data_set.WaveformSequence = [group]
    return encoded(data_set)


def _lead(code: str, meaning: str) -> Dataset:
    lead, source, unit = Dataset(), Dataset(), Dataset()
    source.CodeValue, source.CodingSchemeDesignator, source.CodeMeaning = code, "MDC", meaning
    unit.CodeValue, unit.CodingSchemeDesignator, unit.CodeMeaning = "uV", "UCUM", "microvolt"
    lead.ChannelSourceSequence, lead.ChannelSensitivity = [source], "2.5"
    lead.ChannelSensitivityUnitsSequence, lead.ChannelSensitivityCorrectionFactor = [unit], "1"
    lead.ChannelBaseline, lead.WaveformBitsStored = "0", 16
    return lead


def encoded(data_set: Dataset, *, implicit: bool = False, little: bool = True) -> bytes:
    """As it passes in a C-STORE."""
    out = DicomBytesIO()
    out.is_implicit_VR, out.is_little_endian = implicit, little
    write_dataset(out, data_set)
    return bytes(out.getvalue())


def answered(plan: Plan) -> Plan:
    """With what the driver answers, as of when it was asked."""
    driver = driver_of(plan.header)
    items: list[CaptureItem] = []
    for item in plan.items:
        replay = Replay(driver, plan.header.t0_ns)
        list(replay.steps([item]))
        items.append(item)
        for link, sent in replay.sent.items():
            data = bytes(sent.replayed)
            items.append(Raw(at_ns=item.at_ns, link=link, direction=">", data=data, pieces=((0, len(data)),)))
    return Plan(plan.name, plan.header, None, items=tuple(items))
