"""The engine process: one model, one llama.cpp context, one scheduler, one step loop.

Started by the daemon as `launch.command(options, fd)` makes it:

    python -m umad.engine --fd N --options JSON

N is an inherited, connected AF_UNIX stream socket; JSON is an `EngineOptions`. Frames of
`umad.protocol.link` go both ways. The first message out is `Ready` or `Fatal`; after `Fatal` the
process exits with status 1. It lives no longer than its daemon: the socket's end, and on Linux
the parent's death itself, end it at once. Not here: clients, restarts, the journal (the daemon).

    mailbox thread  reads frames, tokenizes, renders, checks ─▶ Inbox   (may cut a decode)
    grammar threads compile what constrained requests ask for; their mail waits for it
    embed thread    tokenizes texts to be embedded and puts them into the inbox
    mask thread     which tokens a constrained answer may go on with, while the device decodes
    disk threads    one writes saved sessions on idle cores, one reads them
    step thread     inbox ─▶ plan ─▶ decode ─▶ sample ─▶ send ─▶ apply; one `StepReport` a step,
                    sent as soon as the tokens are drawn

    launch    EngineOptions and the command line; importable without llama.cpp
    main      the process from its arguments to its exit
    loading   checks before and reasons after opening a model; warm-up; opened: what it is then
    loop      StepLoop, on the main thread: the only one to touch scheduler, context and streams
    execution DecodeRunner: memory operations, one decode and its outcome
    parked_cells  ParkedCells: slabs of cells in host memory
    session_disk  SessionDisk: saves and reads them beside the steps; session_folder: whose folder,
              what goes; session_file: what is in a file; session_identity: what one is good for
    intake    from a `Submit` to a `Stream` and an `Admission`, or to an error
    mailbox   the reader thread; inbox: what it hands to the step thread
    compiling requests with a grammar, on threads of their own
    embed_intake  from an embed or rerank `Call` to an `EmbedArrival`, or to an error
    embedding EmbedFacts: what a model makes of a text; embedder: Embedder, slices to vectors;
              embed_desk: EmbedDesk, mail to the queue and answers out
    emitter   the socket's sending side; news: what a step brought, and its report
    stream    Stream: one completion's sampler, detokenizer and counts
    guidance  grammars compiled by llguidance; schema_fault: where in a schema the fault is
    answer_rules  what an answer has to keep to; answer_mask: AnswerMask, which tokens may come
    cutter    Cutter: aborts a decode that only background work is in
    board     BoardSeat: what this engine shows the engines of other models, and sees of them
    board_watch BoardWatch: cuts for the sake of another engine's interactive work
    batch     from a `StepPlan` to llama.cpp's batch arrays
    vocab     Vocabulary: text to ids and back; chat: ChatTemplate: messages to text;
              template: its Jinja as a program, template_process: run where it can be ended;
              plain_text: what users write never becomes a control token
    facts     ModelFacts, what `Ready` tells; kvtypes: our names for ggml's types
    process   what the platform adds: parent's death, names of threads, memory, cores
    llama     llama.cpp; the only module that imports it; llama_log, devices: what it says
"""
