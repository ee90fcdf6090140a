"""HL7 v2 device messages over MLLP: IHE PCD-01 observations and waves, PCD-04 alarms, acknowledged once durable."""

from drivers.hl7v2.driver import Hl7v2
from drivers.hl7v2.routing import Bed, Hl7Config

__all__ = ["Bed", "Hl7Config", "Hl7v2"]
