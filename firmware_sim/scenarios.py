"""What happens to the simulated patient: changes against the baseline, as keyframes over time in seconds.

Keyframes are differences from the seeded baseline, except for the factors (`qrs`, `vf`, `mechanical`, `perfusion`),
which are absolute, 0 to 1.
"""

from __future__ import annotations

from collections.abc import Mapping

from firmware_sim.signals import Keyframe

SCENARIOS: Mapping[str, Mapping[str, tuple[Keyframe, ...]]] = {
    "stable": {},
    # Six minutes of bleeding without treatment: the pulse rises, pressure and perfusion fall, the pulse pressure
    # varies more with each breath, and less carbon dioxide reaches the lungs.
    "haemorrhage": {
        "hr": ((60, 0), (180, 18), (420, 52)),
        "art_sys": ((60, 0), (180, -12), (420, -52)),
        "art_dia": ((60, 0), (180, -4), (420, -26)),
        "cvp": ((60, 0), (420, -6)),
        "spo2": ((180, 0), (420, -3)),
        "etco2": ((90, 0), (420, -12)),
        "temp": ((60, 0), (600, -0.7)),
        "bis": ((240, 0), (420, -9)),
        "perfusion": ((60, 1), (420, 0.35)),
        "ppv": ((60, 0), (420, 0.14)),
    },
    # A tube too deep: saturation falls over two minutes, airway pressure rises; mended at 200 s.
    "desaturation": {
        "spo2": ((60, 0), (120, -7), (190, -20), (210, -19), (280, 0)),
        "hr": ((90, 0), (190, 26), (300, 4)),
        "art_sys": ((90, 0), (190, 18), (300, 0)),
        "art_dia": ((90, 0), (190, 9), (300, 0)),
        "etco2": ((60, 0), (100, 7), (200, 9), (260, 0)),
        "ppeak": ((58, 0), (66, 13), (200, 13), (208, 0)),
        "tidal": ((58, 0), (66, -120), (200, -120), (208, 0)),
    },
    # Ventricular fibrillation at 60 s that fades towards asystole, compressions from 90 s, circulation back at 180 s.
    "arrest": {
        "hr": ((40, 0), (58, 22), (88, 22), (92, 30), (176, 30), (186, 42), (300, 18)),
        "qrs": ((59, 1), (61, 0), (178, 0), (181, 1)),
        "vf": ((59, 0), (61, 1), (90, 0.8), (160, 0.2), (178, 0.2), (180, 0)),
        "mechanical": ((59, 1), (67, 0), (90, 0), (93, 0.38), (176, 0.38), (179, 0.3), (192, 0.85), (300, 1)),
        "perfusion": ((59, 1), (64, 0), (90, 0), (95, 0.15), (176, 0.15), (195, 0.7), (300, 1)),
        "spo2": ((62, 0), (90, -10), (150, -25), (185, -22), (230, 0)),
        "etco2": ((59, 0), (85, -27), (95, -20), (176, -20), (190, 9), (280, 0)),
        "bis": ((59, 0), (85, -30), (178, -30), (240, -5)),
    },
}
