"""Texts to vectors: from a call to its answer.

    intake  EmbedIntake: checks and tokenizes, on a thread of its own
    desk    EmbedDesk: from the mail to the scheduler's queue, and from slices to answers
    work    what is wanted, and what one slice brought
    facts   EmbedFacts: what a model makes vectors of, and how

Not: when a slice runs (`umad.scheduler.embeds`), or how (the backend's embedder).
"""
