"""Units as senders write them, in UCUM: of those that can mean but one thing.

HL7 v2 tells units by MDC or UCUM where a sender keeps to IHE; others write what stands on their screen, or the codes
of ISO 2955 as HL7 extended them ("ISO+", HL7 v2.3 chapter 7). What is not here stays as it was sent: "C" may be degrees
or coulombs.
"""

from __future__ import annotations

from typing import Final

_ROWS: Final = """
mmHg mm[Hg]           mm(hg) mm[Hg]         mm(Hg) mm[Hg]         MM(HG) mm[Hg]
cmH2O cm[H2O]         cm(h2o) cm[H2O]       cm(H2O) cm[H2O]       CM(H2O) cm[H2O]
bpm /min              BPM /min              rpm /min              RPM /min
/MIN /min             beats/min /min        breaths/min /min      br/min /min
°C Cel                degC Cel              cel Cel               CEL Cel
DegC Cel              Celsius Cel           DegF [degF]           beats/minute /min
°F [degF]             degF [degF]           lpm L/min             LPM L/min
mEq/L meq/L           mEq/l meq/L           mcV uV                breath/min /min
ml/hr mL/h            mL/hr mL/h            mcg ug                sec s
µg ug                 μg ug                 µV uV                 μV uV
vol% %                Vol% %
"""
_WORDS: Final = _ROWS.split()
_UCUM: Final = dict(zip(_WORDS[::2], _WORDS[1::2], strict=True))
_OF_A_RATE: Final = {"mcg": "ug", "µg": "ug", "μg": "ug", "hr": "h"}
"""What pumps write in rates (``mcg/kg/hr``), each of which means but one thing."""


def ucum_of_written(unit: str) -> str:
    """The UCUM unit that is written so, blanks in it or not; what is not known, as it is."""
    found = _UCUM.get(unit) or _UCUM.get(unit.replace(" ", ""))
    if found is None and "/" in unit:
        return "/".join(_OF_A_RATE.get(part, part) for part in unit.split("/"))
    return found or unit
