"""Turns texts into vectors: from a call to its answer.

    intake  EmbedIntake: checks and tokenizes, on threads of its own
    lookup  divides a request's texts into those whose vectors are known and those to compute
    cache   VectorCache: the vectors of texts that were embedded lately, by owner
    desk    EmbedDesk: from the mail to the scheduler's queue, and from slices to answers
    answer  Answer: the vectors of one request as they come, and its answer
    work    values: the form of an answer, and what one slice brought
    facts   EmbedFacts: which vectors a model makes, and how

Not: when a slice runs (`umad.scheduler.embeds`), or how (the backend's embedder).
"""
