"""Texts to be embedded, in slices beside everything else of a step.

    queue  EmbedQueue: embedding requests that wait or run, and the next piece of work among them
    turns  EmbedTurns: when such a slice runs, and for how many milliseconds

Not: the vectors (`umad.engine.embedding`). Pure; owner: the step thread.
"""
