"""Which MQTT broker and topic, and who we are there."""

from __future__ import annotations

import ssl
from dataclasses import dataclass
from pathlib import Path

from ledger.errors import ConfigurationFault


@dataclass(frozen=True, slots=True)
class MqttConfig:
    """Which broker and topic. With ``ca_file`` over TLS; we show the certificate in ``own_pem``, user and password, or
    both. ``client_id`` names the session that the broker keeps for us.
    """

    host: str
    port: int
    topic: str
    ca_file: Path | None = None
    own_pem: Path | None = None
    username: str | None = None
    password_file: Path | None = None
    client_id: str = "orledger"

    def context(self) -> ssl.SSLContext | None:
        """Raises ConfigurationFault ``mqtt.certificate``."""
        if self.ca_file is None:
            return None
        try:
            context = ssl.create_default_context(cafile=self.ca_file)
            if self.own_pem is not None:
                context.load_cert_chain(self.own_pem)
        except OSError as fault:
            text = f"{self.ca_file} or {self.own_pem}: {fault.strerror or fault}"
            raise ConfigurationFault("mqtt.certificate", text, "give PEM files") from fault
        return context

    def password(self) -> str | None:
        """Raises ConfigurationFault ``mqtt.password``."""
        if self.password_file is None:
            return None
        try:
            return self.password_file.read_text(encoding="utf-8").strip()
        except (OSError, ValueError) as fault:
            text = f"{self.password_file}: {getattr(fault, 'strerror', None) or 'not UTF-8'}"
            raise ConfigurationFault("mqtt.password", text, "name a file that the recorder can read") from fault
