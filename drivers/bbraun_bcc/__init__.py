"""B. Braun Space and Compactplus racks of infusion pumps (BCC)."""

from drivers.bbraun_bcc.config import BBraunBccConfig
from drivers.bbraun_bcc.driver import BBraunBcc

__all__ = ["BBraunBcc", "BBraunBccConfig"]
