"""What a durable transaction can do. State machines ask for these; the store executes them; nothing else writes."""

from ledger.store.ops import AppendBlock as AppendBlock
from ledger.store.ops import CheckpointRow as CheckpointRow
from ledger.store.ops import FillPayload as FillPayload
from ledger.store.ops import KeyframeRow as KeyframeRow
from ledger.store.ops import OpenLog as OpenLog
from ledger.store.ops import PutDerived as PutDerived
from ledger.store.ops import PutManifest as PutManifest
from ledger.store.ops import PutPromise as PutPromise
from ledger.store.ops import PutProof as PutProof
from ledger.store.ops import PutSelf as PutSelf
from ledger.store.ops import PutTomb as PutTomb
from ledger.store.ops import StoreOp

Op = StoreOp
