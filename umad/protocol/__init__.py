"""What is said on umad's socket: bytes to values and back, and nothing that reads or writes.

Sans-IO, as h11 is: a caller feeds in the bytes it received and sends the bytes it is handed, so
the daemon (asyncio), the clients (asyncio and blocking) and the tests share one implementation.
Not: sockets, time, or what a request means. README.md is the same for other languages.

    frames      bytes of a stream <-> bodies of frames
    bounds      refuses a body whose shape would cost far more memory than it has bytes
    requests    what a client says, as values, and their encoding
    fields      readers of single fields that came from outside; chat_fields, embed_fields,
                asker_fields: of a chat's, of texts to embed, of whom a front end asks for
    parsing     body -> checked request; the only place where untrusted input is taken apart
    events      what the daemon answers: encoding, and parsing in the client
    messages    the front door: the names of the four above that other packages use
    errors      UmadError <-> the fields of an error message
    lifecycle   the states of one completion, as a table
    link        daemon <-> engine, not for clients; engine_words: what an engine may say

No module holds state; a `FrameReader` belongs to the connection that made it and its thread.
"""

PROTOCOL_VERSION = 1
