"""Measures umad beside llama.cpp's own programs, on the same machine and the same models.

Not a part of the package that users install, and not the `umad bench` command, which replays
published workloads against one daemon: this folder builds peers, generates models and compares.
State: everything kept lies in the cache folder (`bench.cache`), which git never sees. Nothing
here runs inside umad; contenders are processes that are reached over a socket.

    python -m bench.peers     builds llama-server, llama-bench and llama-batched-bench
    python -m bench.shapes    writes models of real shapes with random weights
    python -m bench.speed     decode speed side by side, --ahead where others work
    python -m bench.mixed     what interactive clients feel beside long prompts
    python -m bench.overhead  first token and CPU per token of a single stream
    python -m bench.budget    whether a budget on memory traffic holds

    cache       what is kept between runs      machine     the facts above each table
    models      finds the model asked for      prompts     random ones
    arrivals    times to tokens per second     table       spread, paired ratios, JSON
    contenders  bare, llama-server, umad       precedence  going before other work
    bare  peer_server  umad_daemon             a run of each, and its plain client
    targets     servers that are loaded        load        the clients that load them
    exchange    one recorded request           latency     what its client felt
"""
