"""Images and sounds among the tokens of a request, and the steps that read them.

    cells   stand-ins for tokens: a medium's cells as numbers that equal media share
    turns   MediaTurns: when rows of a medium are computed or encoded, and how many

Not: rows themselves (`umad.engine.media`). Pure; owner: the step thread.
"""
