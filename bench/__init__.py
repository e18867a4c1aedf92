"""Measures umad beside llama.cpp's own programs, on the same machine and the same models.

Not a part of the package that users install: it builds peers, generates models and compares.
`umad bench NAME` becomes `python -m bench NAME` where umad runs from a source checkout.
State: everything that is kept lies in the cache folder (`bench.cache`), which git never sees.
Nothing here runs inside umad; contenders are processes that are reached over a socket.

    python -m bench             the published ones, one after another (`make bench`):
    python -m bench mixed       A  what interactive clients feel beside long prompts
    python -m bench longctx     B  decode speed deep in a context, by type of the KV cache
    python -m bench overhead    C  first token and CPU per token of a single stream
    python -m bench four-apps   throughput of four apps together, and the memory it takes
    python -m bench newcomers   first tokens beside running streams, and what they cost those
    python -m bench speed       decode speed side by side
    python -m bench kernels     types of weights, packed and plain, beside llama-server
    python -m bench gateway     what HTTP adds to the socket: time and CPU per token, a crowd
    python -m bench masks       what a constraint adds to the time between two tokens
    python -m bench budget      whether a budget on memory traffic holds
    python -m bench memory      what a second app costs in memory
    python -m bench turns       how soon the next turn starts, on hybrids and windows
    python -m bench kept        what running streams pay for conversations that only wait
    python -m bench embed       texts that become vectors a second, beside a bare loop
    python -m bench adapters    two apps under two adapters of one model, and what a change costs
    python -m bench editor      from a key to the grey text, alone and beside a job
    python -m bench comeback    from kill -9 of the daemon to the next answer
    python -m bench media       text streams beside a queue of photos, and second turns about one
    python -m bench speculation an edit, JSON and prose with guesses, without, and bare
    python -m bench check       a minute on nano: are the ratios still there (`make bench-check`)
    python -m bench soak        a crowd that misbehaves: is anything lost (`make soak`)
    python -m bench several     three models, two loaded at once: is anything lost, left or felt
    python -m bench speech      streams of a chat beside an hour of speech
    python -m bench sampling    time to draw a token, beside llama.cpp's own chain
    python -m bench determinism which ways of feeding tokens give the same bits
    python -m bench plan        how long planning a step takes
    python -m bench trace       a second of serving as a trace, and what each part takes of a step
    python -m bench predict     what the guard would do on machines that are not here
    python -m bench fleet       a day of a thousand machines behind the router, simulated
    python -m bench router      what HAProxy adds to an answer, and what a placement takes
    python -m bench.charts      SVG and PNG from the JSON that --json and --charts write
    python -m bench.random_adapters  writes two adapters of a model with random weights
    python -m bench.peers       builds llama-server, llama-bench and llama-batched-bench
    python -m bench.shapes      writes models of real shapes with random weights

Each takes --json FILE, --charts DIR, --threads N, and --ahead for a machine with other work. A
document is {benchmark, machine, comparisons}; a comparison {kind, title, condition, unit,
baseline, notes, rows}; a row {<condition>, contender, samples, median, low, high, ratio: {median,
low, high}}.

    command     shared options, results, ends
    cache       files kept between runs        machine     the facts above each table
    models      finds the model asked for      prompts     random ones
    shapes  model_shape  hybrid_shapes         models that are generated, and of what
    widened                                    nano in the measures of a larger model
    requantized                                a model in the types that others have
    weights                                    random ones in the forms of GGUF
    projector_shape  photos                    random eyes, and large files to look at
    real_weights                               real models, for chats and for vectors
    chat_texts  chat_servers  talks            chats, turn by turn, and the servers of them
    cold        answers of the bare library, to hold a server's against
    arrivals    times to tokens per second     table       spread, paired ratios, JSON
    contenders  bare, llama-server, umad       precedence  going before other work
    bare  peer_server  umad_daemon             a run of each, and its plain client
    bare_embed  bare_decode                    the bare loops of `embed` and `speculation`
    speculation_tables                         what `speculation` shows
    plain_whisper                              whisper.cpp alone for `speech`, the same
    kernel_servers                             umad in one order of the weights, and llama-server
    python_server                              llama-cpp-python's, in an environment of its own
    http_server                                the part that servers over HTTP share
    gateway_crowd  gateway_requests            a crowd through the gateway; one chat over both
    soak_clients  soak_forks  soak_holdings    the crowd, answers that differ, what is held
    targets     servers that are loaded        load        the clients that load them
    trace_picture                              a few steps of a trace, as SVG
    exchange    one recorded request           latency     the waits its client felt
    fleet_traffic  fleet_world  fleet_routes   the sessions, machines and contenders of `fleet`
    newcomers_simulated                        the curve of `newcomers` without servers
    running     servers started together, taking turns, always ended
    company     prompt work done while a user waited
"""
