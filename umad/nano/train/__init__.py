"""Train, export and evaluate `nano`. Needs the `train` extra: torch, tokenizers, gguf.

Nothing of umad imports this package. Owner: a training run owns its output folder.

    corpus -> pairs -> tokenizer -> model + optim -> loop -> export -> evaluate
    adapters: two LoRA adapters on the model that ships, for tests
"""
