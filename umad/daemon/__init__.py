"""The daemon: one process that owns the socket, the clients' requests and the engines' lives.

It never imports llama.cpp and never blocks: it has one thread and one event loop (uvloop). An
engine may die at any time. The journal holds every token its clients have, so the next engine
continues each stream where it stopped.

    server         run_daemon: claims the socket, wires the modules below, serves
    ending         drains, then stops engines and connections
    socket_file    owns the folder, the lock file and the listening socket
    socket_places  one daemon for each user, and a link where other logins look
    activation     takes the socket that a service manager has made
    notify         tells a service manager how the daemon is
    descriptors    limits connections to the file descriptors that the system allows
    connections    counts connections, closes idle ones for others, keeps room for the tools
    session        one connection: frames in, frames out, limits, slow readers
    peer           asks the system which program is connected; identity: its app and its lane
    known_apps     the lanes of programs that nobody has to configure
    authority      decides who may ask for what, from one table
    verbs          carries out each request; listing: rows of `models` and `sessions`
    admission      makes an engine's order of a client's request: limits, lane, seed
    app_shares     bounds what one app may have, so that the rest is left to the others
    completions    every live request: accepted, cancelled, moved, paused, ended
    forgetting     deletes a session wherever it is kept
    job_verbs      answers the requests about jobs, and looks after them
    auto_pull      fetches models for requests that name them, where that is allowed
    stored_rows    rows of models that are not loaded and that a request would load
    stored_models  removes and names models of the store; saves presets; model_use: who uses one
    adapters       finds the model and the LoRA adapters that a request names, and lists them
    estimates      the memory that a model would take beside those that are loaded
    saved_sessions  removes files of sessions, also those of models that are not loaded
    embeddings     requests to embed and to rerank; embed_parts: the calls of one request
    transcriptions  requests to transcribe, one window after the other
    speech_models  keeps speech to speech models, and texts to the others
    other_work     makes both of these: embeddings and transcriptions
    task_prefixes  what a model's card puts before a text, by its task
    generation     one request; journal: its completions and every token they have
    fanout         carries engines' news to the clients it concerns (the hot path)
    supervisor     the table of models; keeper: one engine over any number of processes
    meant_models   finds the engine or the file that a client means by a model's name
    media_deaths   refuses an image or a sound that an engine died at twice
    senses         names a model that takes images, where another one was asked about one
    engine_events  the interface through which keepers report; watchdog: finds a hanging engine
    crashes        decides whether a dead engine is started again, and a failed load tried again
    rotation       gives models room in turn; room: who leaves for whom; residents: the models that
                   hold memory; needs: how much memory one needs; keep_alive: how long it stays
    engine         one model's open questions and its link to the process; engine_state: its
                   state table
    engine_run     one process of an engine, from its start to its end
    load_pauses    loads that only background work waits for rest while interactive work runs
    engine_link    frames to and from a process; engine_process: the process itself
    loaded_names   finds the loaded model that a name means
    launcher       builds the real engine's command line; names: finds the file of a model's name;
                   drafts: the files that may be a model's draft
    bandwidth      the machine's read rate and the budget from it; read_probe: measures the rate
    handover       sends a file descriptor to a client; readers: clients that read logits
    companion      keeps the gateway's process alive beside the daemon
    device_board   the shared page on which engines of different models see each other
    pressure       gives up what umad can spare while the machine is short of memory;
    pressure_sources  reads how short it is
    traced         the parts that a trace of a second of serving shows
    memory         memory that the processes hold; scorecard_log: writes the scorecard down

    client ─▶ session ─▶ verbs ─▶ completions ─▶ engine_link ─▶ engine process
    client ◀─ session ◀──────────── fanout ◀──── engine_link ◀─┘

Owner of all state: the event loop. Not here: HTTP (`umad.gateway`), what a step runs
(`umad.scheduler`), the figures themselves (`umad.metrics`).
"""
