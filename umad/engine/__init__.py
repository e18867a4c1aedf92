"""The engine process: one model, one llama.cpp context, one scheduler, one step loop.

Started by the daemon as `launch.command(options, fd)` makes it:

    python -m umad.engine --fd N --options JSON

N is an inherited, connected AF_UNIX stream socket; JSON is an `EngineOptions`. Frames of
`umad.protocol.link` go both ways. The first message out is `Ready` or `Fatal`; after `Fatal` the
process exits with status 1. It lives no longer than its daemon: the socket's end, and on Linux
the parent's death itself, end it at once. Not here: clients, restarts, the journal (the daemon).

    mailbox thread  reads frames, tokenizes, renders, checks ─▶ Inbox   (may cut a decode)
    intake threads  chats, long texts and grammars; mail about such a request waits for it
    token threads   tokenize what is long, behind whoever decodes
    embed threads   tokenize texts to be embedded and put them into the inbox
    mask thread     which tokens a constrained answer may go on with, while the device decodes
    disk threads    one writes saved sessions on idle cores, one reads them
    step thread     inbox ─▶ plan ─▶ decode ─▶ sample ─▶ send ─▶ apply; one `StepReport` a step,
                    sent as soon as the tokens are drawn

In the order of a request's way through it; indented, what only the module above it needs:

    launch          EngineOptions and the command line; importable without llama.cpp
    main            the process from its arguments to its exit
    wiring          every part made and put together
    backend         the seam to what computes: Backend, OpenModel, Capabilities; its parts are
                    tokens (a vocabulary), slabs (cells in host memory), execution (plans)
      llama_backend llama.cpp behind that seam
      context_memory  what a context takes of memory, by llama.cpp's own account
        header_copy a header without its vocabulary, which is quick to open
      stream_count  how many streams memory has room for
      fitting       whether a model can be served here, told from its headers
      loading       weights and context opened, warm-up, first measurements
        opened      what a model whose weights are mapped says of itself
        warmup      the first decodes, and what can be learnt from them
        cost_file   what steps cost, remembered for the next start
      repack_check  whether repacked kernels work here, asked of repack_child, which tries them
                    (repack_trial) and may die of it; processor: whose instructions those are
      rehearsal     what streams feel on this machine, learnt through the real loop at load
      process       what the platform adds: parent's death, names of threads, memory, cores
    mailbox         the thread that reads frames
      intake        from a `Submit` to a `Stream` and an `Admission`, or to an error
      long_intake   requests that take long to take in, on threads of their own
        fair_queue  whose turn it is
      embed_intake  from an embed or rerank `Call` to an `EmbedArrival`, or to an error
      vocab         Vocabulary: text to ids and back
      chat          ChatTemplate: messages to text
        template    its Jinja as a program; template_process, template_child: run where it can
                    be ended; plain_text: what users write never becomes a control token
      answer_rules  what an answer has to keep to
        guidance    grammars compiled by llguidance; schema_fault: where in a schema the fault is;
                    schema_bounds: what in one costs more than it is long
        answer_mask AnswerMask: which tokens may come next
    inbox           what other threads hand to the step thread
    loop            StepLoop: the only one to touch scheduler, context and streams
      execution     StepRunner: the seam to what carries plans out; Decoded: what came of it
        decode_runner  llama.cpp's: memory operations, one decode and its outcome
        batch       from a `StepPlan` to llama.cpp's batch arrays
        parked_cells  slabs of cells in host memory
        session_disk  saves and reads them beside the steps; session_folder: whose folder, what
                    goes; session_file: what is in a file; session_identity: what one is good for
      drawing       rows of logits to tokens; stream: one completion's sampler, text and counts
      reading       clients that read rows or choose tokens, in the pages of shared_pages
      forget_desk   answers to calls to forget, once the files are gone
      embed_desk        texts from the inbox to the scheduler's queue, answers out
        embed_work  what is wanted, and what one slice brought
        embedder    Embedder: slices to vectors; embedding: what a model makes of a text
      tally         what steps did, added up until it is worth telling
      spinning      whether decode threads wait for cores spinning or asleep
    news            what a step brought, and its report; emitter: the socket's sending side
    cutter          Cutter: aborts a decode that only background work is in, by the abort_flag
    board           BoardSeat: what this engine shows the engines of other models, and sees of them
    board_watch     BoardWatch: cuts for the sake of another engine's interactive work
    facts           ModelFacts, what `Ready` tells; kvtypes: our names for ggml's types
    llama           llama.cpp, which only it and llama_vocab import; llama_log: what it says;
                    devices: what it can compute on
    context_options ContextOptions: the shape of a context
"""
