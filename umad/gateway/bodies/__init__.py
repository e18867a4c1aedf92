"""Describes what clients send as pydantic models: a file per dialect.

    base         what holds for every body: null is absent, fields with several names
    values       single values in the spellings of other servers
    durations    Ollama's durations
    sampling     how tokens are drawn, in every dialect
    adapters     LoRA adapters, by name or number
    answer_form  where a schema or grammar of the answer may stand
    multipart    forms with a file; openai_audio: those of recordings
    embedding_fields  texts that are too long, and what vectors are for

The rule is in docs/compatibility.md. Not: what a body means (`dialects/`).
"""
