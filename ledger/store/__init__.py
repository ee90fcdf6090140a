"""The durable store: the only module of ``ledger`` that touches a disk (LMDB), beside the keyring file.

One transaction for everything that waits, synced before ``commit`` returns. Only the ``b`` tables, ``promise``,
``self`` and ``proof`` are needed to believe a log; ``t``, ``tip``, ``cp`` and ``kf`` are derived and may lag.
"""

from ledger.store.lookups import Dropped
from ledger.store.reads import Beginning, StoreUsage
from ledger.store.rows import StoredBlock
from ledger.store.store import CommitReport, Store

__all__ = ["Beginning", "CommitReport", "Dropped", "Store", "StoreUsage", "StoredBlock"]
