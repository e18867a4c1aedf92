"""HTTP for everybody who does not speak umad's socket: four dialects in front of one core.

A process of its own (`umad gateway`, spawned by `umad serve --http`) and one more client of the
socket: it knows `umad.service` and the client behind it, nothing of engines, lanes or KV. It may be
killed and started again; who uses the socket does not notice.

    app         the ASGI application, put together from endpoints
    endpoint    what a dialect writes: an entry of a table and a handler taking a `GatewayCall`
    call        one HTTP request inside a handler: its body, its caller, its generations
    dispatch    one HTTP request from door to log line; cancels the handler when the client goes
    arriving    the body of a request, read whole: how large, how slow
    replies     a chat's answer taken apart: content, reasoning, tool calls
    vectors     vectors as JSON, a row at a time
    generation  one generation of the daemon: opened, iterated, closed in every state
    sse         streams: headers at once, keep-alive while nothing is said
    errors      error -> status and kind, once; each dialect gives them its shape
    door/       who may come in and under which name: connections (reading: their
                bytes), keys, hosts and origins, quotas, places
    bodies/     pydantic models of what is sent and answered, a file per dialect
    dialects/   a file per family of endpoints
    listening   the log (words), traces (spans, otel) and quotas (metering) hear of a generation
    serving     the process: listening socket, uvicorn, signals

Not: chat templates, tools, reasoning or grammars, which are the engine's; nor which lane a request
runs in, which is the daemon's. No prompt text is logged unless `UMAD_VERBOSE` asks for it. Owner of
all state: the process's one event loop; the SQLite store of responses works on a thread of its own.
"""
