"""What is written and why it can be believed: records, blocks, chain, replication rules, verification.

Pure: no asyncio, no network, no clock of its own. LMDB and the keyring file are its only I/O.
"""
