"""Serves llama.cpp's own endpoints, under the names of its llama-server.

    adapters      LoRA adapters, by number
    answers       parts of an answer to llama-server's objects
    completion    /completion
    errors        the dialect's error shape
    models        /models: the list, loading, downloads, and the news of what happens to models
    prompts       the forms in which its clients write prompts and biases
    routes        the endpoints; /infill, /embedding, /tokenize, /detokenize
    server_facts  /props, /slots, /apply-template

Not: the prompt of an infill (`umad.infill.prompt`).
"""
