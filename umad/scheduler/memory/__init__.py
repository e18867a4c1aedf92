"""The KV pool and what leaves it: who sits where, what is shared, kept, parked and saved.

    residency       Residency: places requests, shares prefixes, keeps and evicts sequences
    cell_ledger     KvLedger: counts which cells belong to which sequences
    prefix_index    PrefixIndex: the longest known prefix of a prompt
    windows         Beginnings: the prefixes that layers with a sliding window still have
    rent            Rent: evicts idle cells once rows have passed over them for too long
    parking         Parker: copies cells to host memory before they are evicted, and puts them back
    parked_store    ParkedStore: the books of host memory, and what goes when it is full
    copy_allowance  CopyAllowance: how many copies one step carries
    session_saving  SessionSaver: sessions that are on disk, or are to be

Not: the copying itself (`umad.engine`). Pure; owner: the step thread.
"""
