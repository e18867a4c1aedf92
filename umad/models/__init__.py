"""Reads what a model's file says about the model, without loading it.

Not: llama.cpp, engines, or where models are stored. Values and reads of a file's first bytes.

    gguf    GgufHeader: metadata and tensors of a GGUF file
    positions  positions of a text: how many there are, how many one stream may use, and from which
               context size they differ
    rope    how positions are scaled where the options say other than the file
    sizes   a model's costs: bytes a token touches, bytes a KV cell takes

Nothing here has state; any thread may call it.
"""
