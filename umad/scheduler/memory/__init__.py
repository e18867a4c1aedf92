"""Manages the KV pool, and the cells and states that leave the pool for host memory or disk.

    residency       Residency: places requests, shares prefixes, keeps and evicts sequences
    retained        RetainedSequences: those that stay without a request, and the next to go
    cell_ledger     KvLedger: counts which cells belong to which sequences
    prefix_index    PrefixIndex: the longest known prefix of a prompt
    cell_salt       who may share which cells, by owner and adapters
    windows         Beginnings: the prefixes that layers with a sliding window still have
    rent            Rent: evicts idle cells once rows have passed over them for too long
    parking         Parker: copies sequences to host memory before they are evicted
    restoring       Restorer: puts cells and states back from there
    parked_store    ParkedStore: accounts for the cells in host memory
    slab_cuts       SlabCuts: the slabs that a sequence is cut into, with whole images
    checkpoints     Checkpoints: accounts for the states in host memory, and finds them by tokens
    state_saving    StateSaver: chooses where a prompt's states are copied
    end_saving      EndSaver: has the states at the ends of chats copied while there is time
    park_budget     ParkBudget: drops the cheapest of both when host memory is full
    sparing         Sparing: makes do with less host memory while the machine is short of it
    purse           Purse: the milliseconds of copying that a step may still spend
    copy_allowance  CopyAllowance: how many copies one step carries
    session_saving  SessionSaver: writes sessions to disk and reads them back

Not: the copying itself (`umad.engine`). Pure; owner: the step thread.
"""
