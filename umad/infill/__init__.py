"""Decides what an editor's completion asks of a model, and what of the answer is shown.

A person types; grey text appears behind the cursor; Tab takes it. Everything about this that needs
no socket, no clock and no editor is here:

    cut       the text around the cursor that the model gets
    prompt    the fill-in-the-middle prompt, from the model's own marks
    manner    whether to ask at all, and for one line or several
    trim      what of the answer is shown: nothing that stands behind the cursor already
    recent    answers that still hold after more was typed: the least recently used are dropped
    ghost     one completion from cursor to text, over a `umad.service.Service`

Each function has a twin in TypeScript (adapters/vscode/src/infill/), for the editor whose
extensions are no Python. `adapters/infill-cases.json` is the table of cases that both are held to.

Not: an editor's protocol (`umad.lsp`), HTTP (`umad.gateway`), nor the waiting between keys, which
belongs to who hears the keys. All but `ghost` is pure. Owner: the caller; nothing here locks.
"""
