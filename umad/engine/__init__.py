"""The engine process: one model, one llama.cpp context, one scheduler, one step loop.

Started by the daemon as `launch.command(options, fd)` makes it:

    python -m umad.engine --fd N --options JSON

N is an inherited, connected AF_UNIX stream socket; JSON is an `EngineOptions`. Frames of
`umad.protocol.link` go both ways. The first message out is `EngineReady` or `Fatal`; after `Fatal`
the process exits with status 1. It lives no longer than its daemon: it ends at once when the socket
ends and, on Linux, when its parent dies. Not here: clients, restarts, the journal (the daemon).

    reading thread  reads a model's file before it is mapped; gone once the model is ready
    mailbox thread  reads frames, tokenizes, renders, checks ─▶ Inbox   (may cut a decode)
    intake threads  take in chats, long texts and grammars; mail about such a request waits for it
    token threads   tokenize long texts, at a lower priority than the decode threads
    embed threads   tokenize texts to be embedded and put them into the inbox
    ahead thread    renders a chat with its last answer, at a lower priority, for its next turn
    mask thread     makes the masks of constrained answers while the device decodes
    disk threads    one writes saved sessions on idle cores, one reads them
    step thread     inbox ─▶ plan ─▶ decode ─▶ sample ─▶ send ─▶ apply; one `StepReport` a step,
                    sent as soon as the tokens are drawn

    launch        EngineOptions and the command line; importable without a backend
    main          the process from its arguments to its exit
    start         the imports before that, which give way to other engines
    aside         parts of a load on idle cores alone
    waiting       how the threads of libraries wait
    prctl         the parent's death, and names of threads
    process       what the platform adds: deep stacks, memory, cores
    traced        the parts that a trace of a second of serving shows
    wiring        makes every part and puts them together
    backend       the seam to what computes; its parts are tokens (a vocabulary), slabs (cells in
                  host memory, and checkpoints of states) and execution (plans carried out)
    llamacpp/     llama.cpp behind that seam
    facts         ModelFacts: what `EngineReady` tells of a model; fingerprint: what its answers
                  depend on
    library/      which llama.cpp library is used, and whether it fits; importable without a backend
    errand        work on a model's file in a process of its own, that may die or be killed
    estimates     asks for the memory of a model; quantizer: writes a smaller copy of its file.
                  Both are importable without a backend
    residency     how much of a file is in memory
    company       what a load knows of the engines beside it
    vocab         Vocabulary: text to ids and back; known_pieces: long pieces of chats that it has
                  tokenized before
    mail/         messages in and out
    adapters/     LoRA adapters that requests use
    chats/        messages to a prompt, by the model's template
    constraints/  grammars, schemas and forced calls
    ahead/        a chat's last answer as its next turn will show it, computed at rest
    drafts/       a draft model, which guesses next tokens
    steps/        the step loop and what it uses
    logits/       clients that read logits or choose tokens
    embedding/    texts to vectors
    media/        images and sounds to rows
    sessions/     conversations on disk
    board/        what engines of different models show each other
"""
