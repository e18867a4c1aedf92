"""Serves llama.cpp's own endpoints, under the names of its llama-server.

    adapters      LoRA adapters, by number
    answers       parts of an answer to llama-server's objects
    completion    /completion
    continuing    what /completion and /infill share: running prompts, and their answers
    errors        the dialect's error shape
    infill        /infill
    line_ends     answers that end at a line, for editors
    models        /models: the list, loading, downloads, and the news of what happens to models
    prompts       the forms in which its clients write prompts and biases
    routes        the endpoints; /embedding, /tokenize, /detokenize
    server_facts  /props, /slots, /apply-template

Not: the prompt of an infill (`umad.infill.prompt`).
"""
