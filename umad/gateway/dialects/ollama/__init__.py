"""Serves Ollama's API: chat, generate, embed, tags, show, ps, version, pull, create, copy,
delete; newline-delimited JSON.

    requests   bodies to umad's requests
    stream     parts of an answer to lines, or to one object
    answers    a running answer to lines
    listing    models as Ollama describes them
    errors     the dialect's error shape
    keeping    fetching, making, naming and deleting models
    routes     the endpoints

Names may carry Ollama's tag: `nano:latest` is `nano`. Not: templates and parsers (`umad.chat`).
"""
