"""What a model's file says about itself, without loading it.

Not: llama.cpp, engines, or where models are stored. Values and reads of a file's first bytes.

    gguf    GgufHeader: metadata and tensors of a GGUF file
    sizes   what a model costs: bytes a token touches, bytes a KV cell takes

Nothing here has state; any thread may call it.
"""
