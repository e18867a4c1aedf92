"""The daemon: one process that owns the socket, the clients' requests and the engines' lives.

Never imports llama.cpp and never blocks: one thread, one event loop (uvloop). An engine may die at
any time; what its clients are owed stands in the journal, and the next engine goes on from there.

    server         run_daemon: from claiming the socket to the last drain; wires the rest
    socket_file    folder, lock file and listening socket, owned by one daemon
    descriptors    as many connections as the system has descriptors for
    connections    how many there are, who gives way, room for the owner's tools
    session        one connection: frames in, frames out, limits, slow readers
    peer           who the kernel says is connected (the platform seam); identity: app, lane
    authority      who may ask for what: one table, and the place that decides by it
    verbs          what each request does; listing: rows of `models` and `sessions`
    admission      from a client's request to an engine's order: limits, lane, seed
    completions    every live request: accepted, cancelled, moved, paused, ended
    forgetting     what is kept of a session, given up by everybody who keeps it
    saved_sessions  files of sessions, also of models that are not loaded
    embeddings     requests to embed and to rerank, each one call of its engine
    generation     one request; journal: its completions, with every token they have
    fanout         what engines say, to the clients it concerns (the hot path)
    supervisor     the table of models; keeper: one engine over any number of processes
    engine_events  who is told what engines do; watchdog: one that hangs
    crashes        what a death means: another process, or the end
    engine         one model's state table, questions and way to its process
    engine_link    frames to and from a process; engine_process: the process itself
    launcher       the real engine's command line; names: which file a model's name means
    bandwidth      what this machine reads, probed once; the budget that follows; read_probe
    handover       shared memory, to the process that may read it; readers: who reads logits
    companion      the gateway's process, kept alive beside the daemon
    device_board   the page on which engines of different models see each other
    memory         what processes hold; scorecard_log: the scorecard, written down

    client ─▶ session ─▶ verbs ─▶ completions ─▶ engine_link ─▶ engine process
    client ◀─ session ◀──────────── fanout ◀──── engine_link ◀─┘

Owner of all state: the event loop. Not here: HTTP (`umad.gateway`), what a step runs
(`umad.scheduler`), the figures themselves (`umad.metrics`).
"""
