"""Serves inline completions to any editor that speaks LSP: `umad lsp`, over stdin and stdout.

    server      the language server: capabilities, its handlers, and what is logged
    connection  the editor's messages: their order, and those that are none
    completing  one completion: the wait for a quiet moment, and the end of an earlier one
    documents   the open files, changed as the editor says
    settings    what the editor may set, checked

One process belongs to one editor. It is a client of the socket and nothing more; a daemon that
restarts is found again at the next key. Not: what is asked and shown (`umad.infill`), nor the
messages' types and framing (pygls). State belongs to the process's one event loop.
"""
