"""Serves llama.cpp's own endpoints, for its editors' plugins: /infill, /embedding, /tokenize,
/detokenize.

    answers  parts of an answer to llama-server's objects
    errors   the dialect's error shape
    routes   the endpoints

Not: the prompt of an infill (`umad.gateway.infill`).
"""
