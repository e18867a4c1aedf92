"""llama.cpp behind the seam `umad.engine.backend`. The only wing that knows its codes and types.

Opening a file, in this order:

    backend          LlamaBackend, LlamaModel: what the seam asks for
    fitting          decides from a model's headers whether it can be served here
    settling         settles the shape of its context: cells, streams, windows
    context_memory   the memory a context takes, by llama.cpp's own account
    header_copy      a model's header alone, for asking what a context takes
    memory_check     holds that against the machine's memory
    device_room      what each accelerator is to hold, against the memory of that device
    pool_size        how many cells a pool has where nobody says
    stream_count     how many streams memory has room for; window_cache: what each keeps of a window
    read_through     a model's file into memory, giving way to other engines
    loading          weights and context opened, warm-up, first measurements; load_log: its words
    kept_threads     whether a computation leaves threads behind that work for later ones
    output_memory    how often a row of logits is copied until it can be read
    opened_model     the facts of a model whose weights are mapped
    warm_up          the first decodes, and what they teach
    state_trial      finds out by trying whether states of sequences can be put back
    park_trial       finds out so whether cells can be, and how large their slabs must be
    draft_model      a draft model beside its target: one that fits, its context, its costs
    projector_trial  finds out by a small image, in a child, whether a projector fits its model;
                     projector_file: a look at its file before
    repack_check     finds out whether repacked kernels work here: it asks repack_child, which tries
                     them (repack_trial) and may die of it; processor names the instructions
    repack_choice    whether to pack a model's weights; given_back: pages of the file they were in

    self_check       looks at all of this for `umad doctor`; struct_check: the binding's structs

Serving:

    decode_runner    DecodeRunner: carries a plan out
    batch            writes a plan into llama.cpp's batch arrays
    parked_cells     ParkedCells: slabs of cells in host memory
    saved_states     SavedStates: checkpoints of states there; OwnWindows
    cut_state        CutState: the state from before a step, put back after a cut
    host_memory      HostMemory: what slabs and checkpoints lie in
    adapters         LlamaAdapters: LoRA adapters in memory; adapter_calls: the calls for them
    embedder         Embedder: texts to vectors, in a context of its own
    projector        Projector: images and sounds to rows; mtmd: the calls for that; prepared: what
                     its encoder reads
    abort_flag       the switch that ends a running decode; cuttable: a decode that it may end
    gate             looks at that switch between two layers, on devices that do not look; gate_file
                     builds its library from gate.c, and gate_trial finds out what a look costs

Work on files, in processes of their own:

    estimating       the memory of a model, part by part, without a weight
    quantizing       sizes told, files quantized; quantize_call: one call of the quantizer
    perplexity       how surprised a model is by a short text

The library:

    library          the library that this process computes with; library_binding: binds the
                     declarations of llama-cpp-python to it, and is the only one that imports
                     `llama_cpp`
    library_child    looks at a library before it is used: library_symbols, library_layout (with
                     library_defaults) and library_trial are its looks
    llama            models and contexts; llama_batch: the tokens of a decode; row_batch: its rows
                     of a medium; llama_vocab: vocabularies
    llama_log        its log lines; devices: what it can compute on; vulkan_driver: refuses a device
                     of a driver that ends the process
    context_options  the shape of a context; kv_types: our names for ggml's types; rope_params: how
                     positions are scaled, in llama.cpp's own words
    placement        which tensors lie in which memory; load_mode: how a file's weights are read

Owner: the main thread opens, the step thread uses.
"""
