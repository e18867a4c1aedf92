"""Manages the KV pool, and the cells that leave the pool for host memory or disk.

    residency       Residency: places requests, shares prefixes, keeps and evicts sequences
    cell_ledger     KvLedger: counts which cells belong to which sequences
    prefix_index    PrefixIndex: the longest known prefix of a prompt
    windows         Beginnings: the prefixes that layers with a sliding window still have
    rent            Rent: evicts idle cells once rows have passed over them for too long
    parking         Parker: copies cells to host memory before they are evicted, and puts them back
    parked_store    ParkedStore: accounts for host memory, and drops something when it is full
    copy_allowance  CopyAllowance: how many copies one step carries
    session_saving  SessionSaver: writes sessions to disk and reads them back

Not: the copying itself (`umad.engine`). Pure; owner: the step thread.
"""
