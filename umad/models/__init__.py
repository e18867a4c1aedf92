"""What a model's file says about itself, without loading it.

Not: llama.cpp, engines, or where models are stored. Values and reads of a file's first bytes.

    gguf    GgufHeader: metadata and tensors of a GGUF file
    positions  positions of a text: how many, and what a context must not change about them
    sizes   what a model costs: bytes a token touches, bytes a KV cell takes

Nothing here has state; any thread may call it.
"""
