"""Turns texts into vectors: from a call to its answer.

    intake  EmbedIntake: checks and tokenizes, on a thread of its own
    desk    EmbedDesk: from the mail to the scheduler's queue, and from slices to answers
    work    values: what a request wants, and what one slice brought
    facts   EmbedFacts: which vectors a model makes, and how

Not: when a slice runs (`umad.scheduler.embeds`), or how (the backend's embedder).
"""
