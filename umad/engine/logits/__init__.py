"""Lets clients read the logits of their requests, or choose the tokens.

    readers       Readers: completions whose clients read or choose
    shared_pages  SharedPages: memory that one process writes and others may only read

Not: the layout of a ring (`umad.sampling.ring`).
"""
