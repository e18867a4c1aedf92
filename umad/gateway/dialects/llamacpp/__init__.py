"""llama.cpp's own endpoints, so that its editors' plugins work: /infill, /tokenize, /detokenize.

    answers  parts of an answer to llama-server's objects
    errors   the dialect's error shape
    routes   the endpoints

The prompt of an infill is `umad.gateway.infill`'s.
"""
