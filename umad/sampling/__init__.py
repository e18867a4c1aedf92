"""Turns a row of logits into a token, and tokens into text.

Not: decoding, scheduling, sending text to clients, or I/O. No state beside the history:
token = f(logits, params, seed, position, history), so a request can be resumed, parked or moved.

    logits ─▶ edits (bias, bans, penalties) ─▶ cuts ─▶ temperature ─▶ draw ─▶ token ─▶ text

    sampler      Sampler: one completion's sampling; what the step loop calls
    edits        LogitEdits: logit bias, end-of-generation bans, penalties; undone afterwards
    counts       TokenCounts: counts of tokens, as arrays that are always ready for numpy
    workspace    Workspace: scratch and exact selections over a whole row, without a sort
    cuts         top-k, typical, top-p, min-p, temperature, draw, in llama.cpp's order
    nucleus      the shortest best-first prefix that holds a given mass
    uniform      one random number for each (seed, position)
    allowed      Allowed: the tokens that may come next, tested in the cheapest way for each row
    ring         RingWriter, RingReader: rows in shared memory for clients that read them
    logprobs     log-probabilities of the row as the model made it
    detokenizer  Detokenizer: text as it becomes certain, with stop strings
    stops        StopMatcher: the earliest stop string in a text that arrives in pieces

Owner: a Sampler and a Detokenizer belong to one completion and one thread at a time; a
Workspace belongs to its thread. Nothing here locks.
"""
