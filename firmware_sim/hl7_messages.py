"""HL7 v2.6 messages of a bedside gateway: IHE PCD-01 observations and waveforms (ORU^R01), PCD-04 alarms (ORU^R40)."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum

from firmware_sim.alarms import MDC_EVT_ECG_ASYSTOLE, Alarm, Priority
from firmware_sim.patient import Numerics, Patient
from firmware_sim.waves import WaveKind

PROFILE_PCD_01 = "IHE_PCD_001^IHE PCD^1.3.6.1.4.1.19376.1.6.1.1.1^ISO"
PROFILE_PCD_04 = "IHE_PCD_ACM_001^IHE PCD^1.3.6.1.4.1.19376.1.6.1.4.1^ISO"
# MSH-18 character sets and how Python calls them.
CHARSETS = {"": "ascii", "ASCII": "ascii", "8859/1": "latin-1", "UNICODE UTF-8": "utf-8"}

MMHG = "266016^MDC_DIM_MMHG^MDC"
PERCENT = "262688^MDC_DIM_PERCENT^MDC"
BEATS = "264864^MDC_DIM_BEAT_PER_MIN^MDC"
BREATHS = "264928^MDC_DIM_RESP_PER_MIN^MDC"
CELSIUS = "268192^MDC_DIM_DEGC^MDC"
MILLIVOLT = "266418^MDC_DIM_MILLI_VOLT^MDC"
PER_SECOND = "264608^MDC_DIM_PER_SEC^MDC"
NO_UNIT = "262656^MDC_DIM_DIMLESS^MDC"


class Phase(StrEnum):
    """MDC_ATTR_EVENT_PHASE of an alarm message."""

    START = "start"
    CONTINUE = "continue"
    END = "end"


@dataclass(frozen=True, slots=True)
class Item:
    """One numeric: its place in the device tree, code, unit, decimals, the `Numerics` field and the sensor."""

    sub: str
    code: str
    unit: str
    decimals: int
    source: str
    sensor: str


_CONTAINERS = {
    "1.1": ("69798^MDC_DEV_ECG_VMD^MDC", "69799^MDC_DEV_ECG_CHAN^MDC"),
    "1.2": ("69710^MDC_DEV_ANALY_PRESS_BLD_VMD^MDC", "69711^MDC_DEV_ANALY_PRESS_BLD_CHAN^MDC"),
    "1.3": ("69642^MDC_DEV_ANALY_SAT_O2_VMD^MDC", "69643^MDC_DEV_ANALY_SAT_O2_CHAN^MDC"),
    "1.16": ("70686^MDC_DEV_PRESS_BLD_NONINV_VMD^MDC", "70687^MDC_DEV_PRESS_BLD_NONINV_CHAN^MDC"),
}
ITEMS = (
    Item("1.1.1.1", "147842^MDC_ECG_HEART_RATE^MDC", BEATS, 0, "hr", "ecg"),
    Item("1.1.1.2", "151562^MDC_RESP_RATE^MDC", BREATHS, 0, "resp_rate", "ecg"),
    Item("1.1.1.3", "150372^MDC_TEMP_ESOPH^MDC", CELSIUS, 1, "temp", "temp"),
    Item("1.1.1.4", "151728^MDC_AWAY_CO2_ET^MDC", MMHG, 1, "etco2_mmhg", "gas"),
    Item("1.2.1.1", "150033^MDC_PRESS_BLD_ART_SYS^MDC", MMHG, 0, "art_sys", "art"),
    Item("1.2.1.2", "150034^MDC_PRESS_BLD_ART_DIA^MDC", MMHG, 0, "art_dia", "art"),
    Item("1.2.1.3", "150035^MDC_PRESS_BLD_ART_MEAN^MDC", MMHG, 0, "art_mean", "art"),
    Item("1.2.1.4", "150087^MDC_PRESS_BLD_VEN_CENT_MEAN^MDC", MMHG, 0, "cvp", "cvp"),
    Item("1.3.1.1", "150456^MDC_PULS_OXIM_SAT_O2^MDC", PERCENT, 0, "spo2", "spo2"),
    Item("1.3.1.2", "149530^MDC_PULS_OXIM_PULS_RATE^MDC", BEATS, 0, "pulse_rate", "spo2"),
    Item("1.3.1.3", "150448^MDC_PULS_OXIM_PERF_REL^MDC", NO_UNIT, 1, "perfusion_index", "spo2"),
)
NIBP_ITEMS = (
    Item("1.16.1.1", "150021^MDC_PRESS_BLD_NONINV_SYS^MDC", MMHG, 0, "sys", "nibp"),
    Item("1.16.1.2", "150022^MDC_PRESS_BLD_NONINV_DIA^MDC", MMHG, 0, "dia", "nibp"),
    Item("1.16.1.3", "150023^MDC_PRESS_BLD_NONINV_MEAN^MDC", MMHG, 0, "mean", "nibp"),
    Item("1.16.1.4", "149546^MDC_PULS_RATE_NON_INV^MDC", BEATS, 0, "pulse", "nibp"),
)
# Wave, code, unit, samples per second, data range of the channel.
WAVE_ITEMS = (
    (WaveKind.ECG_II, "131330^MDC_ECG_ELEC_POTL_II^MDC", MILLIVOLT, 250, "-5.0^5.0"),
    (WaveKind.ART, "150032^MDC_PRESS_BLD_ART^MDC", MMHG, 125, "-40.0^320.0"),
    (WaveKind.PLETH, "150452^MDC_PLETH^MDC", PERCENT, 125, "-100.0^100.0"),
    (WaveKind.CO2, "151724^MDC_AWAY_CO2^MDC", MMHG, 25, "0.0^150.0"),
)
_PRIORITY = {Priority.LOW: "PL", Priority.MEDIUM: "PM", Priority.HIGH: "PH"}


@dataclass(frozen=True, slots=True)
class Message:
    """One message ready to send: MSH-10, segments joined by CR, the character set as in MSH-18."""

    control_id: str
    text: str
    charset: str

    def encode(self) -> bytes:
        """Bytes without MLLP framing."""
        return self.text.encode(CHARSETS[self.charset])


@dataclass(frozen=True, slots=True)
class GatewayProfile:
    """Who sends, about whom, and in which manner.

    `enhanced` asks for commit acknowledgments (MSH-15 AL, MSH-16 NE); otherwise MSH-15 and MSH-16 stay empty
    (original mode) and the receiver answers AA. `processing_id` is MSH-11: P, T or D.
    """

    application: str = "SIM_GATEWAY^0012210000000001^EUI-64"
    facility: str = "SIM"
    location: str = "SIM^OR^1"
    patient_id: str = "SIM-0001"
    patient_name: str = "Müller^Jörg"
    charset: str = "UNICODE UTF-8"
    enhanced: bool = True
    processing_id: str = "P"
    device_id: str = "SIMMON1^SIM^0012210000000002^EUI-64"


def hl7_time(unix_s: float) -> str:
    """DTM with milliseconds and the offset of UTC."""
    moment = datetime.fromtimestamp(unix_s, tz=UTC)
    return f"{moment:%Y%m%d%H%M%S}.{moment.microsecond // 1000:03d}+0000"


class MessageFactory:
    """Writes messages with MSH-10 values that stay unique across restarts."""

    def __init__(self, profile: GatewayProfile, started_unix_s: float) -> None:
        if profile.charset not in CHARSETS:
            raise ValueError(f"unknown character set {profile.charset!r}; there are: {', '.join(CHARSETS)}")
        self.profile = profile
        self._started_unix_s = started_unix_s
        self.prefix = f"{int(started_unix_s * 1000):x}"
        self._count = 0

    def _message(self, kind: str, profile_id: str, unix_s: float, segments: list[str]) -> Message:
        p = self.profile
        self._count += 1
        control_id = f"{self.prefix}-{self._count}"
        mode = "AL|NE" if p.enhanced else "|"
        msh = (
            f"MSH|^~\\&|{p.application}|{p.facility}|||{hl7_time(unix_s)}||{kind}|{control_id}|{p.processing_id}|2.6"
            f"|||{mode}||{p.charset}|||{profile_id}"
        )
        name = p.patient_name.encode(CHARSETS[p.charset], "replace").decode(CHARSETS[p.charset])
        pid = f"PID|||{p.patient_id}^^^SIM^MR||{name}^^^^^L"
        text = "\r".join((msh, pid, f"PV1||I|{p.location}", *segments)) + "\r"
        return Message(control_id, text, p.charset)

    def _obr(self, code: str, from_unix_s: float, to: str = "") -> str:
        order = f"{self.prefix}{self._count + 1}^{self.profile.application}"
        return f"OBR|1|{order}|{order}|{code}|||{hl7_time(from_unix_s)}|{to}".rstrip("|")

    def _mds(self) -> str:
        return f"OBX|1||69965^MDC_DEV_MON_PHYSIO_MULTI_PARAM_MDS^MDC|1.0.0.0|||||||X|||||||{self.profile.device_id}"

    def numerics(self, n: Numerics, off: frozenset[str] = frozenset()) -> Message:
        """PCD-01 with everything that is measured; what an unplugged or pulseless sensor cannot give is marked X."""
        unix_s = self._started_unix_s + n.t_s
        lines = [self._obr("182777000^monitoring of patient^SCT", unix_s), self._mds()]
        for item in ITEMS:
            value = None if item.sensor in off else getattr(n, item.source)
            self._append(lines, item, value, unix_s)
        if n.nibp is not None and "nibp" not in off:
            for item in NIBP_ITEMS:
                self._append(lines, item, getattr(n.nibp, item.source), self._started_unix_s + n.nibp.taken_s)
        return self._message("ORU^R01^ORU_R01", PROFILE_PCD_01, unix_s, lines)

    def _append(self, lines: list[str], item: Item, value: float | None, unix_s: float) -> None:
        """Add an OBX, and before the first of a channel those of its VMD and channel."""
        channel = item.sub.rsplit(".", 1)[0]
        branch = channel.rsplit(".", 1)[0]
        if not any(f"|{branch}.0.0|" in line for line in lines):
            for code, sub in zip(_CONTAINERS[branch], (f"{branch}.0.0", f"{channel}.0"), strict=True):
                lines.append(f"OBX|{len(lines)}||{code}|{sub}|||||||X")
        text, flag, status = ("", "INV", "X") if value is None else (f"{value:.{item.decimals}f}", "", "R")
        lines.append(
            f"OBX|{len(lines)}|NM|{item.code}|{item.sub}|{text}|{item.unit}||{flag}|||{status}|||{hl7_time(unix_s)}"
        )

    def waves(self, patient: Patient, t0_s: float, seconds: float, off: frozenset[str] = frozenset()) -> Message:
        """PCD-01 with numeric arrays (OBX-2 NA) for [t0_s, t0_s + seconds) and their rate and range facets."""
        start = self._started_unix_s + t0_s
        lines = [self._obr("WAVEFORM", start, hl7_time(start + seconds)), self._mds()]
        sensors = ("ecg", "art", "spo2", "gas")
        for i, (kind, code, unit, rate_hz, data_range) in enumerate(WAVE_ITEMS):
            if sensors[i] in off:
                continue
            samples = patient.wave(kind, t0_s, round(seconds * rate_hz), rate_hz)
            values = "^".join(f"{v:.3f}" for v in samples)
            sub = f"1.1.1.{1001 + i}"
            for kind_of, what, where, value, its_unit in (
                ("NA", code, sub, values, unit),
                ("NM", "0^MDC_ATTR_SAMP_RATE^MDC", f"{sub}.1", f"{rate_hz:.1f}", PER_SECOND),
                ("NR", "0^MDC_ATTR_DATA_RANGE^MDC", f"{sub}.2", data_range, unit),
            ):
                when = f"|||{hl7_time(start)}" if kind_of == "NA" else ""
                lines.append(f"OBX|{len(lines)}|{kind_of}|{what}|{where}|{value}|{its_unit}|||||F{when}")
        return self._message("ORU^R01^ORU_R01", PROFILE_PCD_01, start + seconds, lines)

    def alarm(self, alarm: Alarm, phase: Phase, t_s: float, alarm_id: str) -> Message:
        """PCD-04 about one alarm; `alarm_id` (OBR-29 parent, OBR-3) stays the same from start to end."""
        unix_s = self._started_unix_s + t_s
        when = hl7_time(unix_s)
        item = next((i for i in ITEMS if i.source == alarm.source), None)
        code, unit = (item.code, item.unit) if item else ("69965^MDC_DEV_MON_PHYSIO_MULTI_PARAM_MDS^MDC", "")
        sub = f"{item.sub.rsplit('.', 1)[0] if item else '1.0.0'}.{code.split('^')[0]}"
        technical = alarm.event == MDC_EVT_ECG_ASYSTOLE
        side = "" if technical else ("L~" if alarm.event[1].endswith("_LO") else "H~")
        flags = f"{side}{_PRIORITY[alarm.priority]}~SP"
        app = self.profile.application
        subject = f"{alarm_id}^{app}"
        parent = f"^{alarm_id}&{app.replace('^', '&')}"
        event = f"{alarm.event[0]}^{alarm.event[1]}^MDC"
        lines = [
            f"OBR|1|{subject}|{subject}|196616^MDC_EVT_ALARM^MDC|||{when}{'|' * 22}{parent}",
            f"OBX|1|ST|{event}|{sub}.1|{alarm.text}|||{flags}|||F|||{when}||||{self.profile.device_id}",
        ]
        if alarm.value is None or alarm.limits is None:
            lines.append(f"OBX|2|CWE|68480^MDC_ATTR_ALERT_SOURCE^MDC|{sub}.2|{code}||||||F|||{when}")
        else:
            low, high = alarm.limits
            limits = f"{low:g}-{high:g}"
            lines.append(f"OBX|2|NM|{code}|{sub}.2|{alarm.value:.1f}|{unit}|{limits}||||F|||{when}")
        state = "inactive" if phase is Phase.END else "active"
        lines += [
            f"OBX|3|ST|68481^MDC_ATTR_EVENT_PHASE^MDC|{sub}.3|{phase}||||||F",
            f"OBX|4|ST|68482^MDC_ATTR_ALARM_STATE^MDC|{sub}.4|{state}||||||F",
            f"OBX|5|ST|68483^MDC_ATTR_ALARM_INACTIVATION_STATE^MDC|{sub}.5|enabled||||||F",
        ]
        return self._message("ORU^R40^ORU_R40", PROFILE_PCD_04, unix_s, lines)
