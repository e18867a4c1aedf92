"""Schedules embedding requests, in slices beside the other work of a step.

    queue  EmbedQueue: embedding requests that wait or run, and the next slice of their work
    turns  EmbedTurns: decides when such a slice runs, and for how many milliseconds

Not: the vectors (`umad.engine.embedding`). Pure; owner: the step thread.
"""
