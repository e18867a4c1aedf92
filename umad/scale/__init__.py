"""Says on which accelerators a model can be served by vLLM or SGLang, and in which shape.

umad serves one machine. A team that outgrows it takes an engine that splits a model over many
accelerators. This package reckons what that engine needs: how many ways the tensors, layers,
experts and requests are split, and the memory of the fullest accelerator, part by part. A shape
that the engine would refuse is refused here first, in a line that says what would fit.

Not: renting machines or starting an engine, nor any estimate of speed. llama.cpp's memory is
`umad.estimate`'s.

    accelerators    the accelerators that are known, by name, and what `A100:4` means
    shape           a model as the engines see it: layers, heads, experts, as values; shape_words
                    says it for a person
    hf_config       a shape from the config.json of a Hugging Face repository
    mixers          the attention or recurrence of each layer in such a file
    feeds           the MLP or experts of each layer in such a file
    config_fields   reads figures of such a file, and names the field that is wrong
    gguf_shape      a shape from the header of a GGUF file
    known_models    config.json of well-known models, so that their names work without a network
    quantizations   the quantizations of the pinned engines, and what each needs
    weights         parameters of a shape, and the bytes of them on one accelerator
    cells           bytes of the KV cache, and of recurrent states, on one accelerator
    workspace       memory that a step works in
    split           how a model is split: TP, PP, DP, EP
    engines         defaults of the two engines that decide about memory
    rules           the engines' own checks, with the file that each is from; quantization_rules has
                    those of an accelerator and a quantization
    draft           a draft model for speculation: its checks, weights and cells
    memory          the memory of the fullest accelerator, part by part
    choice          the smallest split that fits, and others that do
    fitting         what would fit instead, for a plan that does not
    plan            the plan, as values and as words
    notes           why a plan is as it is, a sentence each
    flags           the engine's command line for a plan
    reading         finds a shape for a path or a name; the only module that reads files or asks the
                    hub

All but `reading` is pure. Owner: whoever calls; nothing is kept.
"""
