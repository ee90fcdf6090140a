"""``orledger demo``: three real boxes and simulated devices on this machine, and what happens when things go wrong.

``site`` lays out folder and ports, ``processes`` runs boxes and devices, ``proxy`` is a cable that can be cut,
``watch`` asks the boxes how they are, ``view`` shows it, ``claims`` judges; each scene has a module in ``scenes``.
"""
