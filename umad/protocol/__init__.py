"""Turns bytes of umad's socket into values and back; reads and writes no socket.

Sans-IO, as h11 is: a caller feeds in the bytes it received and sends the bytes it is handed. So the
daemon (asyncio), the clients (asyncio and blocking) and the tests share one implementation.
Not: sockets, time, or the meaning of a request. README.md describes the protocol for other
languages.

    frames      bytes of a stream <-> bodies of frames
    bounds      refuses a body whose shape would cost far more memory than it has bytes
    requests    the client's messages as values, and their encoding; job_requests: those about
                jobs and stored models; asking: what all of them have
    fields      readers of single fields that came from outside; chat_fields, content_fields,
                embed_fields, asker_fields, sampling_fields, adapter_fields, resume_fields:
                those of a chat, of texts with images and sounds, of texts to embed, of the asker,
                of sampling, of LoRA adapters, of an answer to be continued; speech_fields: those of
                a recording, and the messages that answer it
    parsing     body -> checked request; the only place that takes untrusted input apart. Its table
                has rows of request_kind, those about jobs from job_kinds
    events      the daemon's messages: encoding, and parsing in the client; damage: whose message
                it was that cannot be read
    messages    the names of the four above that other packages use
    errors      UmadError <-> the fields of an error message
    lifecycle   the states of one completion, as a table
    link        daemon <-> engine, not for clients; step_stats: what an engine's steps did, as a
                part of it; engine_words: checks an engine's messages

No module holds state; a `FrameReader` belongs to the connection that made it and its thread.
"""

PROTOCOL_VERSION = 1
