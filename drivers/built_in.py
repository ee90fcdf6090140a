"""The drivers that come with orledger: name and ``module:class``, one line each."""

from __future__ import annotations

from typing import Final

BUILT_IN: Final = {
    "alaris-asena": "drivers.alaris:AlarisAsena",
    "bis": "drivers.bis:Bis",
    "bbraun-bcc": "drivers.bbraun_bcc:BBraunBcc",
    "capnostream": "drivers.capnostream:Capnostream",
    "cdi500": "drivers.cdi500:Cdi500",
    "cms50": "drivers.cms50:Cms50",
    "dicom": "drivers.dicom.driver:Dicom",
    "fresenius": "drivers.fresenius:Fresenius",
    "ge-dri": "drivers.ge_dri:GeDri",
    "hamilton": "drivers.hamilton:Hamilton",
    "hl7": "drivers.hl7v2:Hl7v2",
    "intellivue": "drivers.intellivue:IntelliVue",
    "line": "drivers.line:Line",
    "masimo": "drivers.masimo:Masimo",
    "nellcor": "drivers.nellcor:Nellcor",
    "nonin": "drivers.nonin:Nonin",
    "push": "drivers.push:Push",
    "pb840": "drivers.pb840:Pb840",
    "sdc": "drivers.sdc:Sdc",
    "servo-i": "drivers.servo_i:ServoI",
    "medibus": "drivers.medibus:Medibus",
    "openigtlink": "drivers.openigtlink:OpenIgtLink",
}
